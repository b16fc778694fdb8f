"""A connection: the end of the log as one process knows it, and the commit that moves it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bucketlog import excision
from bucketlog.backup import Copied, copy
from bucketlog.bucket import Bucket
from bucketlog.contention import Contention
from bucketlog.database import Database, State
from bucketlog.edn import Keyword
from bucketlog.errors import StoreError, TransactionError
from bucketlog.garbage import Garbage, collect
from bucketlog.log import Entry
from bucketlog.objects import DiskCache, MissingObjectError
from bucketlog.operation import TransactionData
from bucketlog.pages import PAGE_SIZE
from bucketlog.replica import Replica, advance
from bucketlog.requests import Requests
from bucketlog.schema import Change, transaction_entity
from bucketlog.store import ObjectStore, open_store
from bucketlog.transaction import Prepared, prepare
from bucketlog.value import decode
from bucketlog.worker import Worker

__all__ = ["Connection", "Datom", "Stats", "Transaction", "TransactionReport", "connect"]


_MAX_RACES: Final = 256
_MAX_GROUP: Final = 256


@dataclass(frozen=True, slots=True)
class Datom:
    """One fact: from transaction `tx` on, entity `e` has value `v` of attribute `a` (not, unless `added`)."""

    e: int
    a: Keyword
    v: Any
    tx: int
    added: bool


@dataclass(frozen=True, slots=True)
class TransactionReport:
    """What a transaction did.

    `t` is its number; when there was nothing to change, `tx_data` is empty and `t` the last transaction's.
    """

    t: int
    db_before: Database
    db_after: Database
    tempids: dict[str, int]
    tx_data: tuple[Datom, ...]


@dataclass(slots=True)
class _Request:
    """A transaction that waits for its turn; whoever has the turn commits all that wait."""

    data: TransactionData
    result: Future[TransactionReport] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Staged:
    """A transaction in the image that is not in the log yet, or an outcome that needs no place there."""

    request: _Request
    before: State
    after: State
    prepared: Prepared | None
    failure: Exception | None = None
    """Why it cannot be done, when there is nothing prepared."""


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
) -> Connection:
    """Open the database at `location`, and create it when there is none.

    `location` is a URL (`file:///directory`, `memory://name`, `s3://bucket/prefix`, and what else obstore
    opens, with settings from the environment) or a store of obstore's. `now` gives the time of transactions.
    `branch` is the name of one that `Connection.fork` began.
    `cache` is a folder for copies of snapshots' chunks, of at most about `cache_bytes`, which processes may
    share and anybody may delete.

    Raises `StoreError` when the store cannot be read, `UnsafeStoreError` when it does not honour create-only
    writes, `FormatError` when an object is corrupt or too new.
    """
    disk = None if cache is None else DiskCache(Path(cache), cache_bytes)
    return Connection(Bucket(_opened(location), disk, branch), now)


def _opened(location: str | ObjectStore) -> ObjectStore:
    return open_store(location) if isinstance(location, str) else location


class Connection:
    """A database in a bucket, as this process sees and changes it; made by `connect`, for any thread."""

    def __init__(self, bucket: Bucket, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._now = now
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._waiting: deque[_Request] = deque()
        self._committer = Worker(self._commit_all, "bucketlog-commit")
        self._closed = False
        self._contention = Contention()
        self._replica = Replica(bucket, now)
        self._replica.image.restore = self._restore
        self._synced = time.monotonic()

    def db(self, *, max_age: timedelta | None = None) -> Database:
        """The database as far as this process knows, without I/O.

        With `max_age` at least what was committed that long ago: `sync` is called when the last look at the
        log was before.
        """
        self._check_open()
        if max_age is not None and time.monotonic() - self._synced > max_age.total_seconds():
            return self.sync()
        state = self._replica.state
        return Database(self._replica.image, state, state.t)

    def sync(self) -> Database:
        """The database with everything that anyone committed before the call; costs one read at least."""
        self._check_open()
        asked = time.monotonic()
        with self._take_turn():
            if self._synced < asked:  # else the thread that had its turn before has looked since
                self._synced = time.monotonic()
                self._replica.catch_up()
        return self.db()

    def transact(self, data: TransactionData) -> TransactionReport:
        """Commit `data` and return what it did; everything before the return is durable in the bucket.

        `data` is a list (or EDN text of one) of entity maps, of `[":db/add", e, a, v]`,
        `[":db/retract", e, a, v]`, `[":db/retract", e, a]`, `[":db/retractEntity", e]`,
        `[":db/cas", e, a, old, new]`, and of functions `fn(db) -> data`, which are called once more for each
        writer that was faster.

        Raises `TransactionError` (`ConflictError`, `UniqueError`) when the data does not fit the database,
        decided on its newest state; `StoreError` when nothing was written, `UncertainError` when that cannot
        be told.
        """
        request = self._enqueue(data)
        self._commit_all(request)
        return request.result.result()

    def transact_async(self, data: TransactionData) -> Future[TransactionReport]:
        """`transact` that does not wait: the future gives the report, or raises.

        Transactions are committed in the order of these calls. All that come while an object is on its way to
        the bucket go into the next one, so any number may be on their way at once.
        """
        request = self._enqueue(data)
        self._committer.wake()
        return request.result

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
        with self._take_turn():
            self._replica.snapshot()

    def transactions(self, start: int = 0, end: int | None = None) -> Iterator[Transaction]:
        """The log from transaction `start` on, before `end` if given: Datomic's `tx-range`.

        It is read from the bucket, up to what anyone has committed.
        """
        self._check_open()
        for entry in self._bucket.log.read_after(-1 if start <= 0 else self._entry_before(start)):
            for t, changes in enumerate(entry.transactions, entry.t):
                if end is not None and t >= end:
                    return
                if t >= start:
                    yield Transaction(t, self._datoms(t, changes))

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
        report = self.transact([lambda db: [excision.request(db, named, only, before)]])
        with self._take_turn():
            self._replica.catch_up()
            self._replica.erase()
        return report

    def collect(self, grace: timedelta = timedelta(hours=1)) -> Garbage:
        """Delete snapshots and chunks that nobody needs, and finish excisions that were cut short.

        What was replaced within the time of `grace` stays. Raises `StoreError`.
        """
        self._check_open()
        with self._take_turn():
            self._replica.catch_up()
            self._replica.erase()
        return collect(self._bucket, datetime.now(UTC), grace)

    def backup(self, location: str | ObjectStore, t: int | None = None) -> Copied:
        """Copy the database, up to transaction `t` or all of it, to another place, empty or an older copy.

        Raises `StoreError`.
        """
        self._check_open()
        return copy(self._bucket, Bucket(_opened(location), None), t)

    def close(self) -> None:
        """Let go of the image; values of the database cannot be used any more.

        What `transact_async` has taken on is committed first.
        """
        if self._closed:
            return
        self._committer.close()
        with self._turn:
            self._closed = True
            self._replica.finish()
            self._replica.image.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _take_turn(self) -> Iterator[None]:
        """Only one thread at a time follows the log or adds to it."""
        self._check_turn()
        with self._turn:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def _check_turn(self) -> None:
        if self._owner == threading.get_ident():
            raise TransactionError(
                "a transaction function cannot use the connection, only the database it is given"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the connection is closed")

    # Committing

    def _enqueue(self, data: TransactionData) -> _Request:
        self._check_open()
        self._check_turn()
        request = _Request(tuple(data) if isinstance(data, Iterator) else data)
        self._waiting.append(request)
        return request

    def _commit_all(self, until: _Request | None = None) -> None:
        """Commit what waits, up to a request that may have been committed by another thread meanwhile."""
        with self._take_turn():
            while self._waiting and not (until and until.result.done()):
                self._commit_waiting()

    def _commit_waiting(self) -> None:
        """Commit what waits, in one object. Called by the one thread whose turn it is."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
        group = [request for request in taken if request.result.set_running_or_notify_cancel()]
        if not group:
            return
        try:
            self._commit(group)
            self._replica.snapshot_if_due()
        except BaseException as error:
            for request in group:
                if not request.result.done():
                    request.result.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _commit(self, group: list[_Request]) -> None:
        """Stage the group on the newest known state and write it; repeat when another was first."""
        replica = self._replica
        self._contention.give_way()
        for attempt in range(_MAX_RACES):
            self._check_open()
            replica.image.begin()
            try:
                staged = self._stage(group)
                began = time.monotonic()
                winner = self._write(staged)
                seconds = time.monotonic() - began
            except MissingObjectError:
                replica.image.rollback()
                replica.recover()
                continue
            except BaseException:
                replica.image.rollback()
                raise
            if winner is None:
                replica.image.commit()
                replica.committed(staged[-1].after, _written(staged))
                self._contention.won(attempt, seconds)
                self._synced = began
                for item in staged:
                    self._answer(item)
                return
            replica.image.rollback()
            replica.follow([winner])
            if attempt:
                replica.catch_up()
            self._contention.lost(attempt, seconds)
        raise StoreError(f"other writers were faster {_MAX_RACES} times in a row: nothing was written")

    def _restore(self) -> bool:
        """Load the newest snapshot for a reader, unless another thread is at work on the image."""
        if self._owner == threading.get_ident() or not self._turn.acquire(blocking=False):
            return False
        try:
            self._replica.recover()
        finally:
            self._turn.release()
        return True

    def _entry_before(self, t: int) -> int:
        """The last transaction of the entry before the one that holds `t`."""
        keys = [first for first in self._bucket.log.keys_after(-1) if first <= t]
        return max(keys, default=0) - 1

    def _datoms(self, t: int, changes: Iterable[Change]) -> tuple[Datom, ...]:
        attributes = self._replica.state.schema.attributes
        tx = transaction_entity(t)
        return tuple(Datom(e, attributes[a].ident, decode(v), tx, added) for e, a, v, added in changes)

    def _stage(self, group: list[_Request]) -> list[_Staged]:
        """Prepare every request on the state that the ones before it leave, and apply it to the image."""
        staged = []
        state = self._replica.state
        for request in group:
            before = state
            try:
                changes = prepare(Database(self._replica.image, state, state.t), request.data, self._now())
            except Exception as error:  # noqa: BLE001 -- raised again where the transaction was asked for
                staged.append(_Staged(request, before, before, None, error))
                continue
            if changes.changes:
                state = advance(state, state.t + 1, changes.changes)
                self._replica.image.apply(state.t, changes.changes, state.schema)
            staged.append(_Staged(request, before, state, changes))
        return staged

    def _write(self, staged: list[_Staged]) -> Entry | None:
        """Write what is staged: `None` when that is now the end of the log, else the entry that is there.

        Refusals, and transactions that change nothing, are answers about the newest state too. When there is
        nothing to write, which proves that the state was the newest, one read does.
        """
        transactions = _written(staged)
        t = self._replica.state.t + 1
        if not transactions:
            return self._bucket.log.read(t)
        return self._bucket.log.append(Entry(t, transactions, uuid.uuid4().hex))

    def _answer(self, item: _Staged) -> None:
        if item.prepared is None:
            item.request.result.set_exception(item.failure)
            return
        before = Database(self._replica.image, item.before, item.before.t)
        after = Database(self._replica.image, item.after, item.after.t)
        tempids = dict(item.prepared.tempids)
        datoms = self._datoms(item.after.t, item.prepared.changes)
        item.request.result.set_result(TransactionReport(item.after.t, before, after, tempids, datoms))


def _written(staged: list[_Staged]) -> tuple[tuple[Change, ...], ...]:
    """What goes into the log."""
    return tuple(item.prepared.changes for item in staged if item.prepared and item.prepared.changes)
