"""A directory as an object store whose writes outlast a power failure."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from obstore.exceptions import AlreadyExistsError, PermissionDeniedError
from obstore.store import LocalStore

__all__ = ["DirectoryStore"]


class DirectoryStore:
    """obstore's local store, except that a `put` is on disk before anybody can see it, and before it returns.

    That order matters: whoever reads an entry of the log builds on it, so it must not be lost when what is
    built on it is not.
    """

    def __init__(self, folder: Path) -> None:
        _make_folder(folder)
        self._folder = folder
        self._inner = LocalStore(folder)

    def put(self, path: str, file: bytes, *, mode: Any = None) -> None:
        """Write an object; with `mode="create"` raise `AlreadyExistsError` when there is one."""
        try:
            self._put(path, file, only_new=mode == "create")
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise PermissionDeniedError(f"{path}: {error.strerror}") from error
            raise

    def _put(self, path: str, file: bytes, *, only_new: bool) -> None:
        target = self._folder / path
        _make_folder(target.parent)
        if only_new and target.exists():  # who loses a race need not wait for the disk
            raise AlreadyExistsError(f"{path} exists")
        with _temporary(target, file) as temporary:
            if only_new:
                try:
                    os.link(temporary, target)
                except FileExistsError as error:
                    raise AlreadyExistsError(f"{path} exists") from error
            else:
                temporary.replace(target)
        _sync_folder(target.parent)

    def get(self, path: str) -> Any:
        """Read an object; `FileNotFoundError` when there is none."""
        return self._inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        """Iterate over batches of objects, in no order."""
        return self._inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> None:
        """Delete objects."""
        for path in paths:
            (self._folder / path).unlink(missing_ok=True)


@contextmanager
def _temporary(target: Path, data: bytes) -> Iterator[Path]:
    """A file of `data` that is on disk. obstore lists no name that ends in `#` and digits, as its own do."""
    path = target.with_name(f"{target.name}#{secrets.randbits(63)}")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
