"""The bucket of one database: its log, its snapshots and its chunks."""

from __future__ import annotations

from itertools import pairwise

from obstore.exceptions import BaseError

from bucketlog.errors import StoreError, brief
from bucketlog.objects import DiskCache, NamedObjects
from bucketlog.requests import MeteredStore
from bucketlog.snapshot import SNAPSHOTS, SnapshotKey, parse_keys
from bucketlog.store import LogStore, ObjectStore

__all__ = ["Bucket"]


class Bucket:
    """What the objects below one location are, by kind."""

    def __init__(self, store: ObjectStore, disk: DiskCache | None) -> None:
        self.store = MeteredStore(store)
        self.log = LogStore(self.store)
        self.objects = NamedObjects(self.store, disk)
        """Chunks and snapshots."""

    def snapshots(self) -> list[SnapshotKey]:
        """The newest snapshots, newest first: as many as one listing gives; all of an unsorted store."""
        paths: list[str] = []
        try:
            for batch in self.store.list(SNAPSHOTS):
                paths += [item["path"] for item in batch]
                if all(one < other for one, other in pairwise(paths)):
                    break
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot list {SNAPSHOTS}: {brief(error)}") from error
        return parse_keys(paths)
