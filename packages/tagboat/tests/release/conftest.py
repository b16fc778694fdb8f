"""Components in real git repositories, with a bare remote beside them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """\
[project]
name = "{name}"
version = "{version}"
dependencies = [{needs}]

[tool.uv.sources]
goods = {{ path = "../goods" }}

[tool.tagboat]
entrypoint = ["{name}"]
"""
# Whatever the machine's own settings say.
ISOLATED = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


class Checkout:
    """Components side by side in one repository, `shop` built from `goods` too, all of it pushed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.origin = folder / "origin.git"

    def make(self) -> None:
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch", "main", self.origin], check=True
        )
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", self.root], check=True)
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@localhost")
        self.git("remote", "add", "origin", "../origin.git")
        for name in ("shop", "goods", "other"):
            self.write(f"{name}/code.py", "")
        self.write("goods/pyproject.toml", '[project]\nname = "goods"\nversion = "1"\n')
        self.write("shop/requirements.lock", "")
        self.release("1.4.0")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def project(self, version: str, *needs: str) -> None:
        """Write the pyproject.toml of `shop`."""
        listed = ", ".join(f'"{need}"' for need in ("goods", *needs))
        self.write("shop/pyproject.toml", PYPROJECT.format(name="shop", version=version, needs=listed))

    def release(self, version: str) -> None:
        """Commit and push what is needed to tag `version` of `shop`."""
        self.project(version)
        self.write(
            "shop/CHANGELOG.md", f"# Changelog\n\n## [{version}] - 2026-11-23\n\n- What {version} has.\n"
        )
        self.commit(f"Version {version}")

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", "HEAD")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", self.root, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | ISOLATED,
        ).stdout.strip()

    def tags(self) -> tuple[str, str]:
        """Tags here and on the remote."""
        there = subprocess.run(["git", "-C", self.origin, "tag"], check=True, capture_output=True, text=True)
        return self.git("tag"), there.stdout.strip()

    def state(self) -> list[str]:
        """All that a failed release must leave as it was."""
        files = sorted(self.root.glob("shop/*"))
        refs = "for-each-ref"
        return [
            self.git(refs),
            subprocess.run(
                ["git", "-C", self.origin, refs], check=True, capture_output=True, text=True
            ).stdout,
            self.git("status", "--porcelain"),
            self.git("symbolic-ref", "HEAD"),
            *(file.read_text() for file in files),
        ]

    def refuse_pushes(self, words: str = "protected") -> None:
        hook = self.origin / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {words} >&2\nexit 1\n")
        hook.chmod(0o755)

    def tagboat(self, *arguments: str, cwd: str = ".", **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "tagboat", *arguments],
            cwd=self.root / cwd,
            env=os.environ | ISOLATED | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def tag(self, *arguments: str, folder: str = "shop") -> subprocess.CompletedProcess:
        return self.tagboat("tag", folder, *arguments)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a checkout that tests take copies of."""
    folder = tmp_path_factory.mktemp("made")
    Checkout(folder).make()
    return folder


@pytest.fixture
def checkout(made: Path, tmp_path: Path) -> Checkout:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Checkout(tmp_path)
