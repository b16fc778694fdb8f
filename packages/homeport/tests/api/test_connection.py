"""What connections to homeport's own servers may cost: none keeps others out."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from homeport import connection
from homeport.connection import Connection
from homeport.process import Process, open_many_files

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BEGUN = b"GET / HTTP/1.1\r\nHost: x\r\nX-Filling: "


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None: ...


@pytest.fixture
def dial() -> Iterator[Callable[[], socket.socket]]:
    """Opens connections to a server; they are closed in the end, and then the server."""
    made: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = PlainTextResponse("well")
        # One that is idle is kept for longer than a test may be held up.
        config = uvicorn.Config(
            app, http=Connection, ws="none", log_level="error", lifespan="off", timeout_keep_alive=600
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()

        def dial() -> socket.socket:
            made.append(socket.create_connection(listener.getsockname(), timeout=60))
            return made[-1]

        try:
            yield dial
        finally:
            for one in made:
                one.close()
            server.should_exit = True
            thread.join()


def ask(sock: socket.socket) -> bytes:
    """The beginning of an answer that was read to its end; none where we were hung up on."""
    got = b""
    try:
        sock.sendall(REQUEST)
        while not got.endswith(b"\r\n\r\nwell") and (piece := sock.recv(4096)):
            got += piece
    except OSError:
        return b""
    return got[:12]


def _hung_up(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def test_an_address_has_a_number_of_connections_and_no_more(
    dial: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_MOST", 3)
    held = [dial() for _ in range(3)]
    assert [ask(one) for one in held] == [b"HTTP/1.1 200"] * 3
    assert ask(dial()) == b""
    held[0].close()
    # The server may not have seen yet that there is room.
    assert any(ask(dial()) == b"HTTP/1.1 200" for _ in range(1000))
    assert ask(held[1]) == b"HTTP/1.1 200"


def test_a_head_that_does_not_end_is_hung_up_on(dial: Callable[[], socket.socket]) -> None:
    endless, well = dial(), dial()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        endless.sendall(BEGUN + b"x" * (64 << 20))
    assert ask(well) == b"HTTP/1.1 200"


def test_a_long_head_and_a_longer_body_are_well(dial: Callable[[], socket.socket]) -> None:
    caller = dial()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\nX-Long: " + b"x" * 60_000 + b"\r\n\r\n"
    caller.sendall(head + b"y" * 300_000)
    assert caller.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("said", [b"", BEGUN])
def test_who_says_nothing_or_not_all_is_hung_up_on(
    dial: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connection, "_PATIENCE", 0.05)
    silent = dial()
    with suppress(OSError):  # it may have been hung up on already
        silent.sendall(said)
    assert _hung_up(silent)


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    open_many_files()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_process_is_watched_however_many_files_are_open() -> None:
    child = subprocess.Popen(["sleep", "60"])
    process = Process(child.pid)
    low = process._descriptor
    process._descriptor = os.dup2(low, 1500)
    os.close(low)
    try:
        assert process.alive
        child.kill()
        assert asyncio.run(process.wait(60))
        assert not process.alive
    finally:
        child.kill()
        child.wait()
        process.close()
