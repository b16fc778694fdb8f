"""How much has been sent, and how fast: a bar that moves on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Self, TextIO

_REFRESH = 0.1  # seconds
_WIDTH = 24  # characters of the bar
_CLEAR = "\r\x1b[K"


class Meter:
    """Counts bytes of any number of threads; a context manager that ends the line.

    `sizes` are the bytes of the blobs by their digests, of which those count that are begun.
    """

    def __init__(self, stream: TextIO, sizes: Mapping[str, int]) -> None:
        self._stream = stream
        self._sizes = sizes
        self._moves = stream.isatty()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._shown = 0.0
        self._blobs: set[str] = set()
        self._total = 0  # bytes
        self.sent = 0
        """Bytes; what had to be sent twice counts twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self.sent:
                self._stream.write(f"{_CLEAR if self._moves else ''}{self._rate('pushed')}\n")
                self._stream.flush()

    def __call__(self, name: str, count: int) -> None:
        """Take in that so many more bytes of a blob were sent."""
        with self._lock:
            if name not in self._blobs:
                self._blobs.add(name)
                self._total += self._sizes.get(name, 0)
            self.sent += count
            now = time.monotonic()
            if self._moves and now - self._shown >= _REFRESH:
                self._shown = now
                self._stream.write(f"{_CLEAR}{self._bar()}")
                self._stream.flush()

    def _bar(self) -> str:
        share = min(self.sent / self._total, 1.0) if self._total else 0.0
        done = round(share * _WIDTH)
        bar = "#" * done + "." * (_WIDTH - done)
        megabytes, seconds = self.sent / 1e6, self._seconds()
        total = f"{megabytes:.1f} of {max(self._total / 1e6, megabytes):.1f} MB"
        return f"tagboat: pushing [{bar}] {total}, {megabytes / seconds:.1f} MB/s"

    def _rate(self, verb: str) -> str:
        megabytes, seconds = self.sent / 1e6, self._seconds()
        return f"tagboat: {verb} {megabytes:.1f} MB in {seconds:.1f} s, {megabytes / seconds:.1f} MB/s"

    def _seconds(self) -> float:
        return max(time.monotonic() - self._began, 1e-3)
