"""Requests that two readers could understand differently: the edge refuses them, or gives them one meaning.

Behind the edge stands a server that only writes down what it is sent. Whatever a client sends, it gets whole
requests of one reading: one line, one Host, one way to say how long the body is, and none that is hidden in
another one's body. The cases are those of RFC 9112 section 11.2, of the tables in the research on request
smuggling, and of HAProxy's own advisories.
"""

from __future__ import annotations

import os
import queue
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from homeport.configuration import Route, Server

_HOST = b"Host: web.localhost\r\n"
_HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: web.localhost\r\n\r\n"
_LENGTH = b"Content-Length: 6\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_END = b"\r\n0\r\n\r\n"
_CHUNK = b"%x\r\n" % len(_HIDDEN) + _HIDDEN + _END


class Origin:
    """Takes connections, keeps what comes, answers each with 200 once it has been silent for a moment."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[bytes] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def take(self) -> list[bytes]:
        with self._lock:
            seen, self.seen = self.seen, []
        return seen

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                got = b""
                connection.settimeout(60)
                with suppress(OSError):
                    while piece := connection.recv(65536):
                        got += piece
                        # One that is not whole is cut by the edge, or goes on, however busy the machine is.
                        connection.settimeout(0.05 if one_meaning(got) else 10)
                with self._lock:
                    self.seen.append(got)
                with suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


class Lane:
    """A service of the edge and the server behind it, for one case at a time."""

    def __init__(self, number: int) -> None:
        self.host = f"we{number}.localhost"  # as long as web.localhost: lengths stay true
        self.origin = Origin()

    @property
    def route(self) -> Route:
        return Route(self.host, {"one": Server("127.0.0.1", self.origin.port, 10)})

    def send(self, front: Any, data: bytes, protocol: str) -> bytes:
        """All that the edge answers."""
        with front.raw(name=self.host, protocol=protocol) as connection:
            answer = b""
            with suppress(OSError):  # it may hang up before it has read all
                connection.sendall(data.replace(b"web.localhost", self.host.encode()))
            if protocol == "http/1.1":
                # There is no more to come: the edge answers what there is, and hangs up.
                with socket.socket(fileno=os.dup(connection.fileno())) as below, suppress(OSError):
                    below.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError, ssl.SSLEOFError):
                while not (protocol == "h2" and ended(answer)) and (piece := connection.recv(65536)):
                    answer += piece
        return answer

    def try_out(self, front: Any, data: bytes, protocol: str) -> Outcome:
        """What the edge answers and what came through; after it the edge has to serve on.

        The server takes one connection after the other: before a last request all that was sent is there.
        """
        answer = self.send(front, data, protocol)
        last = self.send(front, get(b"GET /last HTTP/1.1\r\n", _HOST, b"Connection: close\r\n"), "http/1.1")
        assert last.startswith(b"HTTP/1.1 200"), last
        *received, after = self.origin.take()
        assert after.startswith(b"GET /last "), after
        return Outcome(answer, received)


@dataclass(frozen=True)
class Outcome:
    answer: bytes
    received: list[bytes]


@pytest.fixture(scope="module")
def outcomes(open_front: Any) -> Iterator[dict[str, Outcome]]:
    """What came of each case, side by side."""
    lanes = [Lane(number) for number in range(8)]
    front = open_front({f"lane{number}": lane.route for number, lane in enumerate(lanes)})
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def run(data: bytes, protocol: str) -> Outcome:
        lane = free.get()
        try:
            return lane.try_out(front, data, protocol)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        running = {name: pool.submit(run, data, "http/1.1") for name, data in _CORPUS.items()}
        running |= {f"h2 {name}": pool.submit(run, data, "h2") for name, data in _H2.items()}
        yield {name: future.result() for name, future in running.items()}
    for lane in lanes:
        lane.origin.close()


def one_meaning(received: bytes) -> bool:
    """Whether a server of any kind would read this as one request, and all of it."""
    head, blank, body = received.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    plain = not re.search(rb"[\r\n]", head.replace(b"\r\n", b""))
    field = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\x00\r\n]*)"
    parsed = [match for one in fields if (match := re.fullmatch(field, one))]
    named = [(match[1].lower(), match[2].strip()) for match in parsed]
    well = plain and blank and len(parsed) == len(fields)
    if not well or not re.fullmatch(rb"[A-Z]+ [!-\"$-~]+ HTTP/1\.1", line):
        return False
    sizes = [(name, value) for name, value in named if name in (b"content-length", b"transfer-encoding")]
    if [name for name, _ in named].count(b"host") != 1 or len(sizes) > 1:
        return False
    match sizes:
        case [(b"content-length", length)]:
            return length.isdigit() and len(body) == int(length)
        case [(b"transfer-encoding", coding)]:
            return coding == b"chunked" and _all_chunks(body)
    return not body


def _all_chunks(body: bytes) -> bool:
    while True:
        size, line, rest = body.partition(b"\r\n")
        if not line or not re.fullmatch(rb"[0-9A-Fa-f]+", size):
            return False
        length = int(size, 16)
        if (
            length == 0
        ):  # trailers are no headers, and are not to be merged with them (RFC 9110, section 6.5.1)
            return bool(re.fullmatch(rb"([!#-'*+.^-z|~-]+: [ -~]*\r\n)*\r\n", rest))
        if rest[length : length + 2] != b"\r\n":
            return False
        body = rest[length + 2 :]


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + _HOST + b"".join(fields) + b"\r\n" + body


def get(line: bytes = b"GET / HTTP/1.1\r\n", *fields: bytes) -> bytes:
    return line + b"".join(fields or (_HOST,)) + b"\r\n"


_CORPUS = {
    # Two ways to say how long the body is.
    "length, then chunks": post(_LENGTH, _CHUNKED, body=b"0\r\n\r\nX" + _HIDDEN),
    "chunks, then length": post(_CHUNKED, b"Content-Length: 4\r\n", body=_CHUNK),
    "two lengths": post(b"Content-Length: 0\r\n", _LENGTH, body=b"abcdef" + _HIDDEN),
    "the same length twice": post(_LENGTH, _LENGTH, body=b"abcdef"),
    "a list of lengths": post(b"Content-Length: 6, 5\r\n", body=b"abcdef"),
    "a length with a sign": post(b"Content-Length: +6\r\n", body=b"abcdef"),
    "a negative length": post(b"Content-Length: -1\r\n", body=b"abcdef"),
    "an empty length": post(b"Content-Length:\r\n", body=_HIDDEN),
    "an empty and a good length": post(b"Content-Length: \r\n", _LENGTH, body=b"abcdef"),
    "a hexadecimal length": post(b"Content-Length: 0x6\r\n", body=b"abcdef"),
    "a length with a space": post(b"Content-Length: 6 6\r\n", body=b"abcdef"),
    "a length beyond all numbers": post(b"Content-Length: 18446744073709551622\r\n", body=b"abcdef"),
    "a length with a vertical tab": post(b"Content-Length: \x0b6\r\n", body=b"abcdef"),
    # Codings that some take for chunked and some do not.
    "an unknown coding": post(b"Transfer-Encoding: xchunked\r\n", body=b"0\r\n\r\n" + _HIDDEN),
    "chunked is not the last": post(b"Transfer-Encoding: chunked, identity\r\n", body=b"0\r\n\r\n" + _HIDDEN),
    "chunked twice": post(_CHUNKED, _CHUNKED, body=b"0\r\n\r\n" + _HIDDEN),
    "chunked after another": post(b"Transfer-Encoding: identity\r\n", _CHUNKED, body=b"0\r\n\r\n" + _HIDDEN),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"\r\n', body=b"0\r\n\r\n" + _HIDDEN),
    "chunked with a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", body=b"0\r\n\r\n" + _HIDDEN),
    "chunked with a NUL": post(b"Transfer-Encoding: chunked\x00\r\n", body=b"0\r\n\r\n" + _HIDDEN),
    "an empty coding": post(b"Transfer-Encoding:\r\n", _LENGTH, body=b"abcdef" + _HIDDEN),
    "a coding on a folded line": post(b"Transfer-Encoding:\r\n chunked\r\n", _LENGTH, body=b"0\r\n\r\nX"),
    "a space before the colon": post(b"Transfer-Encoding : chunked\r\n", _LENGTH, body=b"0\r\n\r\nX"),
    "a tab before the colon": post(b"Transfer-Encoding\t: chunked\r\n", _LENGTH, body=b"0\r\n\r\nX"),
    "a space before the name": post(b" Transfer-Encoding: chunked\r\n", _LENGTH, body=b"0\r\n\r\nX"),
    "an underscore for the dash": post(b"Transfer_Encoding: chunked\r\n", _LENGTH, body=b"0\r\n\r\nX"),
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\n" + _HOST + _CHUNKED + b"\r\n0\r\n\r\n" + _HIDDEN,
    # Chunks that end in more than one way.
    "a size with a prefix": post(_CHUNKED, body=b"0x6\r\nabcdef" + _END),
    "a size with a sign": post(_CHUNKED, body=b"+6\r\nabcdef" + _END),
    "a size beyond all numbers": post(_CHUNKED, body=b"10000000000000006\r\nabcdef" + _END),
    "no size": post(_CHUNKED, body=b"\r\nabcdef" + _END),
    "a size with an underscore": post(_CHUNKED, body=b"0_6\r\nabcdef" + _END),
    "a size ended by a line feed": post(_CHUNKED, body=b"6\nabcdef" + _END),
    "a chunk ended by a line feed": post(_CHUNKED, body=b"6\r\nabcdef\n0\r\n\r\n"),
    "a chunk longer than it says": post(_CHUNKED, body=b"3\r\nabcdef" + _END),
    "a line feed in an extension": post(_CHUNKED, body=b"6;a\nb\r\nabcdef" + _END),
    "a carriage return in an extension": post(_CHUNKED, body=b"6;a\rb\r\nabcdef" + _END),
    "a trailer that names the host": post(_CHUNKED, body=b"0\r\nHost: evil.localhost\r\n\r\n"),
    # Lines.
    "line feeds alone": b"GET / HTTP/1.1\nHost: web.localhost\n\n",
    "a carriage return alone": get(b"GET / HTTP/1.1\r\n", _HOST, b"A: b\rHost: evil.localhost\r\n"),
    "a folded line": get(b"GET / HTTP/1.1\r\n", _HOST, b"A: b\r\n c\r\n"),
    "a NUL in a value": get(b"GET / HTTP/1.1\r\n", _HOST, b"A: b\x00c\r\n"),
    "a NUL in a name": get(b"GET / HTTP/1.1\r\n", _HOST, b"A\x00: b\r\n"),
    "no name": get(b"GET / HTTP/1.1\r\n", _HOST, b": b\r\n"),
    "no colon": get(b"GET / HTTP/1.1\r\n", _HOST, b"nonsense\r\n"),
    "an empty first line": b"\r\n\r\n" + get(),
    # The request line and the host.
    "no version": b"GET /\r\n\r\n",
    "two spaces": get(b"GET  / HTTP/1.1\r\n"),
    "a tab": get(b"GET\t/\tHTTP/1.1\r\n"),
    "more than a target": get(b"GET / /hidden HTTP/1.1\r\n"),
    "a version with two digits": get(b"GET / HTTP/1.10\r\n"),
    "HTTP/2.0 in words": get(b"GET / HTTP/2.0\r\n"),
    "HTTP/1.2": get(b"GET / HTTP/1.2\r\n"),
    "a method with a bracket": get(b"GE(T / HTTP/1.1\r\n"),
    "a fragment in the target": get(b"GET /a#/hidden HTTP/1.1\r\n"),
    "a NUL in the target": get(b"GET /\x00 HTTP/1.1\r\n"),
    "another host in the target": get(b"GET http://evil.localhost/ HTTP/1.1\r\n"),
    "no host": b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
    "two hosts": get(b"GET / HTTP/1.1\r\n", _HOST, b"Host: evil.localhost\r\n"),
    "two hosts in one": get(b"GET / HTTP/1.1\r\n", b"Host: web.localhost, evil.localhost\r\n"),
    "a host with a user": get(b"GET / HTTP/1.1\r\n", b"Host: evil@web.localhost\r\n"),
    "a host with a path": get(b"GET / HTTP/1.1\r\n", b"Host: web.localhost/evil\r\n"),
    "a host with a strange port": get(b"GET / HTTP/1.1\r\n", b"Host: web.localhost:80evil\r\n"),
    "a CONNECT": get(b"CONNECT web.localhost:443 HTTP/1.1\r\n"),
    # Too much.
    "a head that never ends": b"GET / HTTP/1.1\r\n" + _HOST + b"A: b\r\n" * 5000,
    "a long line": get(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n"),
    "a hundred lines": get(b"GET / HTTP/1.1\r\n", _HOST, *(b"A%d: b\r\n" % number for number in range(101))),
    "an upgrade to h2c": get(b"GET / HTTP/1.1\r\n", _HOST, b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
                             b"Connection: Upgrade, HTTP2-Settings\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", _CORPUS)
def test_what_has_two_meanings_is_refused_or_gets_one(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    statuses = {int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", outcome.answer)}
    assert statuses, "it is told"
    assert statuses <= {200, 400, 403, 405, 414, 421, 422, 431, 501, 505}, outcome.answer
    assert all(one_meaning(one) for one in outcome.received), outcome.received


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def ended(answer: bytes) -> bool:
    """Whether the first stream of a connection, or all of it, is over."""
    while len(answer) >= 9:
        length, kind, flags = int.from_bytes(answer[:3], "big"), answer[3], answer[4]
        stream = int.from_bytes(answer[5:9], "big")
        if len(answer) >= 9 + length and (
            kind == 7 or (stream == 1 and (kind == 3 or (kind in (0, 1) and flags & 1)))
        ):
            return True
        answer = answer[9 + length :]
    return False


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """HPACK (RFC 7541, section 6.2.2): each a literal without indexing, plain."""
    block = b""
    for name, value in pairs:
        block += b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return block


def h2(*pairs: tuple[bytes, bytes], body: bytes | None = None, line: Any = None) -> bytes:
    """A connection's beginning with one request on it."""
    asked = {b":method": b"GET", b":scheme": b"https", b":path": b"/", b":authority": b"web.localhost"}
    asked |= line or {}
    head = fields(*((name, value) for name, value in asked.items() if value is not None), *pairs)
    flags = 0x4 if body is not None else 0x5  # END_HEADERS, and END_STREAM where there is no body
    data = frame(0, 1, 1, body) if body is not None else b""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, flags, 1, head) + data


