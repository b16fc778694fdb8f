"""A git working tree, asked and changed through the `git` program."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tagboat.errors import TagboatError


class GitError(TagboatError):
    """git refused, or the directory is not what the command needs."""


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The working tree whose top folder is `root`."""

    root: Path

    @classmethod
    def containing(cls, directory: Path) -> WorkTree:
        """Raises GitError when `directory` is in no git repository."""
        if not in_work_tree(directory):
            raise GitError(
                f"{directory} is not in a git repository",
                hint="run `git init`, commit, and add a remote; a release is a tag that others can see",
            )
        return cls(Path(git(directory, "rev-parse", "--show-toplevel")))

    def head(self) -> str:
        """The commit that is checked out, as 40 hexadecimal digits."""
        return git(self.root, "rev-parse", "--verify", "HEAD^{commit}")

    def changed_files(self, paths: tuple[Path, ...]) -> list[str]:
        """Files below `paths` that differ from HEAD or are untracked, relative to the root."""
        listing = git(
            self.root,
            "status",
            "--porcelain",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--",
            *map(str, paths),
        )
        return [entry[3:] for entry in listing.split("\0") if entry]

    def local_tag(self, name: str) -> str | None:
        """The commit that tag `name` stands for here, None where there is no such tag."""
        commit = git(self.root, "for-each-ref", "--format=%(objectname) %(*objectname)", f"refs/tags/{name}")
        return commit.split()[-1] if commit else None

    def remote_has_tag(self, remote: str, name: str) -> bool:
        return bool(git(self.root, "ls-remote", "--tags", remote, f"refs/tags/{name}"))

    def remotes(self) -> list[str]:
        return git(self.root, "remote").split()

    def create_tag(self, name: str, message: str) -> None:
        """An annotated tag on HEAD."""
        git(self.root, "tag", "--annotate", name, "--message", message)

    def delete_tag(self, name: str) -> None:
        git(self.root, "tag", "--delete", name)

    def push_tag(self, remote: str, name: str) -> None:
        git(self.root, "push", "--quiet", "--atomic", remote, f"refs/tags/{name}")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit by its id; `time` in seconds since 1970."""

    id: str
    time: int


def head_commit(directory: Path) -> Commit | None:
    """The commit that is checked out around `directory`; None outside of git and before the first commit."""
    if not in_work_tree(directory):
        return None
    if not git(directory, "rev-parse", "--verify", "--quiet", "HEAD", none=1):
        return None
    name, time = git(
        directory, "show", "--no-patch", "--no-show-signature", "--format=%H %ct", "HEAD"
    ).split()
    return Commit(name, int(time))


def is_clean(directories: tuple[Path, ...]) -> bool:
    """Whether all these folders are in work trees and as their HEAD has them."""
    return all(
        in_work_tree(directory) and not git(directory, "status", "--porcelain", "--", ".")
        for directory in directories
    )


def in_work_tree(directory: Path) -> bool:
    """Looked up in the file system: git does not say whether it found none or one that it distrusts."""
    return any((folder / ".git").exists() for folder in (directory, *directory.parents))


def git(directory: Path, *arguments: str, none: int = 0) -> str:
    """What git prints; nothing when it ends with the code `none`. Raises GitError with git's own reason."""
    # In a hook of git these name the repository of the hook, whatever the directory.
    named = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    try:
        done = subprocess.run(
            ["git", "-C", directory, *arguments],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed", hint="install the package `git`") from error
    if done.returncode not in (0, none):
        reason = done.stderr.decode(errors="replace").strip()
        raise GitError(f"git {arguments[0]} in {directory}: {reason}")
    return os.fsdecode(done.stdout).rstrip("\n")
