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
        try:
            top = _git(directory, "rev-parse", "--show-toplevel")
        except GitError as error:
            raise GitError(
                f"{directory} is not in a git repository",
                hint="run `git init`, commit, and add a remote; a release is a tag that others can see",
            ) from error
        return cls(Path(top))

    def head(self) -> str:
        """The commit that is checked out, as 40 hexadecimal digits."""
        return _git(self.root, "rev-parse", "--verify", "HEAD^{commit}")

    def changed_files(self, paths: tuple[Path, ...]) -> list[str]:
        """Files below `paths` that differ from HEAD or are untracked, relative to the root."""
        listing = _git(
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
        commit = _git(self.root, "for-each-ref", "--format=%(objectname) %(*objectname)", f"refs/tags/{name}")
        return commit.split()[-1] if commit else None

    def remote_has_tag(self, remote: str, name: str) -> bool:
        return bool(_git(self.root, "ls-remote", "--tags", remote, f"refs/tags/{name}"))

    def remotes(self) -> list[str]:
        return _git(self.root, "remote").split()

    def create_tag(self, name: str, message: str) -> None:
        """An annotated tag on HEAD."""
        _git(self.root, "tag", "--annotate", name, "--message", message)

    def delete_tag(self, name: str) -> None:
        _git(self.root, "tag", "--delete", name)

    def push_tag(self, remote: str, name: str) -> None:
        _git(self.root, "push", "--quiet", "--atomic", remote, f"refs/tags/{name}")


def _git(directory: Path, *arguments: str) -> str:
    # The messages are shown to the user and matched by nobody, but a prompt would hang a pipeline.
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", directory, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed", hint="install the package `git`") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip() or f"exit code {error.returncode}"
        raise GitError(f"git {arguments[0]} in {directory}: {reason}") from error
    return done.stdout.rstrip("\n")
