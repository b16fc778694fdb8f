"""Garbage: snapshots and chunks that nobody needs any more, and how they go without hurting who is reading.

The log is never garbage. A snapshot is, once a newer one has been there for the time of grace: whoever opens
the database takes the newest, and writers of snapshots take chunks over from the newest only. A chunk is,
when no snapshot names it and it was not written within the time of grace, by somebody who has not finished
the snapshot that will name it. A process that still reads from an older snapshot finds its chunks gone one
day and loads the newest. A tail is garbage as soon as there is a snapshot as new.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from bucketlog.bucket import Bucket, Listed
from bucketlog.objects import MissingObjectError
from bucketlog.snapshot import CHUNKS, SNAPSHOTS, SnapshotKey, parse_keys, read_snapshot

__all__ = ["Garbage", "collect"]


@dataclass(frozen=True, slots=True)
class Garbage:
    """What was deleted: objects by kind, and bytes in all."""

    snapshots: int
    chunks: int
    bytes: int


def collect(bucket: Bucket, now: datetime, grace: timedelta) -> Garbage:
    """Delete the garbage of the whole bucket, all branches included; raises `StoreError`."""
    old: list[Listed] = []
    named: set[str] = set()
    chunks = bucket.listed(CHUNKS)  # before the snapshots, so that one of these names all that is new
    for branch in (None, *bucket.branches()):
        at = bucket.at(branch)
        sizes = {item.key: item for item in bucket.listed(at.prefix + SNAPSHOTS)}
        keys = parse_keys(at.prefix, sizes)
        if keys:
            at.drop_tails(keys[0].t)
        kept = [keys[0], *_needed(keys, sizes, now - grace)] if keys else []
        old += [sizes[str(key)] for key in keys if key not in kept]
        for key in kept:
            with suppress(MissingObjectError):  # collected by another process meanwhile
                named.update(read_snapshot(bucket.objects, key).base.chunks)
    dead = [
        item
        for item in chunks
        if item.key.removeprefix(CHUNKS) not in named and (not grace or item.modified < now - grace)
    ]
    bucket.delete([item.key for item in (*old, *dead)])
    return Garbage(len(old), len(dead), sum(item.size for item in (*old, *dead)))


def _needed(keys: list[SnapshotKey], listed: dict[str, Listed], horizon: datetime) -> Iterable[SnapshotKey]:
    """The snapshots, of `keys` from new to old, whose successor was written after `horizon`."""
    return [older for newer, older in pairwise(keys) if listed[str(newer)].modified > horizon]
