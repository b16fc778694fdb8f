"""Sockets that listen: opened here, or taken over from the homeport that was this process before.

A homeport that makes room for another version executes it in its own place (execve(2)) and leaves these
sockets open for it. Whoever connects meanwhile waits in their queues, and is answered by the successor.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from homeport.errors import HomeportError

__all__ = ["Listeners"]

_VARIABLE: Final = "HOMEPORT_LISTENERS"  # the descriptors that a successor finds open
_BACKLOG: Final = 1024


class Listeners:
    """Each is given out as a duplicate: to close that one does not end the listening, `close` does."""

    def __init__(self, descriptors: Iterable[int] = ()) -> None:
        found = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for one in found:
            one.set_inheritable(False)
        self._open: dict[object, socket.socket] = {one.getsockname(): one for one in found}
        self.inherited = bool(found)

    @classmethod
    def inherit(cls) -> Self:
        """With what a predecessor has left; of which the programs that we start need not know."""
        return cls(int(word) for word in os.environ.pop(_VARIABLE, "").split())

    def tcp(self, address: str, port: int) -> socket.socket:
        """With port 0 the one that is open at the address, or one of a free port. Raises HomeportError."""
        for name, known in self._open.items():
            if isinstance(name, tuple) and name[0] == address and port in (0, name[1]):
                return known.dup()
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((address, port))
            made.listen(_BACKLOG)
        except OSError as error:
            made.close()
            reason = error.strerror or str(error)
            raise HomeportError(f"{address}:{port} cannot be listened on: {reason}") from error
        self._open[made.getsockname()] = made
        return made.dup()

    def unix(self, path: Path) -> socket.socket:
        """One whose file another user may be let at before anybody listens: `listen` is the caller's."""
        if (known := self._open.get(str(path))) is not None:
            return known.dup()
        path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(path))
        self._open[str(path)] = made
        return made.dup()

    def close(self, path: Path) -> None:
        """End the listening at a path; nothing happens where there is none."""
        if (known := self._open.pop(str(path), None)) is not None:
            known.close()
            path.unlink(missing_ok=True)

    def close_all(self) -> None:
        for one in self._open.values():
            with suppress(OSError):
                one.close()
        self._open.clear()

    def leave(self) -> dict[str, str]:
        """Make them stay open for a program that this process executes; returns what it has to be told."""
        for one in self._open.values():
            one.set_inheritable(True)
        return {_VARIABLE: " ".join(str(one.fileno()) for one in self._open.values())}
