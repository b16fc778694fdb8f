"""Whom the edge lets in, for how long, and what it tells the application about them; without a port."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from homeport import configuration
from homeport.configuration import Names, Route, Server
from homeport.model import Entrance

_LEFT = Event()  # the application gives up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/silent":
            _LEFT.wait(60)
            self.close_connection = True
            return
        data = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if self.path == "/own-hsts":
            self.send_header("Strict-Transport-Security", "max-age=5")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        _LEFT.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def front(open_front: Any, application: int) -> Any:
    """`web` for everybody; `inner` for two networks; `brief` may be silent for a second."""
    routes = {
        name: Route(f"{name}.localhost", {"one": Server("127.0.0.1", application, 10)})
        for name in ("web", "inner", "brief")
    }
    entrances = {
        "inner": Entrance(allow=("127.0.0.2/32", "127.9.0.0/16", "2001:db8::/32")),
        "brief": Entrance(timeout=1),
    }
    domains = {"shop.example": "web", "inner.example": "inner"}
    return open_front(routes, Names(domains=domains, entrances=entrances))


@pytest.mark.parametrize(
    ("source", "status"),
    [("127.0.0.1", 403), ("127.0.0.2", 200), ("127.0.0.3", 403), ("127.9.3.4", 200), ("127.10.0.1", 403)],
)
def test_only_the_networks_that_are_allowed_come_in(front: Any, source: str, status: int) -> None:
    for name in ("inner.localhost", "inner.example"):
        assert front.ask(name, tls=True, source=source).status == status
    assert front.ask("web.localhost", tls=True, source=source).status == 200


def test_an_answer_that_does_not_come_in_time_is_a_504(front: Any) -> None:
    assert front.ask("brief.localhost", "/silent", tls=True).status == 504
    assert front.ask("brief.localhost", "/", tls=True).status == 200


def test_hsts_is_for_names_that_leave_the_machine_and_the_application_may_say_it_itself(front: Any) -> None:
    assert front.ask("shop.example", tls=True).headers["Strict-Transport-Security"] == "max-age=31536000"
    own = front.ask("shop.example", "/own-hsts", tls=True).headers.get_all("Strict-Transport-Security")
    assert own == ["max-age=5"]
    assert "Strict-Transport-Security" not in front.ask("web.localhost", tls=True).headers
    assert "Strict-Transport-Security" not in front.ask("shop.example").headers, "HTTP must not say it"


def test_what_a_client_claims_of_itself_does_not_arrive(front: Any) -> None:
    claims = {
        "X-Forwarded-For": "6.6.6.6",
        "X_Forwarded_For": "6.6.6.6",
        "X-Forwarded_Proto": "gopher",
        "x_forwarded-Host": "evil.example",
        "X-Forwarded-Server": "evil",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "X-Other": "kept",
    }
    got = front.ask("web.localhost", tls=True, source="127.0.0.4", headers=claims).json()
    told = {name: value for name, value in got.items() if "forwarded" in name or "real" in name}
    assert told == {
        "x-forwarded-for": "127.0.0.4",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "web.localhost",
        "x-forwarded-port": str(front.https_port),
    }
    assert got["x-other"] == "kept"


def test_an_unknown_host_is_misdirected(front: Any) -> None:
    for host in ("nobody.localhost", "web", "web.localhost.", "127.0.0.1", ""):
        assert front.ask(host, tls=True).status in (400, 421)


def test_who_is_slow_is_hung_up_on(
    open_front: Any, application: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits of the edge in which a busy machine can be quick, and that are soon over."""
    text = configuration._CONFIGURATION
    for name, seconds, brief in (("http-request", 10, 5), ("http-keep-alive", 20, 1), ("client", 120, 5)):
        assert f"timeout {name} {seconds}s" in text
        text = text.replace(f"timeout {name} {seconds}s", f"timeout {name} {brief}s")
    monkeypatch.setattr(configuration, "_CONFIGURATION", text)
    front = open_front({"web": Route("web.localhost", {"one": Server("127.0.0.1", application, 10)})})
    head = b"GET / HTTP/1.1\r\nHost: web.localhost\r\n"

    def silent(source: str, *, tls: bool, begin: bytes) -> bytes:
        """Says something, then nothing more until the edge has had enough."""
        with front.raw(tls=tls, source=source) as connection:
            connection.sendall(begin)
            return until_closed(connection)

    def no_handshake(source: str) -> bytes:
        plain = socket.create_connection(("127.0.0.1", front.https_port), 60, source_address=(source, 0))
        with plain:
            return until_closed(plain)

    def dripping(source: str) -> bytes:
        """A header that grows by a byte now and then."""
        with front.raw(source=source) as connection, suppress(OSError):
            connection.sendall(head + b"A: ")
            connection.settimeout(0.2)
            for _ in range(300):
                connection.sendall(b"a")
                with suppress(TimeoutError):
                    return bytes(connection.recv(100))
        return b""

    with ThreadPoolExecutor(8) as pool:
        asked = {
            "nothing": pool.submit(silent, "127.0.1.1", tls=False, begin=b""),
            "no handshake": pool.submit(no_handshake, "127.0.1.2"),
            "half a head": pool.submit(silent, "127.0.1.3", tls=True, begin=head),
            "a head byte by byte": pool.submit(dripping, "127.0.1.4"),
            "half a body": pool.submit(
                silent, "127.0.1.5", tls=True, begin=b"POST" + head[3:] + b"Content-Length: 9\r\n\r\nabc"
            ),
            "nothing more": pool.submit(silent, "127.0.1.6", tls=True, begin=head + b"\r\n"),
        }
        seen = {name: future.result(120) for name, future in asked.items()}
    assert seen["nothing"] == b""
    assert seen["no handshake"] == b""
    assert seen["half a head"].startswith(b"HTTP/1.1 408")
    # Who sends a byte in the very moment in which the edge hangs up loses what it has said.
    assert seen["a head byte by byte"][:12] in (b"HTTP/1.1 408", b"")
    assert b"408" in seen["half a body"] or b"501" in seen["half a body"]
    assert seen["nothing more"].startswith(b"HTTP/1.1 200")


def test_one_address_alone_does_not_use_up_all_connections(
    open_front: Any, application: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "_ONE_CLIENT", 5)
    front = open_front({"web": Route("web.localhost", {"one": Server("127.0.0.1", application, 10)})})
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(front.raw(source="127.0.1.7"))
        with pytest.raises((OSError, ssl.SSLError)):
            front.raw(source="127.0.1.7")
        assert front.ask("web.localhost", tls=True, source="127.0.1.8").status == 200


def until_closed(connection: socket.socket) -> bytes:
    connection.settimeout(60)
    got = b""
    with suppress(ConnectionResetError, ssl.SSLEOFError):
        while piece := connection.recv(4096):
            got += piece
    return got
