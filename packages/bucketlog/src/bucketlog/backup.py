"""Backups: a copy of the log, and of a snapshot so that it opens as fast, in another place.

Objects are copied as they are, so a backup is a database like any other, and to restore is to copy it back,
up to any transaction. A copy that was cut short is taken up where it ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from bucketlog.bucket import Bucket
from bucketlog.errors import StoreError
from bucketlog.log import Entry
from bucketlog.snapshot import CHUNKS, SnapshotKey, read_snapshot

__all__ = ["Copied", "Verified", "copy", "verify"]

_WINDOW: Final = 256


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds: its last transaction, and how many entries were new there."""

    t: int
    entries: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What of a copy was read and found right: its last transaction, entries of the log, and chunks."""

    t: int
    entries: int
    chunks: int


def copy(source: Bucket, target: Bucket, t: int | None = None) -> Copied:
    """Copy the database, up to transaction `t` or all of it, into an empty place or an older copy.

    Raises `StoreError` when there is no such database or transaction, or when something else is in the
    target's place, such as a copy of what the database was before it was restored to a moment and went on.
    """
    first = source.log.read(0)
    if first is None:
        raise StoreError("there is no database to copy")
    there = target.log.read(0)
    if there is not None and there.id != first.id:
        raise StoreError("the target holds another database: name an empty place")
    last = -1 if there is None else _last_copied(source, target, t)
    # A copy that ends with `t` may end inside an entry of the source, which its log cannot be read after.
    count, end = (0, last) if last == t else _copy_log(source, target, last, t)
    if t is not None and end < t:
        raise StoreError(f"the database ends with transaction {end}: there is no {t} to copy up to")
    _copy_snapshot(source, target, end)
    return Copied(end, count)


def _last_copied(source: Bucket, target: Bucket, t: int | None) -> int:
    """The last transaction of the target. An id is given once, so where both have the last entry of it, they
    have the same history up to there.
    """
    tip = target.log.read(target.log.keys_after(-1)[-1])
    if tip is None:
        raise StoreError("the target is being deleted")
    if t is not None and tip.last_t > t:
        raise StoreError(f"the target holds transactions up to {tip.last_t} already, after {t}")
    ours = source.log.read(tip.t)
    if ours is None or ours.id != tip.id or ours.last_t < tip.last_t:
        raise StoreError(
            f"transaction {tip.last_t} of the target is not one of this database, which has gone another way "
            "since: name an empty place"
        )
    if ours.last_t > tip.last_t and (t is None or t > tip.last_t):
        raise StoreError(
            f"the target was copied up to {tip.last_t}, which was committed together with later ones, so it "
            "cannot be brought up to date: name an empty place"
        )
    return tip.last_t


def _copy_log(source: Bucket, target: Bucket, last: int, t: int | None) -> tuple[int, int]:
    """Copy the entries after transaction `last`; how many, and the last transaction."""
    count, end = 0, last
    # The first entry makes a place a database: of a new copy it goes last, and any order does for the others.
    is_new = last < 0
    first: Entry | None = None
    with ThreadPoolExecutor(16, "bucketlog-copy") as pool:
        window: list[Entry] = []
        for entry in _until(source.log.read_after(last), t):
            end = entry.last_t
            count += 1
            if entry.t == 0:
                first = entry
                continue
            window.append(entry)
            if len(window) == _WINDOW:
                _write(pool, target, window, in_order=not is_new)
                window = []
        _write(pool, target, window, in_order=not is_new)
    if first is not None:
        _append(target, first)
    return count, end


def _until(entries: Iterable[Entry], t: int | None) -> Iterable[Entry]:
    for entry in entries:
        if t is not None and entry.t > t:
            return
        yield entry if t is None else entry.until(t)


def _write(pool: ThreadPoolExecutor, target: Bucket, entries: list[Entry], *, in_order: bool) -> None:
    """Entries after the end of a log that is there already are written in order: it has no gap, ever."""
    if in_order:
        for entry in entries:
            _append(target, entry)
    else:
        list(pool.map(lambda entry: _append(target, entry), entries))


def _append(target: Bucket, entry: Entry) -> None:
    present = target.log.append(entry)
    if present is not None and present.id != entry.id:
        raise StoreError(
            f"somebody else writes to the target: its transaction {entry.t} is not that of the source"
        )


def _copy_snapshot(source: Bucket, target: Bucket, t: int) -> None:
    """Copy the newest snapshot of the source that is not after transaction `t`, unless it is there."""
    key = next((key for key in source.snapshots() if key.t <= t), None)
    there = next(iter(target.snapshots()), None)
    if key is None or (there is not None and there.t >= key.t):
        return
    present = {item.key for item in target.chunks()}
    names = [n for n in read_snapshot(source.objects, key).base.chunks if CHUNKS + n not in present]
    with ThreadPoolExecutor(16, "bucketlog-copy") as pool:
        for start in range(0, len(names), _WINDOW):
            packed = source.objects.read_all(CHUNKS, names[start : start + _WINDOW])
            list(pool.map(lambda data: target.objects.write(CHUNKS, data), packed))
    copy_key = SnapshotKey(key.t, key.name, target.prefix)
    target.objects.write(copy_key.prefix, source.objects.read(key.prefix, key.name))
    target.mark(copy_key, 0)


def verify(source: Bucket, target: Bucket) -> Verified:
    """Read a copy whole: its log must be the source's as far as it goes, its snapshot's chunks must be there.

    Raises `StoreError` (`FormatError`) that names the first object which is not right.
    """
    count, end = 0, -1
    ours = source.log.read_after(-1)
    for copied in target.log.read_after(-1):
        key = target.log.key(copied.t)
        original = next(ours, None)
        if original is None:
            raise StoreError(f"{key} of the copy is of no transaction of the source: it is no copy of it")
        if original.until(max(original.t, copied.last_t)) != copied:
            raise StoreError(
                f"{key} of the copy is not what the source has: where something was excised since, make "
                f"a new copy in an empty place"
            )
        count, end = count + 1, copied.last_t
    if count == 0:
        raise StoreError("there is no copy")
    newest = next(iter(target.snapshots()), None)
    names = () if newest is None else read_snapshot(target.objects, newest).base.chunks
    for start in range(0, len(names), _WINDOW):
        target.objects.read_all(CHUNKS, names[start : start + _WINDOW])
    return Verified(end, count, len(names))
