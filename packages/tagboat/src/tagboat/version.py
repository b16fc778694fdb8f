"""The version of a component: where it is written, what the next one is, how it gets there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tagboat.errors import ConfigError

PARTS = ("major", "minor", "patch", "alpha", "beta", "rc", "stable")
_PRE = {"alpha": "a", "beta": "b", "rc": "rc"}
# `version = "…"` of the table [project], whatever stands before it there.
_STATIC = r"(?ms)^\[project\][ \t]*(?:#[^\n]*)?$(?:(?!^\[).)*?^version\s*=\s*[\"'](?P<version>[^\"'\n]+)[\"']"
_HATCH = r"(?im)^(?:__version__|VERSION)(?: ?: ?str)? *= *[\"']v?(?P<version>[^\"'\n]+)[\"']"
_WHOLE_FILE = r"\A\s*(?P<version>\S+)\s*\Z"


@dataclass(frozen=True, slots=True)
class VersionPlace:
    """The one place where a version is written: the group `version` of `pattern` in `file`."""

    file: Path
    pattern: str

    def read(self) -> str:
        """Raises ConfigError when the file or the place is not there."""
        return self._match(self._text())["version"]

    def replaced(self, version: str) -> str:
        """The file's text with `version` in that place. Raises ConfigError as `read` does."""
        text = self._text()
        match = self._match(text)
        return text[: match.start("version")] + version + text[match.end("version") :]

    def _text(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.file}, where the version should be, cannot be read: {error}") from error

    def _match(self, text: str) -> re.Match[str]:
        match = re.search(self.pattern, text)
        if match is None:
            raise ConfigError(
                f"{self.file}: no version is written there", hint=f"looked for the expression {self.pattern}"
            )
        return match


def find_version(document: Mapping[str, Any], file: Path) -> VersionPlace:
    """Where the project of `document`, which is in `file`, has its version: there, or where the build backend
    is told to read it (hatchling, setuptools, pdm, flit). Raises ConfigError when that is not written down.
    """
    project = document["project"]
    if "version" in project:
        return VersionPlace(file, _STATIC)
    if "version" not in project.get("dynamic", ()):
        raise ConfigError(
            f"{file}: project.version is missing", hint="releases are tagged by it, so it is written down"
        )
    backend = str(document.get("build-system", {}).get("build-backend", "setuptools.build_meta"))
    place = _dynamic(backend.partition(".")[0], document, file.parent)
    if place is None:
        raise ConfigError(
            f"{file}: the version is dynamic, and {backend} is told no file that it is written in",
            hint="write `version` in [project], or name a file to the build backend; "
            "one that is made of tags is not known before the tag",
        )
    return place


def read_version(document: Mapping[str, Any], file: Path) -> str:
    """The version of the project. Raises ConfigError when it is missing or no version of PEP 440."""
    project = document["project"]
    written = project.get("version")
    if written is not None and not isinstance(written, str):
        raise ConfigError(f"{file}: project.version must be a string")
    version: str = written if written is not None else find_version(document, file).read()
    try:
        Version(version)
    except InvalidVersion as error:
        raise ConfigError(f"{file}: project.version: {version!r} is no version of PEP 440") from error
    return version


def rewritten(file: Path, version: str) -> tuple[Path, str]:
    """The file with the version of the project that `file` (its pyproject.toml) describes, and its text with
    `version` in place of the one there. Raises ConfigError when it cannot be set without changing more.
    """
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    place = find_version(document, file)
    text = place.replaced(version)
    if place.file == file:
        document["project"]["version"] = version
        if tomllib.loads(text) != document:
            raise ConfigError(f"{file}: the version cannot be set", hint="write it in [project] by hand")
    return place.file, text


