"""What an uploaded image is called, and the limits of what is taken."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

FILE_LIMIT = 10 * 1024 * 1024  # bytes
PIXEL_LIMIT = 40_000_000
EDGE_LIMIT = 2048  # pixels of the longer edge, as stored

WIDTHS = (480, 960, 1440)  # pixels: the narrower versions of an image
# How wide an image in a text is shown (see the style sheet): 50rem with 3rem of room on both sides, or the
# screen's width with its margins.
SIZES = "(min-width: 50rem) 44rem, calc(100vw - 2.5rem)"

NAME = r"([0-9a-f]{40})-([1-9][0-9]{0,3})x([1-9][0-9]{0,3})\.webp"
_NAME = re.compile(NAME, re.ASCII)
_VARIANT = re.compile(r"(.*)-([1-9][0-9]{0,3})\.(webp|avif)", re.ASCII)
_PREFIX = "/uploads/"


class Kind(StrEnum):
    """An encoding that we serve."""

    AVIF = "avif"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        return f"image/{self}"


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

    @property
    def etag(self) -> str:
        return f'"{self.digest}"'

    @property
    def kind(self) -> Kind:
        return Kind.WEBP

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The narrower versions in each encoding, and all of its width as AVIF."""
        narrower = [width for width in WIDTHS if width < self.width]
        return (
            *(Variant(self, width, Kind.AVIF) for width in (*narrower, self.width)),
            *(Variant(self, width, Kind.WEBP) for width in narrower),
        )

    def srcset(self, kind: Kind) -> str:
        """What the browser may choose from, as the attribute of that name lists it."""
        paths = [(variant.path, variant.width) for variant in self.variants if variant.kind is kind]
        if kind is self.kind:
            paths.append((self.path, self.width))
        return ", ".join(f"{path} {width}w" for path, width in paths)


@dataclass(frozen=True, slots=True)
class Variant:
    """Another version of an image, made of it; so the image's digest names it, with its own width."""

    of: ImageName
    width: int
    kind: Kind

    def __str__(self) -> str:
        return f"{str(self.of).removesuffix('.webp')}-{self.width}.{self.kind}"

    @property
    def height(self) -> int:
        return max(1, round(self.of.height * self.width / self.of.width))

    @property
    def path(self) -> str:
        return f"{_PREFIX}{self}"

    @property
    def etag(self) -> str:
        return f'"{self.of.digest}-{self.width}-{self.kind}"'


def parse_name(text: str) -> ImageName | None:
    match = _NAME.fullmatch(text)
    return ImageName(match[1], int(match[2]), int(match[3])) if match else None


def parse_variant(text: str) -> Variant | None:
    """Only those that `ImageName.variants` has are names: nobody can ask for others to be made."""
    match = _VARIANT.fullmatch(text)
    name = parse_name(f"{match[1]}.webp") if match else None
    if match is None or name is None:
        return None
    variant = Variant(name, int(match[2]), Kind(match[3]))
    return variant if variant in name.variants else None


def parse_path(path: str) -> ImageName | None:
    return parse_name(path.removeprefix(_PREFIX)) if path.startswith(_PREFIX) else None
