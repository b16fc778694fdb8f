"""How much has been sent, and how fast: one line that moves on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import threading
import time
from typing import Self, TextIO

_REFRESH = 0.1  # seconds
_CLEAR = "\r\x1b[K"


class Meter:
    """Counts bytes of any number of threads; a context manager that ends the line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._shown = 0.0
        self.sent = 0
        """Bytes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self.sent:
                self._stream.write(f"{_CLEAR if self._moves else ''}{self._line('pushed')}\n")
                self._stream.flush()

    def __call__(self, _name: str, count: int) -> None:
        """Take in that so many more bytes were sent."""
        with self._lock:
            self.sent += count
            now = time.monotonic()
            if self._moves and now - self._shown >= _REFRESH:
                self._shown = now
                self._stream.write(f"{_CLEAR}{self._line('pushing')}")
                self._stream.flush()

    def _line(self, verb: str) -> str:
        seconds = max(time.monotonic() - self._began, 1e-3)
        megabytes = self.sent / 1e6
        return f"tagboat: {verb} {megabytes:.1f} MB in {seconds:.1f} s, {megabytes / seconds:.1f} MB/s"
