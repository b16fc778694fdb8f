"""Buckets as folders: one folder a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from homeport.aws.errors import ApiError
from homeport.disk import fsync

# The naming rules of general purpose buckets, without dots: names are folders and parts of host names.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Bucket:
    name: str
    created_at: datetime
    folder: Path


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets below one folder."""

    folder: Path

    def find(self, name: str) -> Bucket:
        """Raises ApiError NoSuchBucket, InvalidBucketName."""
        folder = self._path(name)
        try:
            created = folder.stat().st_ctime
        except FileNotFoundError:
            raise ApiError("NoSuchBucket", f"there is no bucket {name}", 404) from None
        return Bucket(name, datetime.fromtimestamp(created, UTC), folder)

    def create(self, name: str) -> Bucket:
        """The bucket, made when absent."""
        folder = self._path(name)
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fsync(self.folder)
        return self.find(name)

    def delete(self, name: str) -> None:
        """Raises ApiError NoSuchBucket, BucketNotEmpty."""
        folder = self.find(name).folder
        # Folders alone hold nothing; one that gets a file meanwhile does not go.
        try:
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir()
            folder.rmdir()
        except OSError:
            raise ApiError("BucketNotEmpty", f"bucket {name} holds objects", 409) from None

    def list(self) -> list[Bucket]:
        if not self.folder.is_dir():
            return []
        return [self.find(path.name) for path in sorted(self.folder.iterdir()) if path.is_dir()]

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ApiError("InvalidBucketName", "3 to 63 of a-z, 0-9 and -, not at the ends", 400)
        return self.folder / name
