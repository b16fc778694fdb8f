"""Layers to a file system (image specification 1.1, layer.md): whiteouts, links, owners, no way out.

Every path is walked from the root by directory descriptors that never follow a symbolic link (`O_NOFOLLOW`),
so that neither `..` nor a link, of this archive or of an earlier layer, leads outside.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ocikit import _tar
from ocikit._content import opened_archive
from ocikit.errors import OcikitError, UnsafeArchiveError
from ocikit.image import Image
from ocikit.layer import Layer
from ocikit.limits import MAX_ENTRIES, MAX_SIZE

Whiteouts = Literal["apply", "overlay"]

_PREFIX = ".wh."
_OPAQUE = ".wh..wh..opq"
_OVERLAY_OPAQUE = "trusted.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_PATH = 4095  # bytes, of a name or a link's target (Linux, PATH_MAX)
_LONGEST_PART = 255
_MOST_NAMES = 512 << 20  # bytes of the names of files and folders, which are remembered
_DEEPEST = 256  # directories in one another
_LARGEST_ID = 2**32 - 2
_LATEST = 2**40 * 10**9  # nanoseconds, either way of 1970


def unpack(
    image: Image,
    root: Path,
    *,
    ownership: bool | None = None,
    max_size: int = MAX_SIZE,
    only: Callable[[str], bool] | None = None,
) -> None:
    """All layers of the image, lowest first, into one root file system; otherwise as `unpack_layer`.

    `max_size` bounds the bytes of each uncompressed layer. With `only`, just the files and links whose names,
    as `usr/bin/env`, it approves of are written, in directories of mode 0755.
    """
    directories: _Directories = {}
    owned = _owned(ownership)
    for layer in image.layers:
        _unpack(layer, root, directories, whiteouts="apply", ownership=owned, max_size=max_size, only=only)
    _settle(root, directories, owned)


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
    `lowerdir`: that needs root. `ownership` sets owners and keeps set-ID bits, by default when we are root;
    without it such a bit would lend our own rights, so it is dropped. Of extended attributes, `user.*` and
    `security.capability` are kept.

    Refused with UnsafeArchiveError: names that are absolute, hold `..`, or pass through a symbolic link or a
    file; hard links to what is not in the folder; devices (a container gets its own from its runtime); sparse
    files; a name that comes twice, but for directories; more than `max_size` bytes or two million entries;
    what is no tar. Digest, size and diff ID are checked while reading (DigestMismatchError). What the file
    system refuses is an OcikitError. After an error, what was written until then is left in the folder.
    """
    directories: _Directories = {}
    owned = _owned(ownership)
    _unpack(layer, directory, directories, whiteouts=whiteouts, ownership=owned, max_size=max_size)
    _settle(directory, directories, owned)


# Modes and times of directories, by path: set when all is written, since a directory may be read-only.
_Directories = dict[str, _tar.Entry]


def _owned(ownership: bool | None) -> bool:
    return os.geteuid() == 0 if ownership is None else ownership


def _unpack(
    layer: Layer,
    directory: Path,
    directories: _Directories,
    *,
    whiteouts: Whiteouts,
    ownership: bool,
    max_size: int,
    only: Callable[[str], bool] | None = None,
) -> None:
    with opened_archive(layer, max_size) as archive, _opened(directory) as root:
        unpacker = _Unpacker(root, whiteouts, ownership, directories, only)
        entry = None
        try:
            for entry in archive:
                unpacker.write(entry, archive)
        except OSError as error:
            name = entry.name if entry else "archive"
            raise OcikitError(
                f"layer {layer.descriptor.digest}: {name!r} cannot be written: {error.strerror or error}"
            ) from error


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _settle(directory: Path, directories: _Directories, ownership: bool) -> None:
    """Give directories their modes and times, the inner ones first."""
    with _opened(directory) as root:
        for name, entry in sorted(directories.items(), reverse=True):
            try:
                with _walk(root, name) as handle:
                    _set_attributes(handle, entry, ownership)
            except (FileNotFoundError, UnsafeArchiveError):
                continue  # a later layer has put something else in its place
            except OSError as error:
                raise OcikitError(f"{directory}: {name!r} cannot be written: {error.strerror}") from error


