"""Transactions on lists and registers in a bucketlog, drawn at random, and what they did and saw.

A list is one text that is read and written anew, or one datom an element, ordered by their transactions: the
first kind loses elements where an update is lost, the second where a transaction is. All that are in use at
one time are few, so that writers meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

from bench.chaos.history import Append, Elements, Outcome, Read, Step, Swap
from bench.chaos.journal import Journal
from bucketlog import ConflictError, Connection, Database, StoreError, UncertainError

__all__ = ["SCHEMA", "Client", "log_of", "read_all"]

SCHEMA: Final = """
[{:db/ident :key, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/identity}
 {:db/ident :text, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
 {:db/ident :element, :db/valueType :db.type/long, :db/cardinality :db.cardinality/many}
 {:db/ident :register, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
 {:db/ident :operation, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}]
"""

_TURNOVER: Final = 120
"""Transactions after which other keys are in use."""
_ELEMENTS: Final = "[:find ?v ?tx :in $ ?key :where [?e :key ?key] [?e :element ?v ?tx]]"


class Client:
    """Draws operations, does them one after the other over a connection, and notes them in a journal.

    `name` is one that no other client has, and `number` too, from which elements are made.
    """

    def __init__(self, conn: Connection, journal: Journal, name: str, number: int, seed: int) -> None:
        self._conn = conn
        self._journal = journal
        self._name = name
        self._random = Random(seed)  # noqa: S311 -- a workload
        self._operations = itertools.count()
        self._elements = itertools.count(number << 32)

    def act(self) -> None:
        """Do one operation."""
        name = f"{self._name}-{next(self._operations)}"
        kind = self._random.random()
        if kind < 0.15:
            self._swap(name)
        elif kind < 0.30:
            self._read(name)
        else:
            self._change(name)

    def _key(self, kinds: Sequence[str]) -> str:
        window = self._conn.db().basis_t // _TURNOVER
        return f"{self._random.choice(kinds)}{window}-{self._random.randrange(3)}"

    def _change(self, name: str) -> None:
        """A transaction that reads some lists and appends to some, by a function of the database."""
        keys = sorted({self._key(("text", "many")) for _ in range(self._random.randint(1, 4))})
        self._random.shuffle(keys)
        steps: list[Step] = [
            Append(key, next(self._elements)) if self._random.random() < 0.6 else Read(key, None)
            for key in keys
        ]
        done: list[Step] = []

        def change(db: Database) -> list[Any]:
            done[:] = [_seen(db, step) for step in steps]
            return [_appended(db, step) for step in steps if isinstance(step, Append)]

        data: list[Any] = [change]
        if any(isinstance(step, Append) for step in steps):
            data.append({":db/id": "datomic.tx", ":operation": name})
        self._journal.invoke(name, steps)
        outcome, t = self._transact(data)
        self._journal.complete(name, outcome, done if outcome == "ok" else steps, t)

    def _read(self, name: str) -> None:
        """A read of what everybody has committed."""
        steps = [Read(self._key(("text", "many", "register")), None) for _ in range(3)]
        self._journal.invoke(name, steps)
        try:
            db = self._conn.sync()
            seen = [_seen(db, step) for step in steps]
        except StoreError:
            self._journal.complete(name, "fail", steps)
        else:
            self._journal.complete(name, "ok", seen, db.basis_t)

    def _swap(self, name: str) -> None:
        """A compare-and-swap with the value that this process happens to know."""
        key = self._key(("register",))
        try:
            old = _read_key(self._conn.db(), key)
        except StoreError:
            return  # a page of a snapshot could not be read
        assert not isinstance(old, tuple)
        swap = Swap(key, old, next(self._elements))
        self._journal.invoke(name, [swap])

        def data(db: Database) -> list[Any]:
            if db.q("[:find ?e . :in $ ?key :where [?e :key ?key]]", key) is None:
                return [{":key": key, ":register": swap.new}]
            return [[":db/cas", [":key", key], ":register", old, swap.new]]

        try:
            outcome, t = self._transact([data, {":db/id": "datomic.tx", ":operation": name}])
        except ConflictError:
            self._journal.complete(name, "ok", [replace(swap, swapped=False)])
        else:
            self._journal.complete(name, outcome, [swap], t)

    def _transact(self, data: list[Any]) -> tuple[Outcome, int | None]:
        try:
            return "ok", self._conn.transact(data).t
        except UncertainError:
            return "unknown", None
        except StoreError:
            return "fail", None


def read_all(conn: Connection, keys: Sequence[str], journal: Journal) -> None:
    """One read of everything, to end a history with."""
    steps = [Read(key, None) for key in keys]
    journal.invoke("final", steps)
    db = conn.sync()
    journal.complete("final", "ok", [_seen(db, step) for step in steps], db.basis_t)


def log_of(conn: Connection) -> list[tuple[int, str]]:
    """The transactions after the schema's, each with the name of its operation."""
    return [
        (transaction.t, next((datom.v for datom in transaction.datoms if datom.a == ":operation"), "nobody"))
        for transaction in conn.transactions(2)
    ]


def _seen(db: Database, step: Step) -> Step:
    return replace(step, value=_read_key(db, step.key)) if isinstance(step, Read) else step


def _read_key(db: Database, key: str) -> Elements | int | None:
    if key.startswith("many"):
        rows = db.q(_ELEMENTS, key)
        return tuple(element for element, _ in sorted(rows, key=lambda row: row[1]))
    entity = db.pull("[:text :register]", [":key", key]) or {}
    if key.startswith("register"):
        register: int | None = entity.get(":register")
        return register
    return tuple(map(int, entity.get(":text", "").split()))


def _appended(db: Database, step: Append) -> dict[str, Any]:
    if step.key.startswith("many"):
        return {":key": step.key, ":element": [step.element]}
    before = _read_key(db, step.key)
    assert isinstance(before, tuple)
    return {":key": step.key, ":text": " ".join(map(str, (*before, step.element)))}
