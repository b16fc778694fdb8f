"""The registry's HTTP face: OCI distribution specification 1.1. Docstrings give its endpoint numbers."""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal
from urllib.parse import urlencode

from obstore.store import ObjectStore
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ocikit._document import MAX_DOCUMENT
from ocikit.credentials import Credentials
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, InvalidReferenceError
from ocikit.manifest import INDEXES, MANIFESTS, OCI_INDEX, Descriptor, Index, Manifest
from ocikit.reference import check_repository, check_tag
from ocikit.registry.errors import Refusal
from ocikit.registry.storage import Storage, StoredManifest
from ocikit.registry.upload import Upload, Uploads

Action = Literal["pull", "push", "delete"]
Authorize = Callable[[Credentials | None, str | None, Action], Awaitable[None] | None]
OnPush = Callable[[str, str | None, Digest, str], Awaitable[None]]

_ACTIONS: dict[str, Action] = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_COUNT = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CONTENT_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")
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
) -> ASGIApp:
    """A registry over an object store.

    `authorize` gets who asks (None: nobody said), the repository (None: the registry as a whole) and what
    for, and raises Unauthorized or Denied to refuse. `on_push` is told (repository, tag or None, digest,
    media type) once a manifest is stored; the push is answered when it returns. `mutable` says whether a tag
    may be given to another manifest. `repository_exists`, where given, keeps pushes from making
    repositories.
    """
    return _App(Storage(store), authorize, on_push, mutable, repository_exists)


