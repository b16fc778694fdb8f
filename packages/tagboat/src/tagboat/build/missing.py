"""Why there was no wheel for hashed requirements: these name no files, so the index is asked for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import canonicalize_name

from tagboat.build import uv
from tagboat.build.lock import Lock, Pin
from tagboat.build.lockfile import parse_pylock, releases_of
from tagboat.build.target import Target
from tagboat.build.wheel import Release, best_wheel, remedy, why_none_fits
from tagboat.errors import ConfigError

# As uv says it, e.g. "numpy==2.0 has no wheels with a matching platform tag".
_MISSING = re.compile(r"\b(?P<name>[A-Za-z0-9][\w.-]*)==\S+ has no (?:usable )?wheels")


def explain_missing(
    error: uv.UvError, lock: Lock, pins: Sequence[Pin], target: Target, folders: tuple[Path, Path]
) -> None:
    """Raise ConfigError that says which wheels there are, where it was for the lack of one that `pins` could
    not be installed; otherwise do nothing. `folders` are the project's and one for files of its own."""
    names = {canonicalize_name(name) for name in _MISSING.findall(str(error))}
    releases = [
        release
        for pin in pins
        if pin.name in names
        for release in _releases(pin, lock, *folders)
        if best_wheel(release, target) is None
    ]
    if releases:
        reasons = "\n".join(why_none_fits(release, target) for release in releases)
        raise ConfigError(f"{lock.file}: {reasons}", hint=remedy(releases, target)) from error


def _releases(pin: Pin, lock: Lock, directory: Path, folder: Path) -> Iterator[Release]:
    """What the index has of a pin, as far as the lock has its hashes."""
    requirements = folder / f"asked-{pin.name}.txt"
    requirements.write_text("\n".join((*lock.options, pin.text)))
    try:
        answer = uv.wheels_of(requirements, directory=directory)
    except uv.UvError:  # uv tells nothing of a release that has no wheel at all
        yield Release(pin.name, next(iter(pin.requirement.specifier)).version, (), has_sdist=True)
        return
    for release in releases_of(parse_pylock(answer, lock.file), lock.file):
        locked = (wheel for wheel in release.wheels if any(value in pin.text for value in wheel.hashes))
        yield replace(release, wheels=tuple(locked))