_POST = {b":method": b"POST"}
_H2 = {
    "nothing wrong": h2((b"a", b"b")),
    "a length that is too short": h2((b"content-length", b"1"), body=b"abc" + _HIDDEN, line=_POST),
    "a length that is too long": h2((b"content-length", b"99"), body=b"abc", line=_POST),
    "two lengths": h2((b"content-length", b"3"), (b"content-length", b"4"), body=b"abc", line=_POST),
    "a coding": h2((b"transfer-encoding", b"chunked"), body=b"0\r\n\r\n" + _HIDDEN, line=_POST),
    "a line in a value": h2((b"a", b"b\r\nTransfer-Encoding: chunked")),
    "a line feed in a value": h2((b"a", b"b\nX: y")),
    "a line in a name": h2((b"a: b\r\nx", b"c")),
    "a NUL in a value": h2((b"a", b"b\x00c")),
    "a colon in a name": h2((b"host:", b"evil.localhost")),
    "a capital letter in a name": h2((b"Host", b"evil.localhost")),
    "a space in a name": h2((b"a b", b"c")),
    "a request in the path": h2(line={b":path": b"/ HTTP/1.1\r\nHost: evil.localhost\r\n\r\n"}),
    "a space in the path": h2(line={b":path": b"/ hidden"}),
    "a fragment in the path": h2(line={b":path": b"/a#/hidden"}),
    "an empty path": h2(line={b":path": b""}),
    "a line in the method": h2(line={b":method": b"GET / HTTP/1.1\r\nA: b\r\nX"}),
    "a space in the method": h2(line={b":method": b"GET /hidden"}),
    "another host": h2((b"host", b"evil.localhost")),
    "a line in the authority": h2(line={b":authority": b"web.localhost\r\nA: b"}),
    "no authority": h2(line={b":authority": None}),
    "a header of one connection": h2((b"connection", b"content-length")),
    "a pseudo-header twice": h2((b":path", b"/hidden")),
    "an unknown pseudo-header": h2((b":hidden", b"a")),
    "a CONNECT with a protocol": h2((b":protocol", b"nonsense"), line={b":method": b"CONNECT"}),
}


def test_a_plain_request_of_http_2_is_answered(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["h2 nothing wrong"]
    assert len(outcome.received) == 1
    assert frame(0, 1, 1, b"ok") in outcome.answer or frame(0, 0, 1, b"ok") in outcome.answer
    assert ended(outcome.answer)


@pytest.mark.parametrize("name", _H2)
def test_nothing_of_http_2_becomes_two_meanings_of_http_1(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[f"h2 {name}"]
    assert outcome.answer, "it is told"
    assert len(outcome.received) <= 1
    assert all(one_meaning(one) for one in outcome.received), outcome.received
    assert not any(b"evil" in one.partition(b"\r\n\r\n")[0] for one in outcome.received), outcome.received


def test_the_judge_tells_one_meaning_from_two() -> None:
    good = [get(), post(_LENGTH, body=b"abcdef"), post(_CHUNKED, body=b"6\r\nabcdef" + _END)]
    assert all(one_meaning(one) for one in good)
    bad = [_CORPUS[name] for name in _CORPUS if not name.startswith(("an upgrade", "a host", "another host"))]
    passed = [one for one in bad if one_meaning(one)]
    assert len(passed) < len(bad) / 4, passed
