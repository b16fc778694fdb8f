"""What goes into a layer: a mapping from path to file, link or folder, written in one fixed way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocikit import LayerWriter


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; its content is read when the layer is written. `digest`: its SHA-256, where known."""

    content: bytes | Path
    executable: bool = False
    digest: str | None = field(default=None, compare=False)

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


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
    for path, entry in sorted(_with_parents(files)):
        name = "/".join(path)
        if isinstance(entry, Folder):
            writer.directory(name, mode=entry.mode, uid=entry.owner, gid=entry.owner)
        elif isinstance(entry, Link):
            writer.symlink(name, entry.target)
        else:
            writer.file(name, entry.content, mode=0o755 if entry.executable else 0o644)


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
