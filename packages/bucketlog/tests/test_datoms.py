"""Datoms in the order of an index, beside a list of everything that was ever said."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, Database, Datom, QueryError

_SCHEMA = [
    {":db/ident": ":k", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one",
     ":db/unique": ":db.unique/identity"},
    {":db/ident": ":s", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":r", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
]  # fmt: skip
_KEYS = {":eavt": "eav", ":aevt": "aev", ":avet": "ave", ":vaet": "vae"}

_change = st.tuples(
    st.sampled_from([":db/add", ":db/retract"]), st.integers(0, 3), st.sampled_from("abc") | st.integers(0, 3)
)
_histories = st.lists(st.lists(_change, min_size=1, max_size=4), max_size=10)


class _Model:
    """Every datom ever, and what a view of them shows, sorted."""

    def __init__(self, conn: Connection) -> None:
        self.said = [datom for transaction in conn.transactions() for datom in transaction.datoms]
        self.ids = {str(a.ident): a.id for a in conn.db().schema.attributes.values()}

    def shown(self, db: Database) -> list[Datom]:
        t0 = 1 << 40
        said = [d for d in self.said if d.tx - t0 <= db.basis_t]
        late = [d for d in said if d.tx - t0 > db.since_t]
        if db.is_history:
            return late
        last: dict[Any, Datom] = {}
        for d in said:
            last[d.e, d.a, repr(d.v)] = d
        return [d for d in last.values() if d.added and d.tx - t0 > db.since_t]

    def key(self, index: str, d: Datom) -> tuple[Any, ...]:
        values = {
            "e": d.e,
            "a": self.ids[d.a],
            "v": (type(d.v).__name__ != "int", d.v if d.a in (":k", ":s", ":r") else 0),
        }
        return (*(values[c] for c in _KEYS[index]), d.tx, d.added)


def _connection(history: list[list[tuple[str, int, Any]]]) -> Connection:
    conn = bucketlog.connect(MemoryStore())
    conn.transact(_SCHEMA)
    conn.transact([{":k": k} for k in range(4)])
    for changes in history:
        chosen = {(k, v): op for op, k, v in changes}
        conn.transact(
            [
                [op, [":k", k], ":r" if isinstance(v, int) else ":s", [":k", v] if isinstance(v, int) else v]
                for (k, v), op in chosen.items()
            ]
        )
    return conn


def _ours(datoms: Any) -> list[Datom]:
    """Those of the attributes under test."""
    return [d for d in datoms if d.a in (":k", ":s", ":r")]


@settings(deadline=None, max_examples=60)
@given(_histories, st.data())
def test_indexes_are_the_datoms_in_their_order(
    history: list[list[tuple[str, int, Any]]], data: st.DataObject
) -> None:
    with bucketlog.connect(MemoryStore()):
        pass
    conn = _connection(history)
    try:
        model, now = _Model(conn), conn.db()
        t = data.draw(st.integers(0, now.basis_t))
        views = [
            now,
            now.as_of(t),
            now.since(t),
            now.history(),
            now.as_of(t).history(),
            now.since(t).history(),
        ]
        k = data.draw(st.integers(0, 3))
        for db in views:
            for index in _KEYS:
                wanted = sorted(_ours(model.shown(db)), key=lambda d, i=index: model.key(i, d))
                if index == ":vaet":
                    wanted = [d for d in wanted if d.a == ":r"]
                assert _ours(db.datoms(index)) == wanted
            e = now.entid([":k", k])
            by_e = sorted(_ours(model.shown(db)), key=lambda d: model.key(":eavt", d))
            assert list(db.datoms(":eavt", e)) == [d for d in by_e if d.e == e]
            assert list(db.datoms(":eavt", e, ":s")) == [d for d in by_e if (d.e, d.a) == (e, ":s")]
            assert list(db.datoms(":eavt", e, ":s", "b")) == [
                d for d in by_e if (d.e, d.a, d.v) == (e, ":s", "b")
            ]
            assert list(db.datoms(":aevt", ":s", e)) == [d for d in by_e if (d.e, d.a) == (e, ":s")]
            assert _ours(db.seek_datoms(":eavt", e)) == [d for d in by_e if d.e >= e]
            assert list(db.datoms(":vaet", e)) == [d for d in by_e if (d.a, d.v) == (":r", e)]
            by_v = sorted(_ours(model.shown(db)), key=lambda d: model.key(":avet", d))
            strings = [d for d in by_v if d.a == ":s"]
            assert list(db.index_range(":s", "b")) == [d for d in strings if d.v >= "b"]
            assert list(db.index_range(":s", None, "c")) == [d for d in strings if d.v < "c"]
            assert list(db.index_range(":s", "a", "c")) == [d for d in strings if "a" <= d.v < "c"]
            sought = [d for d in by_v if model.key(":avet", d)[:2] >= (model.ids[":s"], (True, "b"))]
            assert _ours(db.seek_datoms(":avet", ":s", "b")) == sought
            by_a = sorted(_ours(model.shown(db)), key=lambda d: model.key(":aevt", d))
            sought = [d for d in by_a if model.key(":aevt", d)[:2] >= (model.ids[":s"], e)]
            assert _ours(db.seek_datoms(":aevt", ":s", e)) == sought
    finally:
        conn.close()


def test_what_is_committed_meanwhile_does_not_show(conn: Connection) -> None:
    """Through several pages, of one entity's many values, and with changes before and behind the reader."""
    conn.transact([{":user/name": "Ann", ":user/tags": [f":t{n:04}" for n in range(3500)]}])
    conn.transact([{":user/name": f"user{n:04}", ":user/age": n % 7} for n in range(2500)])
    db = conn.db()
    for index, first in ((":eavt", None), (":avet", ":user/tags"), (":aevt", ":user/tags")):
        whole = list(db.datoms(index) if first is None else db.datoms(index, first))
        reader = db.datoms(index) if first is None else db.datoms(index, first)
        begun = list(islice(reader, 1500))
        conn.transact(
            [[":db/retract", [":user/name", "Ann"], ":user/tags", f":t{n:04}"] for n in range(0, 3500, 2)]
        )
        conn.transact([{":user/name": "Ann", ":user/tags": [f":t{n:04}" for n in range(0, 3500, 2)]}])
        assert [*begun, *reader] == whole