def relocked(lock: Path, name: str, version: str) -> tuple[Path, str] | None:
    """A `uv.lock` that has a version of the project `name`, and its text with `version`; None where there is
    no such line: other locks do not name the project, and uv leaves out a version that is dynamic.

    Else `uv lock --check`, and so `uv sync --locked` of a CI job, would fail for every release.
    """
    if lock.name != "uv.lock" or not lock.is_file():
        return None
    head = rf'(?m)^(name = "{re.escape(canonicalize_name(name))}"\nversion = ")'
    line = rf'{head}[^"\n]+("\nsource = \{{ (?:editable|virtual|directory) = )'
    text, count = re.subn(line, rf"\g<1>{version}\g<2>", lock.read_text(encoding="utf-8"))
    return (lock, text) if count == 1 else None


def bump(version: str, how: str) -> str:
    """The next version: `how` is one of PARTS, or the version itself.

    Of a pre-release, `patch`, `minor` and `major` give the release that it leads up to, where it does.
    Raises ConfigError for what is neither, and for a step that would lead back.
    """
    current = Version(version)
    if how not in PARTS:
        try:
            return str(Version(how))
        except InvalidVersion as error:
            raise ConfigError(
                f"--bump {how}: neither a version nor one of {', '.join(PARTS)}",
                hint="for example `--bump minor` or `--bump 2.0.0`",
            ) from error
    major, minor, patch = (*current.release, 0, 0)[:3]
    if how in _PRE:
        return _next_pre(current, _PRE[how], (major, minor, patch))
    if how == "stable" and not current.is_prerelease:
        raise ConfigError(f"--bump stable: {version} is no pre-release")
    leads_up = current.is_prerelease
    if how == "major" and not (leads_up and minor == patch == 0):
        return f"{major + 1}.0.0"
    if how == "minor" and not (leads_up and patch == 0):
        return f"{major}.{minor + 1}.0"
    if how == "patch" and not leads_up:
        return f"{major}.{minor}.{patch + 1}"
    return f"{major}.{minor}.{patch}"


def _next_pre(current: Version, letter: str, release: tuple[int, int, int]) -> str:
    major, minor, patch = release
    if current.pre is None:
        return f"{major}.{minor}.{patch if current.is_prerelease else patch + 1}{letter}1"
    before, number = current.pre
    if before > letter:
        raise ConfigError(f"--bump: from {current} there is no way back to {letter}")
    return f"{major}.{minor}.{patch}{letter}{number + 1 if before == letter else 1}"


def _dynamic(backend: str, document: Mapping[str, Any], folder: Path) -> VersionPlace | None:
    tool: Mapping[str, Any] = document.get("tool", {})
    if backend == "hatchling":
        version = tool.get("hatch", {}).get("version", {})
        if "path" in version and version.get("source", "regex") == "regex":
            return VersionPlace(folder / version["path"], version.get("pattern", _HATCH))
    if backend == "pdm":
        version = tool.get("pdm", {}).get("version", {})
        if version.get("source") == "file" and "path" in version:
            return VersionPlace(folder / version["path"], _assignment("__version__"))
    if backend == "setuptools":
        version = tool.get("setuptools", {}).get("dynamic", {}).get("version", {})
        if "file" in version:
            files = version["file"] if isinstance(version["file"], list) else [version["file"]]
            return VersionPlace(folder / files[0], _WHOLE_FILE)
        if "attr" in version:
            module, _, name = version["attr"].rpartition(".")
            return VersionPlace(_module(folder, module), _assignment(name))
    if backend == "flit_core":
        named = tool.get("flit", {}).get("module", {}).get("name")
        module = named or canonicalize_name(document["project"]["name"]).replace("-", "_")
        return VersionPlace(_module(folder, module), _assignment("__version__"))
    return None


def _assignment(name: str) -> str:
    return rf"(?m)^{re.escape(name)}(?:\s*:\s*[\w.]+)?\s*=\s*[\"'](?P<version>[^\"'\n]+)[\"']"


def _module(folder: Path, name: str) -> Path:
    """The file of a module, at the top of the project or below `src`; where none is, the first candidate."""
    path = Path(*name.split("."))
    candidates = [
        folder / top / file
        for top in ("", "src")
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py"))
    ]
    return next((file for file in candidates if file.is_file()), candidates[0])
