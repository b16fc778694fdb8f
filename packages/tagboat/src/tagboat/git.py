"""A git working tree, asked and changed through the `git` program."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from tagboat.errors import TagboatError

if TYPE_CHECKING:
    from tagboat.changelog import Entry


class GitError(TagboatError):
    """git refused, or the directory is not what the command needs."""


class NoRepositoryError(GitError):
    """The directory is in no git repository."""

    exit_code: ClassVar[int] = 10


class Status(NamedTuple):
    """What is checked out, and which of the files asked about differ from it.

    `commit` is None before the first one, `branch` None where HEAD is detached. Paths are relative to the
    root.
    """

    commit: str | None
    branch: str | None
    changed: tuple[str, ...]


class RemoteRefs(NamedTuple):
    """What a remote has now: `default` is its default branch, None where that has no commit yet."""

    default: str | None
    refs: dict[str, str]  # full name -> object


class WorkTree(NamedTuple):
    """The working tree whose top folder is `root`."""

    root: Path

    @classmethod
    def containing(cls, directory: Path) -> WorkTree:
        """Raises NoRepositoryError when `directory` is in no git repository."""
        root = _top(directory)
        if root is None:
            raise NoRepositoryError(
                f"{directory} is not in a git repository",
                hint="run `git init`, commit, and add a remote; a release is a tag that others can see",
            )
        return cls(root)

    def status(self, paths: tuple[Path, ...]) -> Status:
        """What is checked out, and the files below `paths` that differ from it or are untracked.

        Raises GitError where one of them is not in the repository.
        """
        self.require_inside(paths)
        listing = git(
            self.root,
            "status",
            "--porcelain=v2",
            "--branch",
            "-z",
            "--untracked-files=all",
            "--no-renames",
            "--",
            *map(str, paths),
        )
        lines = listing.split("\0")
        header = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
        commit, branch = header["branch.oid"], header["branch.head"]
        return Status(
            None if commit == "(initial)" else commit,
            None if branch == "(detached)" else branch,
            tuple(_path(line) for line in lines if line and not line.startswith("# ")),
        )

    def require_inside(self, paths: tuple[Path, ...]) -> None:
        """Raises GitError for a folder outside of the repository: no tag of it says what is in there."""
        for path in paths:
            if not path.is_relative_to(self.root):
                raise GitError(
                    f"{path} is built into the image, and is not in the repository {self.root}",
                    hint="a tag says nothing of what is outside: bring that package in, or lock its release",
                )

    def tags(self, pattern: str, *, merged: bool = False) -> dict[str, str]:
        """The tags that match a glob, with the commits that they stand for; `merged`: those that HEAD has."""
        listing = git(
            self.root,
            "for-each-ref",
            "--format=%(refname:lstrip=2) %(objectname) %(*objectname)",
            *(("--merged=HEAD",) if merged else ()),
            f"refs/tags/{pattern}",
        )
        fields = [line.split() for line in listing.splitlines()]
        return {name: commits[-1] for name, *commits in fields}

    def remote_refs(self, remote: str, *patterns: str) -> RemoteRefs:
        """The refs of a remote that match, and which branch is its default one. Asks the remote itself."""
        default, refs = None, {}
        for line in git(self.root, "ls-remote", "--symref", remote, "HEAD", *patterns).splitlines():
            value, _, name = line.partition("\t")
            if name == "HEAD" and value.startswith("ref: refs/heads/"):
                default = value.removeprefix("ref: refs/heads/")
            elif not name.endswith("^{}"):
                refs[name] = value
        return RemoteRefs(default, refs)

    def settings(self, pattern: str) -> dict[str, str]:
        """The git settings whose names, in small letters, match a regular expression; the last of each."""
        listing = git(self.root, "config", "-z", "--get-regexp", pattern, none=1)
        pairs = (entry.partition("\n") for entry in listing.split("\0") if entry)
        return {name: value or "true" for name, _, value in pairs}  # a name alone means yes

    def reaches(self, ancestor: str, name: str) -> bool:
        """Whether `ancestor` is in the history of `name`; no where nothing of that name is here."""
        try:
            git(self.root, "merge-base", "--is-ancestor", ancestor, name)
        except GitError:
            return False
        return True

    def log(self, since: str | None, paths: tuple[Path, ...]) -> list[Entry]:
        """The commits that touch `paths`, newest first, after the one that `since` names; no merges."""
        from tagboat.changelog import Entry  # noqa: PLC0415  a build asks for no log

        fields = git(
            self.root,
            "log",
            "-z",
            "--no-merges",
            "--no-show-signature",
            "--format=%H%x00%s%x00%b",
            f"{since}..HEAD" if since else "HEAD",
            "--",
            *map(str, paths),
        ).split("\0")
        return [Entry(*entry) for entry in zip(fields[::3], fields[1::3], fields[2::3], strict=False)]

    def create_tag(self, name: str, message: str, commit: str, *, sign: bool) -> str:
        """An annotated tag on `commit`, signed as git is set up to; returns the id of the tag itself."""
        # Lines that begin with `#` are the message's own.
        how = ("--sign" if sign else "--annotate", "--cleanup=whitespace", "--file=-")
        git(self.root, "tag", *how, name, commit, stdin=message.encode())
        return git(self.root, "rev-parse", "--verify", f"refs/tags/{name}")

    def delete_tag(self, name: str) -> None:
        git(self.root, "tag", "--delete", name)

    def push(self, remote: str, *refs: str) -> None:
        """All of `refs` or none (`git push --atomic`)."""
        git(self.root, "push", "--quiet", "--atomic", "--no-follow-tags", remote, *refs)

    def commit_files(self, files: Mapping[Path, str], message: str, *, sign: bool) -> str:
        """A commit on top of HEAD in which `files` have other texts, and its id.

        Nothing that is checked out moves: neither the branch, nor the index, nor any file.
        """
        from tempfile import TemporaryDirectory  # noqa: PLC0415  a build makes no commit

        with TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            git(self.root, "read-tree", "HEAD", environment=index)
            for file, text in files.items():
                path = str(file.relative_to(self.root))
                blob = git(self.root, "hash-object", "-w", "--path", path, "--stdin", stdin=text.encode())
                mode = git(self.root, "ls-files", "--stage", "--", path).partition(" ")[0] or "100644"
                change = f"{mode},{blob},{path}"
                git(self.root, "update-index", "--add", "--cacheinfo", change, environment=index)
            tree = git(self.root, "write-tree", environment=index)
        how = ("-S",) if sign else ()
        return git(self.root, "commit-tree", *how, "-p", "HEAD", tree, stdin=message.encode())

    def advance(self, commit: str) -> None:
        """Check out `commit`, which HEAD leads straight to."""
        git(self.root, "merge", "--quiet", "--ff-only", commit)


def _path(line: str) -> str:
    """The path of a line of `git status --porcelain=v2`: what follows the fields that its kind has."""
    return line.split(" ", {"1": 8, "u": 10, "?": 1}[line[0]])[-1]


class Commit(NamedTuple):
    """A commit by its id; `time` in seconds since 1970."""

    id: str
    time: int


def head_commit(directory: Path) -> Commit | None:
    """The commit that is checked out around `directory`; None outside of git and before the first commit."""
    if not in_work_tree(directory):
        return None
    shown = ("show", "--no-patch", "--no-show-signature", "--format=%H %ct", "HEAD")
    try:
        name, time = git(directory, *shown).split()
    except GitError:
        if not git(directory, "rev-parse", "--verify", "--quiet", "HEAD", none=1):
            return None
        raise
    return Commit(name, int(time))


def is_clean(directories: tuple[Path, ...]) -> bool:
    """Whether all these folders are in work trees and as their HEAD has them."""
    # Whatever a user's git is set up to leave out when it is asked.
    everything = ("--porcelain", "--untracked-files=normal", "--ignore-submodules=none")
    return all(
        in_work_tree(directory) and not git(directory, "status", *everything, "--", ".")
        for directory in directories
    )


def in_work_tree(directory: Path) -> bool:
    return _top(directory) is not None


def _top(directory: Path) -> Path | None:
    """Looked up in the file system: git does not say whether it found none or one that it distrusts."""
    return next((folder for folder in (directory, *directory.parents) if (folder / ".git").exists()), None)


def git(
    directory: Path,
    *arguments: str,
    none: int = 0,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> str:
    """What git prints; nothing when it ends with the code `none`. Raises GitError with git's own reason."""
    # In a hook of git these name the repository of the hook, whatever the directory.
    named = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
    inherited = {name: value for name, value in os.environ.items() if name not in named}
    ours = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", directory, *arguments],
            capture_output=True,
            check=False,
            input=stdin,
            env=inherited | ours | dict(environment or {}),
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed", hint="install the package `git`") from error
    if done.returncode not in (0, none):
        raise GitError(f"git {arguments[0]} in {directory}: {done.stderr.decode(errors='replace').strip()}")
    return os.fsdecode(done.stdout).rstrip("\n")
