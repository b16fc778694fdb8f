"""What the audit trail says of calls that are not AWS's JSON: images in the registry, buckets in S3."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeport.audit import OK, UNKNOWN, Call, Trail, plain
from homeport.credentials import CALLER

_MANIFEST = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)")
_MANIFESTS = {"GET": "GetManifest", "HEAD": "GetManifest", "PUT": "PutManifest", "DELETE": "DeleteManifest"}
_BUCKET = re.compile(r"/(?P<bucket>[^/]+)/?")
_BUCKETS = {"PUT": "CreateBucket", "DELETE": "DeleteBucket"}


class Witness:
    """Passes requests on to the app, and notes those that the trail is to tell of."""

    def __init__(self, app: ASGIApp, trail: Trail) -> None:
        self._app = app
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _named(scope)
        if named is None:
            await self._app(scope, receive, send)
            return
        operation, about = named
        began, status = datetime.now(UTC), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        await self._app(scope, receive, watched)
        caller = CALLER.get(None)
        known = caller is not None
        who = caller.name if caller else UNKNOWN
        source = scope["client"][0] if scope.get("client") else ""
        result = OK if status < 400 else f"HTTP {status}"
        about = plain(about) if known else ""
        self._trail.note(Call(began, who, operation, about, source, result))


def _named(scope: Scope) -> tuple[str, str] | None:
    """The operation and what it is about; None for what no trail is needed of: the content itself."""
    path, method = scope["path"], scope["method"]
    if (match := _MANIFEST.fullmatch(path)) and method in _MANIFESTS:
        mark = "@" if ":" in match["reference"] else ":"
        return f"registry:{_MANIFESTS[method]}", f"{match['repository']}{mark}{match['reference']}"
    if (match := _BUCKET.fullmatch(path)) and method in _BUCKETS and not scope["query_string"]:
        return f"s3:{_BUCKETS[method]}", match["bucket"]
    return None
