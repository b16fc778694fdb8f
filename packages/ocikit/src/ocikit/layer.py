"""A layer: a compressed archive of file system changes, and the writer that makes reproducible ones."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ocikit import _tar
from ocikit._compression import Compression, new_compressor
from ocikit.blob import CHUNK, Blob, FileBlob
from ocikit.digest import Digest
from ocikit.errors import OcikitError
from ocikit.manifest import OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor

_MEDIA_TYPES = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


@dataclass(frozen=True, slots=True)
class Layer:
    """`descriptor` and `blob` are of the compressed bytes, `diff_id` is the digest of the archive inside."""

    descriptor: Descriptor
    diff_id: Digest
    blob: Blob = field(compare=False)


class LayerWriter:
    """Writes a compressed layer to `path`, entry by entry in the order of the calls.

    Only what is passed gets into the bytes: never the time, the user, the file system's order or its modes.
    `compression` is gzip, which everything reads, or zstd, which is smaller and unpacked faster, by what is
    new enough. The compressed bytes also depend on the version of libdeflate or libzstd and on the
    `compression_level` (1 to 12 for gzip, 1 to 19 for zstd); the diff ID does not.
    Each entry has the time `mtime`, in seconds since 1970 and before 2242. Content is streamed. Names are
    relative, with `/` between the parts; one that is absolute, has `..` in it, or comes twice raises
    OcikitError. Parents that are left out are made by who unpacks.

    A context manager: the file appears at `path` with `finish`, and is gone if that is never called.
    """

    def __init__(
        self,
        path: Path,
        *,
        mtime: int = 0,
        compression: Compression = "gzip",
        compression_level: int | None = None,
    ) -> None:
        if not 0 <= mtime <= _tar.LATEST:
            raise OcikitError(f"mtime {mtime} is not one that an archive can say: 0 to {_tar.LATEST}")
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}.partial")
        self._mtime = mtime
        self._media_type = _MEDIA_TYPES[compression]
        self._compressor = new_compressor(compression, compression_level)
        self._diff_id = hashlib.sha256()
        self._digest = hashlib.sha256()
        self._size = 0
        self._names: set[str] = set()
        self._file: BinaryIO | None = self._partial.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._compressor.close()
        if self._file is not None:
            self._file.close()
            self._file = None
            self._partial.unlink(missing_ok=True)

    def directory(self, name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Write a directory."""
        clean = self._claim(name)
        self._header(f"{clean}/", _tar.DIRECTORY, mode=mode, uid=uid, gid=gid)

    def file(self, name: str, data: bytes | Path, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Write a regular file; a path's content is streamed. Raises OcikitError if it shrinks meanwhile."""
        clean = self._claim(name)
        if isinstance(data, bytes):
            header = self._encoded(clean, _tar.FILE, mode=mode, uid=uid, gid=gid, size=len(data))
            self._write(b"".join((header, data, _tar.padding(len(data)))))
            return
        # Most layers are of thousands of small files: each is read, and passed on, at once.
        handle = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(handle).st_size
            pending = self._encoded(clean, _tar.FILE, mode=mode, uid=uid, gid=gid, size=size)
            left = size
            while left:
                chunk = os.read(handle, min(left, CHUNK))
                if not chunk:
                    raise OcikitError(f"{data} became shorter while it was read")
                left -= len(chunk)
                self._write(pending + chunk if left else b"".join((pending, chunk, _tar.padding(size))))
                pending = b""
            if not size:
                self._write(pending)
        finally:
            os.close(handle)

    def symlink(self, name: str, target: str, uid: int = 0, gid: int = 0) -> None:
        """Write a symbolic link; its target is text, wherever it leads."""
        self._header(self._claim(name), _tar.SYMBOLIC_LINK, mode=0o777, uid=uid, gid=gid, target=target)

    def hardlink(self, name: str, target: str) -> None:
        """Write another name for the file `target` of this layer, which must have been written before."""
        if _clean(target) not in self._names:
            raise OcikitError(f"{name!r} is a hard link to {target!r}, which this layer does not have yet")
        self._header(self._claim(name), _tar.HARD_LINK, mode=0o644, uid=0, gid=0, target=_clean(target))

    def tree(self, prefix: str, root: Path, uid: int = 0, gid: int = 0) -> None:
        """Write what is below the directory `root` below `prefix` ("." for the layer's own root), by name.

        Modes become 0755 (directories, executables) or 0644, owners those given. Raises OcikitError for
        anything but directories, regular files and symbolic links.
        """
        with os.scandir(root) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        for entry in found:
            name = f"{prefix}/{entry.name}"
            path = Path(entry.path)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                self.directory(name, uid=uid, gid=gid)
                self.tree(name, path, uid, gid)
            elif stat.S_ISREG(mode):
                self.file(name, path, 0o755 if mode & 0o111 else 0o644, uid, gid)
            elif stat.S_ISLNK(mode):
                self.symlink(name, str(path.readlink()), uid, gid)
            else:
                raise OcikitError(f"{path} is neither a directory, a regular file nor a symbolic link")

    def finish(self) -> Layer:
        """Put the finished file in its place and return the layer. Nothing can be written after that."""
        file = self._open_file()
        self._write(_tar.END)
        self._emit(self._compressor.flush())
        file.close()
        self._file = None
        self._partial.replace(self._path)
        descriptor = Descriptor(self._media_type, Digest("sha256", self._digest.hexdigest()), self._size)
        return Layer(descriptor, Digest("sha256", self._diff_id.hexdigest()), FileBlob(self._path))

    def _claim(self, name: str) -> str:
        clean = _clean(name)
        if clean in self._names:
            raise OcikitError(f"{name!r} is in this layer already")
        self._names.add(clean)
        return clean

    def _header(self, name: str, kind: bytes, *, mode: int, uid: int, gid: int, target: str = "") -> None:
        self._write(self._encoded(name, kind, mode=mode, uid=uid, gid=gid, target=target))

    def _encoded(
        self, name: str, kind: bytes, *, mode: int, uid: int, gid: int, size: int = 0, target: str = ""
    ) -> bytes:
        return _tar.encode_header(
            name, kind, mode=mode, uid=uid, gid=gid, mtime=self._mtime, size=size, target=target
        )

    def _write(self, data: bytes) -> None:
        self._diff_id.update(data)
        self._emit(self._compressor.compress(data))

    def _emit(self, members: Iterable[bytes | bytearray]) -> None:
        for data in members:
            self._digest.update(data)
            self._size += len(data)
            self._open_file().write(data)

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise OcikitError(f"the layer {self._path} is finished")
        return self._file


def _clean(name: str) -> str:
    if "/." not in name and "//" not in name and "\0" not in name and name[:1] not in ("", ".", "/"):
        return name.removesuffix("/")  # as most are
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise OcikitError(f"{name!r} is no name relative to the root")
    return "/".join(parts)
