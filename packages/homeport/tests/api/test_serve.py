"""`homeport serve`, the real one: what it starts it stops, and what stops it from starting it says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest

from homeport.haproxy import _taken
from homeport.layout import Layout
from homeport.serve import _hold_port


@contextmanager
def _served(data: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "homeport", "serve", "--data", str(data), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def _until_served(data: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (data / "homeport.json").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _environment(data: Path) -> dict[str, str]:
    """What `eval "$(homeport env)"` sets, read by a shell."""
    script = f'eval "$({sys.executable} -m homeport env --data {data})"; env -0'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=300)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def _traces(data: Path) -> list[str]:
    """What a homeport of this directory has on the machine."""
    key = Layout(data).key
    shown = [
        *subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout.splitlines(),
        *subprocess.run(
            ["nft", "list", "tables"], capture_output=True, text=True, check=True
        ).stdout.splitlines(),
        *subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout.splitlines(),
    ]
    return [line for line in shown if key in line or f"--data {data}" in line]


_FREE = ("--port", "0", "--https-port", "0", "--http-port", "0")


def test_it_serves_until_it_is_told_to_stop_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "port"
    with _served(data, *_FREE) as process:
        _until_served(data, process)
        for name, value in _environment(data).items():
            if name.startswith(("AWS_", "HOMEPORT_")):
                monkeypatch.setenv(name, value)
        assert Path(os.environ["HOMEPORT_CA"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
        for service, call in (
            ("sts", "get_caller_identity"),
            ("apprunner", "list_services"),
            ("s3", "list_buckets"),
        ):
            client = boto3.session.Session().client(service)
            getattr(client, call)()
            client.close()
        uploads = data / "buckets-uploads/under-way"
        uploads.touch()

        with _served(data, *_FREE) as second:
            said = second.stderr.read() if second.stderr else ""
            assert second.wait(120) == 1
        assert said == f"homeport: another homeport runs on {data}: stop it first\n"
        assert uploads.exists(), "whoever comes second must not touch anything"
        assert (data / "homeport.json").exists()

        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert not (data / "homeport.json").exists()
    assert not Layout(data).run.exists()
    assert _traces(data) == []


def test_a_port_that_was_found_is_nobody_elses_until_the_edge_has_it() -> None:
    with ExitStack() as held:
        port = _hold_port(held)
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", port))
        assert not _taken("127.0.0.1", port)
        edge = socket.create_server(("127.0.0.1", port), reuse_port=True)  # as HAProxy makes it
        with edge, socket.create_connection(("127.0.0.1", port), 60) as client, edge.accept()[0] as accepted:
            assert accepted.getpeername() == client.getsockname()


@pytest.mark.parametrize("option", ["--port", "--https-port"])
def test_a_port_that_is_taken_is_told_and_nothing_stays(tmp_path: Path, option: str) -> None:
    data = tmp_path / "port"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        with _served(data, *_FREE, option, number) as process:
            said = process.stderr.read() if process.stderr else ""
            assert process.wait(120) == 1
    assert said.startswith("homeport: ")
    assert number in said
    assert "Traceback" not in said
    assert _traces(data) == []
