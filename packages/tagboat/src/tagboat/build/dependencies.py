"""The layers of third-party packages: exactly what the hashed lock names, installed for the image."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from ocikit import Layer
from tagboat.build.base import Base
from tagboat.build.bytecode import compile_packages
from tagboat.build.cache import Cache, MadeLayer, key_of
from tagboat.build.files import Files, write_files
from tagboat.build.lock import Pin
from tagboat.build.selection import Selection
from tagboat.build.size import Sizes
from tagboat.build.tier import Tier, tiers_of
from tagboat.build.venv import installed_distributions
from tagboat.component import Component
from tagboat.errors import TagboatError

_FORMAT = "5"  # raise it when the same lock would make other bytes


def dependency_layers(
    component: Component,
    base: Base,
    cache: Cache,
    *,
    progress: Callable[[str], None],
    on_layer: Callable[[Layer], None],
) -> list[MadeLayer]:
    """A layer for each tier of the lock.

    What the missing ones hold is installed and compiled in one go; then they are written side by side, and
    `on_layer` gets each as soon as it is made, from several threads. Raises ConfigError, UvError, VenvError,
    InterpreterError.
    """
    selection = Selection(component, base.target, cache)
    sizes = Sizes(cache, base.target)
    byte_code = component.config.byte_code
    kind = "dependencies" if byte_code else "dependencies without byte code"

    def key_for(tier: Tier) -> str:
        return key_of(_FORMAT, kind, base.identity, *(pin.text for pin in tier.pins))

    with ExitStack() as stack:
        maker = _Maker(selection, base, cache, stack, progress, byte_code)
        large = sizes.large(selection.pins)
        if large is None:
            # What is new is looked at first; with it comes what will probably share a layer with it.
            unknown = sizes.unknown(selection.pins)
            guess = tiers_of(selection.pins, sizes.known_large(selection.pins))
            maker.install([*unknown, *_missing(guess, key_for, cache)])
            sizes.keep(unknown, maker.packages)
            large = sizes.known_large(selection.pins)
        tiers = tiers_of(selection.pins, large)
        keys = [key_for(tier) for tier in tiers]
        maker.missing = _missing(tiers, key_for, cache)

        def layer(tier: Tier, key: str) -> MadeLayer:
            started = time.monotonic()
            made, fresh = cache.layer(key, lambda writer: write_files(writer, maker.files(tier)))
            if fresh:
                on_layer(made)
            inputs = {"base": base.identity} | {str(pin.requirement): key_of(pin.text) for pin in tier.pins}
            seconds = time.monotonic() - started
            return MadeLayer(tier.name, made, fresh, seconds, f"dependencies {tier.label}", inputs)

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(layer, tiers, keys))


def _missing(tiers: Iterable[Tier], key_for: Callable[[Tier], str], cache: Cache) -> list[Pin]:
    return [pin for tier in tiers if not cache.has_layer(key_for(tier)) for pin in tier.pins]


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
        texts: dict[str, list[str]] = {}
        for pin in self.selection.pins:
            texts.setdefault(pin.name, []).append(pin.text)
        compiled = compile_packages(
            {name: ("\n".join(texts[name]), files) for name, files in found.items()},
            self.base.compiler(self.cache),
            self.cache,
        )
        return {name: {**files, **compiled[name]} for name, files in found.items()}


def _counted(pins: Sequence[Pin]) -> str:
    return ", ".join(pin.name for pin in pins) if len(pins) <= 3 else f"{len(pins)} locked packages"