class _App:
    def __init__(
        self,
        storage: Storage,
        authorize: Authorize,
        on_push: OnPush | None,
        mutable: Callable[[str, str], bool],
        exists: Callable[[str], bool] | None,
    ) -> None:
        self._storage = storage
        self._authorize = authorize
        self._on_push = on_push
        self._mutable = mutable
        self._exists = exists
        self._uploads = Uploads()

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
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        credentials = _credentials(request)
        action = _ACTIONS.get(request.method, "push")
        path = request.scope["path"]  # `request.url` is made of the Host header too
        if path in ("/v2", "/v2/"):
            await self._allow(credentials, None, "pull")
            return JSONResponse({})
        kind, match = _route(path)
        name = match["name"]
        try:
            check_repository(name)
        except InvalidReferenceError as error:
            raise Refusal(400, "NAME_INVALID", str(error)) from error
        await self._allow(credentials, name, action)
        if self._exists is not None and not self._exists(name):
            raise Refusal(404, "NAME_UNKNOWN", f"there is no repository {name}; create it first")
        if kind == "tags":
            return await self._tags(request, name)
        if kind == "uploads":
            return await self._begin_upload(request, name, credentials)
        handler = getattr(self, f"_{kind}")
        response: Response = await handler(request, name, match["id"])
        return response

    async def _allow(self, credentials: Credentials | None, repository: str | None, action: Action) -> None:
        answer = self._authorize(credentials, repository, action)
        if inspect.isawaitable(answer):
            await answer

    # Tags and referrers

    async def _tags(self, request: Request, name: str) -> Response:
        """end-8a and end-8b."""
        _expect(request, "GET")
        tags = await self._storage.list_tags(name)
        if not tags and not await self._storage.has_repository(name):
            raise Refusal(404, "NAME_UNKNOWN", f"there is no repository {name}")
        query = request.query_params
        if last := query.get("last"):
            tags = [tag for tag in tags if tag > last]
        headers: dict[str, str] = {}
        if (count := query.get("n")) is not None:
            if not _COUNT.fullmatch(count):
                raise Refusal(400, "UNSUPPORTED", f"n={count[:40]!r} is no number of tags")
            page = tags[: int(count)]
            if page and len(page) < len(tags):
                link = f"/v2/{name}/tags/list?{urlencode({'n': count, 'last': page[-1]})}"
                headers["Link"] = f'<{link}>; rel="next"'
            tags = page
        return JSONResponse({"name": name, "tags": tags}, headers=headers)

    async def _referrers(self, request: Request, name: str, subject: str) -> Response:
        """end-12a and end-12b."""
        _expect(request, "GET")
        manifests = await self._storage.referrers(name, _digest(subject))
        headers: dict[str, str] = {}
        if wanted := request.query_params.get("artifactType"):
            manifests = [entry for entry in manifests if entry.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return Response(json.dumps(document), media_type=OCI_INDEX, headers=headers)

    # Blobs

    async def _blob(self, request: Request, name: str, text: str) -> Response:
        """end-2 and end-10."""
        _expect(request, "GET", "HEAD", "DELETE")
        digest = _digest(text)
        size = await self._storage.blob_size(name, digest)
        if size is None:
            raise Refusal(404, "BLOB_UNKNOWN", f"{name} has no blob {digest}")
        if request.method == "DELETE":
            await self._storage.unlink_blob(name, digest)
            return Response(status_code=202)
        headers = {
            "Docker-Content-Digest": str(digest),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        start, end, status = 0, size, 200
        if (wanted := request.headers.get("Range")) and request.method == "GET":
            start, end = _range(wanted, size)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD" or start == end:
            return Response(status_code=status, headers=headers)
        return StreamingResponse(self._storage.read_blob(digest, start, end), status, headers)

    async def _begin_upload(self, request: Request, name: str, credentials: Credentials | None) -> Response:
        """end-4a, end-4b and end-11."""
        _expect(request, "POST")
        query = request.query_params
        if mounted := query.get("mount"):
            digest, source = _digest(mounted), query.get("from")
            if source and await self._may_mount(credentials, source, digest):
                await self._storage.link_blob(name, digest)
                return _created(f"/v2/{name}/blobs/{digest}", digest)
        promised = _digest(query["digest"]) if "digest" in query else None
        upload = self._uploads.begin(name)
        if promised is None:
            return _under_way(upload, 202)
        try:
            with upload.claimed():
                return await self._finish_upload(request, upload, promised)
        finally:
            self._uploads.end(upload)  # nobody else knows its name

    async def _may_mount(self, credentials: Credentials | None, source: str, digest: Digest) -> bool:
        try:
            check_repository(source)
            await self._allow(credentials, source, "pull")
        except (Refusal, InvalidReferenceError):
            return False
        return await self._storage.blob_size(source, digest) is not None

    async def _upload(self, request: Request, name: str, session: str) -> Response:
        """end-5, end-6, end-13 and the cancelling DELETE."""
        _expect(request, "GET", "PATCH", "PUT", "DELETE")
        upload = self._uploads.find(name, session)
        if request.method == "GET":
            return _under_way(upload, 204)
        with upload.claimed():
            if request.method == "DELETE":
                self._uploads.end(upload)
                return Response(status_code=204)
            _in_order(request, upload)
            if request.method == "PATCH":
                await upload.append(_body(request))
                return _under_way(upload, 202)
            promised = request.query_params.get("digest")
            if promised is None:
                raise Refusal(400, "DIGEST_INVALID", "the closing PUT names no digest")
            return await self._finish_upload(request, upload, _digest(promised))

    async def _finish_upload(self, request: Request, upload: Upload, digest: Digest) -> Response:
        await upload.append(_body(request))
        try:
            await self._storage.add_blob(upload.repository, digest, await upload.content(digest))
        finally:
            self._uploads.end(upload)
        return _created(f"/v2/{upload.repository}/blobs/{digest}", digest)

    # Manifests

    async def _manifest(self, request: Request, name: str, identifier: str) -> Response:
        """end-3, end-7 and end-9."""
        _expect(request, "GET", "HEAD", "PUT", "DELETE")
        if ":" in identifier:
            _digest(identifier)
        else:
            try:
                check_tag(identifier)
            except InvalidReferenceError as error:
                raise Refusal(400, "TAG_INVALID", str(error)) from error
        if request.method == "PUT":
            return await self._put_manifest(request, name, identifier)
        manifest = await self._storage.find_manifest(name, identifier)
        if manifest is None:
            raise Refusal(404, "MANIFEST_UNKNOWN", f"{name} has no manifest {identifier}")
        if request.method == "DELETE":
            if ":" in identifier:
                await self._storage.remove_manifest(name, manifest.digest)
            else:
                await self._storage.remove_tag(name, identifier)
            return Response(status_code=202)
        headers = {
            "Docker-Content-Digest": str(manifest.digest),
            "Content-Type": manifest.media_type,
            "Content-Length": str(len(manifest.data)),
        }
        return Response(b"" if request.method == "HEAD" else manifest.data, headers=headers)

    async def _put_manifest(self, request: Request, name: str, identifier: str) -> Response:
        data = await _document(request)
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = Digest.of(data)
        tag = None if ":" in identifier else identifier
        if tag is None and (promised := _digest(identifier)) != digest:
            if promised.algorithm == digest.algorithm:
                raise Refusal(400, "DIGEST_INVALID", f"the manifest has digest {digest}, not {identifier}")
            raise Refusal(400, "UNSUPPORTED", "manifests are kept by their sha256 digest")
        subject = await self._check_manifest(name, media_type, data)
        await self._storage.add_manifest(name, StoredManifest(digest, media_type, data))
        if subject is not None:
            await self._storage.add_referrer(name, *subject)
        if tag is not None:
            now = await self._storage.set_tag(name, tag, digest, mutable=self._mutable(name, tag))
            if now != digest:
                message = f"tag {tag} of {name} is {now} already and cannot be overwritten: it is immutable"
                raise Refusal(400, "TAG_INVALID", message)
        if self._on_push is not None:
            await self._on_push(name, tag, digest, media_type)
        response = _created(f"/v2/{name}/manifests/{identifier}", digest)
        if subject is not None:
            response.headers["OCI-Subject"] = str(subject[0])
        return response

    async def _check_manifest(
        self, name: str, media_type: str, data: bytes
    ) -> tuple[Digest, Descriptor] | None:
        """Refuse what is no manifest or names what is not here; answer subject and referrer, if any."""
        manifest = _parse_manifest(media_type, data)
        if isinstance(manifest, Index):
            artifact_type = manifest.artifact_type
            for entry in manifest.manifests:
                if await self._storage.find_manifest(name, str(entry.digest)) is None:
                    raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"{name} has no manifest {entry.digest}")
        else:
            artifact_type = manifest.artifact_type or manifest.config.media_type
            for entry in (manifest.config, *manifest.layers):
                size = await self._storage.blob_size(name, entry.digest)
                if size is None:
                    raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"{name} has no blob {entry.digest}")
                if size != entry.size:
                    raise Refusal(400, "SIZE_INVALID", f"{entry.digest} has {size} bytes, not {entry.size}")
        if manifest.subject is None:
            return None
        referrer = Descriptor(
            media_type, Digest.of(data), len(data), manifest.annotations, artifact_type=artifact_type
        )
        return manifest.subject.digest, referrer


