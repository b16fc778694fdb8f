"""A connection: the end of the log as one process knows it, and the commit that moves it."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from bucketlog.database import Database, State
from bucketlog.edn import Keyword
from bucketlog.errors import FormatError, StoreError, TransactionError
from bucketlog.image import Image
from bucketlog.log import Entry, genesis
from bucketlog.pages import Base, Pages
from bucketlog.operation import TransactionData
from bucketlog.schema import FIRST_ENTITY, TX_BASE, TX_INSTANT, Change, Schema, transaction_entity
from bucketlog.store import LogStore, ObjectStore, open_store
from bucketlog.transaction import Prepared, prepare
from bucketlog.value import decode, instant_micros

__all__ = ["Connection", "Datom", "TransactionReport", "connect"]

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


def _nothing(names: Sequence[str]) -> list[bytes]:
    raise FormatError(f"chunks {names} of no snapshot")


def connect(
    location: str | ObjectStore, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Connection:
    """Open the database at `location`, and create it when there is none.

    `location` is a URL (`file:///directory`, `memory://name`, `s3://bucket/prefix`, and what else obstore
    opens, with settings from the environment) or a store of obstore's. `now` gives the time of transactions.

    Raises `StoreError` when the store cannot be read, `UnsafeStoreError` when it does not honour create-only
    writes, `FormatError` when an object of the log is corrupt or too new.
    """
    store = open_store(location) if isinstance(location, str) else location
    return Connection(LogStore(store), now)


class Connection:
    """A database in a bucket, as this process sees and changes it; made by `connect`, for any thread."""

    def __init__(self, log: LogStore, now: Callable[[], datetime]) -> None:
        self._log = log
        self._now = now
        self._image = Image(Pages(Base(), _nothing))
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._waiting: deque[_Request] = deque()
        self._closed = False
        self._state = State(-1, Schema(), FIRST_ENTITY, 0)
        try:
            self._open()
        except BaseException:
            self._image.close()
            raise

    def db(self) -> Database:
        """The database as far as this process knows; no I/O."""
        state = self._state
        self._check_open()
        return Database(self._image, state, state.t)

    def sync(self) -> Database:
        """The database with everything that anyone committed before the call; costs one read at least."""
        self._check_open()
        with self._take_turn():
            self._catch_up()
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
        self._check_open()
        self._check_turn()
        request = _Request(tuple(data) if isinstance(data, Iterator) else data)
        self._waiting.append(request)
        with self._take_turn():
            while not request.result.done():
                self._commit_waiting()
        return request.result.result()

    def close(self) -> None:
        """Let go of the image; values of the database cannot be used any more. Nothing is left to write."""
        with self._turn:
            self._closed = True
            self._image.close()

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

    # Following the log

    def _open(self) -> None:
        first = self._log.read(0)
        if first is None:
            entry = genesis(self._now())
            first = self._log.append(entry) or entry
        with ThreadPoolExecutor(1, "bucketlog-verify") as pool:
            verified = pool.submit(self._log.verify, first)
            self._follow(first)
            self._catch_up_by_listing()
            verified.result()

    def _catch_up(self) -> None:
        """Apply what others have committed: one read when there is nothing."""
        entry = self._log.read(self._state.t + 1)
        if entry is not None:
            self._follow(entry)
            self._catch_up_by_listing()

    def _catch_up_by_listing(self) -> None:
        for entry in self._log.read_after(self._state.t):
            self._follow(entry)

    def _follow(self, entry: Entry) -> None:
        """Apply an entry of the log to the image and show it."""
        state = self._state
        self._image.begin()
        try:
            for t, changes in enumerate(entry.transactions, entry.t):
                state = _advance(state, t, changes)
                self._image.apply(t, changes, state.schema)
        except BaseException:
            self._image.rollback()
            raise
        self._image.commit()
        self._state = state

    # Committing

    def _commit_waiting(self) -> None:
        """Commit what waits, in one object. Called by the one thread whose turn it is."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
        try:
            self._commit(group)
        except BaseException as error:
            for request in group:
                if not request.result.done():
                    request.result.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _commit(self, group: list[_Request]) -> None:
        """Stage the group on the newest known state and write it; repeat when another was first."""
        for attempt in range(_MAX_RACES):
            self._check_open()
            self._image.begin()
            try:
                staged = self._stage(group)
                winner = self._write(staged)
            except BaseException:
                self._image.rollback()
                raise
            if winner is None:
                self._image.commit()
                self._state = staged[-1].after
                for item in staged:
                    self._answer(item)
                return
            self._image.rollback()
            self._follow(winner)
            time.sleep(random.uniform(0, min(0.25, 0.001 * 2 ** min(attempt, 8))))  # noqa: S311 -- jitter
        raise StoreError(f"other writers were faster {_MAX_RACES} times in a row: nothing was written")

    def _stage(self, group: list[_Request]) -> list[_Staged]:
        """Prepare every request on the state that the ones before it leave, and apply it to the image."""
        staged = []
        state = self._state
        for request in group:
            before = state
            try:
                changes = prepare(Database(self._image, state, state.t), request.data, self._now())
            except Exception as error:  # noqa: BLE001 -- raised again where the transaction was asked for
                staged.append(_Staged(request, before, before, None, error))
                continue
            if changes.changes:
                state = _advance(state, state.t + 1, changes.changes)
                self._image.apply(state.t, changes.changes, state.schema)
            staged.append(_Staged(request, before, state, changes))
        return staged

    def _write(self, staged: list[_Staged]) -> Entry | None:
        """Write what is staged: `None` when that is now the end of the log, else the entry that is there.

        Refusals, and transactions that change nothing, are answers about the newest state too. When there is
        nothing to write, which proves that the state was the newest, one read does.
        """
        transactions = tuple(
            item.prepared.changes for item in staged if item.prepared and item.prepared.changes
        )
        t = self._state.t + 1
        if not transactions:
            return self._log.read(t)
        return self._log.append(Entry(t, transactions, uuid.uuid4().hex))

    def _answer(self, item: _Staged) -> None:
        if item.prepared is None:
            item.request.result.set_exception(item.failure)
            return
        schema = item.after.schema
        tx = transaction_entity(item.after.t)
        datoms = tuple(
            Datom(e, schema.attributes[a].ident, decode(v), tx, added)
            for e, a, v, added in item.prepared.changes
        )
        before = Database(self._image, item.before, item.before.t)
        after = Database(self._image, item.after, item.after.t)
        tempids = dict(item.prepared.tempids)
        item.request.result.set_result(TransactionReport(item.after.t, before, after, tempids, datoms))


def _advance(state: State, t: int, changes: Sequence[Change]) -> State:
    """The state after the next transaction."""
    tx = transaction_entity(t)
    instant = next((decode(c.v) for c in changes if c.e == tx and c.a == TX_INSTANT and c.added), None)
    if not isinstance(instant, datetime):
        raise FormatError(f"transaction {t} of the log does not say when it was made")
    newest = max((change.e for change in changes if change.e < TX_BASE), default=0)
    return State(
        t=t,
        schema=state.schema.evolve(changes),
        next_entity=max(state.next_entity, newest + 1),
        instant=instant_micros(instant),
    )
