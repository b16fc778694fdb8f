"""Gzip for layers: members of a fixed amount of content, one after the other (RFC 1952, section 2.2).

A member depends on its own content alone, so they are made side by side, and the bytes are the same however
many processors there are. libdeflate's are also the same on each of them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import deflate

__all__ = ["Compressor"]

_MEMBER: Final = 1 << 20  # bytes of content
_THREADS: Final = min(4, os.cpu_count() or 1)


class Compressor:
    """Takes content piece by piece and gives the members that are ready; holds some four megabytes."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._content = bytearray()
        self._waiting: deque[Future[bytearray]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def compress(self, data: bytes) -> Iterator[bytearray]:
        """Take in content."""
        self._content += data
        while len(self._content) >= _MEMBER:
            member = bytes(memoryview(self._content)[:_MEMBER])
            del self._content[:_MEMBER]
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "ocikit-gzip")
            self._waiting.append(self._pool.submit(deflate.gzip_compress, member, self._level))
            if len(self._waiting) > _THREADS:
                yield self._waiting.popleft().result()

    def flush(self) -> Iterator[bytearray]:
        """The rest; nothing can be taken in afterwards."""
        while self._waiting:
            yield self._waiting.popleft().result()
        if self._content:
            yield deflate.gzip_compress(bytes(self._content), self._level)
        self.close()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