def _parse_manifest(media_type: str, data: bytes) -> Manifest | Index:
    try:
        if media_type in INDEXES:
            manifest: Manifest | Index = Index.parse(data)
        elif media_type in MANIFESTS:
            manifest = Manifest.parse(data)
        else:
            raise Refusal(400, "MANIFEST_INVALID", f"Content-Type {media_type!r} is no manifest's")
    except InvalidDocumentError as error:
        raise Refusal(400, "MANIFEST_INVALID", str(error)) from error
    if "mediaType" in json.loads(data) and manifest.media_type != media_type:
        raise Refusal(400, "MANIFEST_INVALID", f"a {manifest.media_type} came as {media_type}")
    return manifest


def _route(path: str) -> tuple[str, re.Match[str]]:
    for kind, pattern in _ROUTES:
        if match := pattern.fullmatch(path):
            return kind, match
    raise Refusal(404, "NAME_UNKNOWN", f"{path} is no path of the distribution specification")


def _expect(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, "UNSUPPORTED", f"{request.method} is not for this path")


def _refused(refusal: Refusal) -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="registry"'} if refusal.status == 401 else {}
    document = {"errors": [{"code": refusal.code, "message": str(refusal)}]}
    return JSONResponse(document, refusal.status, headers)


def _credentials(request: Request) -> Credentials | None:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        username, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8 in it
        return None
    return Credentials(username, password) if colon else None


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidReferenceError as error:
        raise Refusal(400, "DIGEST_INVALID", str(error)) from error


def _range(header: str, size: int) -> tuple[int, int]:
    """The first byte and the one after the last (RFC 9110 section 14.2, one range)."""
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        raise Refusal(416, "UNSUPPORTED", f"Range {header[:100]!r} is not one range of bytes")
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    if start >= end:
        raise Refusal(416, "UNSUPPORTED", f"Range {header!r} lies outside of {size} bytes")
    return start, end


def _in_order(request: Request, upload: Upload) -> None:
    """A chunk that says where it belongs must belong where the upload stands."""
    if (header := request.headers.get("Content-Range")) is None:
        return
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None or int(match[1]) != upload.size:
        raise Refusal(
            416, "BLOB_UPLOAD_INVALID", f"chunk {header[:100]!r} does not follow {upload.size} bytes"
        )


def _under_way(upload: Upload, status: int) -> Response:
    return Response(
        status_code=status,
        headers={
            "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
            "Range": f"0-{max(0, upload.size - 1)}",
            "Docker-Upload-UUID": upload.id,
        },
    )


def _created(location: str, digest: Digest) -> Response:
    return Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": str(digest)})


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def _document(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_DOCUMENT:
            raise Refusal(413, "SIZE_INVALID", f"a manifest has at most {MAX_DOCUMENT} bytes")
    return bytes(data)
