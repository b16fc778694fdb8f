"""The bucket of one database or branch: its log, its snapshots, its chunks and what is noted beside them.

Beside the log (`bucketlog.log`), the snapshots and the chunks (`bucketlog.snapshot`) and the tails
(`bucketlog.tail`) there are small notes, created once: a line `bucketlog/1 note` and a line feed, then JSON.

`branch/<name>/fork`: `{"t": …, "parent": …}`; the branch begins after transaction t of its parent, which is
the name of a branch or null. Its log, snapshots and marks are below `branch/<name>/`; its chunks are among
everybody's.

`mark/<16 digits>`: `{"snapshot": <its key>}`; the snapshots as they were written, counted from 1, for readers
who cannot list keys.

`excised/<16 digits>`: `{}`; the excision that this transaction asked for is done in the whole bucket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from bucketlog.errors import FormatError, StoreError, brief
from bucketlog.objects import DiskCache, NamedObjects
from bucketlog.requests import MeteredStore
from bucketlog.snapshot import CHUNKS, SNAPSHOTS, SnapshotKey, parse_keys
from bucketlog.store import LogStore, ObjectStore
from bucketlog.tail import TAILS

__all__ = ["BRANCHES", "EXCISED", "MARKS", "Bucket", "Listed"]

BRANCHES: Final = "branch/"
MARKS: Final = "mark/"
EXCISED: Final = "excised/"

_NOTE: Final = b"bucketlog/1 note\n"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FORK: Final = re.compile(r"branch/([^/]+)/fork")
_PROBES: Final = 16


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of a listing."""

    key: str
    size: int
    modified: datetime


