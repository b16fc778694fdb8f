"""A project's source tree: exactly the files that git would keep, by content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path

from ocikit.value import value
from tagboat.errors import TagboatError
from tagboat.git import git, in_work_tree

_NEVER = frozenset({".git", ".hg", ".venv", "__pycache__", "node_modules"})
_NEVER_AT_TOP = frozenset({"build", "dist"})
_ENVIRONMENT = "pyvenv.cfg"  # what makes a folder a virtual environment (PEP 405), whatever it is called
_MOST = 200_000  # files, when folders are linked
_IN_MEMORY = 16 << 20  # bytes of a project
_CHUNK = 1 << 20


class SourceError(TagboatError):
    """The source tree cannot be read."""


@value
class SourceTree:
    """The files below `directory` that count, relative to it and sorted, and a digest of them all.

    Times, owners and modes other than being executable play no part in the digest, nor does the tree's place.
    """

    directory: Path
    files: Mapping[str, str]
    """What stands for the content and mode of each file."""

    digest: str
    left_out: tuple[str, ...] = ()
    """The links to folders that are not below `directory`."""

    contents: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What has been read, as far as it is not too much to be held."""

    @classmethod
    def read(cls, directory: Path) -> SourceTree:
        """In a git work tree what is tracked or could be added, submodules too; elsewhere all but caches and
        environments. A link to a folder of the tree stands for what is in that."""
        listed = set(_list_tracked(directory)) if in_work_tree(directory) else set()
        if "pyproject.toml" not in listed:  # no git around, or one that ignores the whole project
            listed = set(_walk(directory))
        listed, left_out = _without_links(directory, _without_environments(directory, listed))
        files: dict[str, str] = {}
        contents: dict[str, bytes] = {}
        room = _IN_MEMORY
        hasher = hashlib.sha256()
        try:
            for name in sorted(listed):
                mode, size = _mode_and_size(f"{directory}/{name}")
                if mode is None:
                    continue
                if size <= room:
                    with open(f"{directory}/{name}", "rb", buffering=0) as file:  # noqa: PTH123  as many
                        contents[name] = file.read()
                    room -= len(contents[name])
                    digest = hashlib.sha256(contents[name]).hexdigest()
                else:
                    with (directory / name).open("rb") as large:
                        digest = hashlib.file_digest(large, "sha256").hexdigest()
                files[name] = f"{mode}{digest}"
                hasher.update(f"{name}\0{files[name]}\0".encode(errors="surrogateescape"))
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error
        return cls(directory, files, hasher.hexdigest(), left_out, contents)

    def content_digest(self, name: str) -> str:
        """SHA-256 of a file's content, in hexadecimal."""
        return self.files[name][1:]

    def content(self, name: str) -> bytes:
        """What the digest covers. Raises SourceError for a file that is no longer as it was read."""
        if name in self.contents:
            return self.contents[name]
        file = self.directory / name
        try:
            content = file.read_bytes()
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.content_digest(name):
            raise SourceError(f"{file} was changed while the image was built", hint="build it again")
        return content

    def copy_file(self, name: str, target: Path) -> None:
        """Write to `target` what the digest covers. Raises SourceError for a file that is no longer as it was
        read."""
        if name in self.contents:
            target.write_bytes(self.contents[name])
            return
        file, hashed = self.directory / name, hashlib.sha256()
        try:
            with file.open("rb") as source, target.open("wb") as copy:
                while data := source.read(_CHUNK):
                    hashed.update(data)
                    copy.write(data)
        except OSError as error:
            if error.filename != str(file):
                raise  # of where it goes
            raise SourceError(f"{file} cannot be read: {error.strerror}") from error
        if hashed.hexdigest() != self.content_digest(name):
            raise SourceError(f"{file} was changed while the image was built", hint="build it again")

    def copy(self, target: Path, instead: Mapping[str, bytes]) -> None:
        """Put the files, and nothing else that lies beside them, into the empty folder `target`; `instead` of
        the content of some of them another.

        Raises SourceError for a file that is no longer as it was read.
        """
        for folder in {(target / name).parent for name in self.files}:
            folder.mkdir(parents=True, exist_ok=True)
        for name, state in self.files.items():
            file = target / name
            if name in instead:
                file.write_bytes(instead[name])
            else:
                self.copy_file(name, file)
            file.chmod(0o755 if state[0] == "x" else 0o644)


def _mode_and_size(path: str) -> tuple[str | None, int]:
    """`x` for a file to be executed, `-` for any other, None for what is no file; and its bytes."""
    try:
        found = os.stat(path)  # noqa: PTH116  there are many of them
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None, 0
        raise
    if not stat.S_ISREG(found.st_mode):
        return None, 0
    # Not what this user may do, nor what this file system lets anybody do: what git asks.
    return ("x" if found.st_mode & stat.S_IXUSR else "-"), found.st_size


def _list_tracked(directory: Path) -> Iterator[str]:
    listing = git(directory, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".")
    for name in filter(None, listing.split("\0")):
        if _NEVER.isdisjoint(name.split("/")):
            yield name
            if not name.endswith("/") and (directory / name / ".git").exists():  # a submodule
                yield from (f"{name}/{below}" for below in _list_tracked(directory / name))


def _walk(directory: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(directory):
        here = Path(folder)
        if _ENVIRONMENT in files and here != directory:
            folders.clear()
            continue
        never = _NEVER | _NEVER_AT_TOP if here == directory else _NEVER
        folders[:] = [name for name in folders if name not in never and not name.endswith(".egg-info")]
        links = [name for name in folders if (here / name).is_symlink()]  # which are not walked into
        below = "" if here == directory else f"{here.relative_to(directory)}/"
        yield from (f"{below}{name}" for name in (*files, *links))


def _without_environments(directory: Path, listed: set[str]) -> set[str]:
    """Names that do not lie in a virtual environment."""
    folders: set[str] = set()
    for name in listed:
        above = name.rpartition("/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    found = tuple(f"{one}/" for one in folders if os.path.lexists(f"{directory}/{one}/{_ENVIRONMENT}"))
    return {name for name in listed if not name.startswith(found)} if found else listed


def _without_links(directory: Path, listed: set[str]) -> tuple[set[str], tuple[str, ...]]:
    """Names with what links to folders stand for in place of these, and the links that lead elsewhere."""
    top = directory.resolve()
    targets: dict[str, str] = {}
    left_out = []
    for name in sorted(listed):
        if os.path.islink(f"{directory}/{name}") and (directory / name).is_dir():  # noqa: PTH114  many names
            end = (directory / name).resolve()
            if end.is_relative_to(top):
                targets[name] = end.relative_to(top).as_posix()
            else:
                left_out.append(name)
    found = set(listed)
    for _ in targets:  # a link may lead to a folder with another one in it
        for link, target in targets.items():
            if not f"{link}/".startswith(f"{target}/") and target != ".":  # never into itself
                found |= {link + name.removeprefix(target) for name in found if name.startswith(f"{target}/")}
        if len(found) > _MOST:
            raise SourceError(f"{directory}: its links to folders lead through each other to {_MOST} files")
    return found, tuple(left_out)
