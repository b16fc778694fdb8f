"""What AWS Lambda is to a function: its runtime API (2018-06-01, streams included), invoked by a test."""

from __future__ import annotations

import base64
import json
import queue
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.serving import in_thread

_API = "/2018-06-01/runtime"
_PATIENCE = 180  # seconds


@dataclass
class Answer:
    """What the function said to one invocation."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cookies: list[str] = field(default_factory=list)
    body: bytes = b""
    error: dict[str, Any] | None = None
    streamed: bool = False
    pieces: list[bytes] = field(default_factory=list)
    trailer: dict[str, str] = field(default_factory=dict)


def http_event(path: str = "/", *, method: str = "GET", **more: Any) -> dict[str, Any]:
    """An event of a function URL (payload format 2.0)."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "abc.lambda-url.eu-west-1.on.aws", "x-forwarded-for": "192.0.2.1"},
        "requestContext": {
            "domainName": "abc.lambda-url.eu-west-1.on.aws",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
        },
        "isBase64Encoded": False,
    } | more


class LambdaService:
    """The other end of the runtime API; `address` is for AWS_LAMBDA_RUNTIME_API."""

    def __init__(self) -> None:
        self._events: queue.Queue[tuple[str, Any, float]] = queue.Queue()
        self._answers: dict[str, queue.Queue[Answer]] = {}
        self.asked: queue.Queue[float] = queue.Queue()
        """When the function asked for an event."""
        self.failed: queue.Queue[dict[str, Any]] = queue.Queue()
        """What it said of a start that failed."""
        self.hangs_up = False
        """Whether it takes no more of a streamed answer than its head, as when nobody reads on."""
        self.on_piece: Callable[[int], object] = lambda _: None
        """Called with the number of each piece of a streamed answer when that is there; the head is -1."""
        self.address = ""

    def invoke(self, event: Any, *, seconds: float = 120) -> Answer:
        """The function's answer to an event, for which it has so many seconds."""
        name = str(uuid.uuid4())
        self._answers[name] = queue.Queue()
        self._events.put((name, event, time.time() + seconds))
        return self._answers[name].get(timeout=_PATIENCE)

    def next(self) -> tuple[str, Any, float]:
        self.asked.put(time.monotonic())
        return self._events.get(timeout=_PATIENCE)

    def take(self, name: str, answer: Answer) -> None:
        self._answers[name].put(answer)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as Lambda's own end, which sends at once

    @property
    def service(self) -> LambdaService:
        service: LambdaService = self.server.service  # type: ignore[attr-defined]
        return service

    def do_GET(self) -> None:
        assert self.path == f"{_API}/invocation/next"
        try:
            name, event, deadline = self.service.next()
        except queue.Empty:
            self.close_connection = True
            return
        self._reply(
            200,
            json.dumps(event).encode(),
            {
                "Lambda-Runtime-Aws-Request-Id": name,
                "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:000000000000:function:site",
                "Lambda-Runtime-Trace-Id": f"Root=1-5759e988-{name[:8]};Sampled=0",
            },
        )

    def do_POST(self) -> None:
        what = self.path.removeprefix(f"{_API}/").split("/")
        if what == ["init", "error"]:
            self.service.failed.put(json.loads(self._body()))
        else:
            kind, name, verb = what
            assert kind == "invocation"
            self.service.take(name, self._answer(verb))
            if self.close_connection:
                return
        self._reply(202, b'{"status":"OK"}', {})

    def _answer(self, verb: str) -> Answer:
        if verb == "error":
            return Answer(error=json.loads(self._body()))
        assert verb == "response"
        if self.headers["Lambda-Runtime-Function-Response-Mode"] != "streaming":
            document = json.loads(self._body())
            body = document["body"]
            content = base64.b64decode(body) if document["isBase64Encoded"] else body.encode()
            return Answer(document["statusCode"], document["headers"], document["cookies"], content)
        assert self.headers["Content-Type"] == "application/vnd.awslambda.http-integration-response"
        chunks = self._told(self._chunks())
        pieces = [next(chunks)]
        if self.service.hangs_up:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return Answer(streamed=True)
        pieces += chunks
        head, _, rest = pieces[0].partition(bytes(8))
        document = json.loads(head)
        answer = Answer(document["statusCode"], document["headers"], document["cookies"], streamed=True)
        answer.pieces = [piece for piece in (rest, *pieces[1:]) if piece]
        answer.body = b"".join(answer.pieces)
        while line := self.rfile.readline().strip():
            key, _, value = line.decode().partition(": ")
            answer.trailer[key] = value
        return answer

    def _told(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for number, chunk in enumerate(chunks, -1):
            self.service.on_piece(number)
            yield chunk

    def _chunks(self) -> Iterator[bytes]:
        assert self.headers["Transfer-Encoding"] == "chunked"
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            assert self.rfile.readline() == b"\r\n"

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A function that was killed hangs up."""


@contextmanager
def lambda_service() -> Iterator[LambdaService]:
    """A runtime API on loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    service = LambdaService()
    service.address = f"127.0.0.1:{server.server_port}"
    server.service = service  # type: ignore[attr-defined]
    with in_thread(server):
        yield service
