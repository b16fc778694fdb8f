"""Access logs: what HAProxy says of each request to the services that want it said.

It sends a line to a datagram socket of homeport's and waits for nobody: what comes too fast, or while
homeport is away, is lost, and no request is slower for it. Queries are left out, for they may hold secrets.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

STREAM: Final = "edge"
_USER: Final = "nobody"  # whom HAProxy runs as
_BUFFER: Final = 4 << 20  # bytes that may wait to be read
_LINE: Final = 4096  # bytes
_AT_ONCE: Final = 1000  # lines that are read before others have their turn


class AccessLog:
    """Between `open` and `close`. `write` puts lines into the log of the service with this id."""

    def __init__(self, path: Path, write: Callable[[str, list[str]], None]) -> None:
        self._path = path
        self._write = write
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)
        shutil.chown(self._path, _USER)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._take)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._take()
            self._socket.close()
            self._socket = None

    def _take(self) -> None:
        lines: dict[str, list[str]] = {}
        if self._socket is not None:
            with suppress(BlockingIOError):
                for _ in range(_AT_ONCE):
                    data = self._socket.recv(_LINE)
                    service, _, line = data.decode(errors="replace").rstrip("\n").partition(" ")
                    lines.setdefault(service, []).append(line)
        for service, said in lines.items():
            self._write(service, said)
