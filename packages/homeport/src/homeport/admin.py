"""homeport's own calls, for what AWS has no word for: JSON over HTTP, signed as every other call.

`GET /_homeport/redirects` lists, `POST` adds one, `DELETE /_homeport/redirects?source=…` removes one.
`GET /_homeport/version` says which version runs and how far the last upgrade has come, `POST` begins one.
`GET /_homeport/metrics` is for Prometheus, which cannot sign: it has a token of its own that opens nothing
else. Below `/_homeport/console` are the pages for a browser. No bucket's name begins with an underscore.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from homeport.api import Gate
from homeport.audit import OK, Call, Trail, plain
from homeport.command import off_loop
from homeport.console import PREFIX
from homeport.errors import EdgeError
from homeport.ingress import Ingress
from homeport.installation import InstallationError
from homeport.metrics import CONTENT_TYPE, Metrics
from homeport.redirects import NoSuchRedirectError, Redirect, RedirectError, Source
from homeport.sigv4 import SignatureError
from homeport.upgrade import Progress, UpgradeUnderWayError, begin

SERVICE: Final = "homeport"  # what the calls are signed for
REDIRECTS: Final = "/_homeport/redirects"
METRICS: Final = "/_homeport/metrics"
VERSION: Final = "/_homeport/version"
_MOST: Final = 1 << 16  # bytes of a call


@dataclass(frozen=True, slots=True)
class Upgrades:
    """What the owner is told of versions, and may begin: in the folder `data`, where `version` runs."""

    data: Path
    version: str
    trail: Trail

    def state(self) -> dict[str, Any]:
        last = Progress.read(self.data)
        return {"version": self.version, "upgrade": None if last is None else asdict(last)}

    async def begin(self, version: str, source: str) -> Response:
        result = OK
        try:
            progress = await off_loop(begin, self.data, version)
            return JSONResponse({"version": self.version, "upgrade": asdict(progress)}, 202)
        except (InstallationError, UpgradeUnderWayError) as error:
            result = type(error).__name__.removesuffix("Error")
            return _refusal(409 if isinstance(error, UpgradeUnderWayError) else 400, str(error))
        finally:
            call = Call(datetime.now(UTC), "root", "homeport:Upgrade", plain(version), source, result)
            self.trail.note(call)


class Admin:
    """In front of everything else on the control port, which answers what is not homeport's own."""

    def __init__(
        self,
        app: ASGIApp,
        console: ASGIApp,
        *,
        gate: Gate,
        ingress: Ingress,
        metrics: Metrics,
        token: str,
        upgrades: Upgrades,
    ) -> None:
        self._app = app
        self._gate = gate
        self._ingress = ingress
        self._metrics = metrics
        self._token = token
        self._console = console
        self._upgrades = upgrades

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else None
        if path in (REDIRECTS, VERSION):
            await (await self._answer(Request(scope, receive)))(scope, receive, send)
        elif path == METRICS:
            await (await self._measure(Request(scope, receive)))(scope, receive, send)
        elif path is not None and (path.startswith(f"{PREFIX}/") or _looks(scope)):
            await self._console(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _measure(self, request: Request) -> Response:
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return Response(
                "the token is in the data directory's metrics-token\n",
                401,
                {"WWW-Authenticate": "Bearer"},
                "text/plain",
            )
        if request.method not in ("GET", "HEAD"):
            return _refusal(405, "GET")
        return Response(await self._metrics.text(), media_type=CONTENT_TYPE)

    async def _answer(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST:
                return _refusal(413, f"more than {_MOST} bytes")
        try:
            principal, claim, _ = self._gate.admit(request, hashlib.sha256(body).hexdigest())
        except SignatureError as error:
            return _refusal(403, str(error))
        if claim.service != SERVICE or not principal.is_root:
            return _refusal(403, f"only the owner may call this, signed for {SERVICE}")
        try:
            answer = self._version if request.url.path == VERSION else self._redirects
            return await answer(request, bytes(body))
        except RedirectError as error:
            return _refusal(404 if isinstance(error, NoSuchRedirectError) else 400, str(error))
        except EdgeError:
            return _refusal(500, "it is recorded, but the edge has not taken it yet")

    async def _version(self, request: Request, body: bytes) -> Response:
        match request.method:
            case "GET":
                return JSONResponse(await off_loop(self._upgrades.state))
            case "POST":
                with suppress(ValueError):
                    document = json.loads(body)
                    if isinstance(document, dict) and isinstance(version := document.get("version"), str):
                        return await self._upgrades.begin(version, _source(request))
                return _refusal(400, 'send the version of a release as JSON: {"version": "1.2.3"}')
        return _refusal(405, "GET or POST")

    async def _redirects(self, request: Request, body: bytes) -> Response:
        ingress = self._ingress
        match request.method:
            case "GET":
                hits = await ingress.hits()
                shown = [
                    {
                        **_shown(one),
                        "hits": hits.get(one.id, 0),
                        "https": ingress.certificate_error(one.source.host) or "yes",
                    }
                    for one in ingress.redirects()
                ]
                return JSONResponse({"redirects": shown})
            case "POST":
                redirect = _parsed(body)
                await ingress.add_redirect(redirect)
                return JSONResponse(_shown(redirect), 201)
            case "DELETE":
                source = Source.parse(request.query_params.get("source", ""))
                return JSONResponse(_shown(await ingress.remove_redirect(source)))
        return _refusal(405, "GET, POST or DELETE")


def _looks(scope: Scope) -> bool:
    """Whether somebody has opened the port in a browser, rather than asked S3 for its buckets."""
    headers = Headers(scope=scope)
    return (
        scope["path"] in ("/", PREFIX)
        and scope["method"] == "GET"
        and "authorization" not in headers
        and "text/html" in headers.get("accept", "")
    )


def _source(request: Request) -> str:
    return request.client.host if request.client else ""


def _parsed(body: bytes) -> Redirect:
    try:
        document = json.loads(body)
        source, target = document.pop("source"), document.pop("target")
        kinds = {"status": int, "keep_path": bool, "keep_query": bool}
        well = all(type(value) is kinds[name] for name, value in document.items())
    except (ValueError, KeyError, AttributeError, TypeError):
        well = False
    if not well or not isinstance(source, str) or not isinstance(target, str):
        raise RedirectError("send source, target and perhaps status, keep_path, keep_query as JSON")
    return Redirect(Source.parse(source), target, **document)


def _shown(redirect: Redirect) -> Mapping[str, Any]:
    return {
        "source": str(redirect.source),
        "target": redirect.target,
        "status": redirect.status,
        "keep_path": redirect.keep_path,
        "keep_query": redirect.keep_query,
        "created_at": redirect.created_at.isoformat(),
    }


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)
