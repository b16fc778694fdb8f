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
    """Passes requests on to the app, and notes those that the trail is to tell of.

    It does so before the answer goes out: who has been answered finds the call there.
    """

    def __init__(self, app: ASGIApp, trail: Trail) -> None:
        self._app = app
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _named(scope)
        if named is None:
            await self._app(scope, receive, send)
            return
        operation, about = named
        began, answered = datetime.now(UTC), False
        source = scope["client"][0] if scope.get("client") else ""

        def note(result: str) -> None:
            nonlocal answered
            answered = True
            caller = CALLER.get(None)
            who, what = (UNKNOWN, "") if caller is None else (caller.name, plain(about))
            self._trail.note(Call(began, who, operation, what, source, result))

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                note(OK if status < 400 else f"HTTP {status}")
            await send(message)

        await self._app(scope, receive, watched)
        if not answered:
            note(OK)


def _named(scope: Scope) -> tuple[str, str] | None:
    """The operation and what it is about; None for what no trail is needed of: the content itself."""
    path, method = scope["path"], scope["method"]
    if (match := _MANIFEST.fullmatch(path)) and method in _MANIFESTS:
        mark = "@" if ":" in match["reference"] else ":"
        return f"registry:{_MANIFESTS[method]}", f"{match['repository']}{mark}{match['reference']}"
    if (match := _BUCKET.fullmatch(path)) and method in _BUCKETS and not scope["query_string"]:
        return f"s3:{_BUCKETS[method]}", match["bucket"]
    return None
