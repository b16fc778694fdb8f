"""Commits on stores that fail or lie: nothing is lost, nothing doubled, unsafe stores are refused."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, StoreError, UncertainError, UnsafeStoreError
from bucketlog.log import Entry, genesis, key_of, t_of
from bucketlog.requests import MeteredStore
from bucketlog.schema import Change
from bucketlog.store import LogStore


class Store:
    """A store in memory that counts, and that can be told to misbehave."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.calls: Counter[str] = Counter()
        self.on_put: Callable[..., str] = lambda *_: "work"
        self.on_get: Callable[..., str] = lambda *_: "work"
        self.ignores_conditions = False

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        self.calls["put"] += 1
        what = self.on_put(path, file)
        if what == "refuse":
            raise PermissionDeniedError("403 no")
        if what == "fail before":
            raise GenericError("503 before the write")
        result = self.inner.put(path, file, mode="overwrite" if self.ignores_conditions else mode)
        if what == "fail after":
            raise GenericError("timed out after the write")
        if what == "retry inside":  # as an HTTP client that repeats a request whose answer was lost
            raise AlreadyExistsError("412 from the client's own retry")
        return result

    def get(self, path: str) -> Any:
        self.calls["get"] += 1
        if self.on_get(path) == "fail":
            raise GenericError("500 read")
        return self.inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        self.calls["list"] += 1
        return self.inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> Any:
        return self.inner.delete(paths)


