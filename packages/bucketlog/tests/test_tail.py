"""Tails: who opens a database with many entries after its snapshot reads them as one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, replica

_EVERYTHING = "[:find ?e ?a ?v ?tx ?added :where [?e ?a ?v ?tx ?added]]"


class _Counted:
    """A store that counts what is read from it by the first part of the key, and may have lost tails."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.gets: Counter[str] = Counter()
        self.has_lost_tails = False

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        return self.inner.put(path, file, mode=mode or "overwrite")

    def get(self, path: str) -> Any:
        self.gets[path.partition("/")[0]] += 1
        if self.has_lost_tails and path.startswith("tail/"):
            raise FileNotFoundError(path)
        return self.inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        return self.inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> Any:
        return self.inner.delete(paths)


@pytest.fixture(autouse=True)
def without_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are written when a test says so."""
    monkeypatch.setattr("bucketlog.replica._is_due", lambda *_, **__: False)


@pytest.fixture
def store() -> MemoryStore:
    """A bucket."""
    return MemoryStore()


def _write(conn: Connection, names: range) -> None:
    """One transaction a name; what is begun in the background is done before the next."""
    for n in names:
        conn.transact([{":user/name": f"user {n}", ":user/age": n}])
        conn._replica._wait()


def _tails(store: Any, prefix: str = "") -> list[int]:
    """The last transactions of the tails."""
    keys = [item["path"] for batch in store.list(f"{prefix}tail/") for item in batch]
    return sorted(9999999999999999 - int(key.removeprefix(f"{prefix}tail/")[:16]) for key in keys)


def _told(conn: Connection) -> set[Any]:
    return set(conn.db().history().q(_EVERYTHING))


def _replayed(store: Any, connect: Callable[..., Connection]) -> set[Any]:
    """What the log alone tells."""
    copy = MemoryStore()
    for batch in store.list("log/"):
        for item in batch:
            copy.put(item["path"], bytes(store.get(item["path"]).bytes()))
    return _told(connect(copy))


@pytest.mark.parametrize("has_snapshot", [True, False])
def test_who_opens_reads_one_tail_and_the_few_entries_after_it(
    store: MemoryStore, connect: Callable[..., Connection], schema: str, has_snapshot: bool
) -> None:
    conn = connect(store)
    conn.transact(schema)
    if has_snapshot:
        conn.snapshot()
    _write(conn, range(123))
    assert _tails(store) == [15, 31, 47, 63, 79, 95, 111]
    counted = _Counted(store)
    opened = connect(counted)
    assert opened.db().basis_t == 124
    assert counted.gets["tail"] == 1
    assert counted.gets["log"] == 1 + replica._GUESSES
    assert _told(opened) == _told(conn) == _replayed(store, connect)
    opened.transact([{":user/name": "user 5", ":user/age": 55}])
    assert _told(connect(store)) == _told(opened)


def test_a_snapshot_takes_tails_away_that_it_makes_needless(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    _write(conn, range(40))
    assert _tails(store) == [15, 31]
    conn.snapshot()
    assert _tails(store) == []
    _write(conn, range(40, 60))
    assert _tails(store) == [49]  # eight entries, when it was time for one after six
    assert connect(store).db().basis_t == 61
    conn.snapshot()
    store.put("tail/9999999999999950-" + "0" * 64, b"left by a writer that was slow")
    conn.collect()
    assert _tails(store) == []


def test_without_the_tail_that_was_listed_the_entries_are_read_one_by_one(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    _write(conn, range(60))
    counted = _Counted(store)
    counted.has_lost_tails = True
    assert _told(connect(counted)) == _told(conn)
    assert counted.gets["log"] > 60


def test_a_tail_that_begins_after_the_snapshot_that_is_there_is_not_used(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    conn.snapshot()
    _write(conn, range(20))
    before = [item["path"] for batch in store.list("snapshot/") for item in batch]
    conn.snapshot()
    _write(conn, range(20, 40))
    assert len(_tails(store)) == 1
    store.delete(
        [item["path"] for batch in store.list("snapshot/") for item in batch if item["path"] not in before]
    )
    assert _told(connect(store)) == _told(conn)


def test_of_several_writers_one_writes_each_tail(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    conns = [connect(store) for _ in range(3)]
    conns[0].transact(schema)
    for n in range(60):
        _write(conns[n % 3], range(n, n + 1))
    assert _tails(store) == [15, 31, 47]
    assert _told(connect(store)) == _replayed(store, connect)


@pytest.mark.parametrize("is_late", [True, False])
def test_who_finds_that_another_made_the_snapshot_holds_what_comes_after_that(
    store: MemoryStore, connect: Callable[..., Connection], schema: str, is_late: bool
) -> None:
    conn, other = connect(store), connect(store)
    conn.transact(schema)
    _write(conn, range(20))
    if is_late:
        conn.snapshot()
    other.sync()
    _write(other, range(20, 25))
    other._replica._begin_snapshot(enough=24 if is_late else 1).result()
    _write(other, range(25, 60))
    counted = _Counted(store)
    assert _told(connect(counted)) == _told(other) == _replayed(store, connect)
    assert (counted.gets["tail"], counted.gets["log"]) == (1, 1 + replica._GUESSES)


def test_after_a_snapshot_that_failed_tails_go_on_from_the_one_before(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    class Refusing(_Counted):
        def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
            if path.startswith("snapshot/"):
                raise PermissionError("no")
            return super().put(path, file, mode=mode)

    conn = connect(Refusing(store))
    conn.transact(schema)
    _write(conn, range(20))
    with pytest.raises(bucketlog.StoreError, match="cannot write snapshot/"):
        conn.snapshot()
    _write(conn, range(20, 60))
    counted = _Counted(store)
    assert _told(connect(counted)) == _told(conn)
    assert (counted.gets["tail"], counted.gets["log"]) == (1, 1 + replica._GUESSES)


def test_a_group_of_transactions_is_an_entry_of_a_tail(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    for start in range(0, 200, 10):
        futures = [conn.transact_async([{":user/name": f"user {start + n}"}]) for n in range(10)]
        for future in futures:
            future.result(30)
        conn._replica._wait()
    assert _tails(store)
    counted = _Counted(store)
    assert _told(connect(counted)) == _told(conn)
    assert counted.gets["tail"] == 1


def test_entries_with_many_datoms_are_in_no_tail(
    store: MemoryStore, connect: Callable[..., Connection], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketlog.tail._MOST_DATOMS", 150)
    conn = connect(store)
    conn.transact(schema)
    conn.snapshot()
    _write(conn, range(100))
    assert _tails(store) == [15, 31, 47]
    conn.snapshot()
    _write(conn, range(100, 130))
    assert len(_tails(store)) == 2


def test_a_branch_has_tails_of_its_own(
    store: MemoryStore, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(store)
    conn.transact(schema)
    _write(conn, range(40))
    conn.fork("draft", 20)
    draft = connect(store, branch="draft")
    assert draft.db().basis_t == 20
    _write(draft, range(100, 130))
    assert _tails(store, "branch/draft/") == [31, 47]
    assert _tails(store) == [15, 31]
    again = connect(store, branch="draft")
    assert _told(again) == _told(draft)
    assert again.db().q("[:find (count ?e) . :where [?e :user/name]]") == 19 + 30


def test_an_excision_leaves_no_tail_that_has_what_went(
    tmp_path: Path, connect: Callable[..., Connection], schema: str
) -> None:
    url = f"file://{tmp_path}/db"
    conn, other = connect(url), connect(url, cache=tmp_path / "cache")
    conn.transact(schema)
    _write(conn, range(20))
    other.sync()
    assert len(list((tmp_path / "db" / "tail").iterdir())) == 1
    conn.excise([[":user/name", "user 7"]])
    assert not list((tmp_path / "db" / "tail").iterdir())
    _write(other, range(20, 60))  # it held the entries that were written again
    assert not list((tmp_path / "db" / "tail").iterdir())
    other.snapshot()
    _write(other, range(60, 90))
    assert list((tmp_path / "db" / "tail").iterdir())
    assert _told(connect(url)) == _told(other)
    assert connect(url).db().entid([":user/name", "user 7"]) is None


def test_a_tail_that_is_not_right_is_named_and_passed_by(
    store: MemoryStore, connect: Callable[..., Connection], schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = MemoryStore()
    for place in (store, other):
        conn = connect(place)
        conn.transact(schema)
        _write(conn, range(20))
    ((key,),) = [[item["path"] for item in batch] for batch in store.list("tail/")]
    ((foreign,),) = [[item["path"] for item in batch] for batch in other.list("tail/")]
    data = bytes(store.get(key).bytes())
    store.put(key, data[:-1])
    assert connect(store).db().basis_t == 21
    assert f"{key} is corrupt" in caplog.text
    store.delete([key])
    store.put(foreign, bytes(other.get(foreign).bytes()))
    caplog.clear()
    assert connect(store).db().basis_t == 21
    assert f"{foreign} is of another database or transaction: delete it" in caplog.text
    assert "the log is read in its place" in caplog.text


def test_a_store_that_takes_no_tail_loses_nothing(
    store: MemoryStore, connect: Callable[..., Connection], schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(_Counted):
        def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
            if path.startswith("tail/"):
                raise PermissionError("no")
            return super().put(path, file, mode=mode)

    conn = connect(Refusing(store))
    conn.transact(schema)
    _write(conn, range(40))
    assert _tails(store) == []
    assert "no tail up to transaction 15: cannot write tail/" in caplog.text
    assert _told(connect(store)) == _told(conn)
