"""What opens from a snapshot is what the log says, in few round trips, whoever else writes or was killed."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, Database, FormatError, StoreError
from bucketlog.objects import MissingObjectError

_SECONDS = 60.0
_PLENTY = 20_000
"""More commits than can be made while a thread writes one snapshot."""
_EVERYTHING = "[:find ?e ?a ?v ?tx ?added :where [?e ?a ?v ?tx ?added]]"
_NOW = "[:find ?e ?a ?v ?tx :where [?e ?a ?v ?tx]]"


def _keys(store: Any, prefix: str) -> list[str]:
    return sorted(item["path"] for batch in store.list(prefix) for item in batch)


def _copy(store: Any, *prefixes: str) -> MemoryStore:
    """A bucket with a part of the objects of another."""
    copy = MemoryStore()
    for prefix in prefixes:
        for key in _keys(store, prefix):
            copy.put(key, bytes(store.get(key).bytes()))
    return copy


def _content(db: Database) -> list[list[Any]]:
    """All there is to see, now, at every time before, and in history."""
    views = [db.as_of(t).q(_NOW) for t in range(db.basis_t + 1)]
    views += [db.since(t).q(_NOW) for t in range(db.basis_t + 1)]
    return [sorted(view, key=repr) for view in (*views, db.q(_NOW), db.history().q(_EVERYTHING))]


def _known(db: Database) -> tuple[Any, ...]:
    """What a connection knows beside the datoms."""
    state = db.state
    sizes = {attribute: size for attribute, size in db.image.sizes.items() if size}
    return state.t, state.next_entity, state.instant, state.schema.definitions, sizes


@pytest.fixture
def without_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of small images have chunks too."""
    monkeypatch.setattr("bucketlog.snapshot._SMALL", 0)


# Snapshots and the log

_PEOPLE = st.sampled_from(["ann", "bob", "cid", "dan"])
_OPERATIONS = st.one_of(
    st.tuples(_PEOPLE, st.integers(0, 3)).map(lambda x: {":user/name": x[0], ":user/age": x[1]}),
    st.tuples(_PEOPLE, _PEOPLE).map(
        lambda x: {":user/name": x[0], ":user/friends": [{":user/name": x[1]}], ":user/tags": [":a", ":b"]}
    ),
    st.tuples(_PEOPLE, st.text("xy", max_size=30_000)).map(
        lambda x: {":user/name": x[0], ":user/photo": x[1].encode() * 50}
    ),
    st.tuples(_PEOPLE, st.sampled_from([":user/age", ":user/friends", ":user/tags", ":user/photo"])).map(
        lambda x: [":db/retract", [":user/name", x[0]], x[1]]
    ),
    _PEOPLE.map(lambda x: [":db/retractEntity", [":user/name", x]]),
    st.integers(0, 3).map(
        lambda n: {
            ":db/ident": f":later/attribute{n}",
            ":db/valueType": ":db.type/long",
            ":db/cardinality": ":db.cardinality/one",
        }
    ),
)
_STEPS = st.lists(st.one_of(_OPERATIONS, _OPERATIONS, st.just("snapshot")), max_size=12)


@pytest.mark.usefixtures("without_inline")
@settings(max_examples=40, deadline=None)
@given(_STEPS)
def test_a_database_opened_from_a_snapshot_is_the_one_that_the_log_tells(
    schema: str, steps: list[Any]
) -> None:
    store = MemoryStore()
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        for step in steps:
            if step == "snapshot":
                conn.snapshot()
                continue
            try:
                conn.transact([step])
            except bucketlog.TransactionError:
                continue
        expected = _content(conn.db())
    assert bool(_keys(store, "snapshot/")) == ("snapshot" in steps)
    with bucketlog.connect(_copy(store, "log/")) as replayed, bucketlog.connect(store) as opened:
        assert _content(opened.db()) == _content(replayed.db()) == expected
        assert _known(opened.db()) == _known(replayed.db())
        for conn in (opened, replayed):
            conn.transact([{":user/name": "ann", ":user/age": 77}])
        assert {e for e, *_ in opened.db().q(_NOW)} == {e for e, *_ in replayed.db().q(_NOW)}


def _people(conn: Connection, first: int, count: int) -> None:
    for start in range(first, first + count, 1000):
        conn.transact(
            [
                {
                    ":user/name": f"user {n}",
                    ":user/email": f"{n * 7919 % 100_003}@{'x' * 50}.com",
                    ":user/age": n % 90,
                }
                for n in range(start, start + 1000)
            ]
        )


