"""TCP ports for programs that are told where to listen."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

__all__ = ["free_port"]

_FIRST: Final = 10_000
_BLOCK: Final = 50
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")

_left: list[int] = []


def free_port() -> int:
    """A port that nothing uses now, and that is given to nobody else while this process lives.

    It is none of those that the kernel gives to connections, and to who asks for any port: one of them could
    have it before the program listens that it is meant for, or while that program is started again.
    """
    while True:
        if not _left:
            _claim()
        port = _left.pop()
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def _claim() -> None:
    """Take a block that no other process has: an abstract socket marks it, which ends with its owner."""
    low, high = map(int, _RANGE.read_text().split())
    blocks = list(chain(range(_FIRST, low - _BLOCK, _BLOCK), range(high + 1, 65_536 - _BLOCK, _BLOCK)))
    while blocks:
        first = blocks.pop(secrets.randbelow(len(blocks)))
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0ports-from-{first}")
        except OSError:
            claim.close()
            continue
        claim.detach()  # open as long as this process lives
        _left.extend(range(first, first + _BLOCK))
        return
    raise RuntimeError(f"all ports outside {low} to {high} are taken")
