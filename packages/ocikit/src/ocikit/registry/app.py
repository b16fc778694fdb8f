"""The registry's HTTP face: OCI distribution specification 1.1. Docstrings give its endpoint numbers."""

from __future__ import annotations

import errno
import inspect
import re
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

from obstore.store import ObjectStore
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ocikit.credentials import Credentials
from ocikit.registry.blobs import Blobs
from ocikit.registry.discovery import Discovery
from ocikit.registry.errors import Refusal
from ocikit.registry.garbage import Collected, collect
from ocikit.registry.manifests import Keep, Manifests, OnPush
from ocikit.registry.request import expect, read_credentials, read_repository
from ocikit.registry.storage import Storage
from ocikit.registry.upload import Uploads

Action = Literal["pull", "push", "delete"]
Authorize = Callable[[Credentials | None, str | None, Action], Awaitable[None] | None]

_ACTIONS: dict[str, Action] = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_ROUTES = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("tags", r"/v2/(?P<name>.+)/tags/list"),
        ("uploads", r"/v2/(?P<name>.+)/blobs/uploads/?"),
        ("upload", r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]{32})"),
        ("blob", r"/v2/(?P<name>.+)/blobs/(?P<id>[^/]+)"),
        ("manifest", r"/v2/(?P<name>.+)/manifests/(?P<id>[^/]+)"),
        ("referrers", r"/v2/(?P<name>.+)/referrers/(?P<id>[^/]+)"),
    )
)


def create_app(
    store: ObjectStore,
    *,
    authorize: Authorize,
    on_push: OnPush | None = None,
    mutable: Callable[[str, str], bool] = lambda _repository, _tag: True,
    repository_exists: Callable[[str], bool] | None = None,
    keep: Keep | None = None,
    uploads: Path | None = None,
) -> RegistryApp:
    """A registry over an object store.

    `authorize` gets who asks (None: nobody said), the repository (None: the registry as a whole) and what
    for, and raises Unauthorized or Denied to refuse. `on_push` is told (repository, tag or None, digest,
    media type) once a manifest is stored; the push is answered when it returns. `mutable` says whether a tag
    may be given to another manifest. `repository_exists`, where given, keeps pushes from making
    repositories. `keep`, where given, says why a manifest must not be deleted, or None. `uploads` is a folder
    for uploads under way, which then outlive the server; a store that is a folder has one of its own.
    """
    storage = Storage(store)
    return RegistryApp(
        storage,
        Manifests(storage, on_push, mutable, keep),
        authorize=authorize,
        exists=repository_exists,
        uploads=uploads,
    )


class RegistryApp:
    """An ASGI app; one process serves the pushes to a store."""

    def __init__(
        self,
        storage: Storage,
        manifests: Manifests,
        *,
        authorize: Authorize,
        exists: Callable[[str], bool] | None,
        uploads: Path | None,
    ) -> None:
        self._storage = storage
        self._authorize = authorize
        self._exists = exists
        if storage.folder is not None:
            uploads = storage.folder / "uploads"  # on the blobs' own file system, to be moved
        elif uploads is None:
            uploads = Path(tempfile.mkdtemp(prefix="ocikit-uploads-"))
            weakref.finalize(self, shutil.rmtree, uploads, ignore_errors=True)
        self._blobs = Blobs(storage, Uploads(uploads))
        discovery = Discovery(storage)
        self._handlers = {
            "blob": self._blobs.blob,
            "upload": self._blobs.upload,
            "manifest": manifests.manifest,
            "referrers": discovery.referrers,
        }
        self._tags = discovery.tags
        self._collecting = False

    async def collect_garbage(self, grace: timedelta = timedelta(hours=1)) -> Collected:
        """Remove blobs that nothing has named for longer than `grace`, while pushes and pulls go on.

        To be awaited on the event loop that serves the app. The grace has to be longer than the longest push
        takes, and than a minute. A collection that is called during another does nothing.
        """
        if self._collecting:
            return Collected(0, 0, 0)
        self._collecting = True
        try:
            return await collect(self._storage, grace)
        finally:
            self._collecting = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = _refused(refusal)
        except ClientDisconnect:
            return
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            # RFC 4918 section 11.5; the specification of distribution has no code for it.
            response = _refused(Refusal(507, "DENIED", "the registry has no room for that: its disk is full"))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        credentials = read_credentials(request)
        path = request.scope["path"]  # `request.url` is made of the Host header too
        if path in ("/v2", "/v2/"):
            await self._allow(credentials, None, "pull")
            expect(request, "GET")
            return JSONResponse({})  # end-1
        kind, match = _route(path)
        name = read_repository(match["name"])
        await self._allow(credentials, name, _ACTIONS.get(request.method, "push"))
        if self._exists is not None and not self._exists(name):
            raise Refusal(404, "NAME_UNKNOWN", f"there is no repository {name}; create it first")
        if kind == "tags":
            return await self._tags(request, name)
        if kind == "uploads":
            return await self._blobs.begin_upload(request, name, self._may_pull(credentials))
        return await self._handlers[kind](request, name, match["id"])

    async def _allow(self, credentials: Credentials | None, repository: str | None, action: Action) -> None:
        answer = self._authorize(credentials, repository, action)
        if inspect.isawaitable(answer):
            await answer

    def _may_pull(self, credentials: Credentials | None) -> Callable[[str], Awaitable[bool]]:
        async def may_pull(repository: str) -> bool:
            try:
                await self._allow(credentials, repository, "pull")
            except Refusal:
                return False
            return True

        return may_pull


def _refused(refusal: Refusal) -> Response:
    document = {"errors": [{"code": refusal.code, "message": str(refusal)}]}
    return JSONResponse(document, refusal.status, refusal.headers)


def _route(path: str) -> tuple[str, re.Match[str]]:
    for kind, pattern in _ROUTES:
        if match := pattern.fullmatch(path):
            return kind, match
    raise Refusal(404, "NAME_UNKNOWN", f"{path} is no path of the distribution specification")
