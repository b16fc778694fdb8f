"""Refuse unsafe requests that another site makes a browser send.

No tokens, so pages stay cacheable and forms simple. The decision is that of Go's `CrossOriginProtection`:
browsers say where a request comes from in Sec-Fetch-Site (Fetch Metadata) or at least in Origin (RFC 6454);
a request that has neither does not come from a browser, so there is no ambient cookie to abuse.
SameSite=Lax cookies stand behind this.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_cross_origin(headers: Headers) -> bool:
    """Whether a request with these headers was caused by another origin."""
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    # Behind a distribution Host is a name of the platform's. No other site makes a browser send the second.
    asked = {headers.get(name, "").lower() for name in ("host", "x-forwarded-host")}
    try:
        return urlsplit(origin).netloc.lower() not in asked - {""}
    except ValueError:
        return True


class CrossOriginProtection:
    """ASGI middleware: raises HTTPException 403 for unsafe methods from another origin."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] not in _SAFE_METHODS
            and is_cross_origin(Headers(scope=scope))
        ):
            raise HTTPException(403, "This form was sent from another site.")
        await self._app(scope, receive, send)