@pytest.fixture(scope="module")
def grown(schema: str) -> MemoryStore:
    """A bucket with a database larger than what a snapshot carries inline, and a snapshot of all of it."""
    store = MemoryStore()
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        _people(conn, 0, 20_000)
        conn.snapshot()
    return store


@pytest.fixture
def store(grown: MemoryStore) -> MemoryStore:
    """A copy of `grown` to change."""
    return _copy(grown, "")


def test_a_snapshot_of_many_chunks_is_the_database_that_the_log_tells(
    store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    opened, replayed = connect(store), connect(_copy(store, "log/"))
    assert len(_keys(store, "chunk/")) > 20
    assert (opened.stats().snapshot_t, replayed.stats().snapshot_t) == (21, -1)
    for view in (lambda db: db, lambda db: db.as_of(9), lambda db: db.history()):
        one, other = (view(conn.db()).q(_NOW) for conn in (opened, replayed))
        assert len(one) > 20_000
        assert set(one) == set(other)
    assert _known(opened.db()) == _known(replayed.db())


def test_the_next_snapshot_shares_most_chunks_with_the_last(
    store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    before = set(_keys(store, "chunk/"))
    conn = connect(store)
    for n in (3, 9_000, 17_000):
        conn.transact([{":user/name": f"user {n}", ":user/age": 99}])
    conn.snapshot()
    new = set(_keys(store, "chunk/")) - before
    assert 0 < len(new) <= 12 < len(before) / 2
    assert len(_keys(store, "snapshot/")) == 2
    assert connect(store).db().q("[:find (count ?e) . :where [?e :user/age 99]]") == 3


def test_a_snapshot_of_another_database_is_refused_by_name(
    connect: Callable[..., Connection], schema: str
) -> None:
    one, other = MemoryStore(), MemoryStore()
    for store in (one, other):
        with connect(store) as conn:
            conn.transact(schema)
            conn.snapshot()
    (key,) = _keys(one, "snapshot/")
    other.put(key, bytes(one.get(key).bytes()))
    for stray in set(_keys(other, "snapshot/")) - {key}:
        other.delete(stray)
    with pytest.raises(FormatError, match=f"{key} is of another database.*delete it"):
        bucketlog.connect(other)
    other.delete(key)
    assert connect(other).db().basis_t == 1


def test_a_snapshot_under_the_name_of_another_transaction_is_refused(
    connect: Callable[..., Connection], schema: str
) -> None:
    store = MemoryStore()
    with connect(store) as conn:
        conn.transact(schema)
        conn.snapshot()
    (key,) = _keys(store, "snapshot/")
    moved = key.replace(f"{10**16 - 2}", f"{10**16 - 3}")
    store.put(moved, bytes(store.get(key).bytes()))
    with pytest.raises(FormatError, match=f"{moved} is of another database or transaction"):
        bucketlog.connect(store)


def test_a_corrupt_snapshot_is_named(store: MemoryStore) -> None:
    (key,) = _keys(store, "snapshot/")
    store.put(key, bytes(store.get(key).bytes())[:-1])
    with pytest.raises(FormatError, match=f"{key} is corrupt"):
        bucketlog.connect(store)


def test_a_corrupt_chunk_is_named_when_it_is_read(
    store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    for key in _keys(store, "chunk/"):
        store.put(key, b"bucketlog/1 chunk\nrubbish")
    conn = connect(store)
    with pytest.raises(FormatError, match=r"chunk/[0-9a-f]{64} is corrupt"):
        conn.db().q(_NOW)
    assert conn.db().basis_t == 21


def test_a_lost_chunk_is_named_when_it_is_read(
    store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    store.delete(_keys(store, "chunk/"))
    conn = connect(store)
    for _ in range(2):
        with pytest.raises(MissingObjectError, match=r"chunk/[0-9a-f]{64} is not in the bucket"):
            conn.db().q(_NOW)


# Writing snapshots


def test_snapshots_are_written_by_themselves_and_bound_what_an_open_reads(
    connect: Callable[..., Connection], schema: str
) -> None:
    store = MemoryStore()
    with connect(store) as conn:
        conn.transact(schema)
        for n in range(_PLENTY):
            t = conn.transact([{":user/name": "ann", ":user/age": n}]).t
            if t > 500 and len(_keys(store, "snapshot/")) > 1:
                break
    # Every 48 to 60 entries; fewer where this thread is so fast that one is due while another is written.
    assert 2 <= len(_keys(store, "snapshot/")) <= t // 48
    again = connect(store)
    assert again.db().basis_t == t


def test_connections_that_write_a_snapshot_at_once_do_no_harm(
    store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    conns = [connect(store) for _ in range(4)]
    conns[0].transact([{":user/name": "new", ":user/age": 1}])
    for conn in conns:
        conn.sync()
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(conn.snapshot) for conn in conns]:
            future.result(_SECONDS)
    assert {conn.stats().snapshot_t for conn in conns} == {22}
    for conn in (*conns, connect(store)):
        assert conn.db().entid([":user/name", "new"])
        assert conn.db().q("[:find (count ?e) . :where [?e :user/name]]") == 20_001


def test_many_writers_and_their_snapshots_lose_nothing(
    connect: Callable[..., Connection], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bucketlog.replica._ENTRIES", 4)
    monkeypatch.setattr("bucketlog.snapshot._SMALL", 0)
    store = MemoryStore()
    connect(store).transact(schema)

    def write(writer: int) -> None:
        with bucketlog.connect(store) as conn:
            for n in range(25):
                conn.transact([{":user/name": f"{writer} {n}", ":user/age": n}])

    write(4)
    assert _keys(store, "snapshot/")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(_keys(store, "snapshot/")) > 1
    opened, replayed = connect(store), connect(_copy(store, "log/"))
    assert opened.stats().snapshot_t > 0
    assert _content(opened.db()) == _content(replayed.db())


class _Failing:
    """A store whose puts below some prefixes fail."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.error: Exception | None = None
        self.prefixes: tuple[str, ...] = ("chunk/", "snapshot/", "mark/", "log/")

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        error = self.error  # which may be taken away meanwhile
        if error and path.startswith(self.prefixes):
            raise error
        return self.inner.put(path, file, mode=mode)

    def get(self, path: str) -> Any:
        return self.inner.get(path)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        return self.inner.list(prefix, offset=offset, chunk_size=chunk_size)

    def delete(self, paths: Any) -> Any:
        return self.inner.delete(paths)


def test_who_may_not_write_can_open_and_read(store: MemoryStore, connect: Callable[..., Connection]) -> None:
    connect(store).transact([{":user/name": "tail"}])
    closed = _Failing(store)
    closed.error = PermissionDeniedError("403 no")
    before = _keys(store, "")
    with connect(closed) as conn:
        assert conn.db().q("[:find (count ?e) . :where [?e :user/name]]") == 20_001
        assert conn.sync().entid([":user/name", "tail"])
        with pytest.raises(StoreError, match="PermissionDenied"):
            conn.transact([{":user/name": "mine"}])
        with pytest.raises(StoreError, match="PermissionDenied"):
            conn.snapshot()
        assert conn.sync().entid([":user/name", "mine"]) is None
    assert _keys(store, "") == before


def test_a_store_that_fails_while_a_snapshot_is_written_harms_nothing(
    store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    failing = _Failing(store)
    failing.prefixes = ("snapshot/",)
    failing.error = GenericError("503 later")
    conn = connect(failing)
    conn.transact([{":user/name": "new"}])
    with pytest.raises(StoreError, match="503 later"):
        conn.snapshot()
    assert conn.transact([{":user/name": "newer"}]).t == 23
    assert connect(store).db().entid([":user/name", "newer"])
    with pytest.raises(StoreError, match="503 later"):
        conn.snapshot()
    before = conn.stats().snapshot_t
    failing.error = None
    conn.snapshot()
    assert before < conn.stats().snapshot_t == connect(store).stats().snapshot_t == conn.db().basis_t


def test_after_a_snapshot_that_failed_by_itself_comes_the_next(
    connect: Callable[..., Connection], schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = _Failing(MemoryStore())
    store.prefixes = ("snapshot/",)
    store.error = GenericError("503 later")
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        for n in range(_PLENTY):
            t = conn.transact([{":user/name": "ann", ":user/age": n}]).t
            if caplog.messages:
                break
        assert conn.stats().snapshot_t == -1
        store.error = None
        for n in range(_PLENTY):
            conn.transact([{":user/name": "ann", ":user/age": n}])
            if conn.stats().snapshot_t > t:
                break
    assert re.fullmatch(r"no snapshot of transaction \d+: cannot write .*503 later", caplog.messages[0])
    assert connect(store).stats().snapshot_t > t


def test_a_connection_closes_after_a_snapshot_that_failed(
    schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = _Failing(MemoryStore())
    store.prefixes = ("snapshot/",)
    store.error = GenericError("503 later")
    conn = bucketlog.connect(store)
    conn.transact(schema)
    for n in range(_PLENTY):
        conn.transact([{":user/name": "ann", ":user/age": n}])
        if caplog.messages:
            break
    conn.close()
    assert caplog.messages
    with pytest.raises(StoreError, match="closed"):
        conn.db()


# Killed while chunks go up

SNAPSHOT = """
import sys
import bucketlog
from bucketlog.directory import DirectoryStore

put = DirectoryStore.put
def tell(self, path, file, *, mode=None):
    print(path, flush=True)
    put(self, path, file, mode=mode)
DirectoryStore.put = tell

conn = bucketlog.connect(sys.argv[1])
for start in range(0, 5000, 1000):
    conn.transact([{":user/name": f"user {n}", ":user/age": n % 7 + 100} for n in range(start, start + 1000)])
print("begin", flush=True)
conn.snapshot()
conn.close()
print("end", flush=True)
"""


@pytest.mark.parametrize("when", ["chunk/", "snapshot/", "mark/"])
def test_a_writer_killed_in_the_middle_of_a_snapshot_leaves_nothing_that_hurts(
    store: MemoryStore,
    connect: Callable[..., Connection],
    tmp_path: Path,
    run_python: Callable[..., subprocess.Popen[str]],
    when: str,
) -> None:
    url = f"file://{tmp_path}/db"
    connect(store).backup(url)
    process = run_python(SNAPSHOT, url)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert "begin\n" in lines
    assert any(line.startswith(when) for line in lines)
    process.kill()
    process.wait()
    opened = connect(url)
    expected = [(101, 715)]
    ages = "[:find ?a (count ?e) :where [?e :user/age ?a] [(= ?a 101)]]"
    assert opened.db().q(ages) == expected
    assert opened.db().basis_t == 26
    opened.transact([{":user/name": "after"}])
    opened.snapshot()
    assert connect(url).db().q(ages) == expected
    assert connect(url).stats().snapshot_t == 27


# Round trips


class _Chain(threading.local):
    """Of the requests that this thread has waited for, itself or through others: the longest sequence."""

    length = 0


_chain = _Chain()


class _Pool(ThreadPoolExecutor):
    """Its tasks go on where who submitted them was, and whoever waits for one goes on where that ended."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._ends: list[int] = []

    def submit(self, task: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        begin, end = _chain.length, [0]

        def run() -> Any:
            _chain.length = begin
            try:
                return task(*arguments, **more)
            finally:
                end[0] = _chain.length
                self._ends.append(end[0])

        future = super().submit(run)
        result = future.result

        def waited(timeout: float | None = None) -> Any:
            try:
                return result(timeout)
            finally:
                _chain.length = max(_chain.length, end[0])

        future.result = waited  # type: ignore[method-assign]
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            _chain.length = max(_chain.length, *self._ends, 0)


class _Rounds:
    """A store that knows how many round trips it takes: the longest sequence of its requests each of which
    waited for the answer to the one before.
    """

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self._lock = threading.Lock()
        self.rounds = 0

    def _count(self) -> None:
        _chain.length += 1
        with self._lock:
            self.rounds = max(self.rounds, _chain.length)

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        self._count()
        return self.inner.put(path, file, mode=mode)

    def get(self, path: str) -> Any:
        self._count()
        return self.inner.get(path)

    def list(
        self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50
    ) -> Iterator[Any]:
        for batch in self.inner.list(prefix, offset=offset, chunk_size=chunk_size):
            self._count()
            yield batch
            if len(batch) < chunk_size:
                return
        self._count()

    def delete(self, paths: Any) -> Any:
        self._count()
        return self.inner.delete(paths)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[[MemoryStore], _Rounds]:
    """Makes stores that count round trips, those of all threads that a connection to them has."""
    for module in ("bucket", "objects", "replica", "store"):
        monkeypatch.setattr(f"bucketlog.{module}.ThreadPoolExecutor", _Pool)

    def make(inner: MemoryStore) -> _Rounds:
        _chain.length = 0
        return _Rounds(inner)

    return make


def _find(conn: Connection, name: str) -> Any:
    return conn.db().pull("[*]", [":user/name", name])[":user/age"]


def test_a_new_database_is_made_in_four_round_trips(
    rounds: Callable[[MemoryStore], _Rounds], connect: Callable[..., Connection]
) -> None:
    store = rounds(MemoryStore())
    connect(store)
    assert store.rounds <= 4


def test_a_log_without_a_snapshot_opens_in_three_round_trips(
    rounds: Callable[[MemoryStore], _Rounds],
    connect: Callable[..., Connection],
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner = MemoryStore()
    with monkeypatch.context() as patch:
        patch.setattr("bucketlog.replica._ENTRIES", 10**6)
        patch.setattr("bucketlog.replica._MOST_ENTRIES", 10**6)
        patch.setattr("bucketlog.replica._ENTRIES_OF_A_SMALL_IMAGE", 10**6)
        with bucketlog.connect(inner) as conn:
            conn.transact(schema)
            for n in range(300):
                conn.transact([{":user/name": f"user {n % 9}", ":user/age": n}])
    store = rounds(inner)
    assert _find(connect(store), "user 3") == 291
    assert store.rounds <= 3


def test_a_large_database_answers_its_first_question_after_four_round_trips(
    rounds: Callable[[MemoryStore], _Rounds], store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    slow = rounds(store)
    conn = connect(slow)
    assert slow.rounds == 2
    assert _find(conn, "user 777") == 777 % 90
    assert slow.rounds <= 4


def test_a_large_database_with_a_tail_of_a_hundred_entries_answers_after_four_round_trips(
    rounds: Callable[[MemoryStore], _Rounds], store: MemoryStore, connect: Callable[..., Connection]
) -> None:
    with connect(store) as conn:
        for n in range(100):
            one, other = n * 13, n * 17
            conn.transact(
                [
                    {":user/name": f"user {one}", ":user/age": 100 + n, ":user/parent": other + 1100},
                    [":db/retract", [":user/name", f"user {other}"], ":user/email"],
                ]
            )
            conn._replica._wait()  # for the tail
    slow = rounds(store)
    conn = connect(slow)
    assert slow.rounds == 2
    assert _find(conn, "user 17777") == 17_777 % 90
    assert slow.rounds == 4
    assert _find(conn, f"user {29 * 13}") == 129


@pytest.fixture(scope="module")
def site(schema: str) -> MemoryStore:
    """A bucket with a site's database: about 20,000 datoms in 3,000 commits."""
    store = MemoryStore()
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        for n in range(3000):
            conn.transact(
                [
                    {":user/name": f"user {n * 7 % 1000}", ":user/age": n, ":user/email": f"{n}@example.com"},
                    {":post/slug": f"post {n}", ":post/title": f"Title {n}", ":comment/text": f"Text {n}"},
                ]
            )
    return store


def test_a_site_answers_its_first_question_after_three_round_trips(
    rounds: Callable[[MemoryStore], _Rounds], site: MemoryStore, connect: Callable[..., Connection]
) -> None:
    slow = rounds(site)
    conn = connect(slow)
    assert conn.db().basis_t == 3001
    assert conn.stats().datoms > 18_000
    assert _find(conn, "user 7") == 2001
    assert slow.rounds <= 3


def test_a_snapshot_and_a_tail_of_thirty_entries_open_in_two_round_trips(
    rounds: Callable[[MemoryStore], _Rounds], site: MemoryStore, connect: Callable[..., Connection]
) -> None:
    inner = _copy(site, "")
    with connect(inner) as conn:
        conn.snapshot()
    with connect(inner) as conn:
        for n in range(30):
            conn.transact([{":user/name": f"user {n}", ":user/age": -n}])
    slow = rounds(inner)
    conn = connect(slow)
    assert _find(conn, "user 29") == -29
    assert slow.rounds == 2


def test_trying_out_what_divides_leaves_the_image_whole_where_pages_are_missing(tmp_path: Path) -> None:
    """An INSERT into three B-trees may fail in one for want of a page when it has divided another."""
    random = Random(7)  # noqa: S311 -- texts
    url = f"file://{tmp_path}"

    def word() -> str:
        return "".join(random.choices("abcdefghijklmnop", k=7))

    def post(number: int, body: str) -> dict[str, Any]:
        texts = {":p/slug": f"post-{number}", ":p/title": word(), ":p/body": body}
        return {
            **texts,
            ":p/number": number,
            ":p/public": True,
            ":p/tags": [word(), word()],
            ":p/summary": word() * 20,
        }

    kinds = {"slug": "string", "title": "string", "body": "string", "summary": "string"}
    kinds |= {"number": "long", "public": "boolean", "tags": "string"}
    with bucketlog.connect(url) as conn:
        conn.transact(
            [
                {
                    ":db/ident": f":p/{name}",
                    ":db/valueType": f":db.type/{kind}",
                    ":db/cardinality": f":db.cardinality/{'many' if name == 'tags' else 'one'}",
                }
                for name, kind in kinds.items()
            ]
        )
        for start in range(0, 600, 100):
            conn.transact([post(number, word() * 500) for number in range(start, start + 100)])
    with bucketlog.connect(url) as conn:
        for number in range(10_000, 10_020):
            conn.transact([post(number, "A text.")])
    with bucketlog.connect(url) as conn:
        assert len(conn.db().q("[:find ?p :where [?p :p/slug]]")) == 620
