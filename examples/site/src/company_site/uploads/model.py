"""What an uploaded image is called, and the limits of what is taken."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

FILE_LIMIT = 10 * 1024 * 1024  # bytes
PIXEL_LIMIT = 40_000_000
EDGE_LIMIT = 2048  # pixels of the longer edge, as stored

_NAME = re.compile(r"([0-9a-f]{40})-([1-9][0-9]{0,3})x([1-9][0-9]{0,3})\.webp", re.ASCII)
_PREFIX = "/uploads/"


@dataclass(frozen=True, slots=True)
class ImageName:
    """Named by content: the first 160 bits of its SHA-256, and its size in pixels, so that a page can
    reserve the room.
    """

    digest: str
    width: int
    height: int

    @classmethod
    def of(cls, data: bytes, width: int, height: int) -> ImageName:
        return cls(hashlib.sha256(data).hexdigest()[:40], width, height)

    def __str__(self) -> str:
        return f"{self.digest}-{self.width}x{self.height}.webp"

    @property
    def path(self) -> str:
        """Where the site serves it."""
        return f"{_PREFIX}{self}"


def parse_name(text: str) -> ImageName | None:
    match = _NAME.fullmatch(text)
    return ImageName(match[1], int(match[2]), int(match[3])) if match else None


def parse_path(path: str) -> ImageName | None:
    return parse_name(path.removeprefix(_PREFIX)) if path.startswith(_PREFIX) else None
