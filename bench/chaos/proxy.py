"""A proxy in front of an S3 server that fails on the wire, so that the client's own retries are in play."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Final, Self
from urllib.parse import urlsplit

from bench.chaos.faults import Rates

__all__ = ["FaultProxy"]

_HOP: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})
_PATIENCE: Final = 60.0


class FaultProxy:
    """A running proxy; a context manager. The server sees the Host that was signed, so signatures stay valid.

    A request that is lost is answered with 503 or not at all, without having been passed on; an answer that
    is lost is replaced by 500 or by the end of the connection; one that is torn ends in the middle.
    """

    def __init__(self, upstream: str, rates: Rates, seed: int) -> None:
        self._host = urlsplit(upstream).netloc
        self._rates = rates
        self._random = Random(seed)  # noqa: S311 -- which faults there are
        self._lock = threading.Lock()
        self._late: list[threading.Thread] = []
        self.injected: Counter[str] = Counter()
        """How often each fault came."""
        self._server = _server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="fault-proxy")

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def draw(self, *, is_write: bool) -> tuple[str, float]:
        """What happens to a request, "" for nothing bad, and a time in seconds that it takes if any."""
        kinds = ("lost_request", "lost_answer", "slow", "late" if is_write else "torn")
        with self._lock:
            rates = [getattr(self._rates, kind) * (1.0 if is_write else self._rates.reads) for kind in kinds]
            (fault,) = self._random.choices([*kinds, ""], [*rates, 1 - sum(rates)])
            if fault in ("lost_request", "lost_answer"):
                fault += self._random.choice((" and an error", ""))
            if fault:
                self.injected[fault] += 1
            return fault, self._random.uniform(0, self._rates.delay)

    def forward(self, request: _Request) -> _Answer:
        """Ask the server."""
        connection = http.client.HTTPConnection(self._host, timeout=_PATIENCE)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            length = answer.getheader("Content-Length")
            body = answer.read()
            return _Answer(answer.status, headers, body, length or str(len(body)))
        finally:
            connection.close()

    def forward_later(self, request: _Request, delay: float) -> None:
        """Ask the server when nobody waits for it any more."""

        def run() -> None:
            time.sleep(delay)
            with suppress(OSError, http.client.HTTPException):
                self.forward(request)

        self._late.append(threading.Thread(target=run, name="late-request"))
        self._late[-1].start()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for thread in self._late:
            thread.join()


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: str


def _server(proxy: FaultProxy) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = _PATIENCE

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = _Request(self.command, self.path, list(self.headers.items()), body)
            fault, delay = proxy.draw(is_write=self.command == "PUT")
            if fault == "slow":
                time.sleep(delay)
            elif fault == "late":
                proxy.forward_later(request, delay)
            if fault == "late" or fault.startswith("lost_request"):
                self._fail(503, fault)
                return
            answer = proxy.forward(request)
            if fault.startswith("lost_answer"):
                self._fail(500, fault)
                return
            self._send(answer, torn=fault == "torn")

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815 -- what they are called

        def _fail(self, status: int, fault: str) -> None:
            if fault.endswith("error"):
                self._send(_Answer(status, [], b"", "0"), torn=False)
            else:
                self.close_connection = True

        def _send(self, answer: _Answer, *, torn: bool) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", answer.length)
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) // 2] if torn else answer.body)
            self.close_connection = torn

        def log_message(self, *_: object) -> None:
            """Say nothing of each request."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, *_: object) -> None:
            """A client that was killed is none of our business."""

    return Server(("127.0.0.1", 0), Handler)
