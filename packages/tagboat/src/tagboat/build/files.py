"""What goes into a layer: a mapping from path to file, link or folder, written in one fixed way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocikit import LayerWriter


@dataclass(frozen=True, slots=True)
class Part:
    """So many bytes of a file from an offset on."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), self.size, self.offset)


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; its content is read when the layer is written. `digest`: its SHA-256, where known."""

    content: bytes | Path | Part
    executable: bool = False
    digest: str | None = field(default=None, compare=False)
    known_size: int | None = field(default=None, compare=False)
    """Bytes of the content on disk, where somebody has asked for them already."""

    @property
    def size(self) -> int:
        """Bytes of the content."""
        if isinstance(self.content, bytes):
            return len(self.content)
        if isinstance(self.content, Part):
            return self.content.size
        return self.content.stat().st_size if self.known_size is None else self.known_size

    def read(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        return self.content.read() if isinstance(self.content, Part) else self.content.read_bytes()

    def sha256(self) -> str:
        """Of the content, in hexadecimal; a file on disk is not read into memory for it."""
        if self.digest is not None:
            return self.digest
        if not isinstance(self.content, Path):
            return hashlib.sha256(self.read()).hexdigest()
        with self.content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is not just somebody's parent: with a mode or an owner of its own, or empty."""

    mode: int = 0o755
    owner: int = 0


Entry = File | Link | Folder
Files = Mapping[str, Entry]  # keys are paths without the leading `/`, in normal form


def write_files(writer: LayerWriter, files: Files) -> None:
    """Write the entries sorted by path, each after its parents, which are made as needed.

    Nothing but the mapping decides the bytes: files are 0644 or 0755, and all belongs to root except folders
    that say otherwise.
    """
    for path, entry in sorted(_with_parents(files), key=lambda one: one[0]):
        name = "/".join(path)
        if isinstance(entry, File):
            content = entry.read() if isinstance(entry.content, Part) else entry.content
            writer.file(name, content, mode=0o755 if entry.executable else 0o644)
        elif isinstance(entry, Folder):
            writer.directory(name, mode=entry.mode, uid=entry.owner, gid=entry.owner)
        else:
            writer.symlink(name, entry.target)


def _with_parents(files: Files) -> Iterator[tuple[tuple[str, ...], Entry]]:
    """Paths split at the slashes, so that sorting puts a folder right before what is in it."""
    parents: set[str] = set()
    for name, entry in files.items():
        yield tuple(name.split("/")), entry
        parent = name.rpartition("/")[0]
        while parent and parent not in parents:
            parents.add(parent)
            parent = parent.rpartition("/")[0]
    for parent in parents:
        if parent not in files:
            yield tuple(parent.split("/")), Folder()
