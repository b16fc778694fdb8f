"""What is in a layer, without unpacking it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ocikit import _tar
from ocikit._content import opened_archive
from ocikit.layer import Layer
from ocikit.limits import MAX_SIZE

Kind = Literal["file", "directory", "symlink", "hardlink", "fifo", "device"]

_KINDS: dict[bytes, Kind] = {
    _tar.FILE: "file",
    _tar.DIRECTORY: "directory",
    _tar.SYMBOLIC_LINK: "symlink",
    _tar.HARD_LINK: "hardlink",
    _tar.FIFO: "fifo",
    _tar.CHARACTER_DEVICE: "device",
    _tar.BLOCK_DEVICE: "device",
}


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One entry as the layer has it: whiteouts (`.wh.…`) are entries too, and names may be hostile."""

    path: str  # without a slash at either end
    kind: Kind
    mode: int  # permissions and set-ID bits
    uid: int
    gid: int
    size: int  # bytes of content; 0 but for files
    target: str  # of a link
    sha256: str | None  # of a file's content, in hexadecimal


def layer_entries(layer: Layer, *, max_size: int = MAX_SIZE) -> Iterator[LayerEntry]:
    """The entries of a layer in their order; content is hashed, nothing is written.

    Raises DigestMismatchError and UnsafeArchiveError as `unpack_layer` does; what was given until then is not
    to be trusted.
    """
    with opened_archive(layer, max_size) as archive:
        for entry in archive:
            digest = None
            if entry.kind == _tar.FILE:
                hasher = hashlib.sha256()
                while data := archive.content():
                    hasher.update(data)
                digest = hasher.hexdigest()
            yield LayerEntry(
                path=entry.name.removeprefix("./").strip("/"),
                kind=_KINDS[entry.kind],
                mode=entry.mode,
                uid=entry.uid,
                gid=entry.gid,
                size=entry.size,
                target=entry.target,
                sha256=digest,
            )
