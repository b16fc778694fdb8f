"""`tagboat tag` in real git repositories: a safe release is tagged and pushed, any other is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = """\
[project]
name = "shop"
version = "{version}"
dependencies = ["goods"]

[tool.uv.sources]
goods = {{ path = "../goods" }}

[tool.tagboat]
entrypoint = ["shop"]
"""


class Checkout:
    """Two components side by side in one repository, `shop` built from `goods` too, with a bare origin."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.origin = folder / "origin.git"
        subprocess.run(["git", "init", "--quiet", "--bare", self.origin], check=True)
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", self.root], check=True)
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@localhost")
        self.git("remote", "add", "origin", str(self.origin))
        for name in ("shop", "goods", "other"):
            (self.root / name).mkdir()
            (self.root / name / "code.py").write_text("")
        (self.root / "goods" / "pyproject.toml").write_text('[project]\nname = "goods"\nversion = "1"\n')
        self.version("1.4.0")

    def version(self, version: str) -> None:
        (self.root / "shop" / "pyproject.toml").write_text(PYPROJECT.format(version=version))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", version)

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", self.root, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    def tags(self) -> tuple[str, str]:
        """Tags here and on the remote."""
        there = subprocess.run(["git", "-C", self.origin, "tag"], check=True, capture_output=True, text=True)
        return self.git("tag"), there.stdout.strip()

    def tag(self, *arguments: str, folder: str = "shop") -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "tagboat", "tag", folder, *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_clean_release_is_tagged_annotated_and_pushed(checkout):
    done = checkout.tag()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "shop-v1.4.0\n"
    assert checkout.tags() == ("shop-v1.4.0", "shop-v1.4.0")
    assert checkout.git("cat-file", "-t", "shop-v1.4.0") == "tag"
    assert checkout.git("rev-parse", "shop-v1.4.0^{commit}") == checkout.git("rev-parse", "HEAD")
    assert checkout.git("tag", "--list", "--format=%(contents:subject)") == "Release shop 1.4.0"


@pytest.mark.parametrize("path", ["shop/code.py", "shop/new.py", "goods/code.py", "shop/ü ä.py"])
def test_a_dirty_tree_is_refused_with_the_file_named(checkout, path):
    (checkout.root / path).write_text("changed = True\n")
    done = checkout.tag()
    assert done.returncode == 1
    assert path in done.stderr
    assert "commit these files" in done.stderr
    assert checkout.tags() == ("", "")


def test_a_staged_deletion_is_refused_too(checkout):
    checkout.git("rm", "--quiet", "shop/code.py")
    done = checkout.tag()
    assert done.returncode == 1
    assert "shop/code.py" in done.stderr


def test_many_dirty_files_are_counted_rather_than_listed(checkout):
    for number in range(25):
        (checkout.root / "shop" / f"file{number:02}.py").touch()
    done = checkout.tag()
    assert "shop/file09.py" in done.stderr
    assert "shop/file10.py" not in done.stderr
    assert "and 15 more" in done.stderr


def test_changes_in_another_component_do_not_matter(checkout):
    (checkout.root / "other" / "code.py").write_text("changed = True\n")
    assert checkout.tag().returncode == 0


def test_a_tag_that_exists_here_is_refused(checkout):
    checkout.git("tag", "shop-v1.4.0")
    done = checkout.tag()
    assert done.returncode == 1
    assert "tag shop-v1.4.0 exists already" in done.stderr
    assert "raise `version`" in done.stderr


def test_a_tag_that_exists_only_on_the_remote_is_refused(checkout):
    checkout.git("tag", "shop-v1.4.0")
    checkout.git("push", "--quiet", "origin", "shop-v1.4.0")
    checkout.git("tag", "--delete", "shop-v1.4.0")
    done = checkout.tag()
    assert done.returncode == 1
    assert "exists already on origin" in done.stderr
    assert checkout.tags()[0] == ""


def test_the_next_version_gets_the_next_tag(checkout):
    assert checkout.tag().returncode == 0
    checkout.version("1.5.0")
    assert checkout.tag().stdout == "shop-v1.5.0\n"


def test_an_unknown_remote_is_refused(checkout):
    done = checkout.tag("--remote", "upstream")
    assert done.returncode == 1
    assert "no remote `upstream`" in done.stderr


def test_a_refused_push_leaves_no_tag_behind(checkout):
    hook = checkout.origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    done = checkout.tag()
    assert done.returncode == 1
    assert "protected" in done.stderr
    assert checkout.tags() == ("", "")


def test_a_remote_that_cannot_be_reached_leaves_no_tag_behind(checkout):
    checkout.git("remote", "set-url", "origin", str(checkout.root / "nowhere"))
    done = checkout.tag()
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert checkout.tags()[0] == ""


def test_a_folder_in_no_repository_is_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\n[tool.tagboat]\nentrypoint = ["shop"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "tagboat", "tag", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "is not in a git repository" in done.stderr


def test_a_folder_without_a_component_is_wrong_use(checkout):
    done = checkout.tag(folder="other")
    assert done.returncode == 2
    assert "has no pyproject.toml" in done.stderr
