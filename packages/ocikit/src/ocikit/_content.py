"""What a layer's blob holds: the archive, decompressed, bounded and checked on its way."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from ocikit import _tar
from ocikit.blob import CHUNK, verified
from ocikit.errors import DigestMismatchError, OcikitError, UnsafeArchiveError
from ocikit.layer import Layer
from ocikit.manifest import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_LAYERS

_LARGEST_WINDOW = 128 << 20  # bytes that zstd may look back, and are held: what `zstd --long` makes


@contextmanager
def opened_archive(layer: Layer, max_size: int) -> Iterator[_tar.Reader]:
    """The archive of a layer; with the end of the block all of it has been read, and is what was promised.

    Raises DigestMismatchError, UnsafeArchiveError for what is no archive or has more than `max_size` bytes,
    and OcikitError for a compression that is not known.
    """
    what = f"layer {layer.descriptor.digest}"
    with verified(layer.blob, layer.descriptor.digest, layer.descriptor.size, what) as source:
        plain = _Plain(_decompressed(source, layer.descriptor.media_type), layer, max_size)
        try:
            yield _tar.Reader(plain)
        except UnsafeArchiveError as error:
            raise UnsafeArchiveError(f"{what}: {error}") from error
        plain.finish()
        # Whatever follows the compressed stream belongs to the blob, and so to its digest.
        while source.read(CHUNK):
            pass


class _Plain:
    """The uncompressed archive on its way through: counted, hashed, bounded."""

    def __init__(self, source: BinaryIO, layer: Layer, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._count = 0
        self._diff_id = layer.diff_id
        self._hash = layer.diff_id.hasher()
        self._what = f"layer {layer.descriptor.digest}"

    def read(self, size: int) -> bytes:
        try:
            data = self._source.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UnsafeArchiveError(f"not a gzip stream, or a broken one: {error}") from error
        self._count += len(data)
        if self._count > self._limit:
            raise UnsafeArchiveError(f"more than {self._limit} bytes uncompressed")
        self._hash.update(data)
        return data

    def finish(self) -> None:
        """Read what follows the archive's end, and raise DigestMismatchError unless all had the diff ID."""
        try:
            while self.read(CHUNK):
                pass
        except UnsafeArchiveError as error:
            raise UnsafeArchiveError(f"{self._what}: {error}") from error
        if self._hash.hexdigest() != self._diff_id.hex:
            raise DigestMismatchError(
                f"{self._what}: its content is not what diff ID {self._diff_id} promises"
            )


def _decompressed(source: BinaryIO, media_type: str) -> BinaryIO:
    kind = OCI_LAYERS.get(media_type, media_type)
    if kind == OCI_LAYER_GZIP:
        return cast("BinaryIO", gzip.GzipFile(fileobj=source))
    if kind == OCI_LAYER_ZSTD:
        return cast("BinaryIO", io.BufferedReader(_Zstd(source), CHUNK))
    if kind == OCI_LAYER:
        return source
    raise OcikitError(f"layers of type {media_type} cannot be unpacked")


class _Zstd(io.RawIOBase):
    """The content of frames of zstd, one after the other (RFC 8878)."""

    def __init__(self, source: BinaryIO) -> None:
        import zstandard  # noqa: PLC0415  most layers are gzip's

        super().__init__()
        self._error = zstandard.ZstdError
        self._stream = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).stream_reader(
            source, read_across_frames=True, closefd=False
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        try:
            return self._stream.readinto(cast("bytearray", buffer))
        except self._error as error:
            raise UnsafeArchiveError(f"not a zstd stream, or a broken one: {error}") from error
