"""The lock: hashed requirements, read, and checked against what the packages need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from tagboat.build import uv
from tagboat.build.interpreter import Interpreter
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


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock pins, and the options in it that say where to find that."""

    pins: tuple[Pin, ...]
    options: tuple[str, ...]


def read_lock(lock: Path) -> Lock:
    """Read a lock. Raises ConfigError that names the first line without a hash or not understood."""
    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{lock} does not exist",
            hint="`uv pip compile --generate-hashes --universal -o requirements.lock pyproject.toml`",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{lock} cannot be read: {error}") from error
    lines = list(_logical_lines(text))
    options = tuple(line for _, line in lines if _is_index_option(line))
    return Lock(
        tuple(_pin(line, f"{lock}:{number}") for number, line in lines if line not in options), options
    )


def wanted_pins(lock: Lock, interpreter: Interpreter, architecture: str) -> tuple[Pin, ...]:
    """The pins that apply to the image; the markers of the others are about other machines or Pythons."""
    markers = _markers(interpreter, architecture)
    return tuple(pin for pin in lock.pins if _applies(pin.requirement, markers))


def check_requirements(component: Component, lock: Lock, interpreter: Interpreter, architecture: str) -> None:
    """Raise ConfigError when the packages need what neither the lock nor the base has: it would not start."""
    version = ".".join(map(str, interpreter.version))
    markers = _markers(interpreter, architecture)
    local = {package.name for package in component.packages}
    locked = {pin.name: pin.requirement for pin in wanted_pins(lock, interpreter, architecture)}
    for package in component.packages:
        if not package.requires_python.contains(version, prereleases=True):
            raise ConfigError(
                f"{package.name} needs Python {package.requires_python}, and the base has {version}"
            )
        for requirement in (found for found in package.requirements if _applies(found, markers)):
            name = canonicalize_name(requirement.name)
            if name not in local and not (name in locked and _satisfies(locked[name], requirement)):
                has = f"it has {locked[name]}" if name in locked else "it has none"
                raise ConfigError(
                    f"{component.lock}: {package.name} needs {requirement}, and {has}",
                    hint=f"write the lock anew from {package.directory / 'pyproject.toml'}",
                )


def _markers(interpreter: Interpreter, architecture: str) -> dict[str, str]:
    """The environment in the image, in the words of requirements."""
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": uv.MACHINES[architecture],
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": ".".join(map(str, interpreter.version)),
        "python_version": interpreter.short,
        "sys_platform": "linux",
        "extra": "",
    }


def _applies(requirement: Requirement, markers: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(markers)


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
