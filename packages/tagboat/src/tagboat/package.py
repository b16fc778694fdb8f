"""The local projects that go into an image: the component's own, and those that it leads to."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from tagboat.errors import ConfigError

_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz")


@dataclass(frozen=True, slots=True)
class Package:
    """A Python project in a local folder, to be built as a wheel."""

    name: str  # normalised (PEP 503)
    directory: Path
    requirements: tuple[Requirement, ...] = ()
    """Its own and those of the extras that are asked for."""

    requires_python: SpecifierSet = field(default_factory=SpecifierSet)
    extras: frozenset[str] = frozenset()  # that are asked for
    is_dynamic: bool = False  # whether its requirements are known to its build backend alone


@dataclass(slots=True)
class _Project:
    """A local project while the graph of them is walked."""

    file: Path
    document: dict[str, Any]
    extras: set[str] = field(default_factory=set)

    def package(self) -> Package:
        return _package(project_table(self.document, self.file), self.file, frozenset(self.extras))


def find_packages(directory: Path) -> Iterator[Package]:
    """The project in `directory` and those below it in the graph of local sources, each once."""
    found: dict[Path, _Project] = {}
    waiting: list[tuple[Path, set[str]]] = [(directory, set())]
    while waiting:
        here, extras = waiting.pop(0)
        file = here / "pyproject.toml"
        if here not in found:
            found[here] = _Project(file, read_pyproject(file))
        elif extras <= found[here].extras:
            continue
        found[here].extras |= extras
        sources = _sources(here, found[here].document)
        package = found[here].package()
        for requirement in package.requirements:
            name = canonicalize_name(requirement.name)
            asked = {str(canonicalize_name(extra)) for extra in requirement.extras}
            if name == package.name:
                waiting.append((here, asked))
            elif name in sources:
                waiting.extend((folder, asked) for folder in _local(name, *sources[name]))
    return (project.package() for project in found.values())


def _sources(directory: Path, document: dict[str, Any]) -> dict[str, tuple[Any, Path]]:
    """The sources (`[tool.uv.sources]`) by the names of the packages, each with the file that it stands in.

    A workspace's sources are its members' too.
    """
    files = {directory / "pyproject.toml": document}
    workspace = find_workspace(directory)
    if workspace is not None and directory in workspace:
        files = {workspace.directory / "pyproject.toml": workspace.document, **files}
    return {
        canonicalize_name(name): (source, file)
        for file, content in files.items()
        for name, source in content.get("tool", {}).get("uv", {}).get("sources", {}).items()
    }


def _package(project: dict[str, Any], file: Path, extras: frozenset[str]) -> Package:
    text = ""
    optional: dict[str, list[str]] = {
        canonicalize_name(name): lines for name, lines in project.get("optional-dependencies", {}).items()
    }
    lists = {"dependencies": project.get("dependencies", ())}
    lists |= {f"optional-dependencies.{extra}": optional.get(extra, ()) for extra in sorted(extras)}
    try:
        requirements = []
        for key in lists:
            requirements += [Requirement(text := line) for line in lists[key]]
        key = "requires-python"
        python = SpecifierSet(text := project.get(key, ""))
    except (InvalidRequirement, InvalidSpecifier) as error:
        raise ConfigError(f"{file}: project.{key}: {text!r} cannot be understood: {error}") from error
    dynamic = not {"dependencies", "optional-dependencies"}.isdisjoint(project.get("dynamic", ()))
    name = canonicalize_name(project["name"])
    return Package(name, file.parent, tuple(requirements), python, extras, dynamic)


def _local(name: str, source: Any, file: Path) -> Iterator[Path]:
    """The folder of a source that has a project in it: `{ path = "…" }` or `{ workspace = true }`.

    What comes from elsewhere, and an archive, is the lock's.
    """
    key = f"tool.uv.sources.{name}"
    for one in source if isinstance(source, list) else [source]:
        if not isinstance(one, dict):
            raise ConfigError(f"{file}: {key} is no table")
        if one.get("workspace") is True:
            yield _workspace_member(name, key, file)
        elif isinstance(one.get("path"), str) and not one["path"].endswith(_ARCHIVES):
            directory: Path = (file.parent / one["path"]).resolve()
            if not (directory / "pyproject.toml").is_file():
                raise ConfigError(f"{file}: {key}: there is no project in {directory}")
            yield directory


@dataclass(frozen=True, slots=True)
class Workspace:
    """Projects with one lock (`[tool.uv.workspace]`)."""

    directory: Path
    document: dict[str, Any]

    def __contains__(self, project: object) -> bool:
        return project == self.directory or project in tuple(self.members())

    def members(self) -> Iterator[Path]:
        table = self.document["tool"]["uv"]["workspace"]
        return (
            member for pattern in table.get("members", ()) for member in sorted(self.directory.glob(pattern))
        )


def find_workspace(directory: Path) -> Workspace | None:
    """The nearest workspace around a project, whether or not that is a member."""
    for folder in (directory, *directory.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            document = read_pyproject(file)
            if document.get("tool", {}).get("uv", {}).get("workspace") is not None:
                return Workspace(folder, document)
    return None


def _workspace_member(name: str, key: str, file: Path) -> Path:
    """The member called `name` of the nearest workspace around `file`."""
    workspace = find_workspace(file.parent)
    if workspace is None:
        raise ConfigError(f"{file}: {key}: there is no workspace around")
    for member in workspace.members():
        candidate = member / "pyproject.toml"
        if candidate.is_file():
            project = project_table(read_pyproject(candidate), candidate)
            if canonicalize_name(project["name"]) == canonicalize_name(name):
                return member
    raise ConfigError(f"{file}: {key}: the workspace {workspace.directory} has no member {name}")


def read_pyproject(file: Path) -> dict[str, Any]:
    """What a pyproject.toml holds. Raises ConfigError where it is not there, or no TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "has no pyproject.toml" if file.parent.is_dir() or not file.parent.exists() else "is no folder"
        raise ConfigError(
            f"{file.parent} {what}",
            hint="name the folder of the component, e.g. examples/site",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def project_table(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """Its table [project], which has a name at least. Raises ConfigError."""
    project = document.get("project")
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        raise ConfigError(f"{file}: project.name is missing")
    return project