class Bucket:
    """What the objects below one location are, by kind; `branch` is a name, or `None` for the trunk."""

    def __init__(self, store: ObjectStore, disk: DiskCache | None, branch: str | None = None) -> None:
        self.store = MeteredStore(store)
        self.objects = NamedObjects(self.store, disk)
        """Chunks and snapshots."""
        self.branch = branch
        self.prefix = ""
        """What the keys of log and snapshots begin with."""
        self.log = LogStore(self.store)
        if branch is not None:
            self.prefix = _prefix(branch)
            self.log = self._log_of(branch)

    # Snapshots

    def snapshots(self) -> list[SnapshotKey]:
        """The newest snapshots, newest first: as many as one listing gives; all of an unsorted store."""
        return self._newest(SNAPSHOTS) if self.store.can_list else self._marked()

    def tails(self) -> list[SnapshotKey]:
        """The newest tails, newest first, as with snapshots; none of a store that cannot list."""
        return self._newest(TAILS) if self.store.can_list else []

    def drop_tails(self, t: int) -> None:
        """Delete the tails that have no entry after transaction `t`; raises `StoreError`."""
        listed = [item.key for item in self.listed(self.prefix + TAILS)]
        self.delete([str(key) for key in parse_keys(self.prefix, listed, TAILS) if key.t <= t])

    def _newest(self, kind: str) -> list[SnapshotKey]:
        found: list[Listed] = []
        for batch in self._batches(self.prefix + kind):
            found += batch
            if all(one.key < other.key for one, other in pairwise(found)):
                break
        return parse_keys(self.prefix, [item.key for item in found], kind)

    def mark(self, key: SnapshotKey, after: int) -> int:
        """Note a snapshot for readers who cannot list, and return its number, which is above `after`."""
        number = self._last_mark(after)
        while True:
            number += 1
            if self.note(f"{self.prefix}{MARKS}{number:016d}", {"snapshot": str(key)}):
                return number

    def _marked(self) -> list[SnapshotKey]:
        last = self._last_mark(0)
        note = self.read_note(f"{self.prefix}{MARKS}{last:016d}") if last else None
        return parse_keys(self.prefix, [note["snapshot"]]) if note else []

    def _last_mark(self, known: int) -> int:
        """The number of the last mark, at least `known`: marks have no gaps, so a search finds it."""

        def exists(number: int) -> bool:
            return self.read_note(f"{self.prefix}{MARKS}{number:016d}") is not None

        with ThreadPoolExecutor(_PROBES, "bucketlog-read") as pool:
            step = 1
            while True:
                probes = [known + step * n for n in range(1, _PROBES + 1)]
                found = list(pool.map(exists, probes))
                count = found.index(False) if False in found else len(found)
                known = probes[count - 1] if count else known
                if count == len(found):
                    step *= _PROBES
                elif step == 1:
                    return known
                else:
                    step = max(1, step // _PROBES)

    # Branches

    def branches(self) -> list[str]:
        """The names of all branches."""
        return sorted(match[1] for item in self.listed(BRANCHES) if (match := _FORK.fullmatch(item.key)))

    def fork(self, name: str, t: int) -> None:
        """Begin the branch `name` after transaction `t` of this one; raises `StoreError` when it exists."""
        if not self.note(_prefix(name) + "fork", {"t": t, "parent": self.branch}):
            raise StoreError(f"there is a branch {name!r} already")

    def delete_branch(self, name: str) -> None:
        """Delete the log, the snapshots and the marks of a branch; raises `StoreError`."""
        names = self.branches()
        if name not in names:
            raise StoreError(f"there is no branch {name!r}; there are {', '.join(names) or 'none'}")
        for other in names:
            fork = self.read_note(_prefix(other) + "fork")
            if fork is not None and fork["parent"] == name:
                raise StoreError(f"the branch {other!r} was branched off {name!r}: delete it first")
        # The fork goes last, so that a deletion which was cut short can be repeated.
        keys = sorted(item.key for item in self.listed(_prefix(name)))
        self.delete([key for key in keys if not key.endswith("/fork")])
        self.delete([_prefix(name) + "fork"])

    def at(self, branch: str | None) -> Bucket:
        """The bucket of another branch, through the same store and caches."""
        other = Bucket(self.store.inner, None, None)
        other.store, other.objects = self.store, self.objects
        other.branch, other.prefix = branch, _prefix(branch) if branch else ""
        other.log = other._log_of(branch)
        return other

    def _log_of(self, branch: str | None, depth: int = 0) -> LogStore:
        if branch is None:
            return LogStore(self.store)
        fork = self.read_note(_prefix(branch) + "fork")
        if fork is None or depth > 64:
            raise StoreError(
                f"there is no branch {branch!r}; there are {', '.join(self.branches()) or 'none'}"
            )
        parent = self._log_of(fork["parent"], depth + 1)
        return LogStore(self.store, _prefix(branch), parent=parent, fork=int(fork["t"]))

    # Notes and listings

    def note(self, key: str, content: Mapping[str, Any]) -> bool:
        """Create a note; false when there is one of that key."""
        try:
            self.store.put(key, _NOTE + json.dumps(content).encode(), mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot write {key}: {brief(error)}") from error
        return True

    def read_note(self, key: str) -> dict[str, Any] | None:
        """What a note says, `None` when there is none."""
        try:
            data = self.store.get(key)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot read {key}: {brief(error)}") from error
        try:
            content = json.loads(data.removeprefix(_NOTE))
        except ValueError:
            content = None
        if not data.startswith(_NOTE) or not isinstance(content, dict):
            raise FormatError(f"{key} is not a note of format 1: it is corrupt, or upgrade bucketlog")
        return content

    def listed(self, prefix: str) -> list[Listed]:
        """All objects below a prefix of the whole bucket."""
        return [item for batch in self._batches(prefix) for item in batch]

    def chunks(self) -> list[Listed]:
        """All chunks, of every branch."""
        return self.listed(CHUNKS)

    def delete(self, keys: list[str]) -> None:
        """Delete objects; raises `StoreError`."""
        try:
            for start in range(0, len(keys), 1000):
                self.store.delete(keys[start : start + 1000])
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot delete objects: {brief(error)}") from error

    def _batches(self, prefix: str) -> Any:
        try:
            for batch in self.store.list(prefix):
                yield [Listed(item["path"], int(item["size"]), item["last_modified"]) for item in batch]
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot list {prefix}: {brief(error)}") from error


def _prefix(branch: str) -> str:
    if not _NAME.fullmatch(branch):
        raise StoreError(f"{branch!r} is no name of a branch: up to 63 of a-z, 0-9 and -, not - first")
    return f"{BRANCHES}{branch}/"
