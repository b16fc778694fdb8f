"""Transactions that nobody waits for keep order, each with its own outcome; reads are as old as may be."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore

import bucketlog
from bucketlog import ConflictError, Connection, Database, StoreError, TransactionReport, UncertainError
from bucketlog.log import t_of

_SECONDS = 60.0


class _Store:
    """A store in memory that counts, and whose writes wait while they are held."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.calls: Counter[str] = Counter()
        self.log: list[int] = []
        self.arrived = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def hold(self) -> None:
        """Let writes wait from here on until `go_on` is set."""
        self.go_on.clear()
        while self.arrived.acquire(blocking=False):
            pass

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        self.calls["put"] += 1
        self.arrived.release()
        assert self.go_on.wait(_SECONDS)
        if self.error:
            raise self.error
        result = self.inner.put(path, file, mode=mode)
        if (t := t_of(path)) is not None:
            self.log.append(t)
        return result

    def get(self, path: str) -> Any:
        self.calls["get"] += 1
        if isinstance(self.error, GenericError):
            raise self.error
        return self.inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        return self.inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> Any:
        return self.inner.delete(paths)


@pytest.fixture
def store() -> _Store:
    """An empty bucket."""
    return _Store()


@pytest.fixture
def conn(store: _Store, connect: Callable[..., Connection], schema: str) -> Connection:
    """A connection to a database with the schema in `store`."""
    conn = connect(store)
    conn.transact(schema)
    store.calls.clear()
    store.log.clear()
    return conn


@pytest.fixture
def held(store: _Store, conn: Connection) -> Future[TransactionReport]:
    """A transaction on its way to the bucket, which takes its time."""
    store.hold()
    future = conn.transact_async([{":user/name": "first"}])
    assert store.arrived.acquire(timeout=_SECONDS)
    return future


def _names(db: Database) -> list[str]:
    return sorted(db.q("[:find [?n ...] :where [_ :user/name ?n]]"))


def test_transactions_are_committed_in_the_order_of_their_calls(conn: Connection) -> None:
    futures = [conn.transact_async([{":user/name": f"u{n}"}]) for n in range(300)]
    assert [future.result(_SECONDS).t for future in futures] == list(range(2, 302))
    reports = [future.result() for future in futures]
    assert [report.db_after.basis_t for report in reports] == list(range(2, 302))
    assert len(_names(reports[9].db_after)) == 10
    assert len(_names(reports[9].db_before)) == 9


def test_what_comes_while_an_object_is_on_its_way_goes_into_the_next_one(
    store: _Store, conn: Connection, held: Future[TransactionReport], connect: Callable[..., Connection]
) -> None:
    futures = [conn.transact_async([{":user/name": f"u{n}"}]) for n in range(100)]
    assert not held.done()
    store.go_on.set()
    assert [future.result(_SECONDS).t for future in (held, *futures)] == list(range(2, 103))
    assert store.log == [2, 3]
    assert len(_names(connect(store).db())) == 101


