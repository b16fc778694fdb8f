"""What pins a base: `base.lock` for one that is composed, the digest in pyproject.toml for a registry's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ocikit import Platform, Reference, Registry, find_credentials
from tagboat.build.base import SCRATCH
from tagboat.build.cache import Cache
from tagboat.build.debian.compose import choose
from tagboat.build.debian.lock import FILE_NAME, changes, read_base_lock
from tagboat.build.debian.release import DISTRIBUTIONS, Release
from tagboat.component import Component
from tagboat.errors import ConfigError

_PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))


@dataclass(frozen=True, slots=True)
class Pin:
    """A file that pins the base, the text that it should have, and in which lines that differs in meaning."""

    file: Path
    text: str
    changes: tuple[str, ...]

    def write(self) -> None:
        self.file.write_text(self.text, encoding="utf-8")


def current_pin(component: Component, cache: Path, *, progress: Callable[[str], None]) -> Pin:
    """The pin of what the base is today; it is fetched, nothing is written but the cache.

    Raises ConfigError for a base that is not pinned so, AptError, DebError, and ocikit's errors.
    """
    name = component.config.base
    kind, _, rest = name.partition(":")
    if kind in DISTRIBUTIONS:
        return _locked(component, Release(kind, rest), Cache.open(cache), progress)
    if kind in ("oci", "tar"):
        raise ConfigError(f"the base {name} is a file: what is in it is the base, and nothing pins it")
    if name == SCRATCH:
        raise ConfigError(f"the base {name} is empty, and never another")
    return _digest(component, name)


def _locked(component: Component, release: Release, cache: Cache, progress: Callable[[str], None]) -> Pin:
    file = component.directory / FILE_NAME
    lock = choose(release, _PLATFORMS, cache, progress=progress)
    try:
        before = read_base_lock(file, release)
    except ConfigError:
        before = None  # damaged, or of another release: what is written replaces it
    old = before.packages if before else {}
    lines = tuple(
        f"{architecture}: {line}"
        for architecture, packages in lock.packages.items()
        for line in changes(old.get(architecture, ()), packages)
    )
    return Pin(file, lock.to_toml(), lines)


def _digest(component: Component, name: str) -> Pin:
    file = component.directory / "pyproject.toml"
    reference = Reference.parse(name)
    if reference.tag is None:
        raise ConfigError(
            f"{file}: the base {name} has no tag, so there is nothing that says what is current",
            hint='write base = "HOST/REPOSITORY:TAG@sha256:…"',
        )
    tagged = Reference(reference.registry, reference.repository, reference.tag)
    with Registry(reference.registry, credentials=find_credentials(reference.registry)) as registry:
        found = registry.digest(tagged)
    if found is None:
        raise ConfigError(f"{file}: {tagged} does not exist")
    raw, text = component.config.base_text.raw, file.read_text(encoding="utf-8")
    old = str(reference.digest) if reference.digest else None
    pinned = raw.replace(old, str(found)) if old else f"{raw}@{found}"
    if text.count(f'"{raw}"') != 1:
        raise ConfigError(f'{file} does not have "{raw}" just once', hint=f'write base = "{pinned}"')
    lines = () if str(found) == old else (f"{tagged}: {old or '(not pinned)'} -> {found}",)
    return Pin(file, text.replace(f'"{raw}"', f'"{pinned}"'), lines)
