"""Compression of layers: members of a fixed amount of content, one after the other.

Both formats allow it (RFC 1952, section 2.2; RFC 8878, section 3.1). A member depends on its own content
alone, so they are made side by side, and the bytes are the same however many processors there are. Those of
libdeflate and libzstd are also the same on each of them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Literal

import deflate

from ocikit.errors import OcikitError

__all__ = ["Compression", "Compressor", "compressor", "new_compressor"]

Compression = Literal["gzip", "zstd"]

_MEMBER: Final = {"gzip": 1 << 20, "zstd": 4 << 20}  # bytes of content; zstd looks further back
_LEVELS: Final = {"gzip": range(1, 13), "zstd": range(1, 20)}
_LEVEL: Final = {"gzip": 6, "zstd": 9}  # about as fast as each other
_THREADS: Final = min(4, os.cpu_count() or 1)

_Pack = Callable[[bytes | memoryview], bytes | bytearray]


def compressor(compression: Compression) -> str:
    """What compresses, and its version: with another one the same layer may have other bytes."""
    if compression == "zstd":
        import zstandard  # noqa: PLC0415  most layers are gzip's

        return f"zstandard {zstandard.__version__}"
    return f"deflate {deflate.__version__}"


def new_compressor(compression: Compression, level: int | None) -> Compressor:
    """Raises OcikitError for a level that the format does not have."""
    if level is None:
        level = _LEVEL[compression]
    levels = _LEVELS[compression]
    if level not in levels:
        raise OcikitError(f"compression level {level} is not one of {levels.start} to {levels.stop - 1}")
    return Compressor(_MEMBER[compression], _zstd(level) if compression == "zstd" else _gzip(level))


def _gzip(level: int) -> _Pack:
    return lambda content: deflate.gzip_compress(content, level)


def _zstd(level: int) -> _Pack:
    import zstandard  # noqa: PLC0415  most layers are gzip's

    # A context of its own for each: one is not for several threads.
    return lambda content: zstandard.ZstdCompressor(level=level).compress(content)


class Compressor:
    """Takes content piece by piece and gives the members that are ready; holds a few of them."""

    def __init__(self, member: int, pack: _Pack) -> None:
        self._member = member
        self._pack = pack
        self._pieces: list[bytes | memoryview] = []  # joined no sooner than they make a member
        self._held = 0  # bytes of them
        self._waiting: deque[Future[bytes | bytearray]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def compress(self, data: bytes) -> Iterator[bytes | bytearray]:
        """Take in content."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._member:
            return
        content = memoryview(b"".join(self._pieces))
        while len(content) >= self._member:
            member, content = content[: self._member], content[self._member :]
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "ocikit-compression")
            self._waiting.append(self._pool.submit(self._pack, member))
            if len(self._waiting) > _THREADS:
                yield self._waiting.popleft().result()
        self._pieces, self._held = [content], len(content)

    def flush(self) -> Iterator[bytes | bytearray]:
        """The rest; nothing can be taken in afterwards."""
        while self._waiting:
            yield self._waiting.popleft().result()
        if self._held:
            yield self._pack(b"".join(self._pieces))
        self.close()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
