"""The database for asyncio."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
import pytest
from obstore.store import MemoryStore

import bucketlog
from bucketlog import StoreError, TransactionError, aio

T = TypeVar("T")
_SECONDS = 60.0
NAMES = "[:find [?n ...] :where [_ :user/name ?n]]"


class GatedStore:
    """A store in memory whose commits wait at a gate."""

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        self.arrived.set()
        assert self.gate.wait(_SECONDS)
        return self._inner.put(path, file, mode=mode) if mode else self._inner.put(path, file)

    def get(self, path: str) -> Any:
        return self._inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        return self._inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> Any:
        return self._inner.delete(paths)

    @property
    def entries(self) -> int:
        return sum(len(batch) for batch in obstore.list(self._inner, "log/"))


def in_database(
    location: Any, schema: str, work: Callable[[aio.Connection], Awaitable[T]], **options: Any
) -> T:
    """What `work` gives with a connection to a database that has the schema."""

    async def run() -> T:
        async with aio.connect(location, **options) as conn:
            await conn.transact(schema)
            return await work(conn)

    return asyncio.run(run())


def test_what_is_transacted_is_found(location: str, schema: str) -> None:
    async def work(conn: aio.Connection) -> None:
        report = await conn.transact([{":db/id": "a", ":user/name": "Ann"}])
        assert await aio.Database(report.db_after).q(NAMES) == ["Ann"]
        db = conn.db()
        assert db.basis_t == report.t
        assert await db.pull("[:user/name]", report.tempids["a"]) == {":user/name": "Ann"}
        assert await db.pull_many("[:user/name]", [[":user/name", "Ann"]]) == [{":user/name": "Ann"}]

    in_database(location, schema, work)


def test_the_past_is_asked_too(location: str, schema: str) -> None:
    async def work(conn: aio.Connection) -> None:
        first = await conn.transact([{":user/name": "Ann", ":user/age": 1}])
        await conn.transact([{":user/name": "Ann", ":user/age": 2}])
        ages, db = "[:find [?a ...] :where [_ :user/age ?a]]", conn.db()
        assert await (await db.as_of(first.t)).q(ages) == [1]
        assert await (await db.as_of(datetime(2000, 1, 1, tzinfo=UTC))).q(ages) == []
        assert await (await db.since(first.t)).q(ages) == [2]
        assert len(await db.history().q("[:find ?a ?tx ?x :where [_ :user/age ?a ?tx ?x]]")) == 3
        both = "[:find ?old ?new :in $ $old :where [?e :user/age ?new] [$old ?e :user/age ?old]]"
        assert await db.q(both, await db.as_of(first.t)) == [(1, 2)]

    in_database(location, schema, work)


def test_any_function_of_the_database_can_run_in_a_thread(location: str, schema: str) -> None:
    async def work(conn: aio.Connection) -> tuple[bool, int | None]:
        await conn.transact([{":user/name": "Ann"}])
        here = threading.get_ident()
        return await conn.db().run(
            lambda db: (threading.get_ident() != here, db.entid([":user/name", "Ann"]))
        )

    elsewhere, ann = in_database(location, schema, work)
    assert elsewhere
    assert ann is not None


def test_sync_sees_what_others_have_written(location: str, schema: str) -> None:
    async def work(conn: aio.Connection) -> None:
        async with aio.connect(location) as other:
            await other.transact([{":user/name": "Ann"}])
        assert await conn.db().q(NAMES) == []
        assert await (await conn.recent(timedelta(hours=1))).q(NAMES) == []
        assert await (await conn.recent(timedelta(0))).q(NAMES) == ["Ann"]
        assert await (await conn.sync()).q(NAMES) == ["Ann"]

    in_database(location, schema, work)


def test_errors_come_where_they_are_awaited(location: str, schema: str) -> None:
    async def work(conn: aio.Connection) -> None:
        good, bad = await asyncio.gather(
            conn.transact([{":user/name": "Ann"}]),
            conn.transact([{":user/nmae": "Ann"}]),
            return_exceptions=True,
        )
        assert isinstance(good, bucketlog.TransactionReport)
        assert isinstance(bad, TransactionError)
        with pytest.raises(bucketlog.QueryError):
            await conn.db().q("[:find]")

    in_database(location, schema, work)


def test_transactions_that_are_awaited_together_share_objects(schema: str) -> None:
    store = GatedStore()

    async def work(conn: aio.Connection) -> None:
        before = store.entries
        store.gate.clear()
        store.arrived.clear()
        first = asyncio.create_task(conn.transact([{":user/name": "first"}]))
        assert await asyncio.to_thread(store.arrived.wait, _SECONDS)
        rest = [asyncio.create_task(conn.transact([{":user/name": f"n{n}"}])) for n in range(50)]
        await asyncio.sleep(0)
        store.gate.set()
        reports = await asyncio.gather(first, *rest)
        assert [report.t for report in reports] == list(range(reports[0].t, reports[0].t + 51))
        assert store.entries - before == 2

    in_database(store, schema, work)


def test_the_loop_goes_on_while_a_commit_waits(schema: str) -> None:
    store = GatedStore()

    async def work(conn: aio.Connection) -> None:
        store.gate.clear()
        task = asyncio.create_task(conn.transact([{":user/name": "Ann"}]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        store.gate.set()
        await task

    in_database(store, schema, work)


def test_a_cancelled_wait_does_not_undo_the_transaction(schema: str) -> None:
    store = GatedStore()

    async def work(conn: aio.Connection) -> None:
        store.gate.clear()
        store.arrived.clear()
        names = ("on its way", "waiting")
        tasks = [asyncio.create_task(conn.transact([{":user/name": name}])) for name in names[:1]]
        assert await asyncio.to_thread(store.arrived.wait, _SECONDS)
        tasks += [asyncio.create_task(conn.transact([{":user/name": name}])) for name in names[1:]]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        assert [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 2
        store.gate.set()
        await conn.transact([{":user/name": "after"}])
        assert sorted(await conn.db().q(NAMES)) == ["after", "on its way", "waiting"]

    in_database(store, schema, work)


def test_leaving_commits_what_was_begun(schema: str) -> None:
    store = GatedStore()

    async def work(conn: aio.Connection) -> None:
        store.gate.clear()
        task = asyncio.create_task(conn.transact([{":user/name": "Ann"}]))
        await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, store.gate.set)

    in_database(store, schema, work)
    with bucketlog.connect(store) as conn:
        assert conn.db().q(NAMES) == ["Ann"]


def test_a_connection_that_nobody_waits_for_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = GatedStore()
    store.gate.clear()
    closed = threading.Event()
    close = bucketlog.Connection.close

    def closing(conn: bucketlog.Connection) -> None:
        close(conn)
        closed.set()

    monkeypatch.setattr(bucketlog.Connection, "close", closing)

    async def run() -> None:
        async def enter() -> None:
            async with aio.connect(store):
                raise AssertionError("nobody comes here")

        task = asyncio.create_task(enter())
        assert await asyncio.to_thread(store.arrived.wait, _SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store.gate.set()
        assert await asyncio.to_thread(closed.wait, _SECONDS)

    asyncio.run(run())


def test_a_closed_connection_says_so(location: str) -> None:
    async def run() -> None:
        async with aio.connect(location) as conn:
            pass
        with pytest.raises(StoreError, match="closed"):
            conn.db()
        with pytest.raises(StoreError, match="closed"):
            await conn.transact([])

    asyncio.run(run())


def test_options_are_those_of_connect(tmp_path: Path) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)

    async def run() -> Any:
        async with aio.connect(f"memory://{uuid.uuid4().hex}", now=lambda: now, cache=tmp_path) as conn:
            return await conn.db().q("[:find ?at . :where [_ :db/txInstant ?at]]")

    assert asyncio.run(run()) == now
