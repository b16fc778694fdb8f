"""bucketlog."""

from __future__ import annotations

import itertools
import uuid
from typing import Any, Final

import bucketlog
from bench.db.cases import PER_RUN, Case
from bench.db.data import FAMILIES, Dataset
from bench.db.program import Run, serve

SCHEMA: Final = """
[{:db/ident :id, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/identity}
 {:db/ident :name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
 {:db/ident :last-name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
 {:db/ident :sex, :db/valueType :db.type/keyword, :db/cardinality :db.cardinality/one}
 {:db/ident :age, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
 {:db/ident :salary, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
 {:db/ident :follows, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}]
"""
BATCH: Final = 2000
"""Entities in a transaction of a load."""


def transactions(dataset: Dataset) -> list[list[dict[str, Any]]]:
    """`dataset` as entity maps; a reference is a lookup ref or, to somebody later in the list, a temp id."""
    follows: dict[int, list[str]] = {}
    for one, other in dataset.follows:
        follows.setdefault(one, []).append(str(other))
    entities: list[dict[str, Any]] = [
        {
            ":db/id": str(number),
            ":id": number,
            ":name": name,
            ":last-name": last_name,
            ":sex": f":{sex}",
            ":age": age,
            ":salary": salary,
        }
        | ({":follows": follows[number]} if number in follows else {})
        for number, name, last_name, sex, age, salary in dataset.people
    ]
    size = len(entities) if follows else BATCH
    return [entities[start : start + size] for start in range(0, len(entities), size)]


class Ours:
    """Databases in memory stores."""

    def __init__(self) -> None:
        self._connections: dict[str, bucketlog.Connection] = {}

    def load(self, dataset: Dataset) -> Run:
        data = transactions(dataset)

        def load() -> int:
            if dataset.name in self._connections:
                self._connections.pop(dataset.name).close()
            conn = bucketlog.connect(f"memory://{uuid.uuid4().hex}")
            self._connections[dataset.name] = conn
            conn.transact(SCHEMA)
            for entities in data:
                conn.transact(entities)
            return dataset.datoms

        return load

    def prepare(self, case: Case, dataset: str) -> Run:
        db = self._connections[dataset].db()
        if case.kind == "query":
            inputs = ((case.rules,) if case.rules else ()) + tuple(case.inputs)
            return lambda: len(db.q(case.datalog, *inputs))
        refs = list(itertools.islice(itertools.cycle([":id", n] for n in range(1, FAMILIES + 1)), PER_RUN))
        if case.kind == "entid":
            entid = db.entid
            return lambda: len([entid(ref) for ref in refs])
        entities = [db.entid(ref) for ref in refs]
        pattern, pull = case.datalog, db.pull
        return lambda: len([pull(pattern, entity) for entity in entities])


if __name__ == "__main__":
    serve(Ours())
