"""The content of some files of an image, as its layers leave them, without unpacking it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ocikit import _tar
from ocikit._content import opened_archive
from ocikit.errors import UnsafeArchiveError
from ocikit.image import Image
from ocikit.limits import MAX_SIZE

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_FILE = 64 << 20  # bytes of one file that is kept in memory


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A regular file's content, and the place of the layer that it is from, 0 for the lowest."""

    data: bytes
    layer: int


def read_files(
    image: Image, wanted: Callable[[str], bool], *, max_size: int = MAX_SIZE
) -> dict[str, ImageFile]:
    """The regular files that `wanted` says yes to, by path without a slash at either end, sorted.

    What a higher layer replaces or hides (image specification, layer.md, "Whiteouts") is not there. Links are
    not followed. `max_size` bounds each layer's unpacked bytes. Raises DigestMismatchError and
    UnsafeArchiveError as `unpack_layer` does.
    """
    found: dict[str, ImageFile] = {}
    for number, layer in enumerate(image.layers):
        added: dict[str, ImageFile] = {}
        hidden: set[str] = set()
        with opened_archive(layer, max_size) as archive:
            for entry in archive:
                path = entry.name.removeprefix("./").strip("/")
                folder, _, name = path.rpartition("/")
                if name == _OPAQUE:
                    hidden.add(folder)
                elif name.startswith(_WHITEOUT):
                    hidden.add(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
                elif entry.kind != _tar.DIRECTORY:
                    hidden.add(path)
                    if entry.kind == _tar.FILE and wanted(path):
                        if entry.size > _MAX_FILE:
                            raise UnsafeArchiveError(
                                f"{path!r} has {entry.size} bytes, more than {_MAX_FILE}"
                            )
                        added[path] = ImageFile(b"".join(iter(archive.content, b"")), number)
        found = {path: file for path, file in found.items() if not _is_within(path, hidden)} | added
    return dict(sorted(found.items()))


def _is_within(path: str, hidden: set[str]) -> bool:
    """Whether `path`, or a folder that it is in, is one of `hidden`; "" is the root."""
    parts = path.split("/")
    return "" in hidden or any("/".join(parts[:end]) in hidden for end in range(1, len(parts) + 1))
