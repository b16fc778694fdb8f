"""What visitors without a session see is kept, compressed, until something in it changes.

A page that may be kept says so itself, with the headers of `public_headers`: its validator (RFC 9110
section 8.8) names the edition of the site that it was made from (`posts.edition`) and what made it, so that
every instance gives the same one. As long as that edition is the current one, the same request is answered
from memory, or with 304 when the visitor has the page. The bucket is not asked.

Browsers ask again each time. A cache in between, such as a CDN, may answer for `SHARED` seconds without
asking; `Vary: Cookie` keeps what signed-in visitors see, which is `private`, apart.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from company_site.posts.edition import Edition
from company_site.settings import Settings
from company_site.site import Site
from company_site.version import __version__

SHARED = 10  # seconds
_PUBLIC = f"public, max-age=0, s-maxage={SHARED}"
_VARY = "Accept-Encoding, Cookie"
_CAPACITY = 16 * 1024 * 1024  # bytes of compressed pages
_PACKAGE = Path(__file__).parent


def public_headers(site: Site, edition: Edition) -> dict[str, str]:
    """Of an answer that is the same for everybody without a session, until the edition changes."""
    return {"Cache-Control": _PUBLIC, "ETag": _validator(site, edition), "Vary": "Cookie"}


def fingerprint(settings: Settings) -> str:
    """What a page is made from besides data: this release, its templates and its looks, and the settings."""
    digest = hashlib.sha256(
        f"{__version__} {settings.mode} {settings.site_name} {settings.site_url}".encode()
    )
    for folder in ("templates", "static"):
        for file in sorted((_PACKAGE / folder).rglob("*.*")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _validator(site: Site, edition: Edition) -> str:
    # Weak: the same page compressed and as it is are two sequences of bytes.
    return f'W/"{site.fingerprint}-{edition.name}"'


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer with status 200, compressed."""

    validator: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, request: Headers, method: str, send: Send) -> None:
        headers = [*self.headers]
        if self.validator in request.get("if-none-match", ""):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        body = self.body
        if "gzip" in request.get("accept-encoding", ""):
            headers.append((b"content-encoding", b"gzip"))
        else:
            body = gzip.decompress(body)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


_Key = tuple[str, str, bytes, bytes]


class PageCache:
    """ASGI middleware around the application; compresses its answers, those too that are not kept."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._compressing = _compressing(app)
        self._pages: OrderedDict[_Key, _Kept] = OrderedDict()
        self._size = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._compressing(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "session=" in headers.get("cookie", ""):
            await self._compressing(scope, receive, send)
            return
        key = (scope["scheme"], headers.get("host", ""), scope["raw_path"], scope["query_string"])
        kept = self._pages.get(key)
        if kept is not None:
            site: Site = self._app.state.site
            if kept.validator == _validator(site, await site.edition()):
                self._pages.move_to_end(key)
                await kept.send(headers, scope["method"], send)
                return
        await self._make(key, scope, receive, send)

    async def _make(self, key: _Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; keep the answer if it is one that may be kept."""
        start: Message | None = None
        pieces: list[bytes] = []

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def collect(message: Message) -> None:
                nonlocal start
                if message["type"] == "http.response.start" and _may_be_kept(message):
                    start = message
                elif start is None:
                    await send(message)
                else:
                    pieces.append(message.get("body", b""))

            # The answer to HEAD has no body to be kept; the server sends none in any case.
            await self._app({**scope, "method": "GET"}, receive, collect)

        await _compressing(answer)(scope, receive, send)
        if start is not None:
            kept = self._keep(key, start, b"".join(pieces))
            await kept.send(Headers(scope=scope), scope["method"], send)

    def _keep(self, key: _Key, start: Message, body: bytes) -> _Kept:
        headers = MutableHeaders(scope=start)
        validator = headers["etag"]
        del headers["content-length"]
        headers["vary"] = _VARY
        kept = _Kept(validator, tuple(headers.raw), gzip.compress(body, 9, mtime=0))
        old = self._pages.pop(key, None)
        self._size += len(kept.body) - (len(old.body) if old else 0)
        self._pages[key] = kept
        while self._size > _CAPACITY:
            _, oldest = self._pages.popitem(last=False)
            self._size -= len(oldest.body)
        return kept


def _compressing(app: ASGIApp) -> ASGIApp:
    return GZipMiddleware(app, minimum_size=1024, compresslevel=6)


def _may_be_kept(start: Message) -> bool:
    headers = Headers(raw=list(start["headers"]))
    is_public = start["status"] == 200 and headers.get("cache-control") == _PUBLIC
    return is_public and "set-cookie" not in headers