def test_sync_calls_share_the_object_with_those_that_nobody_waits_for(
    store: _Store, conn: Connection, held: Future[TransactionReport]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        asynchronous = conn.transact_async([{":user/name": "b"}])
        waiting = pool.submit(conn.transact, [{":user/name": "c"}])
        store.go_on.set()
        assert {future.result(_SECONDS).t for future in (held, asynchronous, waiting)} == {2, 3, 4}


def test_each_failure_goes_to_its_own_future(
    store: _Store, conn: Connection, held: Future[TransactionReport]
) -> None:
    def fail(db: Database) -> list[Any]:
        raise LookupError("mine")

    bad = conn.transact_async([{":user/name": "x"}, fail])
    good = conn.transact_async([{":user/name": "good"}])
    conflict = conn.transact_async([[":db/cas", [":user/name", "good"], ":user/age", 1, 2]])
    nothing = conn.transact_async([{":user/name": "good"}])
    store.go_on.set()
    with pytest.raises(LookupError, match="mine"):
        bad.result(_SECONDS)
    with pytest.raises(ConflictError, match="expected 1"):
        conflict.result(_SECONDS)
    assert (good.result(_SECONDS).t, nothing.result(_SECONDS).tx_data) == (3, ())
    assert _names(conn.db()) == ["first", "good"]


def test_a_store_that_refuses_fails_all_of_an_object_and_none_of_the_next(
    store: _Store, conn: Connection, held: Future[TransactionReport]
) -> None:
    store.error = PermissionDeniedError("403 no")
    later = [conn.transact_async([{":user/name": f"u{n}"}]) for n in range(3)]
    store.go_on.set()
    for future in (held, *later):
        with pytest.raises(StoreError, match="PermissionDenied"):
            future.result(_SECONDS)
    store.error = None
    assert conn.transact_async([{":user/name": "after"}]).result(_SECONDS).t == 2
    assert _names(conn.db()) == ["after"]


def test_an_outcome_that_is_not_known_is_said_to_each(
    store: _Store, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketlog.store.time", SimpleNamespace(sleep=lambda _: None))
    store.error = GenericError("503 later")
    future = conn.transact_async([{":user/name": "a"}])
    with pytest.raises(UncertainError, match="log/0000000000000002 may or may not"):
        future.result(_SECONDS)
    store.error = None
    assert conn.transact_async([{":user/name": "b"}]).result(_SECONDS).t == 2


def test_close_commits_what_was_taken_on(
    store: _Store, connect: Callable[..., Connection], schema: str
) -> None:
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        futures = [conn.transact_async([{":user/name": f"u{n}"}]) for n in range(1000)]
    assert [future.result(0).t for future in futures] == list(range(2, 1002))
    assert len(_names(connect(store).db())) == 1000
    with pytest.raises(StoreError, match="closed"):
        conn.transact_async([{":user/name": "late"}])


def test_whoever_calls_while_the_connection_closes_gets_an_answer(
    store: _Store, connect: Callable[..., Connection], schema: str
) -> None:
    connect(store).transact(schema)
    outcomes: list[Future[TransactionReport]] = []
    begun = threading.Event()

    def write() -> None:
        for n in count():
            try:
                outcomes.append(conn.transact_async([{":user/age": n}]))
            except StoreError:
                return
            begun.set()
            if n >= 500:
                outcomes[n - 500].exception(_SECONDS)  # so that few are left to commit at the end

    conn = bucketlog.connect(store)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert begun.wait(_SECONDS)
        conn.close()
        writing.result(_SECONDS)
    committed = [future for future in outcomes if future.exception(_SECONDS) is None]
    for future in outcomes[len(committed) :]:
        with pytest.raises(StoreError, match="closed"):
            future.result()
    assert connect(store).db().basis_t == 1 + len(committed)


def test_a_transaction_that_is_cancelled_in_time_is_not_made_and_spoils_no_other(
    store: _Store, conn: Connection, held: Future[TransactionReport], connect: Callable[..., Connection]
) -> None:
    before, cancelled, after = (conn.transact_async([{":user/name": name}]) for name in "abc")
    assert cancelled.cancel()
    assert not held.cancel()
    store.go_on.set()
    assert [future.result(_SECONDS).t for future in (held, before, after)] == [2, 3, 4]
    with pytest.raises(CancelledError):
        cancelled.result()
    assert _names(connect(store).db()) == ["a", "c", "first"]


def test_cancelling_all_that_wait_leaves_nothing_to_do(
    store: _Store, conn: Connection, held: Future[TransactionReport]
) -> None:
    assert conn.transact_async([{":user/name": "a"}]).cancel()
    store.go_on.set()
    held.result(_SECONDS)
    assert conn.transact_async([{":user/name": "b"}]).result(_SECONDS).t == 3
    assert store.log == [2, 3]


def test_a_coroutine_can_wait_for_it(conn: Connection) -> None:
    async def run() -> list[int]:
        futures = [conn.transact_async([{":user/name": f"u{n}"}]) for n in range(20)]
        reports = await asyncio.gather(*map(asyncio.wrap_future, futures))
        return [report.t for report in reports]

    assert asyncio.run(run()) == list(range(2, 22))


def test_a_transaction_function_that_ends_its_thread_does_not_end_commits(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def leave(db: Database) -> list[Any]:
        raise SystemExit

    with pytest.raises(SystemExit):
        conn.transact_async([leave]).result(_SECONDS)
    assert conn.transact_async([{":user/name": "a"}]).result(_SECONDS).t == 2
    assert conn.transact([{":user/name": "b"}]).t == 3


def test_writers_in_many_threads_lose_and_double_nothing(
    store: _Store, connect: Callable[..., Connection], schema: str
) -> None:
    connect(store).transact(schema)
    conns = [connect(store) for _ in range(3)]

    def count(db: Database) -> list[Any]:
        total = db.q('[:find ?v . :where [?e :user/name "total"] [?e :user/age ?v]]') or 0
        return [{":user/name": "total", ":user/age": total + 1}]

    def write(thread: int) -> list[int]:
        conn = conns[thread % 3]
        futures = [conn.transact_async([count]) for _ in range(30)]
        return [future.result(_SECONDS).t for future in futures]

    with ThreadPoolExecutor(6) as pool:
        ts = [t for part in pool.map(write, range(6)) for t in part]
    assert sorted(ts) == list(range(2, 182))
    total = conns[0].sync().q('[:find ?v . :where [?e :user/name "total"] [?e :user/age ?v]]')
    assert total == 180


# How old what is read may be


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The time of connections, which moves on by as many seconds as one says."""
    now = [1000.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    for module in ("connection", "commit"):
        monkeypatch.setattr(f"bucketlog.{module}.time", Time)
    return pass_by


def test_a_read_that_may_be_old_asks_the_log_when_it_would_be_too_old(
    store: _Store, clock: Callable[[float], None], connect: Callable[..., Connection], schema: str
) -> None:
    one, other = connect(store), connect(store)
    one.transact(schema)
    store.calls.clear()
    minute = timedelta(minutes=1)
    clock(60)
    assert other.db(max_age=minute).basis_t == 0
    assert store.calls == {}
    clock(0.1)
    assert other.db().basis_t == 0
    assert other.db(max_age=minute).basis_t == 1
    reads = store.calls["get"]
    assert reads > 0
    one.transact([{":user/name": "ann"}])
    clock(59)
    assert other.db(max_age=minute).basis_t == 1
    assert store.calls["get"] == reads
    clock(2)
    assert _names(other.db(max_age=minute)) == ["ann"]


def test_a_commit_is_a_look_at_the_log_too(
    store: _Store, clock: Callable[[float], None], conn: Connection
) -> None:
    clock(100)
    conn.transact([{":user/name": "ann"}])
    store.calls.clear()
    assert conn.db(max_age=timedelta(seconds=1)).basis_t == 2
    assert store.calls == {}
    clock(2)
    conn.db(max_age=timedelta(seconds=1))
    assert store.calls == {"get": 1}


def test_a_look_that_failed_is_none(store: _Store, clock: Callable[[float], None], conn: Connection) -> None:
    clock(100)
    store.error = GenericError("503 later")
    for _ in range(2):
        with pytest.raises(StoreError, match="503 later"):
            conn.db(max_age=timedelta(seconds=1))
    store.error = None
    store.calls.clear()
    conn.db(max_age=timedelta(seconds=1))
    assert store.calls == {"get": 1}


def test_what_no_age_is_young_enough_for_is_asked_for_each_time(store: _Store, conn: Connection) -> None:
    for _ in range(3):
        conn.db(max_age=timedelta(0))
    assert store.calls == {"get": 3}


def test_threads_that_ask_for_the_newest_at_once_share_a_look(
    store: _Store, connect: Callable[..., Connection], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = connect(store), connect(store)
    writer.transact(schema)
    store.calls.clear()
    inside = threading.Semaphore(0)
    go_on = threading.Event()
    asked = threading.Semaphore(0)
    get = store.get

    def slow(path: str) -> Any:
        inside.release()
        assert go_on.wait(_SECONDS)
        return get(path)

    class Time:
        @staticmethod
        def monotonic() -> float:
            now = time.monotonic()
            asked.release()
            return now

    store.get = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(reader.sync)
        assert inside.acquire(timeout=_SECONDS)
        monkeypatch.setattr("bucketlog.connection.time", Time)
        rest = [pool.submit(reader.sync) for _ in range(10)]
        for _ in rest:  # all of them have asked, and wait for their turn
            assert asked.acquire(timeout=_SECONDS)
        go_on.set()
        assert first.result(_SECONDS).basis_t == 1
        assert {future.result(_SECONDS).basis_t for future in rest} == {1}
    # The first looked before they asked; the look of one of them is that of all the others.
    assert store.calls["get"] == 2
