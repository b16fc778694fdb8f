"""Lock files by their names: `uv.lock`, `pylock.toml` (PEP 751), or else hashed requirements."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.pylock import (
    Package,
    Pylock,
    PylockUnsupportedVersionError,
    PylockValidationError,
    is_valid_pylock_path,
)

from tagboat.build.lock import (
    Lock,
    Pin,
    check_python,
    check_requirements,
    pin_of,
    pins_for,
    read_requirements,
    read_text,
)
from tagboat.build.target import Target
from tagboat.build.uvlock import read_uv_lock
from tagboat.build.wheel import Release, Wheel
from tagboat.component import Component
from tagboat.errors import ConfigError

_TRUSTED: Final = ("sha256", "sha384", "sha512")


def read_lock(file: Path) -> Lock:
    """Read a lock in the form that its name says. Raises ConfigError that says where it is not in order."""
    if file.name == "uv.lock":
        return read_uv_lock(file)
    if is_valid_pylock_path(file):
        return read_pylock(file)
    return read_requirements(file)


@dataclass(frozen=True, slots=True)
class StandardLock:
    """A `pylock.toml`, read and valid."""

    file: Path
    document: Pylock

    @property
    def releases(self) -> tuple[Release, ...]:
        return tuple(releases_of(self.document, self.file))

    @property
    def pins(self) -> tuple[Pin, ...]:
        return tuple(
            pin_of(release, release.wheels)
            for release in self.releases
            if any(wheel.hashes for wheel in release.wheels)
        )

    @property
    def options(self) -> tuple[str, ...]:
        return ()

    def wanted(self, component: Component, target: Target) -> tuple[Pin, ...]:
        python = self.document.requires_python
        check_python(component, target, lock=(self.file, python) if python is not None else None)
        environments = self.document.environments or ()
        if environments and not any(one.evaluate(target.markers) for one in environments):
            raise ConfigError(f"{self.file} is for {' or '.join(map(str, environments))}, not for {target}")
        local = {package.name for package in component.packages}
        releases = [_release(package, self.file) for package in self._selected(local, target)]
        pins = pins_for(self.file, releases, target, built=component.config.build_from_source)
        check_requirements(component, self.file, pins, target)
        return pins

    def _selected(self, local: set[str], target: Target) -> Iterator[Package]:
        """The packages to be installed, as PEP 751 ("Installation") finds them; no extras, default groups."""
        environment: dict[str, Any] = {
            **target.markers,
            "extras": frozenset(),
            "dependency_groups": frozenset(self.document.default_groups or ()),
        }
        seen: dict[str, Package] = {}
        for package in self.document.packages:
            if package.marker and not package.marker.evaluate(environment, context="lock_file"):
                continue
            if package.name in seen:
                raise ConfigError(f"{self.file}: {package.name} is needed twice on {target}")
            seen[package.name] = package
            if package.directory is not None and package.name in local:
                continue
            self._check_source(package, target)
            yield package

    def _check_source(self, package: Package, target: Target) -> None:
        version = target.markers["python_full_version"]
        if package.requires_python is not None and not package.requires_python.contains(version):
            raise ConfigError(
                f"{self.file}: {package.name} needs Python {package.requires_python}, "
                f"and the base has {version}"
            )
        if package.directory is not None:
            raise ConfigError(
                f"{self.file}: {package.name} is a local package there, and the component does not name it",
                hint=f"tool.uv.sources.{package.name} = {{ path = … }} in its pyproject.toml has it built in",
            )
        if package.vcs is not None:
            raise ConfigError(
                f"{self.file}: {package.name} comes from {package.vcs.type}, without a hash",
                hint="lock a wheel of it, or make it a local package (`[tool.uv.sources]` with a path)",
            )


def read_pylock(file: Path) -> StandardLock:
    """Read `pylock.toml`. Raises ConfigError."""
    return StandardLock(file, parse_pylock(read_text(file), file))


def parse_pylock(text: str, file: Path) -> Pylock:
    """Parse what is, or could be, the content of `file`. Raises ConfigError."""
    try:
        return Pylock.from_dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    except PylockUnsupportedVersionError as error:
        raise ConfigError(f"{file} is a lock of a version that is not understood: {error}") from error
    except PylockValidationError as error:
        raise ConfigError(f"{file}: {error}") from error


def releases_of(document: Pylock, file: Path) -> Iterator[Release]:
    return (_release(package, file) for package in document.packages)


def _release(package: Package, file: Path) -> Release:
    wheels = [
        Wheel(wheel.filename, _place(wheel.url, wheel.path, file), _hashes(wheel.hashes))
        for wheel in package.wheels or ()
    ]
    sdist = None
    for source in (package.sdist, package.archive):
        if source is not None:
            place = _place(source.url, source.path, file)
            name = unquote(PurePosixPath(urlsplit(place).path).name)
            found = Wheel(name, place, _hashes(source.hashes))
            if found.is_source:
                sdist = found
            else:
                wheels.append(found)
    return Release(
        package.name,
        str(package.version or "0"),
        tuple(wheels),
        has_sdist=sdist is not None,
        sdist=sdist,
        index=package.index,
    )


def _place(url: str | None, path: str | None, file: Path) -> str:
    return url if url is not None else str((file.parent / (path or "")).resolve())


def _hashes(hashes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}:{value}" for name, value in sorted(hashes.items()) if name in _TRUSTED)


def to_pylock(pins: Iterable[Pin]) -> str:
    """The pins, each with its one wheel, as a `pylock.toml` for an installer."""
    lines = ['lock-version = "1.0"', 'created-by = "tagboat"']
    for pin in pins:
        if pin.wheel is None:
            raise ValueError(f"{pin.name} has no wheel")
        place = "path" if pin.wheel.place.startswith("/") else "url"
        hashes = ", ".join(
            f"{name} = {_toml(value)}" for name, _, value in (one.partition(":") for one in pin.wheel.hashes)
        )
        file = f"{{ {place} = {_toml(pin.wheel.place)}, hashes = {{ {hashes} }} }}"
        version = str(next(iter(pin.requirement.specifier)).version)
        lines += ["", "[[packages]]", f"name = {_toml(pin.name)}", f"version = {_toml(version)}"]
        lines += [f"index = {_toml(pin.index)}"] if pin.index else []
        key = "archive" if not pin.index else "sdist" if pin.wheel.is_source else "wheels"
        lines.append(f"{key} = {f'[{file}]' if key == 'wheels' else file}")
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """A basic string: JSON's, but for characters that TOML wants escaped otherwise."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
