"""The commit: transactions that wait become the next object of the log, or the one after those that won."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bucketlog.bucket import Bucket
from bucketlog.contention import Contention
from bucketlog.database import Database
from bucketlog.errors import StoreError, TransactionError
from bucketlog.guard import Functions, check_entities
from bucketlog.log import Entry
from bucketlog.objects import MissingObjectError
from bucketlog.operation import TransactionData
from bucketlog.replica import Replica
from bucketlog.report import TransactionReport
from bucketlog.state import State, advance
from bucketlog.transaction import Prepared, prepare
from bucketlog.worker import Worker

__all__ = ["Committer"]

_MAX_RACES: Final = 256
_MAX_GROUP: Final = 256
_AHEAD: Final = 4  # entries that others may have written since one lost


@dataclass(slots=True)
class _Request:
    """A transaction that waits for its turn; whoever has the turn commits all that wait."""

    data: TransactionData
    result: Future[TransactionReport] = field(default_factory=Future)
    woken: threading.Event | None = None
    """Set when the result is there, or when it is time to lead; a thread waits for it."""

    leads: bool = False
    """Whether its thread is to commit what waits."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """A transaction in the image that is not in the log yet, or an outcome that needs no place there."""

    request: _Request
    before: State
    after: State
    prepared: Prepared | None
    failure: Exception | None = None
    """Why it cannot be done, when there is nothing prepared."""


class Committer:
    """Commits transactions of any thread, one group at a time; says whose turn it is to move the replica."""

    def __init__(
        self, bucket: Bucket, replica: Replica, now: Callable[[], datetime], functions: Functions
    ) -> None:
        self.functions = functions
        """What transactions can call by name."""
        self._bucket = bucket
        self._replica = replica
        self._now = now
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._waiting: deque[_Request] = deque()
        self._lead = threading.Lock()
        self._is_led = False
        self._contention = Contention()
        self._worker = Worker(self._commit_all, "bucketlog-commit")
        self._closed = False
        self.looked = time.monotonic()
        """When the end of the log was last seen: everything that was committed before is known."""

    def commit(self, data: TransactionData) -> TransactionReport:
        """Commit a transaction, and what waits with it.

        Of the threads that wait, one leads: it commits what all of them want, and hands over to the next.
        """
        request = self._enqueue(data)
        if self._is_to_lead(request):
            try:
                self._commit_all(request)
            finally:
                self._hand_over()
        return request.result.result()

    def submit(self, data: TransactionData) -> Future[TransactionReport]:
        """Have a transaction committed by a thread of our own."""
        request = self._enqueue(data)
        self._worker.wake()
        return request.result

    def close(self) -> None:
        """Commit what was submitted, and take no more."""
        self._closed = True
        self._worker.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Only one thread at a time follows the log or adds to it."""
        self._check_turn()
        with self._lock:
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

    def restore(self) -> bool:
        """Load the newest snapshot for a reader, unless another thread is at work on the image."""
        if self._owner == threading.get_ident() or not self._lock.acquire(blocking=False):
            return False
        try:
            self._replica.recover()
        finally:
            self._lock.release()
        return True

    def _enqueue(self, data: TransactionData) -> _Request:
        self._check_turn()
        if self._closed:
            raise StoreError("the connection is closed")
        request = _Request(tuple(data) if isinstance(data, Iterator) else data)
        self._waiting.append(request)
        return request

    def _is_to_lead(self, request: _Request) -> bool:
        """Wait until the request has its result, or until its thread is the one to commit what waits."""
        woken = threading.Event()
        request.result.add_done_callback(lambda _: woken.set())
        try:
            try:
                with self._lead:
                    if self._is_led:
                        request.woken = woken
                    else:
                        request.leads = self._is_led = True
                if not request.leads:
                    woken.wait()
            finally:
                with self._lead:
                    request.woken = None  # nobody hands over to it from here on
        except BaseException:  # of a signal: the request stays, and somebody else commits it
            if request.leads:
                self._hand_over()
            raise
        return request.leads

    def _hand_over(self) -> None:
        """Let the thread of a request that still waits lead, if there is one."""
        with self._lead:
            heir = next((request for request in tuple(self._waiting) if request.woken is not None), None)
            if heir is None or heir.woken is None:
                self._is_led = False
            else:
                heir.leads = True
                heir.woken.set()

    def _commit_all(self, until: _Request | None = None) -> None:
        """Commit what waits, up to a request that may have been committed by another thread meanwhile."""
        with self.turn():
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
            replica.settle()
            replica.image.begin()
            try:
                staged = self._stage(group)
                began = time.monotonic()
                entry = self._entry(staged)
                winner = self._write(entry)
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
                replica.committed(staged[-1].after, entry)
                self._contention.won(attempt, seconds)
                self.looked = began
                for item in staged:
                    self._answer(item)
                return
            replica.image.rollback()
            replica.follow([winner])
            self._contention.lost(attempt, seconds)
            replica.follow(self._bucket.log.walk(replica.state.t, _AHEAD))
        raise StoreError(f"other writers were faster {_MAX_RACES} times in a row: nothing was written")

    def _stage(self, group: list[_Request]) -> list[_Staged]:
        """Prepare every request on the state that the ones before it leave, and apply it to the image."""
        staged = []
        state = self._replica.state
        for request in group:
            before = state
            try:
                prepared = prepare(self._shown(state), request.data, self._now())
                ensured = self._ensured(prepared, state) if prepared.ensured else None
            except MissingObjectError:
                raise
            except Exception as error:  # noqa: BLE001 -- raised again where the transaction was asked for
                staged.append(_Staged(request, before, before, None, error))
                continue
            # What fails from here on has changed the image, and fails the whole group.
            state = ensured or self._applied(prepared, state)
            staged.append(_Staged(request, before, state, prepared))
        return staged

    def _ensured(self, prepared: Prepared, state: State) -> State:
        """`_applied`, unless an entity is not what it must be afterwards: then the image is as it was."""
        with self._replica.image.attempt():
            after = self._applied(prepared, state)
            check_entities(self._shown(after), prepared.ensured)
        return after

    def _applied(self, prepared: Prepared, state: State) -> State:
        """The state after a transaction, which is in the image then."""
        if not prepared.changes:
            return state
        after = advance(state, state.t + 1, prepared.changes)
        self._replica.image.apply(after.t, prepared.changes, after.schema)
        return after

    def _shown(self, state: State) -> Database:
        return Database(self._replica.image, state, state.t, _functions=self.functions)

    def _entry(self, staged: list[_Staged]) -> Entry | None:
        """What is to go into the log, if anything."""
        transactions = tuple(
            item.prepared.changes for item in staged if item.prepared and item.prepared.changes
        )
        return Entry(self._replica.state.t + 1, transactions, uuid.uuid4().hex) if transactions else None

    def _write(self, entry: Entry | None) -> Entry | None:
        """Write an entry: `None` when that is now the end of the log, else the entry that is there.

        Refusals, and transactions that change nothing, are answers about the newest state too. When there is
        nothing to write, which proves that the state was the newest, one read does.
        """
        if entry is None:
            return self._bucket.log.read(self._replica.state.t + 1)
        return self._bucket.log.append(entry)

    def _answer(self, item: _Staged) -> None:
        if item.prepared is None:
            item.request.result.set_exception(item.failure)
            return
        before, after = self._shown(item.before), self._shown(item.after)
        tempids = dict(item.prepared.tempids)
        item.request.result.set_result(
            TransactionReport(item.after.t, before, after, tempids, item.prepared.changes)
        )
