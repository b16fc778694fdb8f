"""Backups: what a homeport keeps, copied to a bucket elsewhere or to another disk, and back.

A backup is laid out as the data directory is: `state`, `audit/YYYY-MM`, `buckets/NAME/…`, `registry/…`.
Databases in it (bucketlog) are copied as such, transaction by transaction, so that each can be restored to
any moment; of all else, the objects that are not there or have changed. Nothing is ever deleted in a backup.
Keys and secrets (`credentials.json`, `secrets`, the authorities' keys) are not in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

import bucketlog
from bucketlog.errors import brief
from homeport.errors import HomeportError
from homeport.s3.keys import is_path

__all__ = ["Backup", "back_up", "restore"]

_FIRST_ENTRY: Final = "log/0000000000000000"
_OF_A_DATABASE: Final = frozenset({"log", "snapshot", "chunk", "mark", "excised", "branch"})
_UNFINISHED: Final = re.compile(r"#\d+$")  # how a store of files calls what is still being written
# What a manifest names is written before it: so it is listed after it, and copied first.
_FOLDERS: Final = ("registry/repositories", "registry/blobs", "buckets")
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied: databases by name with their last transactions, and other objects with their bytes."""

    databases: dict[str, int]
    objects: int
    bytes: int


def back_up(data: Path, target: str, *, verify: bool, progress: Callable[[str], None]) -> Backup:
    """Bring the backup at `target`, a URL or directory, up to what is in `data` now.

    With `verify`, the copies of databases are then read whole and compared. An app's database that cannot be
    copied, or whose copy is not right, keeps nothing else from being copied. Raises HomeportError and
    BucketlogError; what was copied until then stays, and the next time goes on from there.
    """
    if not (data / "state").is_dir():
        raise HomeportError(f"{data} is no data directory of a homeport: there is no state in it")
    store = _open(target)
    names, failures = _databases(data), []
    databases = dict.fromkeys(names, -1)
    for name in names:
        try:
            databases[name] = _copy_database(
                (data / name).as_uri(), f"{_url(target)}/{name}", name, verify, progress
            )
        except bucketlog.BucketlogError as error:
            if name == "state":  # of another homeport: nothing of this one belongs there
                raise
            failures.append(f"{name}: {error}")
    files = [name for folder in _FOLDERS for name in _files(data, folder, databases)]
    try:
        there = _listed(store)
        count = size = 0
        for name in reversed(files):
            length = _copy(data / name, store, name, there)
            count, size = count + (length is not None), size + (length or 0)
    except (BaseError, OSError) as error:
        raise HomeportError(f"{target} cannot be written to: {brief(error)}") from error
    progress(f"{count} other objects, {size} bytes")
    if failures:
        raise HomeportError("not backed up: " + "; ".join(failures))
    return Backup(databases, count, size)


def _copy_database(source: str, place: str, name: str, verify: bool, progress: Callable[[str], None]) -> int:
    """The last transaction that the copy has then."""
    with bucketlog.connect(source) as conn:
        copied = conn.backup(place)
        progress(f"{name}: {copied.entries} new entries, up to transaction {copied.t}")
        if verify:
            verified = conn.verify_backup(place)
            progress(f"{name}: {verified.entries} entries and {verified.chunks} chunks are as they should be")
    return copied.t


def restore(source: str, data: Path, *, progress: Callable[[str], None]) -> Backup:
    """Make the data directory `data`, which must not be there, of the backup at `source`.

    Raises HomeportError and BucketlogError; a directory that is half done has no state yet, and may be
    deleted.
    """
    if data.exists() and any(data.iterdir()):
        raise HomeportError(f"{data} is not empty: restore to a new directory")
    store = _open(source)
    try:
        keys = [str(item["path"]) for batch in store.list() for item in batch]
    except (BaseError, OSError) as error:
        raise HomeportError(f"{source} cannot be read: {brief(error)}") from error
    names = [key.removesuffix(f"/{_FIRST_ENTRY}") for key in keys if key.endswith(f"/{_FIRST_ENTRY}")]
    if "state" not in names:
        raise HomeportError(f"{source} is no backup of a homeport: there is no state in it")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    count = size = 0
    for key in keys:
        if not _in_database(key, names):
            size += _fetch(store, key, data)
            count += 1
    progress(f"{count} objects, {size} bytes")
    databases: dict[str, int] = {}
    for name in sorted(
        names, key=lambda name: name == "state"
    ):  # the state last: with it the directory is one
        with bucketlog.connect(f"{_url(source)}/{name}") as conn:
            databases[name] = conn.backup((data / name).as_uri()).t
        progress(f"{name}: up to transaction {databases[name]}")
    return Backup(databases, count, size)


def _url(location: str) -> str:
    return (location if "://" in location else Path(location).resolve().as_uri()).rstrip("/")


def _open(location: str) -> ObjectStore:
    url = _url(location)
    try:
        if url.startswith("file:"):
            return LocalStore.from_url(url, mkdir=True)
        return from_url(url)
    except (BaseError, ValueError, OSError) as error:
        raise HomeportError(f"{location} cannot be opened: {brief(error)}") from error


def _databases(data: Path) -> list[str]:
    """Where below `data` there are databases, each by the path of its folder."""
    firsts = [data / "state" / _FIRST_ENTRY]
    for folder in ("audit", "buckets"):
        firsts += sorted((data / folder).rglob(_FIRST_ENTRY))
    return [first.parents[1].relative_to(data).as_posix() for first in firsts]


def _in_database(name: str, databases: list[str] | dict[str, int]) -> bool:
    parts = name.split("/")
    return any(
        "/".join(parts[:count]) in databases and parts[count] in _OF_A_DATABASE
        for count in range(1, len(parts))
    )


def _files(data: Path, folder: str, databases: dict[str, int]) -> Iterator[str]:
    for directory, _, names in os.walk(data / folder):
        for name in names:
            path = Path(directory, name).relative_to(data).as_posix()
            if not _UNFINISHED.search(name) and not _in_database(path, databases):
                yield path


def _listed(store: ObjectStore) -> dict[str, tuple[int, datetime]]:
    return {
        str(item["path"]): (int(item["size"]), item["last_modified"])
        for batch in store.list()
        for item in batch
    }


def _copy(path: Path, store: ObjectStore, name: str, there: dict[str, tuple[int, datetime]]) -> int | None:
    """Copy a file unless it is there as it is; its bytes, None where nothing was to do."""
    try:
        status = path.stat()
        known = there.get(name)
        changed = datetime.fromtimestamp(status.st_mtime, UTC)
        if known is not None and known[0] == status.st_size and known[1] >= changed:
            return None
        obstore.put(store, name, path)
    except FileNotFoundError:  # deleted meanwhile
        return None
    return status.st_size


def _fetch(store: ObjectStore, key: str, data: Path) -> int:
    if not is_path(key):
        raise HomeportError(f"the backup holds {key!r}, which is no path of a file")
    path = data / key
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    try:
        with path.open("wb") as file:
            for piece in obstore.get(store, key).stream(min_chunk_size=_PIECE):
                size += file.write(piece)
    except (BaseError, OSError) as error:
        raise HomeportError(f"{key} cannot be restored: {error}") from error
    return size
