"""A connection: one process's way to a database, to read it, to write to it and to look after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bucketlog import excision
from bucketlog.backup import Copied, Verified, copy, verify
from bucketlog.bucket import Bucket
from bucketlog.commit import Committer
from bucketlog.database import Database
from bucketlog.datom import Datom, datoms_of
from bucketlog.errors import StoreError
from bucketlog.garbage import Garbage, collect
from bucketlog.guard import NO_FUNCTIONS, Functions
from bucketlog.objects import DiskCache
from bucketlog.operation import TransactionData
from bucketlog.pages import PAGE_SIZE
from bucketlog.replica import Replica
from bucketlog.report import TransactionReport
from bucketlog.requests import Requests
from bucketlog.store import ObjectStore, open_store

__all__ = ["Connection", "Stats", "Transaction", "connect"]


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of the log: its number and its datoms."""

    t: int
    datoms: tuple[Datom, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """The size of a database: its last transaction, rows and bytes of the image, the newest snapshot's
    transaction (-1 for none) and the requests of one connection.
    """

    t: int
    datoms: int
    image_bytes: int
    snapshot_t: int
    requests: Requests


def connect(
    location: str | ObjectStore,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    branch: str | None = None,
    cache: str | Path | None = None,
    cache_bytes: int = 1 << 30,
    functions: Functions = NO_FUNCTIONS,
) -> Connection:
    """Open the database at `location`, and create it when there is none.

    `location` is a URL (`file:///directory`, `memory://name`, `s3://bucket/prefix`, and what else obstore
    opens, with settings from the environment) or a store of obstore's. `now` gives the time of transactions.
    `branch` is the name of one that `Connection.fork` began.
    `cache` is a folder for copies of snapshots' chunks, of at most about `cache_bytes`, which processes may
    share and anybody may delete.
    `functions` are what transactions call by name, and what predicates of attributes and entities are, by
    keywords such as `:account/transfer`: a transaction function is `fn(db, *arguments) -> data`, a predicate
    of an attribute `fn(value)`, one of an entity `fn(db_after, entity)`; what is not `True` refuses, a text
    says why.

    Raises `StoreError` when the store cannot be read, `UnsafeStoreError` when it does not honour create-only
    writes, `FormatError` when an object is corrupt or too new.
    """
    disk = None if cache is None else DiskCache(Path(cache), cache_bytes)
    return Connection(Bucket(_opened(location), disk, branch), now, dict(functions))


def _opened(location: str | ObjectStore) -> ObjectStore:
    return open_store(location) if isinstance(location, str) else location


class Connection:
    """A database in a bucket, as this process sees and changes it; made by `connect`, for any thread."""

    def __init__(self, bucket: Bucket, now: Callable[[], datetime], functions: Functions) -> None:
        self._bucket = bucket
        self._replica = Replica(bucket, now)
        self._committer = Committer(bucket, self._replica, now, functions)
        self._replica.image.restore = self._committer.restore
        self._closed = False

    def db(self, *, max_age: timedelta | None = None) -> Database:
        """The database as far as this process knows, without I/O.

        With `max_age` at least what was committed that long ago: `sync` is called when the last look at the
        log was before.
        """
        self._check_open()
        if max_age is not None and time.monotonic() - self._committer.looked > max_age.total_seconds():
            return self.sync()
        state = self._replica.state
        return Database(self._replica.image, state, state.t, _functions=self._committer.functions)

    def sync(self) -> Database:
        """The database with everything that anyone committed before the call; costs one read at least."""
        self._check_open()
        asked = time.monotonic()
        with self._committer.turn():
            if self._committer.looked < asked:  # else the thread that had its turn before has looked since
                began = time.monotonic()
                self._replica.catch_up()
                self._committer.looked = began
        return self.db()

    def transact(self, data: TransactionData) -> TransactionReport:
        """Commit `data` and return what it did; everything before the return is durable in the bucket.

        `data` is a list (or EDN text of one) of entity maps, of `[":db/add", e, a, v]`,
        `[":db/retract", e, a, v]`, `[":db/retract", e, a]`, `[":db/retractEntity", e]`,
        `[":db/cas", e, a, old, new]`, and of functions: `fn(db) -> data`, `[":db.fn/call", fn, …]`, or
        `[name, …]` of one that `connect` was given. They are called again for each writer that was faster.

        Raises `TransactionError` (`ConflictError`, `UniqueError`) when the data does not fit the database,
        decided on its newest state; `StoreError` when nothing was written, `UncertainError` when that cannot
        be told.
        """
        self._check_open()
        return self._committer.commit(data)

    def transact_async(self, data: TransactionData) -> Future[TransactionReport]:
        """`transact` that does not wait: the future gives the report, or raises.

        Transactions are committed in the order of these calls. All that come while an object is on its way to
        the bucket go into the next one, so any number may be on their way at once.
        """
        self._check_open()
        return self._committer.submit(data)

    def stats(self) -> Stats:
        """How large the database is, and what this connection has asked the store for."""
        self._check_open()
        image, state = self._replica.image, self._replica.state
        with image.lock:
            datoms, pages = sum(image.sizes.values()), image.pages.count
        return Stats(
            state.t, datoms, pages * PAGE_SIZE, self._replica.snapshot_t, self._bucket.store.requests
        )

    def snapshot(self) -> None:
        """Write a snapshot of the database as this process knows it, unless there is one.

        This happens by itself whenever one is due. Raises `StoreError`.
        """
        self._check_open()
        with self._committer.turn():
            self._replica.snapshot()

    def transactions(self, start: int = 0, end: int | None = None) -> Iterator[Transaction]:
        """The log from transaction `start` on, before `end` if given: Datomic's `tx-range`.

        It is read from the bucket, up to what anyone has committed.
        """
        self._check_open()
        state = self._replica.state
        schema = state.schema
        for entry in self._bucket.log.read_after(-1 if start <= 0 else self._entry_before(start)):
            for t, changes in enumerate(entry.transactions, entry.t):
                if t > state.t:  # committed since by somebody else
                    schema = schema.evolve(changes)
                if end is not None and t >= end:
                    return
                if t >= start:
                    yield Transaction(t, datoms_of(t, changes, schema))

    def fork(self, name: str, t: int | None = None) -> None:
        """Begin a branch after transaction `t`, or after the newest that is known here.

        `connect(…, branch=name)` opens it. It shares the log and the chunks until then. Raises `StoreError`
        when there is a branch of that name, or no such transaction.
        """
        self._check_open()
        newest = self._replica.state.t
        if t is not None and not 0 <= t <= newest:
            raise StoreError(f"there is no transaction {t} to branch off after: the last one is {newest}")
        self._bucket.fork(name, newest if t is None else t)

    def branches(self) -> list[str]:
        """The names of all branches of the database."""
        self._check_open()
        return self._bucket.branches()

    def delete_branch(self, name: str) -> None:
        """Delete a branch; its chunks go with the garbage. Raises `StoreError` when there is none, or when
        another one was branched off it.
        """
        self._check_open()
        self._bucket.delete_branch(name)

    def excise(
        self, entities: Iterable[Any], *, attributes: Iterable[Any] | None = None, before: int | None = None
    ) -> TransactionReport:
        """Remove all that is known of `entities`, now and in the past, and the bytes of it from the bucket.

        With `attributes` only those; else their components and references to them as well. With `before`
        only what was added before that transaction. That it was done, when, and to which ids, stays known.
        Backups, older versions that the bucket itself may keep, and disk caches of machines that are
        not running are not reached. Whoever is just writing a snapshot may finish it afterwards: `collect` an
        hour later removes that.

        Raises `TransactionError` for what cannot go (what defines attributes and idents), `StoreError` when
        there are branches, or when the store fails; `collect` then finishes what was begun.
        """
        self._check_open()
        if others := self._bucket.branches():
            raise StoreError(f"branches hold copies of what is to go: delete {', '.join(others)} first")
        named, only = list(entities), None if attributes is None else list(attributes)
        report = self.transact([lambda db: excision.request(db, named, only, before)])
        with self._committer.turn():
            self._replica.catch_up()
            self._replica.erase()
        return report

    def collect(self, grace: timedelta = timedelta(hours=1)) -> Garbage:
        """Delete snapshots and chunks that nobody needs, and finish excisions that were cut short.

        What was replaced within the time of `grace` stays. Raises `StoreError`.
        """
        self._check_open()
        with self._committer.turn():
            self._replica.catch_up()
            self._replica.erase()
        return collect(self._bucket, datetime.now(UTC), grace)

    def backup(self, location: str | ObjectStore, t: int | None = None) -> Copied:
        """Copy the database, up to transaction `t` or all of it, to another place, empty or an older copy.

        Raises `StoreError`.
        """
        self._check_open()
        return copy(self._bucket, Bucket(_opened(location), None), t)

    def verify_backup(self, location: str | ObjectStore) -> Verified:
        """Read a backup of this database whole, and compare it; raises `StoreError` when it is not right."""
        self._check_open()
        return verify(self._bucket, Bucket(_opened(location), None))

    def close(self) -> None:
        """Let go of the image; values of the database cannot be used any more.

        What `transact_async` has taken on is committed first.
        """
        if self._closed:
            return
        self._committer.close()
        with self._committer.turn():
            self._closed = True
            self._replica.finish()
            self._replica.image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the connection is closed")

    def _entry_before(self, t: int) -> int:
        """The last transaction of the entry before the one that holds `t`; -1 where keys cannot be listed."""
        if not self._bucket.store.can_list:
            return -1
        keys = [first for first in self._bucket.log.keys_after(-1) if first <= t]
        return max(keys, default=0) - 1