@dataclass(slots=True)
class _Unpacker:
    """Writes the entries of one archive below the folder that the descriptor `root` stands for."""

    root: int
    whiteouts: Whiteouts
    ownership: bool
    directories: _Directories
    only: Callable[[str], bool] | None
    _kinds: dict[str, bytes] = field(default_factory=dict)  # what this very layer brought: whiteouts spare it
    _hidden: set[str] = field(default_factory=set)  # what its whiteouts have named
    _count: int = 0
    _names: int = 0  # bytes of what is in `_kinds`

    def write(self, entry: _tar.Entry, archive: _tar.Reader) -> None:
        self._count += 1
        if self._count > MAX_ENTRIES:
            raise UnsafeArchiveError(f"more than {MAX_ENTRIES} entries")
        _check_attributes(entry)
        name = _clean(entry.name)
        directory, _, last = name.rpartition("/")
        if last == _OPAQUE:
            self._opaque(directory)
        elif last.startswith(_PREFIX):
            self._whiteout(name)
        elif self.only is not None and (entry.kind == _tar.DIRECTORY or not self.only(name)):
            return
        elif not name:
            if entry.kind != _tar.DIRECTORY:
                raise UnsafeArchiveError(f"{entry.name!r} wants to replace the root")
            self.directories[""] = entry
        else:
            self._claim(name, entry.kind)
            self._create(name, entry, archive)

    def _claim(self, name: str, kind: bytes) -> None:
        known = self._kinds.get(name, kind)
        if known != kind or (name in self._kinds and kind != _tar.DIRECTORY):
            raise UnsafeArchiveError(f"{name!r} comes twice")
        self._remember(name, kind)
        while (name := name.rpartition("/")[0]) and name not in self._kinds:
            self._remember(name, _tar.DIRECTORY)

    def _remember(self, name: str, kind: bytes) -> None:
        """Also of folders that no entry is of, but that an entry is in: one may make hundreds."""
        self._kinds[name] = kind
        self._names += len(name)
        if len(self._kinds) > MAX_ENTRIES or self._names > _MOST_NAMES:
            raise UnsafeArchiveError(
                f"more than {MAX_ENTRIES} files and folders, or {_MOST_NAMES} bytes of their names"
            )

    def _create(self, name: str, entry: _tar.Entry, archive: _tar.Reader) -> None:
        with _parent(self.root, name, create=True) as (parent, last):
            if entry.kind == _tar.DIRECTORY:
                self._directory(name, entry, parent, last)
                return
            _remove(parent, last)
            if entry.kind == _tar.FILE:
                self._file(entry, archive, parent, last)
            elif entry.kind == _tar.SYMBOLIC_LINK:
                self._symlink(entry, parent, last)
            elif entry.kind == _tar.HARD_LINK:
                self._hardlink(entry, parent, last)
            elif entry.kind == _tar.FIFO:
                os.mkfifo(last, 0o600, dir_fd=parent)
                with _handle(last, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, parent) as fifo:
                    _set_attributes(fifo, entry, self.ownership)
            else:
                raise UnsafeArchiveError(f"{name!r} is a device; devices are refused")

    def _directory(self, name: str, entry: _tar.Entry, parent: int, last: str) -> None:
        try:
            kind = os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            kind = 0
        if not stat.S_ISDIR(kind):
            _remove(parent, last)
            os.mkdir(last, 0o700, dir_fd=parent)
        if name in self._hidden and self.whiteouts == "overlay":
            with _handle(last, _DIRECTORY, parent) as handle:
                os.setxattr(handle, _OVERLAY_OPAQUE, b"y")
        self.directories[name] = entry

    def _file(self, entry: _tar.Entry, archive: _tar.Reader, parent: int, last: str) -> None:
        with _handle(last, _NEW_FILE, parent) as handle:
            while data := archive.content():
                while data:
                    data = data[os.write(handle, data) :]
            _set_attributes(handle, entry, self.ownership)

    def _symlink(self, entry: _tar.Entry, parent: int, last: str) -> None:
        if not 0 < len(os.fsencode(entry.target)) <= _LONGEST_PATH or "\0" in entry.target:
            raise UnsafeArchiveError(f"{entry.name!r} is a symbolic link to nothing that could be")
        os.symlink(entry.target, last, dir_fd=parent)
        if self.ownership:
            os.chown(last, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(last, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _hardlink(self, entry: _tar.Entry, parent: int, last: str) -> None:
        try:
            with _parent(self.root, _clean(entry.target)) as (directory, name):
                if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                    raise UnsafeArchiveError(f"{entry.name!r} is a hard link to a directory")
                os.link(name, last, src_dir_fd=directory, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise UnsafeArchiveError(
                f"{entry.name!r} is a hard link to {entry.target!r}, which is not there"
            ) from None

    # Whiteouts: they are about lower layers only, wherever in the archive they stand.

    def _whiteout(self, name: str) -> None:
        directory, _, last = name.rpartition("/")
        hidden = last.removeprefix(_PREFIX)
        if hidden in ("", ".", ".."):
            raise UnsafeArchiveError(f"{name!r} is a whiteout of nothing")
        target = f"{directory}/{hidden}" if directory else hidden
        self._hidden.add(target)
        self._count += target.count("/")  # the folders around it, which may have to be made
        kind = self._kinds.get(target)
        if kind == _tar.DIRECTORY:
            self._opaque(target)  # the lower one is hidden, and this layer's own stands in its place
        elif kind is None and self.whiteouts == "overlay":
            with _parent(self.root, target, create=True) as (parent, entry):
                _remove(parent, entry)
                os.mknod(entry, 0o600 | stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
        elif kind is None:
            with suppress(FileNotFoundError), _parent(self.root, target) as (parent, entry):
                _remove(parent, entry)

    def _opaque(self, directory: str) -> None:
        if self.whiteouts == "overlay":
            with _walk(self.root, directory, create=True) as handle:
                os.setxattr(handle, _OVERLAY_OPAQUE, b"y")
            return
        waiting = [directory]
        while waiting:
            above = waiting.pop()
            with suppress(FileNotFoundError), _walk(self.root, above) as handle:
                for name in os.listdir(handle):  # noqa: PTH208  of a descriptor, not of a path
                    path = f"{above}/{name}" if above else name
                    kind = self._kinds.get(path)
                    if kind is None:
                        _remove(handle, name)
                    elif kind == _tar.DIRECTORY:
                        waiting.append(path)


def _clean(name: str) -> str:
    """The path below the root, without empty parts; "" for the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise UnsafeArchiveError(f"{name[:200]!r} leads out of the root")
    if (
        "\0" in name
        or len(parts) > _DEEPEST
        or len(os.fsencode(name)) > _LONGEST_PATH
        or any(len(os.fsencode(part)) > _LONGEST_PART for part in parts)
    ):
        raise UnsafeArchiveError(f"{name[:200]!r} is no path that a file system has")
    return "/".join(parts)


@contextmanager
def _handle(name: str, flags: int, parent: int) -> Iterator[int]:
    handle = os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _parent(root: int, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    directory, _, last = name.rpartition("/")
    with _walk(root, directory, create=create) as handle:
        yield handle, last


@contextmanager
def _walk(root: int, directory: str, *, create: bool = False) -> Iterator[int]:
    """A descriptor of a folder below the root, reached without following a link."""
    handle = os.dup(root)
    try:
        for part in directory.split("/") if directory else ():
            try:
                below = os.open(part, _DIRECTORY, dir_fd=handle)
            except FileNotFoundError:
                if not create:
                    raise
                os.mkdir(part, 0o755, dir_fd=handle)
                below = os.open(part, _DIRECTORY, dir_fd=handle)
                os.fchmod(below, 0o755)  # whatever the umask: the image's users have to get through
            except NotADirectoryError as error:  # also said of a link, before anything is followed
                raise UnsafeArchiveError(
                    f"{directory!r} goes through {part!r}, which is a link or no directory"
                ) from error
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _remove(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=parent)


def _set_attributes(handle: int, entry: _tar.Entry, ownership: bool) -> None:
    if ownership:
        os.fchown(handle, entry.uid, entry.gid)
    # After the owner, whose change clears the set-ID bits and capabilities.
    os.fchmod(handle, entry.mode if ownership else entry.mode & 0o1777)
    for name, value in entry.xattrs.items():
        if name.startswith("user.") or (name == "security.capability" and ownership):
            with suppress(OSError):  # not every file system keeps them
                os.setxattr(handle, name, value)
    os.utime(handle, ns=(entry.mtime, entry.mtime))


def _check_attributes(entry: _tar.Entry) -> None:
    if max(entry.uid, entry.gid) > _LARGEST_ID or abs(entry.mtime) > _LATEST:
        raise UnsafeArchiveError(f"{entry.name!r} has an owner or a time that no system has")
