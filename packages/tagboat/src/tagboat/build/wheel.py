"""Distributions that a lock names: which wheel fits a target, and why the others do not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from tagboat.build.target import MACHINES, Target

_SHOWN = 3  # file names for each reason
_SYSTEMS = {"macosx": "macOS", "win": "Windows", "win32": "Windows", "android": "Android", "ios": "iOS"}
_SYSTEMS |= {"pyodide": "WebAssembly", "emscripten": "WebAssembly"}


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel by its file name, where it is (a URL or an absolute path), and its hashes as `sha256:…`; or a
    source distribution, of which one is built."""

    filename: str
    place: str
    hashes: tuple[str, ...]

    @property
    def tags(self) -> frozenset[str]:
        """Of what kinds it is, as its own metadata lists them (PEP 425); none where its name says nothing."""
        parts = _parts(self.filename)
        return frozenset("-".join(tag) for tag in product(*parts)) if parts else frozenset()

    @property
    def is_source(self) -> bool:
        return not self.filename.endswith(".whl")


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a package with the wheels that there are of it."""

    name: str
    version: str
    wheels: tuple[Wheel, ...]
    has_sdist: bool = False
    sdist: Wheel | None = None
    """The source distribution, where the lock names its file."""

    index: str | None = None  # where the wheels were found; None for a file that was named itself


def best_wheel(release: Release, target: Target) -> Wheel | None:
    """The wheel that an installer would take for the target."""
    ranked = [
        (rank, _build_number(wheel.filename), wheel)
        for wheel in release.wheels
        if (rank := _rank(wheel.filename, target)) is not None
    ]
    return min(ranked, key=lambda one: one[:2])[2] if ranked else None


def why_none_fits(release: Release, target: Target) -> str:
    """A line that says that no wheel is for the target; below it those that there are, by what is wrong."""
    lines = [f"{release.name} {release.version} has no wheel for {target}"]
    reasons: dict[_Reason, list[str]] = {}
    for wheel in release.wheels:
        reasons.setdefault(_reason(wheel.filename, target), []).append(wheel.filename)
    for reason, names in sorted(reasons.items()):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        lines.append(f"  {reason.text}: {', '.join(sorted(names)[:_SHOWN])}{more}")
    if release.has_sdist:
        only = "there is only" if not release.wheels else "there is also"
        lines.append(f"  {only} a source distribution, which is not built unless it is allowed")
    elif not release.wheels:
        lines.append("  there is none at all")
    return "\n".join(lines)


def remedy(releases: Iterable[Release], target: Target) -> str:
    """What to do about releases of which no wheel fits."""
    releases = tuple(releases)
    found = [
        min((_reason(wheel.filename, target) for wheel in release.wheels), default=None)
        for release in releases
    ]
    bases = {reason.base for reason in found if reason is not None}
    if len(bases) == 1 and None not in bases and None not in found:
        return f"take a base with {bases.pop()}, or lock a version that has a wheel for this one"
    sources = sorted(release.name for release in releases if release.has_sdist)
    if sources:
        names = ", ".join(f'"{name}"' for name in sources)
        return f"lock a version that has one, or allow to build it: build-from-source = [{names}]"
    if None in found:
        return "lock a version that has one, or make it a local package (`[tool.uv.sources]` with a path)"
    return "lock a version that has such a wheel"


@dataclass(frozen=True, slots=True, order=True)
class _Reason:
    """Why a wheel does not fit; the nearest miss sorts first. `base` is with what base it would."""

    distance: int
    text: str
    base: str | None = None


def _parts(filename: str) -> tuple[list[str], list[str], list[str]] | None:
    """The Python, ABI and platform tags in the name of a wheel (PEP 427), None when it is none."""
    words = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(words) not in (5, 6):
        return None
    python, abi, platform = (word.split(".") for word in words[-3:])
    return python, abi, platform


def _build_number(filename: str) -> tuple[int, str]:
    """Of two wheels with the same tags the one with the higher build number comes first (PEP 427)."""
    words = filename.removesuffix(".whl").split("-")
    digits = re.match(r"\d+", words[2]) if len(words) == 6 else None
    return (-int(digits[0]) if digits else 0, filename)


def _rank(filename: str, target: Target) -> int | None:
    parts = _parts(filename)
    if parts is None:
        return None
    ranks = (target.tags.get("-".join(tag)) for tag in product(*parts))
    return min((rank for rank in ranks if rank is not None), default=None)


def _reason(filename: str, target: Target) -> _Reason:
    parts = _parts(filename)
    if parts is None:
        return _Reason(9, "not a wheel's name")
    pythons, abis, platforms = parts
    platform = min((_platform_reason(one, target) for one in platforms), default=_Reason(0, ""))
    if platform.distance >= 4 or _fits_python(pythons, abis, target):
        return platform
    return _Reason(3, *_python_reason(pythons, abis))


def _fits_python(pythons: list[str], abis: list[str], target: Target) -> bool:
    known = {tag.rpartition("-")[0] for tag in target.tags}
    return any(f"{python}-{abi}" in known for python in pythons for abi in abis)


def _python_reason(pythons: list[str], abis: list[str]) -> tuple[str, str | None]:
    names = []
    for python in pythons:
        match = re.fullmatch(r"(cp|pp|py|graalpy)(\d)(\d*)", python)
        kinds = {"cp": "CPython", "pp": "PyPy", "py": "Python", "graalpy": "GraalPy"}
        version = f"{match[2]}.{match[3]}".rstrip(".") if match else ""
        names.append(f"{kinds[match[1]]} {version}" if match else python)
    name = " or ".join(names)
    if any(abi.endswith("t") for abi in abis):
        return f"for {name} without the GIL", None
    if "abi3" in abis:
        name += " or newer"
    return f"for {name}", name if name.startswith("CPython") else None


def _platform_reason(platform: str, target: Target) -> _Reason:
    match = re.fullmatch(r"(many|musl)linux_(\d+)_(\d+)_(\w+)|(manylinux\d+|linux)_(\w+)", platform)
    if platform == "any":
        return _Reason(0, "")
    if match is None:
        system = platform.partition("_")[0]
        return _Reason(5, f"for {_SYSTEMS.get(system, platform)}")
    machine = match[4] or match[6]
    if machine != target.machine:
        known = {name: architecture for architecture, name in MACHINES.items()}
        return _Reason(4, f"for linux/{known[machine]}" if machine in known else f"for Linux on {machine}")
    wanted, libc = "musl" if match[1] == "musl" else "glibc", target.interpreter.libc
    if platform in set(target.platforms()):
        return _Reason(0, "")
    if wanted != libc.family:
        return _Reason(2, f"for {wanted}, and the base has {libc}", wanted)
    level = f"{wanted} {match[2]}.{match[3]}"
    return _Reason(1, f"needs {level}, and the base has {libc}", f"{level} or newer")
