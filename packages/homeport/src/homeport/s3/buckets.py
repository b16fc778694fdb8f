"""Buckets as folders: one folder a bucket, objects as files in it, through obstore."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from obstore.store import LocalStore

from homeport.aws.errors import ApiError

# The naming rules of general purpose buckets, without dots: names are folders and parts of host names.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Bucket:
    name: str
    created_at: datetime
    store: LocalStore


class Buckets:
    """The buckets below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stores: dict[str, LocalStore] = {}

    def find(self, name: str) -> Bucket:
        """Raises ApiError NoSuchBucket, InvalidBucketName."""
        folder = self._path(name)
        if not folder.is_dir():
            raise ApiError("NoSuchBucket", f"there is no bucket {name}", 404)
        return self._bucket(name, folder)

    def create(self, name: str) -> Bucket:
        """The bucket, made when absent."""
        folder = self._path(name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._bucket(name, folder)

    def delete(self, name: str) -> None:
        """Raises ApiError BucketNotEmpty."""
        self.find(name)
        folder = self._path(name)
        if any(path.is_file() for path in folder.rglob("*")):
            raise ApiError("BucketNotEmpty", f"bucket {name} holds objects", 409)
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir()
        folder.rmdir()
        self._stores.pop(name, None)

    def list(self) -> list[Bucket]:
        if not self._folder.is_dir():
            return []
        return [self._bucket(path.name, path) for path in sorted(self._folder.iterdir()) if path.is_dir()]

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ApiError("InvalidBucketName", "3 to 63 of a-z, 0-9 and -, not at the ends", 400)
        return self._folder / name

    def _bucket(self, name: str, folder: Path) -> Bucket:
        store = self._stores.setdefault(name, LocalStore(folder))
        return Bucket(name, datetime.fromtimestamp(folder.stat().st_ctime, UTC), store)
