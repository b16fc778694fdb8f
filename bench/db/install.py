"""The peers, installed from their locks into a folder of the checkout that can be thrown away."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "PeerError", "install_node", "install_python", "java_home"]

ROOT: Final = Path(__file__).parent.parent.parent
_LOCKS: Final = Path(__file__).parent / "peers"
_PLACE: Final = ROOT / ".bench"
_JAVA: Final = 21
"""Datalevin's classes are compiled for this version."""


class PeerError(Exception):
    """Why a peer is not there; the benchmark goes on without it."""


def install_python() -> Path:
    """The folder with the packages of `requirements.lock`, for PYTHONPATH."""
    lock = _LOCKS / "requirements.lock"
    place = _place("python", lock)
    if not place.exists():
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
        new = _new(place)
        _run(sys.executable, "-m", "pip", "install", *options, "--target", new, "--requirement", lock)
        new.rename(place)
    return place


def install_node() -> Path:
    """The folder with `node_modules` of `package-lock.json`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise PeerError("Node and npm are not installed")
    lock = _LOCKS / "package-lock.json"
    place = _place("node", lock)
    if not place.exists():
        new = _new(place)
        shutil.copy(_LOCKS / "package.json", new)
        shutil.copy(lock, new)
        _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", cwd=new)
        new.rename(place)
    return place


def java_home() -> Path:
    """A Java that Datalevin runs on: JAVA_HOME, the one on PATH, or one that Debian installed."""
    found = [Path(os.environ["JAVA_HOME"])] if "JAVA_HOME" in os.environ else []
    java = shutil.which("java")
    found += [Path(java).resolve().parent.parent] if java else []
    found += sorted(Path("/usr/lib/jvm").glob("*"))
    for home in found:
        if _java_version(home) >= _JAVA:
            return home
    raise PeerError(f"there is no Java {_JAVA} or newer")


def _java_version(home: Path) -> int:
    release = home / "release"
    if not (home / "bin" / "java").exists() or not release.exists():
        return 0
    match = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def _place(name: str, lock: Path) -> Path:
    return _PLACE / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"


def _new(place: Path) -> Path:
    new = place.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    return new


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        raise PeerError(f"{command[0]} cannot install it: {(done.stderr or done.stdout).strip()[-300:]}")
