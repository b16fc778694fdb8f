"""`uv.lock`: the packages that a component reaches in it, for a target.

Its form is uv's own and has a version; what is not understood is refused (docs.astral.sh/uv, "Lockfile").
"""

from __future__ import annotations

import tomllib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tagboat.build.lock import Pin, check_python, pin_of, pins_for, read_text
from tagboat.build.target import Target
from tagboat.build.wheel import Release, Wheel
from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.package import Package

_VERSION: Final = 1
_LOCAL = frozenset({"editable", "directory", "virtual"})
_UNVERSIONED = _LOCAL | {"path", "url", "git"}  # requirements from there are met whatever their version


@dataclass(frozen=True, slots=True)
class _Edge:
    """A dependency of a locked package; version and source are there where a name alone is ambiguous."""

    name: str
    version: str | None
    source: Mapping[str, Any] | None
    extras: tuple[str, ...]
    marker: str | None


@dataclass(frozen=True, slots=True)
class _Locked:
    """A package in the lock; `requires` is what its project asked for when the lock was written."""

    release: Release
    source: Mapping[str, Any]
    dependencies: tuple[_Edge, ...]
    extras: Mapping[str, tuple[_Edge, ...]]
    requires: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        return self.release.name

    @property
    def is_local(self) -> bool:
        return not _LOCAL.isdisjoint(self.source)


@dataclass(frozen=True, slots=True)
class UvLock:
    """A `uv.lock`, read."""

    file: Path
    requires_python: SpecifierSet
    environments: tuple[str, ...]  # markers; none where it is for all
    packages: Mapping[str, tuple[_Locked, ...]]

    @property
    def pins(self) -> tuple[Pin, ...]:
        return tuple(
            pin_of(locked.release, locked.release.wheels)
            for group in self.packages.values()
            for locked in group
            if any(wheel.hashes for wheel in locked.release.wheels)
        )

    @property
    def releases(self) -> tuple[Release, ...]:
        return tuple(locked.release for group in self.packages.values() for locked in group)

    @property
    def options(self) -> tuple[str, ...]:
        return ()

    def wanted(self, component: Component, target: Target) -> tuple[Pin, ...]:
        check_python(component, target, lock=(self.file, self.requires_python))
        if self.environments and not any(_holds(marker, target) for marker in self.environments):
            raise ConfigError(f"{self.file} is for {' or '.join(self.environments)}, not for {target}")
        local = {package.name: package for package in component.packages}
        reached = self._reached(component, target)
        for locked in reached:
            if locked.is_local:
                if locked.name not in local:
                    raise ConfigError(
                        f"{self.file}: {locked.name} is a local package there, and none that "
                        f"{component.directory / 'pyproject.toml'} leads to",
                        hint="`uv lock` writes it anew",
                    )
                self._check_current(locked, local[locked.name], target)
            elif "git" in locked.source:
                raise ConfigError(
                    f"{self.file}: {locked.name} {locked.release.version} comes from git, without a hash",
                    hint="lock a wheel of it, or make it a local package (`[tool.uv.sources]` with a path)",
                )
        releases = (one.release for one in reached if not one.is_local)
        return pins_for(self.file, releases, target, built=component.config.build_from_source)

    def _reached(self, component: Component, target: Target) -> list[_Locked]:
        """The component and what it depends on, directly or not, without its extras and groups."""
        own = component.packages[0].name
        start = next((one for one in self.packages.get(own, ()) if one.is_local), None)
        if start is None:
            raise ConfigError(f"{self.file} does not have {own}", hint=f"`uv lock` in {component.directory}")
        found: dict[str, _Locked] = {own: start}
        seen = {(own, "")}
        waiting = deque([(start, "")])
        while waiting:
            locked, extra = waiting.popleft()
            for edge in locked.extras.get(extra, ()) if extra else locked.dependencies:
                if edge.marker is not None and not _holds(edge.marker, target):
                    continue
                other = self._at(edge, locked.name)
                if found.setdefault(other.name, other) is not other:
                    raise ConfigError(
                        f"{self.file}: {other.name} {other.release.version} and "
                        f"{found[other.name].release.version} are both needed on {target}"
                    )
                new = {(other.name, one) for one in ("", *edge.extras)} - seen
                seen |= new
                waiting.extend((other, one) for _, one in sorted(new))
        return list(found.values())

    def _at(self, edge: _Edge, needed_by: str) -> _Locked:
        """The package that an edge leads to."""
        fitting = [
            locked
            for locked in self.packages.get(edge.name, ())
            if edge.version in (None, locked.release.version) and edge.source in (None, locked.source)
        ]
        if len(fitting) != 1:
            raise ConfigError(
                f"{self.file}: {needed_by} needs {edge.name} {edge.version or ''}".rstrip()
                + f", which is there {len(fitting)} times",
                hint="`uv lock` writes it anew",
            )
        return fitting[0]

    def _check_current(self, locked: _Locked, package: Package, target: Target) -> None:
        """Raise ConfigError when the project asks for something else than when the lock was written."""
        if package.is_dynamic:
            return
        unversioned = {entry["name"] for entry in locked.requires if not _UNVERSIONED.isdisjoint(entry)}
        recorded = {_need(one, unversioned) for one in _recorded(locked.requires, package, target)}
        needed = {
            _need(one, unversioned)
            for one in package.requirements
            if one.marker is None or one.marker.evaluate(target.markers)
        }
        if recorded != needed:
            now, then = (", ".join(sorted(map(str, one))) for one in (needed - recorded, recorded - needed))
            raise ConfigError(
                f"{self.file} is out of date: {package.name} "
                + (f"needs {now}" if now else "no longer asks for it")
                + (f", and it was written for {then}" if then else ", which it was not written for"),
                hint=f"`uv lock` in {self.file.parent}",
            )


