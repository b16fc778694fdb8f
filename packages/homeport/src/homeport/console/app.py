"""The console's pages: rendered here, for the owner alone.

Every page but the login needs a visit; every change needs its form's word besides, and comes from a page of
ours. Nothing is loaded from elsewhere, and no script or style stands in a page.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeport.audit import OK, Call, Trail, read_calls
from homeport.command import off_loop
from homeport.console import words
from homeport.console.visits import LIFE, TooManyTriesError, Visit, Visits
from homeport.logs import Cursor
from homeport.metrics import Source, Usage
from homeport.model import (
    Controller,
    LogKind,
    LogLine,
    NoSuchReleaseError,
    NoSuchServiceError,
    Operation,
    Service,
    ServiceBusyError,
    ServiceStatus,
)
from homeport.redirects import Redirect
from homeport.traffic import Traffic

PREFIX: Final = "/_homeport/console"
Form = Mapping[str, str]

_HERE: Final = Path(__file__).parent
_COOKIE: Final = "homeport"
_TIMELINE: Final = 30  # operations that are shown
_TRAIL: Final = 200  # calls that are shown
_LOOK: Final = 0.4  # seconds between looks for new lines
_PULSE: Final = 15.0  # seconds after which a stream without news says that it lives
_FOLLOWERS: Final = 50  # streams at a time
_LONGEST_FORM: Final = 8 << 10  # bytes
_POLICY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Harbour(Controller, Source, Protocol):
    """What the pages show, and where their buttons lead."""

    def follow(
        self, arn: str, kind: LogKind, since: Cursor | None = None, most: int = 500
    ) -> tuple[list[LogLine], Cursor]: ...

    def redirects(self) -> list[Redirect]: ...


class Console:
    """An ASGI application below PREFIX. `tags`: which tags of a repository name which digest."""

    def __init__(
        self,
        harbour: Harbour,
        trail: Trail,
        audit: Path,
        is_root: Callable[[str, str], bool],
        tags: Callable[[Service], Awaitable[Mapping[str, list[str]]]],
    ) -> None:
        self._harbour = harbour
        self._trail = trail
        self._audit = audit
        self._tags = tags
        self._visits = Visits(is_root)
        self._closing = asyncio.Event()
        self._followers = 0
        self._pages = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.globals.update(prefix=PREFIX, words=words)
        routes = [
            Route(f"{PREFIX}/login", self._login, methods=["GET", "POST"]),
            Route(f"{PREFIX}/logout", self._changing(self._logout), methods=["POST"]),
            Route(f"{PREFIX}/", self._reading(self._overview)),
            Route(f"{PREFIX}/services/{{name}}", self._reading(self._service)),
            Route(f"{PREFIX}/services/{{name}}/logs", self._reading(self._logs)),
            Route(f"{PREFIX}/services/{{name}}/lines", self._reading(self._lines)),
            Route(f"{PREFIX}/services/{{name}}/{{verb}}", self._changing(self._act), methods=["POST"]),
            Route(f"{PREFIX}/redirects", self._reading(self._redirects)),
            Route(f"{PREFIX}/audit", self._reading(self._calls)),
            Mount(f"{PREFIX}/static", StaticFiles(directory=_HERE / "static")),
            Route("/{path:path}", self._elsewhere),
        ]
        self._app = Starlette(routes=routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in _POLICY.items()
                        if name.lower().encode() not in given
                    ),
                ]
            await send(message)

        if scope["type"] == "http":
            await self._app(scope, receive, guarded)

    def close(self) -> None:
        """End the streams, so that the server can stop."""
        self._closing.set()

    # Who is there

    def _visit(self, request: Request) -> Visit | None:
        return self._visits.find(request.cookies.get(_cookie(request), ""))

    def _reading(self, page: Callable[[Request, Visit], Awaitable[Response]]) -> Any:
        async def endpoint(request: Request) -> Response:
            visit = self._visit(request)
            if visit is None:
                return RedirectResponse(f"{PREFIX}/login", 303)
            try:
                return await page(request, visit)
            except NoSuchServiceError as error:
                return self._page("error.html", visit, 404, message=str(error))

        return endpoint

    def _changing(self, act: Callable[[Request, Visit, Form], Awaitable[Response]]) -> Any:
        async def endpoint(request: Request) -> Response:
            visit = self._visit(request)
            if visit is None:
                return RedirectResponse(f"{PREFIX}/login", 303)
            form = await _form(request)
            word = "" if form is None else form.get("word", "")
            if (
                form is None
                or not _own(request)
                or not hmac.compare_digest(word.encode(), visit.form.encode())
            ):
                return self._page("error.html", visit, 403, message="This did not come from a page of ours.")
            try:
                return await act(request, visit, form)
            except NoSuchServiceError as error:
                return self._page("error.html", visit, 404, message=str(error))

        return endpoint

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            if self._visit(request) is not None:
                return RedirectResponse(f"{PREFIX}/", 303)
            return self._page("login.html", None, message=None)
        form = await _form(request)
        if form is None or not _own(request):
            return self._page("login.html", None, 403, message="This did not come from a page of ours.")
        key, secret = form.get("key", "").strip(), form.get("secret", "").strip()
        try:
            visit = self._visits.begin(key, secret, _asking(request))
        except TooManyTriesError:
            message = "Too many wrong keys: wait a minute."
            return self._page("login.html", None, 429, message=message)
        self._note(
            request, "console:Login", "", OK if visit else "AccessDenied", "root" if visit else "unknown"
        )
        if visit is None:
            return self._page("login.html", None, 403, message="This is not the root key.")
        response = RedirectResponse(f"{PREFIX}/", 303)
        response.set_cookie(
            _cookie(request),
            visit.token,
            max_age=LIFE,
            path="/" if _secure(request) else PREFIX,
            secure=_secure(request),
            httponly=True,
            samesite="lax",
        )
        return response

    async def _logout(self, request: Request, visit: Visit, _form: Form) -> Response:
        self._visits.end(visit)
        response = RedirectResponse(f"{PREFIX}/login", 303)
        response.delete_cookie(_cookie(request), path="/" if _secure(request) else PREFIX)
        return response

    async def _elsewhere(self, request: Request) -> Response:
        """What the console's own host is asked for at its root leads to the pages."""
        if request.url.path.startswith(f"{PREFIX}/"):
            return self._page("error.html", self._visit(request), 404, message="There is no such page.")
        return RedirectResponse(f"{PREFIX}/", 303)

    # Pages

    async def _overview(self, _request: Request, visit: Visit) -> Response:
        traffic, usage = await self._harbour.traffic(), await self._harbour.usage()
        shown = [self._card(service, traffic, usage.get(service.id, Usage())) for service in self._services()]
        return self._page("services.html", visit, services=shown)

    async def _service(self, request: Request, visit: Visit) -> Response:
        service = self._find(request)
        traffic, usage = await self._harbour.traffic(), await self._harbour.usage()
        tags = await self._tags(service)
        operations = self._harbour.operations(service.arn)
        events, _ = self._harbour.follow(service.arn, "service")
        lines, _ = self._harbour.follow(service.arn, "application", most=12)
        return self._page(
            "service.html",
            visit,
            card=self._card(service, traffic, usage.get(service.id, Usage())),
            service=service,
            spec=service.spec,
            tags=tags,
            timeline=[_step(one, events) for one in operations[:_TIMELINE]],
            older=max(len(operations) - _TIMELINE, 0),
            releases=[one for one in self._harbour.releases(service.arn) if one != service.digest],
            domains=self._harbour.custom_domains(service.arn),
            lines=lines,
            can_change=service.status == ServiceStatus.RUNNING,
            can_resume=service.status == ServiceStatus.PAUSED,
        )

    async def _logs(self, request: Request, visit: Visit) -> Response:
        service, kind = self._find(request), _kind(request)
        lines, cursor = self._harbour.follow(service.arn, kind)
        return self._page(
            "logs.html", visit, service=service, kind=kind, lines=lines, cursor=str(cursor), clock=_clock
        )

    async def _lines(self, request: Request, visit: Visit) -> Response:
        """The log as it grows: server-sent events, each with the place from which it goes on."""
        service, kind = self._find(request), _kind(request)
        if self._followers >= _FOLLOWERS:
            return Response("too many follow logs already\n", 503, {"Retry-After": "10"}, "text/plain")
        place = request.headers.get("last-event-id") or request.query_params.get("since", "")
        cursor = Cursor.parse(place) or self._harbour.follow(service.arn, kind, most=1)[1]
        return StreamingResponse(
            self._stream(visit, service.arn, kind, cursor), media_type="text/event-stream"
        )

    async def _stream(self, visit: Visit, arn: str, kind: LogKind, cursor: Cursor) -> AsyncIterator[str]:
        """Until the visit ends, or homeport."""
        self._followers += 1
        try:
            quiet = 0.0
            yield "retry: 2000\n\n"
            while not self._closing.is_set() and self._visits.find(visit.token) is not None:
                lines, cursor = self._harbour.follow(arn, kind, cursor)
                if lines:
                    shown = [[_clock(one), one.stream, one.message] for one in lines]
                    yield f"id: {cursor}\ndata: {json.dumps(shown)}\n\n"
                    quiet = 0.0
                elif quiet >= _PULSE:
                    yield ": still here\n\n"
                    quiet = 0.0
                quiet += _LOOK
                try:
                    async with asyncio.timeout(_LOOK):
                        await self._closing.wait()
                except TimeoutError:
                    continue
        finally:
            self._followers -= 1

    async def _redirects(self, _request: Request, visit: Visit) -> Response:
        hits = await self._harbour.hits()
        return self._page("redirects.html", visit, redirects=self._harbour.redirects(), hits=hits)

    async def _calls(self, request: Request, visit: Visit) -> Response:
        reads = request.query_params.get("reads") == "1"
        word = request.query_params.get("q", "")[:100].strip()
        await self._trail.write()
        since = datetime.now(UTC) - timedelta(days=30)

        def read() -> list[Call]:
            found = [
                call
                for call in read_calls(self._audit, since, reads=reads)
                if word in f"{call.who} {call.operation} {call.about} {call.source} {call.result}"
            ]
            return found[-_TRAIL:][::-1]

        return self._page(
            "audit.html", visit, calls=await off_loop(read), reads=reads, word=word, most=_TRAIL
        )

    # Changes

    async def _act(self, request: Request, visit: Visit, form: Form) -> Response:
        service, harbour = self._find(request), self._harbour
        arn, verb = service.arn, request.path_params["verb"]
        about = f"service/{service.spec.name}/{service.id}"
        try:
            match verb:
                case "deploy":
                    operation = "StartDeployment"
                    await harbour.start_deployment(arn)
                    visit.note = "A deployment of the newest image has begun."
                case "pause":
                    operation = "PauseService"
                    await harbour.pause_service(arn)
                    visit.note = "The service is being paused."
                case "resume":
                    operation = "ResumeService"
                    await harbour.resume_service(arn)
                    visit.note = "The service is being resumed."
                case "rollback":
                    operation, digest = "TagResource", form.get("digest", "")
                    about = f"{about} +homeport:rollback"
                    await harbour.rollback(arn, digest)
                    visit.note = f"The service goes back to {words.short(digest)}."
                case _:
                    return self._page("error.html", visit, 404, message="There is no such page.")
            result = OK
        except ServiceBusyError as error:
            result, visit.note = "InvalidStateException", str(error)
        except NoSuchReleaseError as error:
            result, visit.note = "InvalidRequestException", str(error)
        self._note(request, f"apprunner:{operation}", about, result, "root")
        return RedirectResponse(f"{PREFIX}/services/{service.spec.name}", 303)

    # Helpers

    def _services(self) -> list[Service]:
        return sorted(self._harbour.services(), key=lambda service: service.spec.name)

    def _find(self, request: Request) -> Service:
        name = request.path_params["name"]
        for service in self._harbour.services():
            if service.spec.name == name:
                return service
        raise NoSuchServiceError(f"There is no service {name}.")

    def _card(self, service: Service, traffic: Traffic, usage: Usage) -> dict[str, Any]:
        operations = self._harbour.operations(service.arn)
        return {
            "name": service.spec.name,
            "url": f"https://{service.url}",
            "host": service.url,
            "state": words.state(service.status),
            "image": service.spec.image.rpartition("/")[2],
            "digest": words.short(service.digest),
            "instances": usage.instances,
            "memory": words.size(usage.memory),
            "in_flight": traffic.in_flight(service.id),
            "requests": words.many(traffic.requests(service.id)),
            "errors": words.many(traffic.responses(service.id, "5xx")),
            "last": operations[0] if operations else None,
        }

    def _page(self, template: str, visit: Visit | None, status: int = 200, **values: Any) -> Response:
        text = self._pages.get_template(template).render(
            visit=visit, note=visit.take_note() if visit else None, now=datetime.now(UTC), **values
        )
        return HTMLResponse(text, status)

    def _note(self, request: Request, operation: str, about: str, result: str, who: str) -> None:
        self._trail.note(Call(datetime.now(UTC), who, operation, about, _asking(request), result))


