"""The edge as clients see it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from homeport import haproxy
from homeport.configuration import Binding
from homeport.errors import EdgeError
from homeport.haproxy import _taken
from homeport.layout import Layout


@pytest.fixture(scope="module")
def served(shared_harbour: Any, make_image: Any) -> Any:
    shared_harbour.store(make_image())
    shared_harbour.create("web")
    return shared_harbour


def plain(served: Any, method: str, target: str, host: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", served.http_port, timeout=60)
    connection.putrequest(method, target, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308)])
def test_http_is_redirected_to_https_with_path_and_query_byte_for_byte(
    served: Any, method: str, status: int
) -> None:
    target = "/a%2Fb//c/%E4?x=1&y=%20+&&z"
    answer = plain(served, method, target, f"WEB.localhost:{served.http_port}")
    assert answer.status == status
    assert answer.headers["Location"] == f"https://web.localhost:{served.https_port}{target}"


def test_an_unknown_host_is_misdirected_over_http_and_https(served: Any) -> None:
    assert plain(served, "GET", "/", "nobody.localhost").status == 421
    assert plain(served, "GET", "/", "evil.example").status == 421
    assert served.get("/", headers={"Host": "nobody.localhost"}).status == 421


def test_the_application_learns_of_the_client_what_the_edge_saw_and_nothing_that_the_client_claims(
    served: Any,
) -> None:
    claims = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "Forwarded": "for=6.6.6.6"}
    headers = served.get("/headers", headers=claims).json()
    lower = {name.lower(): value for name, value in headers.items()}
    assert lower["x-forwarded-for"] == "127.0.0.1"
    assert lower["x-forwarded-proto"] == "https"
    assert lower["x-forwarded-host"] == f"web.localhost:{served.https_port}"
    assert lower["x-forwarded-port"] == str(served.https_port)
    assert "forwarded" not in lower


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_http_2_and_1_are_offered(served: Any, protocol: str) -> None:
    context = ssl.create_default_context(cafile=str(served.data / "ca.pem"))
    context.set_alpn_protocols([protocol])
    with (
        socket.create_connection(("127.0.0.1", served.https_port), 60) as raw,
        context.wrap_socket(raw, server_hostname="web.localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == protocol


def test_old_tls_is_refused(served: Any) -> None:
    context = ssl.create_default_context(cafile=str(served.data / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with context.wrap_socket(socket.socket(), server_hostname="web.localhost") as connection:
        connection.settimeout(60)
        with pytest.raises((ssl.SSLError, OSError)):
            connection.connect(("127.0.0.1", served.https_port))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: web.localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : web.localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: web.localhost\r\n\r\n",
    ],
    ids=["two lengths", "unknown coding", "huge header", "space before colon", "NUL"],
)
def test_a_malformed_request_is_refused_at_the_edge(served: Any, request_bytes: bytes) -> None:
    connection = served.client()
    connection.connect()
    with closing(connection):
        with suppress(OSError):  # it may hang up before it has read all
            connection.sock.sendall(request_bytes)
        answer = connection.sock.recv(100)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 422", b"HTTP/1.1 501", b"HTTP/1.1 431"))


def test_a_service_created_while_others_serve_costs_them_no_request(
    served: Any, traffic: Any, eventually: Any
) -> None:
    with traffic(served) as seen:
        arn = served.create("late")
        assert served.served("late") == "1"
        served.tell("delete_service", arn=arn)
        served.ended(arn)
        eventually(lambda: seen.answers.total() > 50)
    assert seen.bad == {}


def test_a_port_is_taken_by_whoever_listens_there_though_it_would_be_shared() -> None:
    """HAProxy listens with SO_REUSEPORT: two homeports would get each other's requests."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        assert _taken("127.0.0.1", port)
        assert _taken("0.0.0.0", port)
    assert not _taken("127.0.0.1", port)


def test_a_worker_of_ours_that_has_not_noticed_its_masters_end_is_waited_for_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = haproxy.HAProxy(Layout(tmp_path), Binding("127.0.0.1", 1, 2))
    monkeypatch.setattr(haproxy, "_RELEASE", 0)
    for living in ([4711], []):
        taken = iter([True, True, True, False, False])
        monkeypatch.setattr(haproxy, "_taken", lambda *_, taken=taken: next(taken))
        monkeypatch.setattr(haproxy, "_masters", lambda _, living=living: living)
        if living:
            asyncio.run(made._wait_for_ports())
        else:
            with pytest.raises(EdgeError, match=r"127\.0\.0\.1:1 cannot be listened on"):
                asyncio.run(made._wait_for_ports())
