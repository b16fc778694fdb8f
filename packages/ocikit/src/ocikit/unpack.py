"""Layers to a file system (image specification 1.1, layer.md): whiteouts, links, owners, no way out.

Every path is walked from the root by directory descriptors that never follow a symbolic link (`O_NOFOLLOW`),
so that neither `..` nor a link, of this archive or of an earlier layer, leads outside.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, cast

from ocikit.blob import CHUNK, verified
from ocikit.digest import Digest
from ocikit.errors import DigestMismatchError, OcikitError, UnsafeArchiveError
from ocikit.image import Image
from ocikit.layer import Layer
from ocikit.manifest import DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP

Whiteouts = Literal["apply", "overlay"]

MAX_SIZE = 32 << 30  # bytes that one layer may hold, unless the caller says otherwise
MAX_ENTRIES = 2_000_000

_PREFIX = ".wh."
_OPAQUE = ".wh..wh..opq"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(image: Image, root: Path, *, ownership: bool | None = None, max_size: int = MAX_SIZE) -> None:
    """All layers of the image, lowest first, into one root file system.

    `ownership` sets owners and keeps set-user-ID bits; by default when we are root. `max_size` bounds the
    bytes of each layer. Raises UnsafeArchiveError, DigestMismatchError; what was written until then stays.
    """
    for layer in image.layers:
        unpack_layer(layer, root, whiteouts="apply", ownership=ownership, max_size=max_size)


def unpack_layer(
    layer: Layer,
    directory: Path,
    *,
    whiteouts: Whiteouts = "apply",
    ownership: bool | None = None,
    max_size: int = MAX_SIZE,
) -> None:
    """One layer into a folder, made when absent.

    With `apply`, what a whiteout names is removed from the folder. With `overlay`, whiteouts become what
    overlayfs understands (character device 0/0; `trusted.overlay.opaque`), so that the folder can be one
    `lowerdir`: that needs root. Device nodes are refused: a container gets its devices from its runtime.
    Digest, size and diff ID are checked while reading. Raises UnsafeArchiveError, DigestMismatchError,
    OcikitError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    owned = os.geteuid() == 0 if ownership is None else ownership
    what = str(layer.descriptor.digest)
    with verified(layer.blob, layer.descriptor.digest, layer.descriptor.size, what) as source:
        plain = _Plain(_decompressed(source, layer.descriptor.media_type), max_size, what)
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _Unpacker(root, whiteouts, owned, what).run(plain)
        finally:
            os.close(root)
        plain.drain()
        if plain.digest(layer.diff_id.algorithm) != layer.diff_id:
            raise DigestMismatchError(
                f"layer {what}: its content is not what diff ID {layer.diff_id} promises"
            )
        # Whatever follows the compressed stream belongs to the blob, and so to its digest.
        while source.read(CHUNK):
            pass


