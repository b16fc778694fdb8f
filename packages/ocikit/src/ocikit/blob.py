"""Content that is read when it is needed, and checked as it is read."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from ocikit.digest import Digest
from ocikit.errors import DigestMismatchError

CHUNK = 1 << 20  # bytes read at a time


class Blob(Protocol):
    """Bytes that somebody has; each call of `open` reads them from the start."""

    def open(self) -> BinaryIO:
        """From the start; whoever opens closes. Raises OcikitError where they cannot be had."""


@dataclass(frozen=True, slots=True)
class BytesBlob:
    """Bytes in memory."""

    data: bytes

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


@dataclass(frozen=True, slots=True)
class FileBlob:
    """The content of a file."""

    path: Path
    origin: tuple[str, str] | None = None
    """The registry's host and the repository that it came from: to be pushed there, it need not travel."""

    def open(self) -> BinaryIO:
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class CopiedBlob:
    """What `source` has; as it is read, it is written to `copy`, which is whole when all has been read."""

    source: Blob
    copy: Path

    def open(self) -> BinaryIO:
        return cast("BinaryIO", _CopyingReader(self.source.open(), self.copy))


class PieceReader(io.RawIOBase):
    """A stream of the pieces that a subclass gives."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        piece = self._next(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def _next(self, size: int) -> bytes:
        """The next bytes, `size` at most; none at the end."""
        raise NotImplementedError


class _CopyingReader(PieceReader):
    def __init__(self, source: BinaryIO, copy: Path) -> None:
        super().__init__()
        self._source = source
        self._copy = copy.open("wb")

    def _next(self, size: int) -> bytes:
        piece = self._source.read(size)
        self._copy.write(piece)
        return piece

    def close(self) -> None:
        self._copy.close()
        self._source.close()
        super().close()


class VerifyingReader(PieceReader):
    """Passes bytes on; at their end, or past it, raises DigestMismatchError if they are not as promised.

    Used wherever bytes come from elsewhere, so that nobody has to read them twice.
    """

    def __init__(self, source: BinaryIO, digest: Digest, size: int, what: str) -> None:
        super().__init__()
        self._source = source
        self._digest = digest
        self._size = size
        self._what = what
        self._hash = hashlib.new(digest.algorithm)
        self._read = 0
        self._checked = False

    def _next(self, size: int) -> bytes:
        piece = self._source.read(size)
        self._hash.update(piece)
        self._read += len(piece)
        if self._read > self._size:
            raise DigestMismatchError(
                f"{self._what}: more than the {self._size} bytes that {self._digest} has"
            )
        if not piece and size and not self._checked:
            self._checked = True
            self._check()
        return piece

    def _check(self) -> None:
        if self._read != self._size:
            raise DigestMismatchError(
                f"{self._what}: {self._read} bytes where {self._digest} has {self._size}"
            )
        if self._hash.hexdigest() != self._digest.hex:
            raise DigestMismatchError(f"{self._what}: the content is not what {self._digest} promises")

    def close(self) -> None:
        self._source.close()
        super().close()


def verified(blob: Blob, digest: Digest, size: int, what: str) -> BinaryIO:
    """The blob's bytes; reading them to the end raises DigestMismatchError unless they are the right ones."""
    return cast("BinaryIO", io.BufferedReader(VerifyingReader(blob.open(), digest, size, what), CHUNK))
