"""One line of JSON an event on standard output, with request ids and without personal data.

What is never logged: query strings, bodies, cookies, addresses, user names, and the texts of exceptions,
which may quote any of these. An exception is logged as its type and the places of the code that it went
through.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)
_request: ContextVar[str | None] = ContextVar("request", default=None)  # the id of the one that is answered
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked often; logged when they fail
_OPENER = "{token"  # the part of a route that opens something for whoever has it


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what is passed as `extra={"fields": {...}}` becomes members of it.

    What is logged while a request is answered has its id.
    """

    def format(self, record: logging.LogRecord) -> str:
        request_id = _request.get()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **({"id": request_id} if request_id else {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info is not None and record.exc_info[1] is not None:
            line |= _describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def _describe(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error": f"{type(error).__module__}.{type(error).__qualname__}",
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _path(scope: Scope) -> str:
    """The path, or the pattern of its route where the path holds a secret."""
    pattern: str = scope.get("route_pattern", "")
    return pattern if _OPENER in pattern else scope["path"][:200]


def _brief(send: Send) -> Send:
    """Of a start that failed the server would log the traceback, with the texts of exceptions in it."""

    async def send_brief(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            message = {"type": message["type"], "message": ""}
        await send(message)

    return send_brief


def configure_logging() -> None:
    """Send everything to standard output; libraries speak only when something is wrong."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("company_site", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)


class RequestLog:
    """ASGI middleware: gives each request an id, and logs how it ended.

    An id from the edge (X-Request-ID) is kept when it looks like one. This stands outermost: an exception
    that reaches it has been answered with an error page, is logged here, and goes no further.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, _brief(send))
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        _request.set(request_id)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        failure: Exception | None = None
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if not status:
                raise
            failure = error
        if failure is None and status < 500 and scope["path"] in _QUIET:
            return
        fields = {
            "method": scope["method"],
            "path": _path(scope),
            "status": status,
            "ms": round((time.perf_counter() - started) * 1000, 1),
        }
        level = logging.ERROR if failure else logging.INFO
        _log.log(level, "request", exc_info=failure, extra={"fields": fields})
