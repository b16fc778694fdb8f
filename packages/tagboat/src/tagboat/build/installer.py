"""Locked packages, installed for the target: from the very files that the lock names, or by hashes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from tagboat.build import uv
from tagboat.build.files import Files
from tagboat.build.lock import Pin
from tagboat.build.lockfile import parse_pylock, releases_of, to_pylock
from tagboat.build.missing import explain_missing
from tagboat.build.selection import Selection
from tagboat.build.target import Target
from tagboat.build.uvcache import UvCache
from tagboat.build.venv import unpacked_wheel
from tagboat.build.wheel import Release, best_wheel
from tagboat.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs pins of a selection, each time into a prefix of its own in the same folder."""

    selection: Selection
    folder: Path

    def unpacked(self, pins: Sequence[Pin], cache: UvCache) -> dict[str, Files]:
        """The files of those packages that lie in uv's cache and need no installing, by name.

        Raises VenvError.
        """
        found: dict[str, Files] = {}
        names = Counter(pin.name for pin in pins)
        for pin in self._with_wheels(
            [pin for pin in self.selection.located(pins) if not self._is_built(pin)]
        ):
            folder = cache.find(pin)
            if folder is not None and names[pin.name] == 1:
                files = unpacked_wheel(folder, self.selection.target.interpreter)
                if files is not None:
                    found[pin.name] = files
        return found

    def _with_wheels(self, pins: Sequence[Pin]) -> list[Pin]:
        """The pins, each with its wheel; none where uv would have to ask an index for that."""
        unknown = [pin for pin in pins if pin.wheel is None]
        if not unknown:
            return list(pins)
        lock, target = self.selection.lock, self.selection.target
        text = "\n".join((*lock.options, *(pin.text for pin in unknown)))
        try:
            answer = uv.wheels_for(text, target=target, directory=self.selection.component.directory)
            found = releases_of(parse_pylock(answer, lock.file), lock.file)
            releases = {release.name: release for release in found}
        except (uv.UvError, ConfigError):  # uv then says, as it installs, what is wrong
            return [pin for pin in pins if pin.wheel]
        return [pin if pin.wheel else _chosen(pin, releases.get(pin.name), target) for pin in pins]

    def install(self, pins: Sequence[Pin], name: str) -> list[Path]:
        """Install `pins` into prefixes whose names begin with that one.

        Raises UvError, and ConfigError that says which wheels there are when none suits, or that what was
        built of a source distribution is for this machine alone.
        """
        located = self.selection.located(pins)
        built = [pin for pin in located if self._is_built(pin)]
        prefixes = []
        for some, prefix in (
            ([pin for pin in located if pin not in built], self.folder / name),
            (built, self.folder / f"{name}-built"),
        ):
            if some:
                prefix.mkdir()
                self._install(some, prefix, build=some is built)
                prefixes.append(prefix)
        if built:
            _check_portable(prefixes[-1], self.selection.lock.file)
        return prefixes

    def _is_built(self, pin: Pin) -> bool:
        """Whether its wheel may have to be built: a lock of requirements does not say which file it means."""
        if pin.wheel is not None:
            return pin.wheel.is_source
        return pin.name in self.selection.component.config.build_from_source

    def _install(self, pins: Sequence[Pin], prefix: Path, *, build: bool) -> None:
        if all(pin.wheel for pin in pins):
            self._install_files(pins, prefix, build=build)
        else:
            self._install_requirements(pins, prefix, build=build)

    def _install_files(self, pins: Sequence[Pin], prefix: Path, *, build: bool) -> None:
        lock = self.folder / f"pylock.{prefix.name}.toml"
        lock.write_text(to_pylock(pins), encoding="utf-8")
        # The lock's own folder has the settings that it was made with, e.g. the names of its indexes, by
        # which uv finds the user's credentials.
        directory = self.selection.lock.file.parent
        uv.install(lock, prefix, target=self.selection.target, directory=directory, build=build)

    def _install_requirements(self, pins: Sequence[Pin], prefix: Path, *, build: bool) -> None:
        requirements = self.folder / f"{prefix.name}.txt"
        lock, target, project = self.selection.lock, self.selection.target, self.selection.component.directory
        requirements.write_text("\n".join((*lock.options, *(pin.text for pin in pins))))
        try:
            uv.install(requirements, prefix, target=target, directory=project, build=build)
        except uv.UvError as error:
            explain_missing(error, lock, pins, target, (project, self.folder))
            raise

    def install_alone(self, name: str) -> Path:
        wanted = canonicalize_name(name)
        (prefix,) = self.install(
            [pin for pin in self.selection.pins if pin.name == wanted], f"alone-{wanted}"
        )
        return prefix


def _chosen(pin: Pin, release: Release | None, target: Target) -> Pin:
    """The pin with the wheel that an installer would take, if there is one that its hashes allow."""
    wheels = release.wheels if release is not None else ()
    locked = tuple(wheel for wheel in wheels if any(value in pin.text for value in wheel.hashes))
    return replace(pin, wheel=best_wheel(replace(release, wheels=locked), target) if release else None)


def _check_portable(prefix: Path, lock: Path) -> None:
    """Raise ConfigError for a wheel that was compiled here: its libraries are this machine's."""
    for file in sorted(prefix.rglob("*.dist-info/WHEEL")):
        tags = [line.partition(":")[2].strip() for line in file.read_text().splitlines()]
        if any(re.search(r"-(linux_\w+|macosx_\w+|win\w*)$", tag) for tag in tags):
            name = file.parent.name.partition("-")[0]
            raise ConfigError(
                f"{lock}: {name} has parts that were compiled, for this machine and not for the image",
                hint="lock a version that has a wheel for the base, or build one there and lock that file",
            )
