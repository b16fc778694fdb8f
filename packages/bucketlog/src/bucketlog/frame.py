"""The frame of what is derived from the log: a line that says what an object is, and one Zstandard frame."""

from __future__ import annotations

from typing import Final

import zstandard

from bucketlog.errors import FormatError

__all__ = ["pack", "unpack"]

_MAX_UNPACKED: Final = 1 << 30


def pack(header: bytes, content: bytes) -> bytes:
    """The object of some content; `header` is its line, with the line feed."""
    return header + zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content)


def unpack(key: str, data: bytes, header: bytes, limit: int = _MAX_UNPACKED) -> bytes:
    """The content of the object `key`; raises `FormatError`, which names it, unless it is whole."""
    if not data.startswith(header):
        line = data[:40].partition(b"\n")[0]
        raise FormatError(
            f"{key} begins with {line!r}, not with {header[:-1].decode()!r}: it is no object of that kind, "
            f"or of a newer format; upgrade bucketlog"
        )
    try:
        size = zstandard.get_frame_parameters(data[len(header) :]).content_size
        if size > limit:
            raise FormatError(f"{key} would unpack to {size} bytes, and {limit} are allowed")
        return zstandard.ZstdDecompressor().decompress(data[len(header) :])
    except zstandard.ZstdError as error:
        raise FormatError(f"{key} is corrupt: {error}") from error