def read_uv_lock(file: Path) -> UvLock:
    """Read `uv.lock`. Raises ConfigError, also for a version of its form that is not known."""
    try:
        document = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    if document.get("version") != _VERSION:
        raise ConfigError(
            f"{file} is a lock of version {document.get('version')}, and only {_VERSION} is understood",
            hint="`uv export --format pylock.toml -o pylock.toml` writes one in the standard's form",
        )
    packages: dict[str, tuple[_Locked, ...]] = {}
    try:
        python = SpecifierSet(document.get("requires-python", ""))
        for package in document.get("package", ()):
            locked = _locked(package, file.parent)
            packages[locked.name] = (*packages.get(locked.name, ()), locked)
        environments = tuple(map(str, document.get("supported-markers", ())))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"{file} is not as uv writes it: {error!r}") from error
    return UvLock(file, python, environments, packages)


def _locked(package: Mapping[str, Any], folder: Path) -> _Locked:
    source = package["source"]
    registry = source.get("registry")
    # A registry is a URL, or a folder of wheels (`--find-links`) whose files are named relative to it.
    is_folder = registry is not None and "://" not in registry
    start = folder / registry if is_folder else folder

    def distribution(entry: Mapping[str, Any]) -> Wheel:
        if "url" in entry:
            place = entry["url"]
        else:
            place = str((start / (entry["path"] if "path" in entry else source["path"])).resolve())
        name = entry.get("filename") or PurePosixPath(urlsplit(place).path).name
        return Wheel(unquote(name), place, (entry["hash"],) if "hash" in entry else ())

    release = Release(
        canonicalize_name(package["name"]),
        package.get("version", "0"),
        tuple(map(distribution, package.get("wheels", ()))),
        has_sdist="sdist" in package,
        sdist=distribution(package["sdist"]) if "sdist" in package else None,
        index=None if registry is None else start.resolve().as_uri() if is_folder else registry,
    )
    return _Locked(
        release,
        source,
        tuple(map(_edge, package.get("dependencies", ()))),
        {
            canonicalize_name(extra): tuple(map(_edge, edges))
            for extra, edges in package.get("optional-dependencies", {}).items()
        },
        tuple(package.get("metadata", {}).get("requires-dist", ())),
    )


def _edge(edge: Mapping[str, Any]) -> _Edge:
    extras = tuple(map(canonicalize_name, edge.get("extra", ())))
    name = canonicalize_name(edge["name"])
    return _Edge(name, edge.get("version"), edge.get("source"), extras, edge.get("marker"))


@lru_cache(maxsize=1024)
def _marker(text: str) -> Marker:
    return Marker(text)


def _holds(marker: str, target: Target, extra: str = "") -> bool:
    return _marker(marker).evaluate({**target.markers, "extra": extra})


def _recorded(
    requires: Iterable[Mapping[str, Any]], package: Package, target: Target
) -> Iterator[Requirement]:
    """What the lock says that the project asked for, itself and for those of its extras that are needed."""
    for entry in requires:
        marker = entry.get("marker")
        if marker is None or any(_holds(marker, target, extra) for extra in ("", *package.extras)):
            extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
            yield Requirement(f"{entry['name']}{extras}{entry.get('specifier', '')}")


@dataclass(frozen=True, slots=True)
class _Need:
    """A requirement as far as it says what to lock: spelled otherwise it is equal."""

    name: str
    extras: frozenset[str]
    specifier: SpecifierSet

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.name}{extras}{self.specifier}"


def _need(requirement: Requirement, unversioned: set[str]) -> _Need:
    name = canonicalize_name(requirement.name)
    extras = frozenset(map(canonicalize_name, requirement.extras))
    return _Need(name, extras, SpecifierSet() if name in unversioned else requirement.specifier)
