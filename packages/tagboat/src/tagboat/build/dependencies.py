"""The layers of third-party packages: exactly what the hashed lock names, installed for the image."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ocikit import Layer
from tagboat.build.base import Base
from tagboat.build.bytecode import compile_packages
from tagboat.build.cache import Cache, MadeLayer, key_of
from tagboat.build.explanation import MODULES
from tagboat.build.files import File, Files, write_files
from tagboat.build.lock import Pin
from tagboat.build.projects import Projects
from tagboat.build.selection import Selection
from tagboat.build.size import Sizes
from tagboat.build.tier import Tier, tiers_of
from tagboat.build.venv import installed_distributions
from tagboat.component import Component
from tagboat.config import ByteCode, Config
from tagboat.errors import TagboatError

if TYPE_CHECKING:
    from tagboat.build.reach import Reach

_FORMAT = "6"  # raise it when the same lock would make other bytes


def dependency_layers(
    component: Component, base: Base, projects: Projects, *, on_layer: Callable[[Layer], None]
) -> list[MadeLayer]:
    """A layer for each tier of the lock.

    What the missing ones hold is installed and compiled in one go; then they are written side by side, and
    `on_layer` gets each as soon as it is made, from several threads. Raises ConfigError, UvError, VenvError,
    InterpreterError, and what Projects raises.
    """
    cache, byte_code = projects.cache, component.config.byte_code
    selection = Selection(component, base.target, cache)
    pins = selection.pins
    sizes = Sizes(cache, base.target)
    reach = _reach(component.config, base, projects)

    with ExitStack() as stack:
        maker = _Maker(selection, base, cache, stack, projects.progress, bool(byte_code))
        large = sizes.large(pins)
        sources = reach.sources(pins) if reach else {}
        if large is None or sources is None:
            # What is new is looked at first; with it comes what will probably share a layer with it.
            unknown = {*sizes.unknown(pins), *(reach.unknown(pins) if reach else ())}
            guess = tiers_of(pins, sizes.known_large(pins))
            maker.install(pin for tier in guess if unknown & {*tier.pins} for pin in tier.pins)
            sizes.keep(unknown, maker.packages)
            large = sizes.known_large(pins)
            if reach:
                reach.keep(unknown, maker.packages)
                sources = reach.sources(pins)
        compiled = sources or {}
        tiers = tiers_of(pins, large)
        keys = [_key(tier, base, byte_code, compiled) for tier in tiers]
        maker.only = frozenset(path for paths in compiled.values() for path in paths) if reach else None
        maker.missing = [
            pin
            for tier, key in zip(tiers, keys, strict=True)
            if not cache.has_layer(key)
            for pin in tier.pins
        ]

        folder = stack.enter_context(cache.temporary()) if maker.missing else None

        def layer(tier: Tier, key: str) -> MadeLayer:
            started = time.monotonic()
            made, fresh = cache.layer(
                key,
                lambda writer: write_files(writer, maker.files(tier)),
                folder=folder,
                other=lambda: maker.content_key(tier),
            )
            if fresh:
                on_layer(made)
            inputs = {"base": base.identity} | {str(pin.requirement): key_of(pin.text) for pin in tier.pins}
            if reach:
                inputs[MODULES] = "\n".join(_sources(tier, compiled))
            seconds = time.monotonic() - started
            return MadeLayer(tier.name, made, fresh, seconds, f"dependencies {tier.label}", inputs)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(layer, tiers, keys))


def _reach(config: Config, base: Base, projects: Projects) -> Reach | None:
    if config.byte_code != "imported":
        return None
    from tagboat.build.reach import Reach  # noqa: PLC0415  most builds do not ask

    return Reach(projects, base.target, config)


def _key(tier: Tier, base: Base, byte_code: ByteCode, compiled: Mapping[str, Sequence[str]]) -> str:
    """What decides about the layer of a tier; `compiled` are the sources of which there is byte code."""
    kind = f"dependencies, byte code {byte_code}"
    return key_of(_FORMAT, kind, base.identity, *(pin.text for pin in tier.pins), *_sources(tier, compiled))


def _sources(tier: Tier, compiled: Mapping[str, Sequence[str]]) -> list[str]:
    return [path for name in tier.packages for path in compiled.get(name, ())]


@dataclass
class _Maker:
    """Installs and compiles what is `missing`, all of it when the first of it is asked for."""

    selection: Selection
    base: Base
    cache: Cache
    stack: ExitStack  # what is installed is removed with it
    progress: Callable[[str], None]
    byte_code: bool
    missing: Sequence[Pin] = ()
    only: frozenset[str] | None = None
    """The paths of what is compiled, where that is not all."""

    packages: dict[str, Files] = field(default_factory=dict)
    """The files of every package that is installed, by its name; not yet with byte code."""

    _turn: threading.Lock = field(default_factory=threading.Lock)
    _whole: dict[str, Files] = field(default_factory=dict)
    _failure: TagboatError | None = None

    def files(self, tier: Tier) -> Files:
        """The files of a tier; of what two packages bring, the last by name has the say."""
        with self._turn:
            if self._failure is not None:  # of another tier, and for all of them
                raise self._failure
            if not self._whole.keys() >= set(tier.packages):
                try:
                    self._make([*self.missing, *tier.pins])
                except TagboatError as error:
                    self._failure = error
                    raise
        return {path: entry for name in tier.packages for path, entry in self._whole[name].items()}

    def content_key(self, tier: Tier) -> str:
        """What is in the layer of a tier, whatever it is for: wheels that are the same for two platforms, or
        upon two bases, make the same layer.

        The records of the packages have the hashes of their files (PEP 376), and those of scripts are ours.
        """
        kept = [(path, one) for path, one in self.files(tier).items() if isinstance(one, File)]
        records = [one.read() for path, one in kept if path.endswith(".dist-info/RECORD")]
        programs = "\n".join(path for path, one in kept if one.executable)
        compiled = "\n".join(path for path, one in kept if path.endswith(".pyc"))
        python = self.base.compiler(self.cache).identity if compiled else ""
        return key_of(_FORMAT, "dependencies by content", programs, python, compiled, *records)

    def install(self, pins: Iterable[Pin]) -> None:
        """Install those of `pins` that are not yet."""
        from tagboat.build.installer import Installer  # noqa: PLC0415  most builds install nothing
        from tagboat.build.uvcache import UvCache  # noqa: PLC0415

        new = [pin for pin in dict.fromkeys(pins) if pin.name not in self.packages]
        if not new:
            return
        self.progress(f"installing {_counted(new)}")
        folder = self.stack.enter_context(self.cache.temporary(many=True))
        installer = Installer(self.selection, folder)
        cached = self.stack.enter_context(UvCache.opened(self.selection.component.directory))
        if cached is not None:
            self.packages |= installer.unpacked(new, cached)
            new = [pin for pin in new if pin.name not in self.packages]
        for prefix in installer.install(new, "all"):
            self.packages |= installed_distributions(
                prefix, self.base.interpreter, install_alone=installer.install_alone
            )

    def _make(self, pins: Sequence[Pin]) -> None:
        """All of these packages, with byte code if wanted."""
        self.install(pins)
        found = {pin.name: self.packages[pin.name] for pin in pins if pin.name not in self._whole}
        if self.byte_code:
            self.progress("compiling byte code")
            found = self._compiled(found)
        self._whole |= found

    def _compiled(self, found: Mapping[str, Files]) -> dict[str, Files]:
        """Each with its byte code."""
        wanted = {name: self._wanted(files) for name, files in found.items()}
        compiled = compile_packages(wanted, self.base.compiler(self.cache), self.cache)
        return {name: {**files, **compiled[name]} for name, files in found.items()}

    def _wanted(self, files: Files) -> Files:
        only = self.only
        return files if only is None else {path: one for path, one in files.items() if path in only}


def _counted(pins: Sequence[Pin]) -> str:
    return ", ".join(pin.name for pin in pins) if len(pins) <= 3 else f"{len(pins)} locked packages"
