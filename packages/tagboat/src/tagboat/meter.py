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
    """Counts bytes of any number of threads; as a context manager it shows them, and ends the line.

    What is sent before counts too, and is not shown: then others write. `sizes` are the bytes of the blobs by
    their digests, of which those count that are begun.
    """

    def __init__(self, stream: TextIO) -> None:
        self.sizes: Mapping[str, int] = {}
        self.sent = 0
        """Bytes; what had to be sent twice counts twice."""

        self._stream = stream
        self._moves = stream.isatty()
        self._shows = False
        self._lock = threading.Lock()
        self._began: float | None = None
        self._shown = 0.0
        self._blobs: set[str] = set()

    def __enter__(self) -> Self:
        self._shows = True
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self.sent:
                self._stream.write(f"{_CLEAR if self._moves else ''}{self._rate('pushed')}\n")
                self._stream.flush()

    def __call__(self, name: str, count: int) -> None:
        """Take in that so many more bytes of a blob were sent."""
        with self._lock:
            now = time.monotonic()
            self._began = self._began or now
            self._blobs.add(name)
            self.sent += count
            if self._shows and self._moves and now - self._shown >= _REFRESH:
                self._shown = now
                self._stream.write(f"{_CLEAR}{self._bar()}")
                self._stream.flush()

    def _bar(self) -> str:
        total = sum(self.sizes.get(name, 0) for name in self._blobs)
        share = min(self.sent / total, 1.0) if total else 0.0
        done = round(share * _WIDTH)
        bar = "#" * done + "." * (_WIDTH - done)
        megabytes, seconds = self.sent / 1e6, self._seconds()
        much = f"{megabytes:.1f} of {max(total / 1e6, megabytes):.1f} MB"
        return f"tagboat: pushing [{bar}] {much}, {megabytes / seconds:.1f} MB/s"

    def _rate(self, verb: str) -> str:
        megabytes, seconds = self.sent / 1e6, self._seconds()
        return f"tagboat: {verb} {megabytes:.1f} MB in {seconds:.1f} s, {megabytes / seconds:.1f} MB/s"

    def _seconds(self) -> float:
        now = time.monotonic()
        return max(now - (self._began or now), 1e-3)
