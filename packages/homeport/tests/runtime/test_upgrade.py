"""Another version of homeport takes the running one's place, and nobody who asks for something notices."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from homeport.errors import HomeportError
from homeport.listeners import Listeners


def repeat(ask: Callable[[], object], seen: Counter[object], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            seen[ask()] += 1
        except OSError as error:
            seen[repr(error)] += 1
        stop.wait(0.02)


def test_an_upgrade_loses_no_request_whether_warm_held_frozen_or_to_the_api(
    serving: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    for name, variables in (("warm", {}), ("zero", {"START_DELAY": "0.3"}), ("cold", {})):
        serving.store(make_image(VERSION=name, **variables), repository=name)
    idle = {"homeport:idle-seconds": "1"}
    serving.make("warm", {})
    serving.make("zero", {"homeport:scale-to-zero": "true", **idle})
    serving.make("cold", {"homeport:freeze": "true", **idle})
    address, pid = serving.address, serving.process.pid

    def api() -> object:
        with socket.create_connection(address, 30) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.makefile("rb").readline()

    eventually(lambda: len(serving.containers()) == 2, 60)  # none for `zero`
    before = serving.containers()
    stop = threading.Event()
    answers: dict[str, Counter[object]] = {name: Counter() for name in ("zero", "cold", "api")}
    asks: dict[str, Callable[[], object]] = {
        "zero": lambda: serving.get("/", "zero").text,
        "cold": lambda: serving.get("/", "cold").text,
        "api": api,
    }
    with traffic(serving, name="warm") as seen, ThreadPoolExecutor(3) as clients:
        try:
            for name, ask in asks.items():
                clients.submit(repeat, ask, answers[name], stop)
            eventually(lambda: seen.answers.total() > 10, 60)
            upgraded = subprocess.run(
                [sys.executable, "-m", "homeport", "upgrade", "--data", serving.data],
                capture_output=True,
                text=True,
                check=False,
            )
            count = answers["zero"]["zero"]
            eventually(lambda: answers["zero"]["zero"] > count + 1, 60)
        finally:
            stop.set()
    assert upgraded.returncode == 0, upgraded.stderr
    assert upgraded.stderr.startswith("homeport: the installed version serves, after ")
    assert seen.bad == {}
    assert {name: set(counted) for name, counted in answers.items()} == {
        "zero": {"zero"},
        "cold": {"cold"},
        "api": {b"HTTP/1.1 200 OK\r\n"},
    }
    assert before.items() <= serving.containers().items()
    assert serving.process.poll() is None
    assert (serving.address, serving.process.pid) == (address, pid)


def test_where_no_homeport_serves_an_upgrade_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "homeport", "upgrade", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"start `homeport serve --data {tmp_path}` first" in done.stderr


def test_a_listener_goes_on_when_what_was_given_out_is_closed(tmp_path: Path) -> None:
    listeners = Listeners()
    given = listeners.tcp("127.0.0.1", 0)
    address = given.getsockname()
    given.close()
    path = tmp_path / "socket"
    listeners.unix(path).close()
    waiting = socket.create_connection(address, 10)
    (descriptors,) = listeners.leave().values()
    successor = Listeners(os.dup(int(word)) for word in descriptors.split())
    listeners.close_all()
    assert successor.inherited
    taken = successor.tcp("127.0.0.1", 0)
    assert taken.getsockname() == address
    accepted, peer = taken.accept()
    assert peer == waiting.getsockname()
    again = successor.unix(path)
    assert again.getsockname() == str(path)
    successor.close(path)
    assert not path.exists()
    for one in (waiting, accepted, taken, again):
        one.close()
    successor.close_all()


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HomeportError, match=f"127.0.0.1:{port} cannot be listened on"):
            Listeners().tcp("127.0.0.1", port)
