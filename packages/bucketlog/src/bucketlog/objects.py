"""Immutable objects named by their content: how chunks and snapshots are read, checked, cached and written.

The name of an object is the SHA-256 of its bytes, so whoever reads it knows that it is whole, and a copy on a
local disk is as good as the one in the bucket.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from obstore.exceptions import BaseError

from bucketlog.errors import FormatError, StoreError, brief
from bucketlog.requests import MeteredStore

__all__ = ["DiskCache", "MissingObjectError", "NamedObjects", "name_of"]

_CONCURRENCY: Final = 128
_IN_MEMORY: Final = 128 << 20  # bytes of packed objects


class MissingObjectError(StoreError):
    """An object that a snapshot names is not in the bucket: collected as garbage, or lost."""


def name_of(data: bytes) -> str:
    """The name of an object: the SHA-256 of its bytes, in 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


class DiskCache:
    """A folder of named objects. Processes may share it, and anybody may delete any of it at any time."""

    def __init__(self, folder: Path, limit: int) -> None:
        """`limit` bounds the bytes of all files; those used longest ago go first."""
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._size: int | None = None

    def read(self, name: str) -> bytes | None:
        """The object, unless it is not here or not whole."""
        path = self._folder / name[:2] / name
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if name_of(data) != name:
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Keep an object; a disk that is full or not to be written to keeps none."""
        path = self._folder / name[:2] / name
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                Path(temporary).replace(path)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
            with self._lock:
                self._size = self._measured() if self._size is None else self._size + len(data)
                if self._size > self._limit:
                    self._evict()

    def clear(self) -> None:
        """Delete everything."""
        for _, _, path in self._files():
            with suppress(OSError):
                path.unlink()

    def _files(self) -> list[tuple[float, int, Path]]:
        files = []
        for path in self._folder.glob("??/*"):
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        return files

    def _measured(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _evict(self) -> None:
        """Delete what was used longest ago until a tenth is free; others may have filled the folder too."""
        files = sorted(self._files())
        size = sum(size for _, size, _ in files)
        for _, length, path in files:
            if size <= self._limit * 0.9:
                break
            with suppress(OSError):
                path.unlink()
            size -= length
        self._size = size


class NamedObjects:
    """The objects below one prefix of a bucket, through the caches."""

    def __init__(self, store: MeteredStore, disk: DiskCache | None) -> None:
        self._store = store
        self._disk = disk
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, bytes] = OrderedDict()
        self._memory_size = 0

    def read(self, prefix: str, name: str) -> bytes:
        """The object `prefix` + `name`.

        Raises `MissingObjectError` when there is none, `FormatError` when its bytes are not those that its
        name says, `StoreError` when the store fails.
        """
        with self._lock:
            data = self._memory.get(name)
            if data is not None:
                self._memory.move_to_end(name)
                return data
        data = self._disk.read(name) if self._disk else None
        if data is None:
            data = self._read(prefix, name)
            if self._disk:
                self._disk.write(name, data)
        self._remember(name, data)
        return data

    def read_all(self, prefix: str, names: Sequence[str]) -> list[bytes]:
        """Several objects at once, in the order of `names`."""
        if len(names) == 1:
            return [self.read(prefix, names[0])]
        with ThreadPoolExecutor(min(_CONCURRENCY, max(1, len(names))), "bucketlog-read") as pool:
            return list(pool.map(lambda name: self.read(prefix, name), names))

    def write(self, prefix: str, data: bytes) -> str:
        """Write an object and return its name; raises `StoreError`.

        One that is there is written again, with the same bytes: it is new to whoever collects garbage.
        """
        name = name_of(data)
        try:
            self._store.put(prefix + name, data)
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot write {prefix}{name}: {brief(error)}") from error
        if self._disk:
            self._disk.write(name, data)
        self._remember(name, data)
        return name

    def forget(self) -> None:
        """Empty the caches, of what must not be anywhere."""
        with self._lock:
            self._memory.clear()
            self._memory_size = 0
        if self._disk:
            self._disk.clear()

    def _read(self, prefix: str, name: str) -> bytes:
        key = prefix + name
        try:
            data = self._store.get(key)
        except FileNotFoundError as error:
            raise MissingObjectError(f"{key} is not in the bucket") from error
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot read {key}: {brief(error)}") from error
        if name_of(data) != name:
            raise FormatError(f"{key} is corrupt: its SHA-256 is not its name; restore it from a backup")
        return data

    def _remember(self, name: str, data: bytes) -> None:
        with self._lock:
            self._memory_size += len(data) - len(self._memory.pop(name, b""))
            self._memory[name] = data
            while self._memory_size > _IN_MEMORY and len(self._memory) > 1:
                self._memory_size -= len(self._memory.popitem(last=False)[1])
