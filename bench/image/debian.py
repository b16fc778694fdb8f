"""The base of Debian packages by itself: how long it takes to compose, and how large it is."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench.image.ours import forget_all_but_what_was_fetched
from bench.row import Row
from ocikit import Image, Platform
from tagboat.build.cache import Cache
from tagboat.build.debian.compose import compose
from tagboat.build.debian.release import Release

__all__ = ["composition"]

_RELEASE = Release("debian", "bookworm")


def composition(cache: Path) -> list[Row]:
    """Rows of a base whose packages are in `cache` already: composed anew, and found again."""
    anew, again = [], []
    for _ in range(3):
        forget_all_but_what_was_fetched(cache)
        seconds, image = _compose(cache)
        anew.append(seconds)
        again.append(_compose(cache)[0])
    size = sum(layer.descriptor.size for layer in image.layers)
    return [
        Row("image", f"{_RELEASE} composed", statistics.median(anew), "s", goal=2.5),
        Row("image", f"{_RELEASE} found again", statistics.median(again), "s", goal=0.1),
        Row("image", f"{_RELEASE} with Python", size / 1e6, "MB", goal=18),
    ]


def _compose(cache: Path) -> tuple[float, Image]:
    started = time.perf_counter()
    store = Cache.open(cache / "tagboat")
    base = compose(
        _RELEASE, Platform.host(), store, lock=cache / "none", compiler=None, progress=lambda _: None
    )
    return time.perf_counter() - started, base.image
