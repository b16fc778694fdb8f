"""A component: a folder with a pyproject.toml that becomes one image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from tagboat.config import Config, parse_config
from tagboat.errors import ConfigError
from tagboat.package import Package, find_packages, find_workspace, project_table, read_pyproject
from tagboat.version import find_version, read_version

_LOCKS = ("uv.lock", "pylock.toml", "requirements.lock")


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
    authors: str | None
    license: str | None
    urls: Mapping[str, str]
    config: Config
    packages: tuple[Package, ...]

    @classmethod
    def load(cls, directory: Path) -> Component:
        """Read a component. Raises ConfigError that names the file and the key."""
        directory = directory.resolve()
        file = directory / "pyproject.toml"
        document = read_pyproject(file)
        project = project_table(document, file)
        name: str = project["name"]
        tool = document.get("tool", {}).get("tagboat", {})
        if not isinstance(tool, dict):
            raise ConfigError(f"{file}: tool.tagboat must be a table")
        return cls(
            directory=directory,
            name=name,
            version=read_version(document, file),
            description=project.get("description"),
            authors=_authors(project),
            license=_license(project),
            urls={_label(name): str(url) for name, url in project.get("urls", {}).items()},
            config=parse_config(tool, file, name=canonicalize_name(name), scripts=project.get("scripts", {})),
            packages=tuple(find_packages(directory)),
        )

    @property
    def version_file(self) -> Path:
        """The file that the version is written in."""
        file = self.directory / "pyproject.toml"
        return find_version(read_pyproject(file), file).file

    @property
    def source_url(self) -> str | None:
        """Where the source is published."""
        return self.url("source", "sourcecode", "repository", "github")

    def url(self, *labels: str) -> str | None:
        """The first of the project's URLs with one of these labels, which are in small letters alone."""
        return next((self.urls[label] for label in labels if label in self.urls), None)

    @property
    def source_directories(self) -> tuple[Path, ...]:
        """The folders whose content goes into the image, the component's own first."""
        return tuple(package.directory for package in self.packages)

    @property
    def lock(self) -> Path:
        """The lock file: the configured one, or else the only one beside pyproject.toml, or else `uv.lock` of
        the workspace. Raises ConfigError when there is none, or more than one."""
        if self.config.lock is not None:
            return self.directory / self.config.lock
        found = [self.directory / name for name in _LOCKS if (self.directory / name).is_file()]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise ConfigError(
                f"{self.directory} has {len(found)} locks: {names}",
                hint=f'say which: lock = "{found[0].name}" in [tool.tagboat] of pyproject.toml',
            )
        if not found:
            workspace = find_workspace(self.directory)
            found = [workspace.directory / "uv.lock"] if workspace and self.directory in workspace else []
        if not found or not found[0].is_file():
            raise ConfigError(
                f"{self.directory} has no lock: neither {', '.join(_LOCKS[:-1])} nor {_LOCKS[-1]}",
                hint="`uv lock` writes uv.lock; `uv pip compile --generate-hashes --universal "
                "-o requirements.lock pyproject.toml` hashed requirements",
            )
        return found[0]


def _label(text: str) -> str:
    """A label of a project's URLs, spelled in one way (packaging specification "Well-known Project URLs")."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _authors(project: dict[str, Any]) -> str | None:
    """`NAME <EMAIL>, …` of `[project.authors]`."""
    found = project.get("authors", ())
    people = [(str(one.get("name", "")), str(one.get("email", ""))) for one in found if isinstance(one, dict)]
    words = [f"{name} <{email}>" if name and email else name or email for name, email in people]
    return ", ".join(word for word in words if word) or None


def _license(project: dict[str, Any]) -> str | None:
    """The SPDX expression (PEP 639); a table with a text or a file, as it was written before, says none."""
    found = project.get("license")
    return found if isinstance(found, str) else None
