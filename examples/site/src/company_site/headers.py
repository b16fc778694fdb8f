"""The headers that every response carries: one policy, in one place, and its one exception."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from company_site.version import __version__

_CONTENT_SECURITY_POLICY: Mapping[str, str] = {
    "default-src": "'self'",
    "script-src": "'none'",  # nothing on this site needs a script
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}

# The editor has one, which is a file of this site: pages that show it answer with this policy themselves.
_SCRIPTED_POLICY = {**_CONTENT_SECURITY_POLICY, "script-src": "'self'"}

# An uploaded image that is opened by itself is a document too: it may do nothing at all.
_UPLOADS_POLICY: Mapping[str, str] = {
    "default-src": "'none'",
    "frame-ancestors": "'none'",
    "sandbox": "",
}


def _serialise(policy: Mapping[str, str]) -> str:
    return "; ".join(f"{directive} {sources}".rstrip() for directive, sources in policy.items())


SCRIPTED: Mapping[str, str] = {"Content-Security-Policy": _serialise(_SCRIPTED_POLICY)}
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _serialise(_CONTENT_SECURITY_POLICY),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # frame-ancestors, for browsers that do not know it
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Site-Version": __version__,
}
# What feeds and cards show is shown by other sites, too.
ELSEWHERE: Mapping[str, str] = {"Cross-Origin-Resource-Policy": "cross-origin"}
_UPLOADS_HEADERS = {**_HEADERS, **ELSEWHERE, "Content-Security-Policy": _serialise(_UPLOADS_POLICY)}
_HSTS = "max-age=31536000"


class SecurityHeaders:
    """ASGI middleware: adds the headers above, and HSTS to what was asked for over HTTPS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = _UPLOADS_HEADERS if scope["path"].startswith("/uploads/") else _HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in policy.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = _HSTS
            await send(message)

        await self._app(scope, receive, send_with_headers)
