"""A content digest: `sha256:…` (image specification, descriptor.md, section "Digests")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocikit.errors import InvalidReferenceError

if TYPE_CHECKING:
    from hashlib import _Hash

_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """`algorithm` is sha256 or sha512, `hex` lower-case and as long as that makes it.

    Raises InvalidReferenceError for others.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = _LENGTHS.get(self.algorithm)
        if length is None or len(self.hex) != length or not _HEX.fullmatch(self.hex):
            raise InvalidReferenceError(f"{self.algorithm}:{self.hex[:140]} is no sha256 or sha512 digest")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:hex`. Raises InvalidReferenceError."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise InvalidReferenceError(f"{text[:140]!r} is no digest: it has no colon")
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @property
    def path(self) -> str:
        """`sha256/…`: where an image layout keeps the blob, below `blobs/`."""
        return f"{self.algorithm}/{self.hex}"

    def hasher(self) -> _Hash:
        """A new hash object of this algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
