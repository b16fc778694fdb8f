"""The layers of third-party packages: exactly what the hashed lock names, installed for the image."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from tagboat.build import uv
from tagboat.build.base import Base
from tagboat.build.bytecode import bytecode_path, compile_files
from tagboat.build.cache import Cache, MadeLayer, key_of
from tagboat.build.files import Entry, Files, write_files
from tagboat.build.lock import Lock, Pin
from tagboat.build.lockfile import read_lock, to_pylock
from tagboat.build.missing import explain_missing
from tagboat.build.tier import Tier, tiers_of
from tagboat.build.venv import installed_distributions
from tagboat.component import Component

_FORMAT = "3"  # raise it when the same lock would make other bytes


def dependency_layers(
    component: Component, base: Base, cache: Cache, *, progress: Callable[[str], None]
) -> list[MadeLayer]:
    """A layer for each tier of the lock.

    What the missing ones hold is installed and compiled in one go; then they are written side by side. Raises
    ConfigError, UvError, VenvError, InterpreterError.
    """
    lock = read_lock(component.lock)
    wanted = lock.wanted(component, base.target)
    tiers = tiers_of(wanted)
    keys = [
        key_of(_FORMAT, "dependencies", base.identity, *(pin.text for pin in tier.pins)) for tier in tiers
    ]
    missing = [tier for tier, key in zip(tiers, keys, strict=True) if not cache.has_layer(key)]
    with ExitStack() as stack:
        maker = _Maker(lock, wanted, component.directory, base, cache, stack, progress, missing)

        def layer(tier: Tier, key: str) -> MadeLayer:
            started = time.monotonic()
            made, fresh = cache.layer(key, lambda writer: write_files(writer, maker.files(tier)))
            inputs = {"base": base.identity} | {str(pin.requirement): key_of(pin.text) for pin in tier.pins}
            seconds = time.monotonic() - started
            return MadeLayer(tier.name, made, fresh, seconds, f"dependencies {tier.number}", inputs)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(layer, tiers, keys))


@dataclass
class _Maker:
    """Installs and compiles what the `missing` tiers hold, when the first of them is asked for."""

    lock: Lock
    wanted: tuple[Pin, ...]
    project: Path
    base: Base
    cache: Cache
    stack: ExitStack  # what is installed is removed with it
    progress: Callable[[str], None]
    missing: Sequence[Tier]
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _packages: dict[str, Files] = field(default_factory=dict)

    def files(self, tier: Tier) -> Files:
        """The files of a tier; of what two packages bring, the last by name has the say."""
        with self._turn:
            if not self._packages.keys() >= set(tier.packages):
                self._packages |= self._installed(dict.fromkeys((*self.missing, tier)))
        return {path: entry for name in tier.packages for path, entry in self._packages[name].items()}

    def _installed(self, tiers: Iterable[Tier]) -> dict[str, Files]:
        """The files of every package of these tiers, with their byte code, by the package's name."""
        pins = [pin for tier in tiers for pin in tier.pins]
        self.progress(f"installing {_counted(pins)}")
        folder = self.stack.enter_context(self.cache.temporary())
        installer = _Installer(self.lock, self.wanted, self.project, self.base, folder)
        found = installed_distributions(
            installer.install(pins, "all"), self.base.interpreter, install_alone=installer.install_alone
        )
        self.progress("compiling byte code")
        return dict(self._compiled(found))

    def _compiled(self, found: Mapping[str, Files]) -> Iterator[tuple[str, Files]]:
        """Each with its byte code: as many in one go as do not bring the same files."""
        waiting = dict(found)
        while waiting:
            together: dict[str, Entry] = {}
            names = []
            for name, files in waiting.items():
                if together.keys().isdisjoint(files):
                    together |= files
                    names.append(name)
            bytecode, _ = compile_files(together, self.base.compiler(self.cache), self.cache)
            for name in names:
                files = waiting.pop(name)
                made = (bytecode_path(path, self.base.interpreter) for path in files if path.endswith(".py"))
                yield name, {**files, **{path: bytecode[path] for path in made if path in bytecode}}


def _counted(pins: Sequence[Pin]) -> str:
    return ", ".join(pin.name for pin in pins) if len(pins) <= 3 else f"{len(pins)} locked packages"


@dataclass(frozen=True, slots=True)
class _Installer:
    lock: Lock
    wanted: tuple[Pin, ...]
    project: Path
    base: Base
    folder: Path

    def install(self, pins: Sequence[Pin], name: str) -> Path:
        """Install `pins` into a prefix of that name."""
        prefix = self.folder / name
        prefix.mkdir()
        files = [pin for pin in pins if pin.wheel is not None]
        others = [pin for pin in pins if pin.wheel is None]
        if files:
            # The lock's own folder has the settings that it was made with, e.g. the names of its indexes,
            # by which uv finds the user's credentials.
            lock = self.folder / f"pylock.{name}.toml"
            lock.write_text(to_pylock(files), encoding="utf-8")
            uv.install(lock, prefix, target=self.base.target, directory=self.lock.file.parent)
        if others:
            requirements = self.folder / f"{name}.txt"
            requirements.write_text("\n".join((*self.lock.options, *(pin.text for pin in others))))
            try:
                uv.install(requirements, prefix, target=self.base.target, directory=self.project)
            except uv.UvError as error:
                explain_missing(
                    error,
                    self.lock,
                    others,
                    target=self.base.target,
                    directory=self.project,
                    folder=self.folder,
                )
                raise
        return prefix

    def install_alone(self, name: str) -> Path:
        wanted = canonicalize_name(name)
        return self.install([pin for pin in self.wanted if pin.name == wanted], f"alone-{wanted}")
