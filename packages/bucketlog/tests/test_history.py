"""Queries of the past: a pattern that does not ask when finds what one that asks finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog

_SCHEMA = [
    {":db/ident": ":k", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one",
     ":db/unique": ":db.unique/identity"},
    {":db/ident": ":one", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":many", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/many"},
]  # fmt: skip

_small = st.integers(0, 2)
_changes = st.tuples(
    st.sampled_from([":db/add", ":db/retract"]), _small, st.sampled_from([":one", ":many"]), _small
)
_histories = st.lists(st.lists(_changes, min_size=1, max_size=3), max_size=12)

# Each twice: without a word of transactions, and asking for them.
_PAIRS = [
    ("[:find ?e ?v :where [?e :one ?v]]", "[:find ?e ?v :where [?e :one ?v ?t ?o]]"),
    ("[:find ?e ?v :where [?e :many ?v]]", "[:find ?e ?v :where [?e :many ?v ?t]]"),
    (
        "[:find ?e ?v ?w :where [?e :one ?v] [?e :many ?w]]",
        "[:find ?e ?v ?w :where [?e :one ?v _ ?o] [?e :many ?w _ ?p]]",
    ),
    (
        "[:find ?e :where [?e :k] (not [?e :one ?v])]",
        "[:find ?e :where [?e :k _ ?t] (not [?e :one ?v ?u ?o])]",
    ),
    (
        "[:find ?v (count ?e) :where [?e :many ?v]]",
        "[:find ?v (count ?e) :with ?x :where [?e :many ?v ?t ?o] [(ground 1) ?x]]",
    ),
]


def _connection(history: list[list[tuple[str, int, str, int]]]) -> bucketlog.Connection:
    conn = bucketlog.connect(MemoryStore())
    conn.transact(_SCHEMA)
    conn.transact([{":k": key} for key in range(3)])
    for changes in history:
        distinct = {(key, name, value): operation for operation, key, name, value in changes}
        singles: dict[tuple[int, str], Any] = {}
        for (key, name, value), operation in distinct.items():
            singles[key, name if name == ":one" else f"{name}{value}"] = [operation, [":k", key], name, value]
        conn.transact(list(singles.values()))
    return conn


@settings(deadline=None, max_examples=60)
@given(_histories, st.data())
def test_a_pattern_finds_the_same_with_and_without_its_transaction(
    history: list[list[tuple[str, int, str, int]]], data: st.DataObject
) -> None:
    conn = _connection(history)
    try:
        now = conn.db()
        a, b = (data.draw(st.integers(0, now.basis_t)) for _ in range(2))
        for db in (
            now.history(),
            now.as_of(a).history(),
            now.since(a).history(),
            now.as_of(b).since(a).history(),
        ):
            for short, long in _PAIRS:
                assert sorted(db.q(short)) == sorted(db.q(long)), (short, db)
    finally:
        conn.close()