def test_values_are_those_of_the_attribute(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann", ":user/score": 1.5, ":user/role": ":role/admin"}])
    db = conn.db()
    assert [d.v for d in db.datoms(":avet", ":user/name", "Ann")] == ["Ann"]
    assert [d.e for d in db.datoms(":avet", ":user/role", ":role/admin")] == [db.entid([":user/name", "Ann"])]
    assert [d.a for d in db.datoms(":vaet", ":role/admin")] == [":user/role"]
    assert [d.v for d in db.index_range(":user/score", 1, 2)] == [1.5]
    assert list(db.datoms(":eavt", [":user/name", "Nobody"])) == []


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda db: db.datoms(":veat"), "':veat' is no index"),
        (lambda db: db.datoms(":avet", ":no/such"), "':no/such' is not an attribute"),
        (lambda db: db.datoms(":avet", ":user/age", "x"), "'x' is no value of :user/age"),
        (lambda db: db.datoms(":eavt", 1, ":user/age", 1, 2), "4 components"),
        (lambda db: db.seek_datoms(":eavt", [":user/name", "Nobody"]), "is not there"),
        (lambda db: db.index_range(":no/such"), "':no/such' is not an attribute"),
        (lambda db: db.index_range(":user/role", ":no/such"), "names no entity"),
        (lambda db: db.datoms(":eavt", "Ann"), "names no entity"),
    ],
)
def test_what_is_wrong_is_told_at_once(
    conn: Connection, ask: Callable[[Database], Any], complaint: str
) -> None:
    with pytest.raises(QueryError, match=complaint):
        ask(conn.db())