@dataclass(slots=True)
class _Unpacker:
    """Writes the entries of one archive below the folder that the descriptor `root` stands for."""

    root: int
    whiteouts: Whiteouts
    ownership: bool
    what: str
    _written: set[str] = field(
        default_factory=set
    )  # names that this very layer brought: whiteouts spare them
    _times: list[tuple[str, float]] = field(default_factory=list)

    def run(self, stream: _Plain) -> None:
        try:
            with tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|", encoding="utf-8") as archive:
                for count, entry in enumerate(archive):
                    if count >= MAX_ENTRIES:
                        raise UnsafeArchiveError(f"layer {self.what}: more than {MAX_ENTRIES} entries")
                    self._entry(archive, entry)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError) as error:
            raise OcikitError(f"layer {self.what}: not a readable archive: {error}") from error
        for name, mtime in reversed(self._times):
            with suppress(FileNotFoundError, NotADirectoryError), self._parent(name) as (parent, last):
                os.utime(last, (mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def _entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        name = self._clean(entry.name)
        if not name:
            return  # the root itself
        last = name.rpartition("/")[2]
        if last == _OPAQUE:
            self._opaque(name.rpartition("/")[0])
        elif last.startswith(_PREFIX):
            self._whiteout(name)
        else:
            self._write(archive, entry, name)

    def _write(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, name: str) -> None:
        with self._parent(name, create=True) as (parent, last):
            if entry.isdir():
                self._directory(parent, last)
            else:
                self._remove(parent, last)
                if entry.isreg():
                    self._file(archive, entry, parent, last)
                elif entry.issym():
                    os.symlink(entry.linkname, last, dir_fd=parent)
                elif entry.islnk():
                    self._hardlink(entry, parent, last)
                elif entry.isfifo():
                    os.mkfifo(last, dir_fd=parent)
                else:
                    raise UnsafeArchiveError(f"layer {self.what}: {name} is a device; devices are refused")
            self._written.add(name)
            if not entry.islnk():
                self._attributes(entry, parent, last, name)

    def _directory(self, parent: int, last: str) -> None:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            os.unlink(last, dir_fd=parent)
        os.mkdir(last, 0o700, dir_fd=parent)

    def _file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, parent: int, last: str) -> None:
        content = archive.extractfile(entry)
        if content is None:
            raise OcikitError(f"layer {self.what}: {entry.name} has no content")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(last, flags, 0o600, dir_fd=parent), "wb") as target:
            shutil.copyfileobj(content, target, CHUNK)

    def _hardlink(self, entry: tarfile.TarInfo, parent: int, last: str) -> None:
        target = self._clean(entry.linkname)
        try:
            with self._parent(target) as (directory, name):
                if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    raise UnsafeArchiveError(
                        f"layer {self.what}: {entry.name} links to {entry.linkname}, which is no file"
                    )
                os.link(name, last, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise UnsafeArchiveError(
                f"layer {self.what}: {entry.name} links to {entry.linkname}, which is not in it"
            ) from None

    def _attributes(self, entry: tarfile.TarInfo, parent: int, last: str, name: str) -> None:
        if self.ownership:
            os.chown(last, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.issym():
            os.utime(last, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
            return
        # After chown, which clears the set-ID bits; without owners these bits would give away our own user.
        handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchmod(handle, entry.mode & (0o7777 if self.ownership else 0o1777))
            for key, value in entry.pax_headers.items():
                if key.startswith("SCHILY.xattr.user.") or key == "SCHILY.xattr.security.capability":
                    with suppress(OSError):  # not every file system keeps them
                        os.setxattr(
                            handle,
                            key.removeprefix("SCHILY.xattr."),
                            value.encode("utf-8", "surrogateescape"),
                        )
        finally:
            os.close(handle)
        if entry.isdir():
            self._times.append((name, entry.mtime))  # once its content is written
        else:
            os.utime(last, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    # Whiteouts

    def _whiteout(self, name: str) -> None:
        directory, _, last = name.rpartition("/")
        hidden = last.removeprefix(_PREFIX)
        if not hidden or hidden in (".", ".."):
            raise UnsafeArchiveError(f"layer {self.what}: {name} is a whiteout of nothing")
        target = f"{directory}/{hidden}".lstrip("/")
        if target in self._written:
            return
        if self.whiteouts == "overlay":
            with self._parent(target, create=True) as (parent, entry):
                self._remove(parent, entry)
                os.mknod(entry, 0o600 | stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            return
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(target) as (parent, entry):
            self._remove(parent, entry)

    def _opaque(self, directory: str) -> None:
        if self.whiteouts == "overlay":
            with self._open(directory, create=True) as handle:
                os.setxattr(handle, "trusted.overlay.opaque", b"y")
            return
        with suppress(FileNotFoundError, NotADirectoryError), self._open(directory) as handle:
            for name in os.listdir(handle):  # noqa: PTH208  of a descriptor, not of a path
                path = f"{directory}/{name}".lstrip("/")
                if path not in self._written and not any(
                    written.startswith(f"{path}/") for written in self._written
                ):
                    self._remove(handle, name)

    # Paths

    def _clean(self, name: str) -> str:
        if "\0" in name:
            raise UnsafeArchiveError(f"layer {self.what}: {name!r} holds a zero byte")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UnsafeArchiveError(f"layer {self.what}: {name} leads out of the root")
        return "/".join(parts)

    @contextmanager
    def _parent(self, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        directory, _, last = name.rpartition("/")
        with self._open(directory, create=create) as handle:
            yield handle, last

    @contextmanager
    def _open(self, directory: str, *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder below the root, reached without following a link."""
        handle = os.dup(self.root)
        try:
            for part in filter(None, directory.split("/")):
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=handle)
                try:
                    below = os.open(part, _DIRECTORY, dir_fd=handle)
                except OSError as error:
                    if isinstance(error, FileNotFoundError):
                        raise
                    raise UnsafeArchiveError(
                        f"layer {self.what}: {directory} goes through {part}, which is a link or no directory"
                    ) from error
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    def _remove(self, parent: int, name: str) -> None:
        try:
            kind = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(kind):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)


class _Plain(io.RawIOBase):
    """The uncompressed archive on its way through: counted, hashed, bounded."""

    def __init__(self, source: BinaryIO, limit: int, what: str) -> None:
        super().__init__()
        self._source = source
        self._limit = limit
        self._what = what
        self._hash = hashlib.sha256()
        self._count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(CHUNK if size < 0 else size)
        self._count += len(data)
        if self._count > self._limit:
            raise UnsafeArchiveError(f"layer {self._what}: more than {self._limit} bytes unpacked")
        self._hash.update(data)
        return data

    def drain(self) -> None:
        while self.read(CHUNK):
            pass

    def digest(self, algorithm: str) -> Digest:
        if algorithm != "sha256":
            raise OcikitError(f"layer {self._what}: a diff ID in {algorithm} cannot be checked")
        return Digest("sha256", self._hash.hexdigest())


def _decompressed(source: BinaryIO, media_type: str) -> BinaryIO:
    if media_type in (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=source))
    if media_type == OCI_LAYER:
        return source
    raise OcikitError(f"layers of type {media_type} cannot be unpacked")
