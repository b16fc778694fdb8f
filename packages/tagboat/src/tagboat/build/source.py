"""A project's source tree: exactly the files that git would keep, by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagboat.errors import TagboatError
from tagboat.git import git, in_work_tree

_NEVER = frozenset({".git", ".hg", ".venv", "venv", "__pycache__", "node_modules"})
_NEVER_AT_TOP = frozenset({"build", "dist"})


class SourceError(TagboatError):
    """The source tree cannot be read."""


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The files below `directory` that count, relative to it and sorted, and a digest of them all.

    Times, owners and modes other than being executable play no part in the digest, nor does the tree's place.
    """

    directory: Path
    files: Mapping[str, str]
    """What stands for the content and mode of each file."""

    digest: str

    @classmethod
    def read(cls, directory: Path) -> SourceTree:
        """In a git work tree what is tracked or could be added; elsewhere all but caches and environments."""
        listed = set(_list_tracked(directory)) if in_work_tree(directory) else set()
        if "pyproject.toml" not in listed:  # no git around, or one that ignores the whole project
            listed = set(_walk(directory))
        files: dict[str, str] = {}
        hasher = hashlib.sha256()
        try:
            for name in sorted(name for name in listed if (directory / name).is_file()):
                content = (directory / name).read_bytes()
                mode = "x" if os.access(directory / name, os.X_OK) else "-"
                files[name] = f"{mode}{hashlib.sha256(content).hexdigest()}"
                hasher.update(f"{name}\0{files[name]}\0".encode(errors="surrogateescape"))
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error
        return cls(directory, files, hasher.hexdigest())

    def content_digest(self, name: str) -> str:
        """SHA-256 of a file's content, in hexadecimal."""
        return self.files[name][1:]

    def content(self, name: str) -> bytes:
        """What the digest covers. Raises SourceError for a file that is no longer as it was read."""
        file = self.directory / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.content_digest(name):
            raise SourceError(f"{file} was changed while the image was built", hint="build it again")
        return content

    def copy(self, target: Path) -> None:
        """Put the files, and nothing else that lies beside them, into the empty folder `target`.

        Raises SourceError for a file that is no longer as it was read.
        """
        for name in self.files:
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.content(name))
            file.chmod(0o755 if os.access(self.directory / name, os.X_OK) else 0o644)


def _list_tracked(directory: Path) -> Iterator[str]:
    listing = git(directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".")
    yield from (name for name in listing.split("\0") if name and not _NEVER.intersection(name.split("/")))


def _walk(directory: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(directory):
        here = Path(folder)
        never = _NEVER | _NEVER_AT_TOP if here == directory else _NEVER
        folders[:] = [name for name in folders if name not in never and not name.endswith(".egg-info")]
        yield from (str((here / name).relative_to(directory)) for name in files)
