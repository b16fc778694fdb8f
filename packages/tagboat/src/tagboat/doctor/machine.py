"""The machine: programs that the commands start, and room on its disks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

from tagboat.doctor.finding import Finding, State

_GIT = (2, 13)  # the first that knows all that git.py asks it
_MANY, _FEW = 1 << 30, 200 << 20  # bytes that a build should find, and without which it will not end well
_COMPOSERS = {"apt-get": "apt", "dpkg-deb": "dpkg", "gpgv": "gpgv"}  # program: its package
_ABSENT = "it is not there, or does not start"
_TIMEOUT = 10.0  # seconds


def tools(*, composes: bool) -> Iterator[Finding]:
    """The programs; those that compose a base of packages where one is to be composed."""
    yield Finding("tagboat", "ok", f"{version('tagboat')}, Python {platform.python_version()}")
    yield _git()
    yield _uv()
    for program, package in _COMPOSERS.items() if composes else ():
        advice = f"`apt-get install {package}`, or another base: a registry's image, an OCI layout, a tar"
        yield _program(program, "failed", f"{_ABSENT}, and the base is composed of packages", advice)
    yield _program("runc", "warning", _ABSENT, "`tagboat run` needs it: `apt-get install runc`")


def _program(name: str, otherwise: State, problem: str, advice: str) -> Finding:
    said = _version(name, "--version")
    return Finding(name, "ok", said) if said else Finding(name, otherwise, problem, advice)


def disks(cache: Path) -> Iterator[Finding]:
    """Room, and leave to write, where builds keep what they may use again and where they work."""
    for name, folder in (("cache", cache), ("temporary files", Path(tempfile.gettempdir()))):
        yield _disk(name, folder)


def _git() -> Finding:
    said = _version("git", "--version")
    if said is None:
        return Finding("git", "failed", _ABSENT, "`apt-get install git`")
    numbers = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    if numbers < _GIT:
        wanted = ".".join(map(str, _GIT))
        return Finding("git", "failed", f"{said} is too old", f"it takes {wanted} or newer")
    return Finding("git", "ok", said.removeprefix("git version "))


def _uv() -> Finding:
    try:
        said = _version(find_uv_bin(), "--version")
    except FileNotFoundError:
        said = None
    if said is None:
        return Finding("uv", "failed", _ABSENT, "`pip install --force-reinstall uv`")
    return Finding("uv", "ok", said)


def _version(program: str, option: str) -> str | None:
    """The first line of what it says of itself; None where it does not."""
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, check=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("\n")[0]


def _disk(name: str, folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(
            name, "failed", f"{there} cannot be written to", "`chown` it, or set XDG_CACHE_HOME or TMPDIR"
        )
    free = shutil.disk_usage(there).free
    state: State = "ok" if free >= _MANY else "warning" if free >= _FEW else "failed"
    return Finding(
        name,
        state,
        f"{folder}: {free / 1e9:.1f} GB are free",
        None if state == "ok" else "free some, or set XDG_CACHE_HOME or TMPDIR; the cache may be deleted",
    )
