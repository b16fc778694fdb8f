"""The layers of third-party packages: exactly what the hashed lock names, installed for the image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from ocikit import LayerWriter
from tagboat.build import uv
from tagboat.build.base import Base
from tagboat.build.bytecode import compile_files
from tagboat.build.cache import Cache, MadeLayer, key_of
from tagboat.build.files import write_files
from tagboat.build.lock import Lock, Pin, check_requirements, read_lock, wanted_pins
from tagboat.build.tier import Tier, tiers_of
from tagboat.build.venv import installed_files
from tagboat.component import Component

_FORMAT = "2"  # raise it when the same lock would make other bytes


def dependency_layers(
    component: Component, base: Base, cache: Cache, *, progress: Callable[[str], None]
) -> list[MadeLayer]:
    """A layer for each tier of the lock, several made at once.

    Raises ConfigError, UvError, VenvError, InterpreterError.
    """
    lock = read_lock(component.lock)
    check_requirements(component, lock, base.interpreter, base.platform.architecture)
    tiers = tiers_of(wanted_pins(lock, base.interpreter, base.platform.architecture))
    maker = _Maker(lock, component.directory, base, cache, progress)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        waiting = [pool.submit(maker.layer, tier) for tier in tiers]
        try:
            return [done.result() for done in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(frozen=True, slots=True)
class _Maker:
    lock: Lock
    project: Path
    base: Base
    cache: Cache
    progress: Callable[[str], None]

    def layer(self, tier: Tier) -> MadeLayer:
        started = time.monotonic()
        key = key_of(_FORMAT, "dependencies", self.base.identity, *(pin.text for pin in tier.pins))
        layer, made = self.cache.layer(key, lambda writer: self._write(tier, writer))
        return MadeLayer(tier.name, layer, made, time.monotonic() - started)

    def _write(self, tier: Tier, writer: LayerWriter) -> None:
        self.progress(f"installing {', '.join(tier.packages)}")
        with self.cache.temporary() as folder:
            installer = _Installer(self.lock, self.project, self.base, folder)
            files = installed_files(
                installer.install(tier.pins, "all"),
                self.base.interpreter,
                install_alone=installer.install_alone,
            )
            bytecode, _ = compile_files(
                files,
                interpreter=self.base.interpreter,
                root=self.base.root(self.cache),
                identity=self.base.identity,
                cache=self.cache,
            )
            write_files(writer, files | bytecode)


@dataclass(frozen=True, slots=True)
class _Installer:
    lock: Lock
    project: Path
    base: Base
    folder: Path

    def install(self, pins: Sequence[Pin], name: str) -> Path:
        """Install `pins` into a prefix of that name."""
        prefix = self.folder / name
        prefix.mkdir()
        if pins:
            requirements = self.folder / f"{name}.txt"
            requirements.write_text("\n".join((*self.lock.options, *(pin.text for pin in pins))))
            uv.install(
                requirements,
                prefix,
                interpreter=self.base.interpreter,
                architecture=self.base.platform.architecture,
                directory=self.project,
            )
        return prefix

    def install_alone(self, name: str) -> Path:
        wanted = canonicalize_name(name)
        return self.install([pin for pin in self.lock.pins if pin.name == wanted], f"alone-{wanted}")
