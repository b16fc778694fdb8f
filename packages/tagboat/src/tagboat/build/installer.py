"""Locked packages, installed for the target: from the very files that the lock names, or by hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from tagboat.build import uv
from tagboat.build.lock import Pin
from tagboat.build.lockfile import to_pylock
from tagboat.build.missing import explain_missing
from tagboat.build.selection import Selection


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs pins of a selection, each time into a prefix of its own in the same folder."""

    selection: Selection
    folder: Path

    def install(self, pins: Sequence[Pin], name: str) -> Path:
        """Install `pins` into a prefix of that name.

        Raises UvError, and ConfigError that says which wheels there are when none suits.
        """
        prefix = self.folder / name
        prefix.mkdir()
        located = self.selection.located(pins)
        if all(pin.wheel for pin in located):
            self._install_wheels(located, prefix)
        else:
            self._install_requirements(located, prefix)
        return prefix

    def _install_wheels(self, pins: Sequence[Pin], prefix: Path) -> None:
        lock = self.folder / f"pylock.{prefix.name}.toml"
        lock.write_text(to_pylock(pins), encoding="utf-8")
        # The lock's own folder has the settings that it was made with, e.g. the names of its indexes, by
        # which uv finds the user's credentials.
        directory = self.selection.lock.file.parent
        uv.install(lock, prefix, target=self.selection.target, directory=directory)

    def _install_requirements(self, pins: Sequence[Pin], prefix: Path) -> None:
        requirements = self.folder / f"{prefix.name}.txt"
        lock, target, project = self.selection.lock, self.selection.target, self.selection.component.directory
        requirements.write_text("\n".join((*lock.options, *(pin.text for pin in pins))))
        try:
            uv.install(requirements, prefix, target=target, directory=project)
        except uv.UvError as error:
            explain_missing(error, lock, pins, target, (project, self.folder))
            raise

    def install_alone(self, name: str) -> Path:
        wanted = canonicalize_name(name)
        return self.install([pin for pin in self.selection.pins if pin.name == wanted], f"alone-{wanted}")
