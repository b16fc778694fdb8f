"""A layer: a compressed archive of file system changes, and the writer that makes reproducible ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self, cast

from ocikit.blob import Blob, FileBlob
from ocikit.digest import Digest
from ocikit.errors import OcikitError
from ocikit.manifest import OCI_LAYER_GZIP, Descriptor


@dataclass(frozen=True, slots=True)
class Layer:
    """`descriptor` and `blob` are of the compressed bytes, `diff_id` is the digest of the archive inside."""

    descriptor: Descriptor
    diff_id: Digest
    blob: Blob


class LayerWriter:
    """Writes a gzip-compressed archive in which nothing depends on when, where or by whom it is written.

    Entries stand in the order of the calls; names are relative to the root, without a leading slash. Each
    has the time `mtime` (seconds since 1970) and the owner it is given. The file at `path` appears only when
    `finish` has run: until then the bytes are in a neighbour that is removed on failure.
    """

    def __init__(self, path: Path, *, mtime: int = 0, compression_level: int = 6) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._mtime = mtime
        self._file = self._partial.open("wb")
        self._compressed = _Hasher(self._file)
        self._gzip = gzip.GzipFile(
            filename="",
            mode="wb",
            compresslevel=compression_level,
            fileobj=cast("BinaryIO", self._compressed),
            mtime=0,
        )
        self._plain = _Hasher(cast("BinaryIO", self._gzip))
        self._tar = tarfile.open(  # noqa: SIM115  open as long as the writer is
            fileobj=cast("BinaryIO", self._plain), mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a failure the archive is incomplete, and so is whatever closing it could add.
        with suppress(OSError, ValueError):
            self._tar.close()
            self._gzip.close()
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def directory(self, name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        entry = self._entry(name, tarfile.DIRTYPE, mode, uid, gid)
        self._tar.addfile(entry)

    def file(self, name: str, data: bytes | Path, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """A regular file; a path is streamed, whatever its size."""
        entry = self._entry(name, tarfile.REGTYPE, mode, uid, gid)
        if isinstance(data, bytes):
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))
            return
        with data.open("rb") as source:
            entry.size = os.fstat(source.fileno()).st_size
            self._tar.addfile(entry, source)

    def symlink(self, name: str, target: str) -> None:
        entry = self._entry(name, tarfile.SYMTYPE, 0o777, 0, 0)
        entry.linkname = target
        self._tar.addfile(entry)

    def hardlink(self, name: str, target: str) -> None:
        """Another name for the earlier entry `target`."""
        entry = self._entry(name, tarfile.LNKTYPE, 0o644, 0, 0)
        entry.linkname = target
        self._tar.addfile(entry)

    def tree(self, prefix: str, root: Path, *, uid: int = 0, gid: int = 0) -> None:
        """Everything below `root`, in order of names, under `prefix`; modes are 755 or 644 by the x bit."""
        for path in sorted(_walk(root), key=lambda path: path.relative_to(root).parts):
            name = str(PurePosixPath(prefix, path.relative_to(root).as_posix()))
            if path.is_symlink():
                self.symlink(name, str(path.readlink()))
            elif path.is_dir():
                self.directory(name, uid=uid, gid=gid)
            elif path.is_file():
                self.file(name, path, 0o755 if path.stat().st_mode & 0o100 else 0o644, uid, gid)
            else:
                raise OcikitError(f"{path} is neither file, directory nor symbolic link")

    def finish(self) -> Layer:
        """Complete the archive and return it as a layer."""
        self._tar.close()
        self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._partial.replace(self._path)
        descriptor = Descriptor(OCI_LAYER_GZIP, self._compressed.digest(), self._compressed.size)
        return Layer(descriptor, self._plain.digest(), FileBlob(self._path))

    def _entry(self, name: str, kind: bytes, mode: int, uid: int, gid: int) -> tarfile.TarInfo:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise OcikitError(f"{name!r} is no name relative to the root")
        entry = tarfile.TarInfo(str(path))
        entry.type, entry.mode, entry.uid, entry.gid, entry.mtime = kind, mode, uid, gid, self._mtime
        return entry


class _Hasher:
    """Counts and hashes what is written on its way through."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._target.write(data)

    def flush(self) -> None:
        self._target.flush()

    def digest(self) -> Digest:
        return Digest("sha256", self._hash.hexdigest())


def _walk(root: Path) -> Iterable[Path]:
    for directory, folders, files in os.walk(root):
        yield from (Path(directory, name) for name in (*folders, *files))
