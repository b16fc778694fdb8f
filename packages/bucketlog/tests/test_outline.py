"""Transactions after a snapshot wait until somebody reads what they change, and nobody can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, StoreError
from bucketlog.bucket import Bucket
from bucketlog.image import Image
from bucketlog.outline import Step, _Outline, changed_pages
from bucketlog.pages import Pages
from bucketlog.schema import Change, Schema
from bucketlog.snapshot import Snapshot, read_chunks, read_snapshot
from bucketlog.vfs import open_pages

_TREES = ("sqlite_autoindex_datom_1", "avet", "vaet")
_ALL = "SELECT * FROM datom ORDER BY e, a, v, added"


@pytest.fixture(autouse=True)
def without_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots of small images have chunks too."""
    monkeypatch.setattr("bucketlog.snapshot._SMALL", 0)


class _Stored:
    """A snapshot of some thousand datoms, and images of it."""

    def __init__(self, store: MemoryStore) -> None:
        self._bucket = Bucket(store, None)
        self.snapshot: Snapshot = read_snapshot(self._bucket.objects, self._bucket.snapshots()[0])
        self.schema = Schema(self.snapshot.schema)
        self.fetches = 0
        self.fails = False

    def image(self) -> Image:
        """As it is opened."""
        pages = Pages(self.snapshot.base, self._fetch)
        return Image(pages, basis=self.snapshot.t, sizes=self.snapshot.sizes)

    def postponed(self, steps: Sequence[Step]) -> Image:
        """One for which transactions wait."""
        image = self.image()
        assert image.postpone(self.schema, steps)
        return image

    def inner_rows(self) -> list[tuple[Any, ...]]:
        """The datoms in inner nodes of each tree."""
        connection = open_pages(_inner_nodes(self.snapshot), cache_bytes=1 << 20)
        rows = [
            row
            for tree in _TREES
            for row in connection.execute(
                f"SELECT e, a, v FROM datom INDEXED BY {tree} {'WHERE ref = 1' * (tree == 'vaet')}"  # noqa: S608
            )
            if row[0] is not None
        ]
        connection.close()
        return rows

    def _fetch(self, names: Sequence[str]) -> list[bytes]:
        self.fetches += 1
        if self.fails:
            raise StoreError("503")
        return read_chunks(self._bucket.objects, names)


def _inner_nodes(snapshot: Snapshot) -> Pages:
    outline = _Outline(snapshot.base)
    outline.roots = set(range(20))
    return outline


