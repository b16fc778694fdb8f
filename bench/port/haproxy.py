"""A peer: Debian's HAProxy by itself in front of the same instance, with TLS and HTTP/2 as the edge has."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.port.harbour import Harbour
from bench.port.process import seconds_of_cpu

__all__ = ["cpu", "start"]

_CONFIGURATION: Final = """\
global
    stats socket {folder}/socket
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 120s
    timeout queue 30s
    timeout http-request 10s
    timeout http-keep-alive 20s
    balance leastconn
{connections}
frontend https
    bind 127.0.0.1:{port} ssl crt {certificate} alpn h2,http/1.1
    default_backend app
backend app
    server one {address} maxconn 100
"""


@contextmanager
def start(folder: Path, harbour: Harbour, *, keep: bool) -> Iterator[tuple[int, int]]:
    """In front of the one instance that `harbour` runs; yields the port and the master's process id.

    With `keep` a connection to the instance serves many requests. The edge's serves one, since the next might
    be lost to an instance that just then closes it as idle.
    """
    folder.mkdir()
    edge = (harbour.data / "edge" / "haproxy.cfg").read_text()
    addresses = set(re.findall(r"^\s+server \S+ (\d+\.\d+\.\d+\.\d+:\d+)", edge, re.MULTILINE))
    (address,) = addresses
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    file = folder / "haproxy.cfg"
    file.write_text(
        _CONFIGURATION.format(
            folder=folder,
            connections="" if keep else "    option http-server-close",
            port=port,
            certificate=harbour.data / "edge" / "default.pem",
            address=address,
        )
    )
    with subprocess.Popen(["haproxy", "-W", "-db", "-f", file], stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port)
            yield port, process.pid
        finally:
            process.terminate()


def cpu(master: int) -> float:
    """Seconds of CPU time that a master and its workers have used."""
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return sum(map(seconds_of_cpu, (master, *map(int, workers))))


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