class ByEdge:
    """Marks what comes by the edge, over HTTPS, with who asks: only the edge sets the header that says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            asking = Headers(scope=scope).get("x-forwarded-for", "")
            scope = {**scope, "homeport.edge": True, "client": (asking, 0)}
        await self._app(scope, receive, send)


def _asking(request: Request) -> str:
    """The address of whoever asks."""
    return request.client.host if request.client else ""


def _secure(request: Request) -> bool:
    """Whether it has come by the edge, over HTTPS."""
    return bool(request.scope.get("homeport.edge"))


def _cookie(request: Request) -> str:
    """With the prefix that makes browsers hold it to this host and to HTTPS (RFC 6265bis, section 4.1.3)."""
    return f"__Host-{_COOKIE}" if _secure(request) else _COOKIE


def _own(request: Request) -> bool:
    """Whether a change comes from a page of ours: browsers say where from."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _form(request: Request) -> Form | None:
    """None where it is too long, or is none."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return None
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=20))
    except ValueError:
        return None


def _kind(request: Request) -> LogKind:
    kinds: dict[str, LogKind] = {"service": "service", "access": "access"}
    return kinds.get(request.query_params.get("kind", ""), "application")


def _clock(line: LogLine) -> str:
    return f"{datetime.fromtimestamp(line.timestamp / 1000, UTC):%H:%M:%S.%f}"[:-3]


def _step(operation: Operation, events: list[LogLine]) -> dict[str, Any]:
    """One of the timeline, with what the service's log says of it."""
    begin = operation.started_at.timestamp() * 1000
    end = (operation.ended_at or datetime.now(UTC)).timestamp() * 1000 + 50
    said, tone = words.end(operation.status)
    return {
        "id": operation.id,
        "kind": words.kind(operation.type),
        "said": said,
        "tone": tone,
        "digest": operation.digest,
        "at": operation.started_at,
        "took": words.lasted((operation.ended_at or datetime.now(UTC)) - operation.started_at),
        "reason": operation.reason,
        "events": [(_clock(line), line.message) for line in events if begin <= line.timestamp <= end],
    }
