"""The lock: what it pins for a target, checked against what the packages need; and hashed requirements."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tagboat.build.target import Target
from tagboat.build.wheel import Release, Wheel, best_wheel, remedy, why_none_fits
from tagboat.component import Component
from tagboat.errors import ConfigError

_HASH = re.compile(r"\s--hash[= ](?P<hash>\S+)")
# Options that say where to find packages: what is found must still have the right hash.
_INDEX_OPTIONS = ("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index")


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement of a lock: its normalised name and the text that says all about it."""

    name: str
    text: str
    requirement: Requirement = field(compare=False)
    wheel: Wheel | None = field(default=None, compare=False)
    """The one for the target, or the source that it is built of, where the lock names the files."""

    index: str | None = field(default=None, compare=False)


class Lock(Protocol):
    """A file that pins packages."""

    @property
    def file(self) -> Path: ...

    @property
    def pins(self) -> tuple[Pin, ...]:
        """Everything that it pins with hashes, for whatever target."""

    @property
    def releases(self) -> tuple[Release, ...]:
        """What it names with files, for whatever target."""

    @property
    def options(self) -> tuple[str, ...]:
        """Those in it that say where packages are to be found."""

    def wanted(self, component: Component, target: Target) -> tuple[Pin, ...]:
        """What the component needs on that target.

        Raises ConfigError when its packages need what neither the lock nor the base has: it would not start.
        """


@dataclass(frozen=True, slots=True)
class Requirements:
    """Hashed requirements, as pip reads them."""

    file: Path
    pins: tuple[Pin, ...]
    options: tuple[str, ...]
    releases: tuple[Release, ...] = ()

    def wanted(self, component: Component, target: Target) -> tuple[Pin, ...]:
        wanted = tuple(pin for pin in self.pins if _applies(pin.requirement, target))
        check_python(component, target)
        check_requirements(component, self.file, wanted, target)
        return wanted


def read_requirements(lock: Path) -> Requirements:
    """Read hashed requirements.

    Raises ConfigError that names the first line without a hash or not understood.
    """
    lines = list(_logical_lines(read_text(lock)))
    options = tuple(line for _, line in lines if _is_index_option(line))
    pins = tuple(_pin(line, f"{lock}:{number}") for number, line in lines if line not in options)
    return Requirements(lock, pins, options)


def read_text(lock: Path) -> str:
    """What a lock file holds. Raises ConfigError, which says how to write one where there is none."""
    try:
        return lock.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{lock} does not exist", hint=_how_to_write(lock)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{lock} cannot be read: {error}") from error


def _how_to_write(lock: Path) -> str:
    if lock.name == "uv.lock":
        return "`uv lock`; the one of a workspace is in the workspace's own folder"
    if lock.name.startswith("pylock."):
        return f"`uv export --no-dev --format pylock.toml -o {lock.name}`"
    return f"`uv pip compile --generate-hashes --universal -o {lock.name} pyproject.toml`"


def pin_of(release: Release, wheels: Iterable[Wheel]) -> Pin:
    """A release, to be installed from any of these of its wheels."""
    wheels = tuple(wheels)
    hashes = sorted({value for wheel in wheels for value in wheel.hashes})
    requirement = f"{release.name}=={release.version}"
    text = " ".join((requirement, *(f"--hash={value}" for value in hashes)))
    only = wheels[0] if len(wheels) == 1 else None
    return Pin(release.name, text, Requirement(requirement), only, release.index)


def pins_for(
    file: Path, releases: Iterable[Release], target: Target, *, built: Container[str]
) -> tuple[Pin, ...]:
    """A pin of the one wheel of each release that suits the target; of what may be `built`, by its name, of
    the source distribution where no wheel does.

    Raises ConfigError that says of every release without one which there are, or that names the first wheel
    without a hash.
    """
    chosen = [
        (release, best_wheel(release, target) or (release.sdist if release.name in built else None))
        for release in sorted(releases, key=lambda one: one.name)
    ]
    missing = [release for release, wheel in chosen if wheel is None]
    if missing:
        reasons = "\n".join(why_none_fits(release, target) for release in missing)
        raise ConfigError(f"{file}: {reasons}", hint=remedy(missing, target))
    pins = []
    for release, wheel in chosen:
        if wheel is not None and not wheel.hashes:
            raise ConfigError(
                f"{file}: {release.name} {release.version}: {wheel.filename} has no hash",
                hint="without hashes it locks nothing; a pylock.toml of `uv export` has them for local files",
            )
        pins.append(pin_of(release, [wheel] if wheel else []))
    return tuple(pins)


def check_python(
    component: Component, target: Target, *, lock: tuple[Path, SpecifierSet] | None = None
) -> None:
    """Raise ConfigError unless the base's Python is one that the packages, and the lock, are for."""
    wanted = [(package.name, package.requires_python) for package in component.packages]
    if lock is not None:
        wanted.append((str(lock[0]), lock[1]))
    version = target.markers["python_full_version"]
    for name, python in wanted:
        if not python.contains(version, prereleases=True):
            raise ConfigError(
                f"{name} needs Python {python}, and the base has {version}",
                hint="take a base with such a Python, bring one (`interpreter`), or lower requires-python",
            )


def check_requirements(component: Component, file: Path, pins: Iterable[Pin], target: Target) -> None:
    """Raise ConfigError when the packages need what is neither pinned nor one of them."""
    local = {package.name for package in component.packages}
    locked = {pin.name: pin.requirement for pin in pins}
    for package in component.packages:
        for requirement in (found for found in package.requirements if _applies(found, target)):
            name = canonicalize_name(requirement.name)
            if name not in local and not (name in locked and _satisfies(locked[name], requirement)):
                has = f"it has {locked[name]}" if name in locked else "it has none"
                raise ConfigError(
                    f"{file}: {package.name} needs {requirement}, and {has}",
                    hint=f"write the lock anew from {package.directory / 'pyproject.toml'}",
                )


def _applies(requirement: Requirement, target: Target) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(target.markers)


def _satisfies(pin: Requirement, requirement: Requirement) -> bool:
    versions = [specifier.version for specifier in pin.specifier if specifier.operator in ("==", "===")]
    return not versions or requirement.specifier.contains(versions[0], prereleases=True)


def _is_index_option(line: str) -> bool:
    return line.startswith("-") and re.split(r"[ =]", line)[0] in _INDEX_OPTIONS


def _pin(line: str, place: str) -> Pin:
    if line.startswith("-"):
        raise ConfigError(f"{place}: {line.split(maxsplit=1)[0]} cannot be part of a lock")
    hashes = _HASH.findall(line)
    requirement = _HASH.sub("", line).strip()
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement as error:
        raise ConfigError(f"{place}: {requirement!r} is no requirement: {error}") from error
    if not hashes:
        raise ConfigError(
            f"{place}: {requirement} has no hash",
            hint="write the lock with `uv pip compile --generate-hashes`: without hashes it locks nothing",
        )
    text = " ".join((requirement, *(f"--hash={value}" for value in sorted(hashes))))
    return Pin(canonicalize_name(parsed.name), text, parsed)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines joined at their backslashes, without comments and blanks, with the number of the first."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = re.sub(r"(^|\s)#.*$", "", line).rstrip()
        first = first if parts else number
        parts.append(stripped.removesuffix("\\"))
        if not stripped.endswith("\\"):
            joined = " ".join(part.strip() for part in parts).strip()
            if joined:
                yield first, joined
            parts = []
    if parts and (joined := " ".join(part.strip() for part in parts).strip()):
        yield first, joined