@pytest.fixture
def store() -> Store:
    """A store to misbehave."""
    return Store()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between attempts."""
    monkeypatch.setattr("bucketlog.store.time", SimpleNamespace(sleep=lambda _: None))


def _names(conn: Connection) -> list[str]:
    return sorted(conn.sync().q("[:find [?n ...] :where [_ :user/name ?n]]"))


def test_a_commit_is_one_put_and_reading_is_none(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    store.calls.clear()
    conn.transact([{":user/name": "ann"}])
    assert store.calls == {"put": 1}
    for _ in range(3):
        conn.db().q("[:find ?n :where [_ :user/name ?n]]")
    assert store.calls == {"put": 1}
    conn.sync()
    assert store.calls == {"put": 1, "get": 1}


def test_a_transaction_that_changes_nothing_writes_nothing(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    store.calls.clear()
    for data in (schema, [], [[":db/retract", ":role/admin", ":user/age", 7]]):
        report = conn.transact(data)
        assert (report.t, report.tx_data) == (1, ())
    assert store.calls == {"get": 3}


def test_a_store_that_ignores_the_condition_is_refused(store: Store) -> None:
    store.ignores_conditions = True
    with pytest.raises(UnsafeStoreError, match="If-None-Match"):
        bucketlog.connect(store)


def test_an_existing_database_survives_a_store_that_ignores_the_condition(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    connect(store).transact(schema)
    store.ignores_conditions = True
    before = bytes(store.inner.get(key_of(0)).bytes())
    with pytest.raises(UnsafeStoreError):
        bucketlog.connect(store)
    assert bytes(store.inner.get(key_of(0)).bytes()) == before
    store.ignores_conditions = False
    assert connect(store).db().basis_t == 1


def test_credentials_that_may_only_read_can_read(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    connect(store).transact(schema)
    store.on_put = lambda *_: "refuse"
    conn = connect(store)
    assert conn.db().basis_t == 1
    with pytest.raises(StoreError, match="PermissionDenied"):
        conn.transact([{":user/name": "ann"}])


@pytest.mark.parametrize("fault", ["fail before", "fail after", "retry inside"])
def test_a_lost_answer_neither_loses_nor_doubles(
    store: Store, connect: Callable[..., Connection], schema: str, fault: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    faults: Iterator[str] = iter([fault])
    store.on_put = lambda *_: next(faults, "work")
    report = conn.transact([{":db/id": "new", ":user/age": 7}])  # once more would be another entity
    assert report.t == 2
    assert conn.transact([{":user/name": "bob"}]).t == 3
    db = connect(store).db()
    assert db.q("[:find [?e ...] :where [?e :user/age 7]]") == [report.tempids["new"]]
    assert db.q("[:find [?n ...] :where [_ :user/name ?n]]") == ["bob"]


def test_a_lost_answer_to_a_lost_race_is_a_lost_race(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    one, other = connect(store), connect(store)
    one.transact(schema)
    other.sync()
    one.transact([{":user/name": "ann"}])
    faults = iter(["fail before"])
    store.on_put = lambda *_: next(faults, "work")
    report = other.transact([{":user/name": "bob"}])
    assert report.t == 3
    assert _names(one) == ["ann", "bob"]


def test_when_nothing_gets_through_the_outcome_is_said_to_be_uncertain(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    store.on_put = lambda *_: "fail after"
    store.on_get = lambda *_: "fail"
    with pytest.raises(UncertainError, match="log/0000000000000002 may or may not"):
        conn.transact([{":user/name": "ann"}])
    store.on_put = lambda *_: "work"
    store.on_get = lambda *_: "work"
    assert conn.db().q("[:find ?n :where [_ :user/name ?n]]") == []  # not known to be there
    assert conn.transact([{":user/name": "bob"}]).t == 3  # it was there after all
    assert _names(conn) == ["ann", "bob"]


def test_a_refusal_after_a_lost_answer_is_still_uncertain(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    faults = iter(["fail before"])
    store.on_put = lambda *_: next(faults, "refuse")
    with pytest.raises(UncertainError):
        conn.transact([{":user/name": "ann"}])


def test_writers_on_a_faulty_store_lose_and_double_nothing(
    store: Store, connect: Callable[..., Connection], schema: str
) -> None:
    connect(store).transact(schema)
    random = Random(7)  # noqa: S311 -- which faults there are
    lock = threading.Lock()

    def fault() -> str:
        with lock:
            return random.choices(["work", "fail before", "fail after", "retry inside"], [6, 1, 1, 1])[0]

    def write(writer: int) -> list[str]:
        conn = connect(store)
        names = [f"{writer}-{n}" for n in range(15)]
        for name in names:
            conn.transact([{":user/name": name}, {":db/id": "anonymous", ":user/age": writer}])
        return names

    store.on_put = lambda path, _: fault() if t_of(path) else "work"
    with ThreadPoolExecutor(4) as pool:
        acknowledged = [name for names in pool.map(write, range(4)) for name in names]
    assert len(acknowledged) == 60
    reader = connect(store)
    assert _names(reader) == sorted(acknowledged)
    adds = reader.db().history().q("[:find ?n ?tx :where [_ :user/name ?n ?tx true]]")
    assert len(adds) == 60
    assert reader.db().q("[:find (count ?e) . :where [?e :user/age]]") == 60


def test_a_directory_is_made_when_it_is_absent(
    tmp_path: Path, connect: Callable[..., Connection], schema: str
) -> None:
    url = f"file://{tmp_path}/new/data base"
    connect(url).transact(schema)
    assert connect(url).db().basis_t == 1
    assert sorted(path.name for path in (tmp_path / "new" / "data base" / "log").iterdir()) == [
        "0000000000000000",
        "0000000000000001",
    ]


@pytest.mark.parametrize("url", ["ftp://x/y", "file://host/dir", "nonsense"])
def test_a_location_that_cannot_be_opened_is_named(url: str) -> None:
    with pytest.raises(StoreError, match=url.split(":", maxsplit=1)[0]):
        bucketlog.connect(url)


@pytest.mark.parametrize("guesses", [0, 3, 50])
def test_entries_are_the_same_however_many_are_read_before_they_are_listed(guesses: int) -> None:
    store = MemoryStore()
    log = LogStore(MeteredStore(store))
    entries, t = [genesis(datetime.now(UTC))], 1
    for size in (1, 1, 3, 1, 2, 1):
        datoms = (Change(1024, 7, f"{t}", True),)
        entries.append(Entry(t, (datoms,) * size, f"{t:032d}"))
        t += size
    for entry in entries:
        assert log.append(entry) is None
    assert list(log.read_after(-1, guesses=guesses)) == entries
    assert list(log.read_after(0, guesses=guesses)) == entries[1:]
    assert list(log.read_after(t - 1, guesses=guesses)) == []
    store.delete([key_of(2)])
    with pytest.raises(bucketlog.FormatError, match=r"0002 is missing, although .*0003 is there"):
        list(log.read_after(0, guesses=guesses))
