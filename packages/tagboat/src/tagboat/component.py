"""A component: a folder with a pyproject.toml that becomes one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from tagboat.config import Config, parse_config
from tagboat.errors import ConfigError
from tagboat.package import Package, find_packages, find_workspace, project_table, read_pyproject
from tagboat.version import read_version

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
    source_url: str | None
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
            source_url=_source_url(project),
            config=parse_config(tool, file, name=canonicalize_name(name), scripts=project.get("scripts", {})),
            packages=tuple(find_packages(directory)),
        )

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


def _source_url(project: dict[str, Any]) -> str | None:
    """Where the source is published, by the well-known labels of project URLs."""
    urls = {label.lower(): url for label, url in project.get("urls", {}).items()}
    return next(
        (urls[label] for label in ("source", "source code", "repository", "github") if label in urls), None
    )
