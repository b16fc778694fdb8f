"""A small HTTPS client for services behind a homeport edge on this machine, as the demo's visitor uses it."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urljoin, urlsplit

from tagboat.tls import connected

_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Response:
    """What was answered; `body` is all of it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8. Raises UnicodeDecodeError."""
        return self.body.decode()


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a service is served: `https://host:port` on loopback, its certificate signed by `authority`."""

    url: str
    authority: Path

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 443

    def connect(self) -> http.client.HTTPSConnection:
        return _LoopbackConnection(
            self.host, self.port, timeout=_TIMEOUT, context=ssl.create_default_context(cafile=self.authority)
        )


class _LoopbackConnection(http.client.HTTPSConnection):
    """To the name by SNI and Host, to 127.0.0.1 by address: not every resolver knows `*.localhost`."""

    def __init__(self, host: str, port: int, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        self.sock = connected(self._tls, "127.0.0.1", self.port, self.host, self.timeout)


class Visitor:
    """A browser without a screen: keeps cookies and follows redirects within the service."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._cookies: dict[str, str] = {}

    def get(self, path: str) -> Response:
        return self._follow("GET", path, None)

    def post(self, path: str, form: Mapping[str, str]) -> Response:
        return self._follow("POST", path, urlencode(form).encode())

    def _follow(self, method: str, path: str, body: bytes | None) -> Response:
        for _ in range(5):
            response = self._request(method, path, body)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or location is None:
                return response
            parts = urlsplit(urljoin(f"{self._edge.url}{path}", location))
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            if response.status in (301, 302, 303):
                method, body = "GET", None
        raise OSError(f"{path}: more than 5 redirects")

    def _request(self, method: str, path: str, body: bytes | None) -> Response:
        headers = {"Origin": self._edge.url}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = self._edge.connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            for header in answer.headers.get_all("Set-Cookie", []):
                for name, morsel in SimpleCookie(header).items():
                    self._cookies[name] = morsel.value
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


@dataclass(slots=True)
class Load:
    """A continuous client: asks for a page at `rate` requests a second until the block ends.

    Connections are kept and now and then renewed, as browsers do. Nothing is asked twice: a request that
    does not end in status 200 has failed, and `failures` says how (the first few).
    """

    edge: Edge
    path: str
    rate: float
    total: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    first_seen: dict[str, float] = field(
        default_factory=dict
    )  # version -> time.monotonic() of its first answer
    seconds: float = 0.0
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _started: float = 0.0

    _CLIENTS = 4
    _REQUESTS_PER_CONNECTION = 100

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for _ in range(self._CLIENTS):
            thread = threading.Thread(target=self._ask, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._started

    def _ask(self) -> None:
        interval = self._CLIENTS / self.rate
        due = time.monotonic()
        connection: http.client.HTTPSConnection | None = None
        asked = 0
        while not self._stop.is_set():
            if connection is None or asked % self._REQUESTS_PER_CONNECTION == 0:
                if connection is not None:
                    connection.close()
                connection = self.edge.connect()
            asked += 1
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                response.read()
                version = response.headers.get("X-Site-Version", "")
                problem = None if response.status == 200 else f"status {response.status}"
            except (OSError, http.client.HTTPException) as error:
                problem, version = f"{type(error).__name__}: {error}", ""
                connection.close()
                connection = None
            self._count(problem, version)
            due += interval
            self._stop.wait(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.close()

    def _count(self, problem: str | None, version: str) -> None:
        with self._lock:
            self.total += 1
            if problem is not None:
                self.failed += 1
                if len(self.failures) < 5:
                    self.failures.append(problem)
            elif version not in self.first_seen:
                self.first_seen[version] = time.monotonic()
