"""Whatever was uploaded, made into an image of ours: decoded, turned upright, bounded, and encoded anew as
WebP.

Nothing of the sent bytes survives but the pixels: no metadata, no second format hidden behind the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from company_site.errors import SiteError
from company_site.uploads.model import EDGE_LIMIT, FILE_LIMIT, PIXEL_LIMIT, ImageName, Kind, Variant

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
_QUALITY = {Kind.WEBP: 82, Kind.AVIF: 60}  # which look about the same
_CHUNKS = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH"})  # of a WebP file, without its metadata
_OPTIONS: Mapping[Kind, Mapping[str, int]] = {
    Kind.WEBP: {"method": 4},
    Kind.AVIF: {"speed": 8, "max_threads": 1},
}


class UnacceptableImageError(SiteError):
    """The file is not taken; the text says why, for the one who sent it."""


@dataclass(frozen=True, slots=True)
class Image:
    name: ImageName
    data: bytes


def reencode(data: bytes) -> Image:
    """A WebP image of at most `EDGE_LIMIT` pixels an edge; of an animation, its first frame.

    Takes up to about 200 MB and a second, so callers run it in a thread and one at a time. Raises
    UnacceptableImageError.
    """
    if len(data) > FILE_LIMIT:
        raise UnacceptableImageError(f"The file is larger than {FILE_LIMIT // 1024**2} MB.")
    # Pillow is imported here: a page that shows a post has no need of it, and a start should be quick.
    from PIL import Image as Pillow  # noqa: PLC0415
    from PIL import UnidentifiedImageError  # noqa: PLC0415

    # Pillow's own limit only warns up to twice its value; ours is checked before anything is decoded.
    Pillow.MAX_IMAGE_PIXELS = None
    try:
        with Pillow.open(BytesIO(data), formats=_FORMATS) as picture:
            _check_size(*picture.size)
            return _encode(_upright(picture))
    except UnacceptableImageError:
        raise
    except UnidentifiedImageError:
        raise UnacceptableImageError("This is not a JPEG, PNG, WebP, AVIF or GIF image.") from None
    except Exception as error:  # decoders raise nearly anything for files that are cut short or made by hand
        raise UnacceptableImageError("The image is damaged and cannot be read.") from error


def _check_size(width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT:
        raise UnacceptableImageError(
            f"The image has {width} by {height} pixels; {PIXEL_LIMIT // 10**6} megapixels are allowed."
        )


def _upright(picture: Picture) -> Picture:
    from PIL import ImageOps  # noqa: PLC0415

    # The gap lets a JPEG be decoded at a fraction of its size, which saves most of the memory.
    picture.thumbnail((EDGE_LIMIT, EDGE_LIMIT), reducing_gap=2.0)
    upright = ImageOps.exif_transpose(picture)
    has_alpha = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
    return upright.convert("RGBA" if has_alpha else "RGB")


def check_stored(name: ImageName, data: bytes) -> None:
    """Raise UnacceptableImageError unless these bytes are an image of ours by that name: a WebP image of
    that size and digest, with nothing in it but the picture, and nothing behind it.
    """
    from PIL import Image as Pillow  # noqa: PLC0415

    if ImageName.of(data, name.width, name.height) != name:
        raise UnacceptableImageError("The content is not what the name says.")
    if data[:4] != b"RIFF" or int.from_bytes(data[4:8], "little") != len(data) - 8:
        raise UnacceptableImageError("This is not a WebP image and nothing else.")
    place = 12
    while place < len(data):
        if data[place : place + 4] not in _CHUNKS:
            raise UnacceptableImageError("There is more in the image than a picture.")
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    try:
        with Pillow.open(BytesIO(data), formats=["WEBP"]) as picture:
            width, height = picture.size
            if max(width, height) <= EDGE_LIMIT:
                picture.load()
    except Exception as error:  # as above
        raise UnacceptableImageError("The image is damaged and cannot be read.") from error
    if (width, height) != (name.width, name.height) or max(width, height) > EDGE_LIMIT:
        raise UnacceptableImageError("The image has another size than its name says.")


def make_variant(data: bytes, variant: Variant) -> bytes:
    """Another version of an image of ours. Takes up to a second, so callers run it in a thread."""
    from PIL import Image as Pillow  # noqa: PLC0415

    with Pillow.open(BytesIO(data), formats=["WEBP"]) as picture:
        smaller = picture.resize((variant.width, variant.height), reducing_gap=3.0)
    return _bytes(smaller, variant.kind)


def _encode(picture: Picture) -> Image:
    data = _bytes(picture, Kind.WEBP)
    return Image(ImageName.of(data, picture.width, picture.height), data)


def _bytes(picture: Picture, kind: Kind) -> bytes:
    output = BytesIO()
    # The pixels alone: Pillow would carry the colour profile and Exif data over from `info`.
    picture.info.clear()
    picture.save(
        output, kind.upper(), quality=_QUALITY[kind], exif=b"", icc_profile=b"", xmp=b"", **_OPTIONS[kind]
    )
    return output.getvalue()
