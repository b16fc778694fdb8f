"""The images of a push: upon what is known from the last one, as far as that still holds, or else anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tagboat.fingerprint import Known, Scope

if TYPE_CHECKING:
    from ocikit import Image, Layer, Platform
    from tagboat.component import Component

# What a push does not need is not loaded: where a line was edited, that takes longer than the build.
# ruff: noqa: PLC0415

Progress = Callable[[str], None]


class Made(NamedTuple):
    """One image for each platform, and what is `known` of them next time; None where that is nothing."""

    images: tuple[Image, ...]
    known: Known | None


def make_upon(
    known: Known | None, cache: Path, progress: Progress, on_layer: Callable[[Layer], None]
) -> Made | None:
    """The images upon the frames that are known; None where none hold. Raises as `build_upon` does."""
    from tagboat.build.frame import Frame, build_upon

    frames = [Frame.from_text(text) for text in known.frames] if known is not None else []
    whole = [frame for frame in frames if frame is not None]
    if not whole or len(whole) < len(frames):
        return None
    images = []
    for frame in whole:
        build = build_upon(frame, cache, progress=progress, on_layer=on_layer)
        if build is None:
            return None
        images.append(build.image)
    return Made(tuple(images), known)


def make(
    component: Component,
    platforms: Sequence[str],
    cache: Path,
    progress: Progress,
    on_layer: Callable[[Layer], None],
) -> Made:
    """The images for the named platforms, or else for this machine's. Raises as `build` does."""
    from tagboat.build import build_with_report

    scope = Scope.of(component, cache)
    found = scope.fingerprint()  # before the build, which thus cannot have read anything newer
    began = time.time()
    builds = [
        build_with_report(component, cache, platform=platform, progress=progress, on_layer=on_layer)
        for platform in platforms_of(platforms)
    ]
    frames = [text for build in builds if (text := build.frame.to_text()) is not None]
    if len(frames) < len(builds):
        frames = []
    known = Known(scope, found, None, tuple(frames), began) if found is not None else None
    return Made(tuple(build.image for build in builds), known)


def platforms_of(names: Sequence[str]) -> list[Platform]:
    """Those that are named, each once, or else this machine's. Raises OcikitError for what is none."""
    from ocikit import Platform

    return [Platform.parse(name) for name in dict.fromkeys(names)] or [Platform.host()]
