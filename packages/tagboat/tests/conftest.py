"""A small component to build, and one cache for the whole session: Debian is asked once."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packages.tagboat.tests.dns_server import DnsServer, serving
from packages.tagboat.tests.registry import serving as registry_serving

from ocikit import Layout
from tagboat.build import Build, build_with_report
from tagboat.component import Component

LOCK = """\
h11==0.16.0 \\
    --hash=sha256:4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1 \\
    --hash=sha256:63cf8bbe7522de3bf65932fda1d9c2772064ffb3dae62d55932da54b31cb6c86
jmespath==1.1.0 \\
    --hash=sha256:472c87d80f36026ae83c6ddd0f1d05d4e510134ed462851fd5f754c8c3cbb88d \\
    --hash=sha256:a5663118de4908c91729bea0acadca56526eb2698e83de10cd116ae0f4e97c64
"""

PYPROJECT = """\
[project]
name = "hail"
version = "1.2.3"
description = "Says what it is."
requires-python = ">=3.11"
license = "MIT"
authors = [{ name = "Ann Other", email = "ann@git.example" }, { name = "The Crew" }]
dependencies = ["goods", "h11", "jmespath"]

[project.scripts]
hail = "hail:main"

[project.urls]
Source = "https://git.example/hail"
Homepage = "https://hail.example"

[tool.uv.sources]
goods = { path = "../goods", editable = true }

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"

[tool.tagboat]
base = "debian:bookworm"
"""

SOURCE = '''\
"""Prints what it sees, as JSON."""

import json
import os
import sys

import goods
import h11


def main():
    print(json.dumps({
        "uid": os.getuid(),
        "gid": os.getgid(),
        "cwd": os.getcwd(),
        "prefix": sys.prefix,
        "executable": sys.executable,
        "python": list(sys.version_info[:2]),
        "h11": h11.__version__,
        "goods": goods.NAME,
        "cached": {name: sys.modules[name].__cached__ for name in ("goods", "h11", "hail", "json")},
        "environment": {k: v for k, v in os.environ.items() if k.startswith("PYTHON")},
        "arguments": sys.argv[1:],
    }))
'''


@dataclass(frozen=True)
class Project:
    """The folders of a component `hail` and of a local package `goods` that it needs."""

    root: Path

    @property
    def directory(self) -> Path:
        return self.root / "hail"

    @property
    def pyproject(self) -> Path:
        return self.directory / "pyproject.toml"

    def configure(self, text: str) -> None:
        """Put `text` at the end of pyproject.toml, that is, into [tool.tagboat]."""
        self.pyproject.write_text(PYPROJECT + text)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@localhost"]
        return subprocess.run(
            ["git", "-C", self.root, *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()


@dataclass(frozen=True)
class Built:
    """What a build gave, and the lines that it said meanwhile."""

    project: Project
    build: Build
    layout: Path
    lines: list[str]


def write_project(root: Path) -> Project:
    project = Project(root)
    for name in ("hail", "goods"):
        (root / name / "src" / name).mkdir(parents=True)
    project.pyproject.write_text(PYPROJECT)
    (project.directory / "requirements.lock").write_text(LOCK)
    (project.directory / "src" / "hail" / "__init__.py").write_text(SOURCE)
    (root / "goods" / "src" / "goods" / "__init__.py").write_text('NAME = "goods"\n')
    (root / "goods" / "pyproject.toml").write_text(
        '[project]\nname = "goods"\nversion = "0.1"\n'
        '[build-system]\nrequires = ["uv_build>=0.13,<0.14"]\nbuild-backend = "uv_build"\n'
    )
    return project


@pytest.fixture(name="write_project", scope="session")
def _write_project() -> Callable[[Path], Project]:
    return write_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return write_project(tmp_path / "source")


@pytest.fixture(scope="session")
def build_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests share, so that the base is composed once. Tests that change a cache take another."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, build_cache: Path) -> Built:
    """The component built once, and its image as an OCI layout."""
    project = write_project(tmp_path_factory.mktemp("built") / "source")
    component = Component.load(project.directory)
    lines: list[str] = []
    done = build_with_report(component, build_cache, progress=lines.append)
    layout = project.root.parent / "layout"
    Layout(layout).write(done.image, "latest")
    return Built(project, done, layout, lines)


@pytest.fixture
def tagboat(project, build_cache, tmp_path):
    """Runs a command line in the component's folder, with the session's cache as the user's own."""
    home = tmp_path / "cache"
    home.mkdir()
    (home / "tagboat").symlink_to(build_cache)

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "tagboat", *arguments],
            cwd=project.directory,
            env=os.environ | {"XDG_CACHE_HOME": str(home)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def registry() -> Iterator[str]:
    """The address of a registry on loopback that takes everything."""
    with registry_serving() as address:
        yield address


@pytest.fixture(scope="session")
def name_server() -> Iterator[DnsServer]:
    with serving() as server:
        yield server


@pytest.fixture
def zones(name_server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[DnsServer]:
    """The public DNS of the test, with nothing in it but its name servers."""
    monkeypatch.setenv("TAGBOAT_RESOLVERS", name_server.setting)
    monkeypatch.setattr("tagboat.dns.names._TIMEOUT", 60.0)
    yield name_server
    name_server.reset()
