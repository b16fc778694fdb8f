"""A component: a folder with a pyproject.toml that becomes one image."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tagboat.config import Config, parse_config
from tagboat.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Package:
    """A Python project in a local folder, to be built as a wheel."""

    name: str  # normalised (PEP 503)
    directory: Path
    requirements: tuple[Requirement, ...] = ()
    requires_python: SpecifierSet = field(default_factory=SpecifierSet)


@dataclass(frozen=True, slots=True)
class Component:
    """What `pyproject.toml` in `directory` says.

    `packages` are the component's own first, then the local ones that it depends on, directly or not
    (`[tool.uv.sources]` with a path).
    """

    directory: Path
    name: str
    version: str
    description: str | None
    source_url: str | None
    config: Config
    packages: tuple[Package, ...]

    @classmethod
    def load(cls, directory: Path) -> Component:
        """Read a component. Raises ConfigError that names the file and the key."""
        directory = directory.resolve()
        file = directory / "pyproject.toml"
        document = _read(file)
        project = _project(document, file)
        name: str = project["name"]
        tool = document.get("tool", {}).get("tagboat", {})
        if not isinstance(tool, dict):
            raise ConfigError(f"{file}: tool.tagboat must be a table")
        return cls(
            directory=directory,
            name=name,
            version=_version(project, file),
            description=project.get("description"),
            source_url=_source_url(project),
            config=parse_config(tool, file, name=canonicalize_name(name), scripts=project.get("scripts", {})),
            packages=tuple(_packages(directory)),
        )

    @property
    def source_directories(self) -> tuple[Path, ...]:
        """The folders whose content goes into the image, the component's own first."""
        return tuple(package.directory for package in self.packages)

    @property
    def lock(self) -> Path:
        return self.directory / self.config.lock


def _source_url(project: dict[str, Any]) -> str | None:
    """Where the source is published, by the well-known labels of project URLs."""
    urls = {label.lower(): url for label, url in project.get("urls", {}).items()}
    return next(
        (urls[label] for label in ("source", "source code", "repository", "github") if label in urls), None
    )


def _packages(directory: Path) -> Iterator[Package]:
    """The project in `directory` and those below it in the graph of local sources, each once."""
    seen: set[Path] = set()
    waiting = [directory]
    while waiting:
        here = waiting.pop(0)
        if here in seen:
            continue
        seen.add(here)
        file = here / "pyproject.toml"
        document = _read(file)
        package = _package(_project(document, file), file)
        yield package
        sources = document.get("tool", {}).get("uv", {}).get("sources", {})
        needed = {canonicalize_name(requirement.name) for requirement in package.requirements}
        waiting.extend(
            _local(name, source, file)
            for name, source in sources.items()
            if canonicalize_name(name) in needed
        )


def _package(project: dict[str, Any], file: Path) -> Package:
    text = ""
    try:
        key = "dependencies"
        requirements = tuple(Requirement(text := line) for line in project.get(key, ()))
        key = "requires-python"
        python = SpecifierSet(text := project.get(key, ""))
    except (InvalidRequirement, InvalidSpecifier) as error:
        raise ConfigError(f"{file}: project.{key}: {text!r} cannot be understood: {error}") from error
    return Package(canonicalize_name(project["name"]), file.parent, requirements, python)


def _local(name: str, source: Any, file: Path) -> Path:
    """The folder of a source (`{ path = "…" }` or `{ workspace = true }`) that has a project in it."""
    key = f"tool.uv.sources.{name}"
    if isinstance(source, dict) and source.get("workspace") is True:
        return _workspace_member(name, key, file)
    if not isinstance(source, dict) or not isinstance(source.get("path"), str):
        raise ConfigError(
            f"{file}: {key} is not a local path",
            hint='only { path = "…" } and { workspace = true } can be built in; others belong into the lock',
        )
    directory: Path = (file.parent / source["path"]).resolve()
    if not (directory / "pyproject.toml").is_file():
        raise ConfigError(f"{file}: {key}: there is no project in {directory}")
    return directory


def _workspace_member(name: str, key: str, file: Path) -> Path:
    """The member called `name` of the nearest workspace around `file`."""
    for folder in (file.parent, *file.parent.parents):
        if not (folder / "pyproject.toml").is_file():
            continue
        workspace = _read(folder / "pyproject.toml").get("tool", {}).get("uv", {}).get("workspace")
        if workspace is None:
            continue
        members = (
            member for pattern in workspace.get("members", ()) for member in sorted(folder.glob(pattern))
        )
        for member in members:
            candidate = member / "pyproject.toml"
            if candidate.is_file():
                project = _project(_read(candidate), candidate)
                if canonicalize_name(project["name"]) == canonicalize_name(name):
                    return member
        raise ConfigError(f"{file}: {key}: the workspace {folder} has no member {name}")
    raise ConfigError(f"{file}: {key}: there is no workspace around")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{file.parent} has no pyproject.toml",
            hint="name the folder of the component, e.g. examples/site",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def _project(document: dict[str, Any], file: Path) -> dict[str, Any]:
    project = document.get("project")
    if not isinstance(project, dict) or not isinstance(project.get("name"), str):
        raise ConfigError(f"{file}: project.name is missing")
    return project


def _version(project: dict[str, Any], file: Path) -> str:
    version = project.get("version")
    if not isinstance(version, str):
        raise ConfigError(
            f"{file}: project.version is missing", hint="releases are tagged by it, so it is written down"
        )
    try:
        Version(version)
    except InvalidVersion as error:
        raise ConfigError(f"{file}: project.version: {version!r} is no version of PEP 440") from error
    return version
