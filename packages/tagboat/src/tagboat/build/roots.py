"""File systems of bases in the cache: as much of them as a build needs, owned by whoever builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

from ocikit import Image
from tagboat.build.cache import Cache
from tagboat.build.interpreter import compiles, starts

Extent = Literal["whole", "compiler", "interpreter"]

WANTED: Final[Mapping[Extent, Callable[[str], bool] | None]] = {
    "whole": None,
    "compiler": compiles,
    "interpreter": starts,
}
"""Which files and links of an image, by their names in it, are of that extent; None: all."""


def unpacked(image: Image, cache: Cache, extent: Extent) -> Path:
    """The image's file system: the whole, or at least what its Python needs."""
    root = _place(image, cache, extent)
    if not root.is_dir():
        with cache.locked(f"root-{root.name}"), cache.temporary() as folder:
            if not root.is_dir():
                from ocikit import unpack  # noqa: PLC0415  only for a base that is new here

                unpack(image, folder / "root", ownership=False, only=WANTED[extent])
                (folder / "root").rename(root)
    return root


def keep_root(made: Path, image: Image, cache: Cache, extent: Extent) -> None:
    """Keep a folder, on the cache's own disk, that has at least so much of the image already, for `unpacked`.

    It is left where it is if there is one.
    """
    root = _place(image, cache, extent)
    with cache.locked(f"root-{root.name}"):
        if not root.is_dir():
            made.rename(root)


def _place(image: Image, cache: Cache, extent: Extent) -> Path:
    return cache.path("roots", f"{image.digest.hex}-{extent}")