@pytest.fixture(scope="module")
def people(schema: str) -> MemoryStore:
    """Three thousand users, with a snapshot."""
    store = MemoryStore()
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        conn.transact(
            [
                {
                    ":db/id": str(n),
                    ":user/name": f"user {n} {'x' * 60}",
                    ":user/email": f"{n * 7919 % 100_003}@{'x' * 60}.com",
                    ":user/age": n % 90,
                    ":user/parent": str(n * 31 % 3000),
                }
                for n in range(3000)
            ]
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bucketlog.snapshot._SMALL", 0)
            conn.snapshot()
    return store


@pytest.fixture
def stored(people: MemoryStore) -> _Stored:
    """The snapshot of `people`."""
    return _Stored(people)


def _steps(stored: _Stored, random: Random, count: int) -> list[Step]:
    """Transactions that retract, some from inner nodes, and add, some what was there before."""
    rows = stored.image().rows("SELECT e, a, v FROM datom WHERE e >= 1024 AND e < 5000")
    inner = [row for row in stored.inner_rows() if 1024 <= row[0] < 5000]
    assert len(inner) > 20
    gone = list(dict.fromkeys([*random.sample(inner, count), *random.sample(rows, count)]))
    steps = []
    for t, (e, a, v) in enumerate(gone, stored.snapshot.t + 1):
        changes = [Change(e, a, v, False), Change(10_000 + t, a, v, True)]
        if t % 3 == 0:
            changes = [
                Change(e, a, v, False),
                Change(e, a, f"{v}, changed" if isinstance(v, str) else t, True),
            ]
        steps.append(Step(t, changes, stored.schema))
    last = stored.snapshot.t + 1 + len(gone)
    return [*steps, Step(last, [Change(*gone[0], True)], stored.schema)]


def _reads(row: tuple[Any, ...]) -> list[tuple[str, tuple[Any, ...]]]:
    """SELECTs that come near the rows of a datom in different ways."""
    e, a, v = row
    entity, avet, vaet = (f"FROM datom INDEXED BY {tree} WHERE" for tree in _TREES)
    return [
        (f"SELECT e, a, v, retracted {entity} e = ?", (e,)),
        (f"SELECT e, a, v, retracted {entity} (e, a) < (?, ?) ORDER BY e DESC, a DESC LIMIT 3", (e, a)),
        (f"SELECT e, added, retracted {avet} a = ? AND v = ?", (a, v)),
        (f"SELECT e, v, retracted {avet} a = ? AND v > ? ORDER BY v LIMIT 3", (a, v)),
        (f"SELECT e, v, retracted {avet} a = ? AND v <= ? ORDER BY v DESC LIMIT 3", (a, v)),
        (f"SELECT ref, retracted {avet} a = ? AND v = ? AND e = ?", (a, v, e)),
        (f"SELECT e, a, retracted {vaet} ref = 1 AND v = ?", (e,)),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_what_is_read_while_transactions_wait_is_what_is_read_after_them(stored: _Stored, seed: int) -> None:
    random = Random(seed)  # noqa: S311 -- data
    steps = _steps(stored, random, 4)
    expected = stored.image()
    for step in steps:
        expected.apply(*step)
    changed = [change[:3] for step in steps for change in step.changes]
    everywhere = random.sample(expected.rows("SELECT e, a, v FROM datom"), 40)
    image, before, after = stored.postponed(steps), 0, 0
    for row in [*everywhere, *random.sample(stored.inner_rows(), 10), *changed]:
        for sql, parameters in _reads(row):
            assert image.rows(sql, parameters) == expected.rows(sql, parameters)
            if image.pages.written():
                image.close()
                image, after = stored.postponed(steps), after + 1
            else:
                before += 1
    assert before > 50
    assert after > len(changed)
    assert image.sizes == expected.sizes
    assert image.basis == expected.basis == steps[-1].t
    assert image.rows(_ALL) == expected.rows(_ALL)
    assert image.rows("PRAGMA integrity_check") == [("ok",)]


def _read(image: Image, row: tuple[Any, ...]) -> list[Any]:
    return image.rows("SELECT retracted FROM datom WHERE e = ? AND a = ? AND v = ?", row)


def _one_gone(stored: _Stored) -> tuple[tuple[Any, ...], Step]:
    (row,) = stored.image().rows("SELECT e, a, v FROM datom WHERE e = 2000 ORDER BY a LIMIT 1")
    return row, Step(stored.snapshot.t + 1, [Change(*row, False)], stored.schema)


def test_what_is_changed_is_found_out_without_a_fetch_and_what_is_elsewhere_is_read_with_one(
    stored: _Stored,
) -> None:
    _, step = _one_gone(stored)
    stored.fetches = 0
    image = stored.postponed([step])
    assert stored.fetches == 0
    assert image.rows("SELECT e FROM datom WHERE e = 4000 LIMIT 1") == [(4000,)]
    assert stored.fetches == 1
    assert not image.pages.written()


@pytest.mark.parametrize("planned", [True, False])
def test_a_store_that_fails_while_what_waits_is_applied_fails_that_read_only(
    stored: _Stored, planned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, step = _one_gone(stored)
    if not planned:
        monkeypatch.setattr(Image, "prefetch", lambda *_: None)
    image = stored.postponed([step])
    stored.fails = True
    for _ in range(2):
        with pytest.raises(StoreError, match="503"):
            _read(image, row)
    stored.fails = False
    assert _read(image, row) == [(step.t,)]
    assert image.sizes == stored.snapshot.sizes


def test_a_datom_that_is_there_twice_is_an_error_whenever_it_is_read(stored: _Stored) -> None:
    row, step = _one_gone(stored)
    twice = step._replace(changes=[*step.changes, *[Change(*row[:2], "twice", True)] * 2])
    image = stored.postponed([twice])
    for _ in range(2):
        with pytest.raises(bucketlog.FormatError, match="adds one datom twice"):
            _read(image, row)
    assert image.basis == step.t


def test_who_swallows_the_interruption_is_asked_again(stored: _Stored) -> None:
    row, step = _one_gone(stored)
    image = stored.postponed([step])
    answers: list[list[Any]] = []

    def reader() -> list[Any]:
        answers.append([])
        with suppress(Exception):
            answers[-1] = image.execute("SELECT retracted FROM datom WHERE e = ? AND a = ? AND v = ?", row)
        return answers[-1]

    assert image.read(reader) == [(step.t,)]
    assert answers == [[], [(step.t,)]]


@pytest.mark.parametrize("use", ["begin", "fork", "vacuum"])
def test_who_writes_has_everything_in_the_pages_first(stored: _Stored, use: str) -> None:
    row, step = _one_gone(stored)
    image = stored.postponed([step])
    if use == "begin":
        image.begin()
        image.rollback()
    elif use == "fork":
        assert _read(image.fork(step.t), row) == [(step.t,)]
    else:
        image.vacuum()
    assert image.pages.written()
    assert _read(image, row) == [(step.t,)]


def test_values_that_go_on_in_other_pages_let_nothing_wait(
    schema: str, connect: Callable[..., Connection]
) -> None:
    """Where an inner node has such a row, the way to a leaf cannot be found in inner nodes alone."""
    store = MemoryStore()
    conn = connect(store)
    conn.transact(schema)
    conn.transact([{":post/slug": f"post {n}", ":post/title": f"{n}" * 9000} for n in range(90)])
    conn.snapshot()
    conn.transact([{":post/slug": "post 45", ":post/title": "short"}])
    stored = _Stored(store)
    title = stored.schema.attribute(":post/title")
    assert title is not None
    step = Step(stored.snapshot.t + 1, [Change(1070, title.id, "50" * 9000, False)], stored.schema)
    assert changed_pages(stored.snapshot.base, [step]) is None
    again = connect(store)
    assert again.db().pull("[:post/title]", [":post/slug", "post 45"]) == {":post/title": "short"}


def test_a_search_finds_texts_that_waited_and_other_reads_let_them_wait(
    connect: Callable[..., Connection],
) -> None:
    store = MemoryStore()
    conn = connect(store)
    conn.transact("""
      [{:db/ident :post/slug, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
        :db/unique :db.unique/identity}
       {:db/ident :post/body, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
        :db/fulltext true}]
    """)
    conn.transact([{":post/slug": f"post {n}", ":post/body": f"body {n} {'word ' * 90}"} for n in range(900)])
    conn.snapshot()
    conn.transact([{":post/slug": "zebra", ":post/body": "black and white"}])
    db = connect(store).db()
    assert db.pull("[:post/slug]", 1030)[":post/slug"].startswith("post ")
    assert not db.image.pages.written()
    found = '[:find [?s ...] :where [(fulltext $ :post/body "white") [[?e]]] [?e :post/slug ?s]]'
    assert db.q(found) == ["zebra"]
    assert db.image.pages.written()


def test_a_connection_writes_and_makes_snapshots_on_what_waited(
    people: MemoryStore, connect: Callable[..., Connection]
) -> None:
    store = MemoryStore()
    for batch in people.list():
        for item in batch:
            store.put(item["path"], people.get(item["path"]).bytes())
    name = f"user 7 {'x' * 60}"
    connect(store).transact([{":user/name": name, ":user/age": 100}])
    connect(store).snapshot()
    assert connect(store).stats().snapshot_t == 3
    connect(store).transact([[":db/cas", [":user/name", name], ":user/age", 100, 101]])
    tried = connect(store).db().with_([{":user/name": name, ":user/age": 102}])
    assert tried.db_before.pull("[:user/age]", [":user/name", name]) == {":user/age": 101}
    assert tried.db_after.pull("[:user/age]", [":user/name", name]) == {":user/age": 102}
    assert connect(store).db().q("[:find (count ?e) . :where [?e :user/age]]") == 3000
