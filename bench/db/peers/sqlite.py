"""SQLite as an engineer would use it by hand: one table of datoms, two indexes, statements written out.

It is reached through apsw, the same SQLite and the same way into it as bucketlog's own.
"""

from __future__ import annotations

import itertools
from typing import Any

import apsw

from bench.db.cases import ATTRIBUTES, PER_RUN, Case
from bench.db.data import FAMILIES, Dataset
from bench.db.program import Run, serve

_NAMES = tuple(f":{name}" for name in ATTRIBUTES)
_FOLLOWS = ATTRIBUTES.index("follows")


class Sqlite:
    """Databases in memory."""

    def __init__(self) -> None:
        self._connections: dict[str, apsw.Connection] = {}
        self._analyzed: set[str] = set()

    def load(self, dataset: Dataset) -> Run:
        people, follows = dataset.people, dataset.follows

        def load() -> int:
            if dataset.name in self._connections:
                self._connections.pop(dataset.name).close()
                self._analyzed.discard(dataset.name)
            connection = apsw.Connection(":memory:")
            self._connections[dataset.name] = connection
            connection.execute("CREATE TABLE datom(e, a, v, PRIMARY KEY (e, a, v)) WITHOUT ROWID")
            connection.execute("CREATE INDEX ave ON datom(a, v, e)")
            with connection:
                rows = ((person[0], a, v) for person in people for a, v in enumerate(person))
                connection.executemany("INSERT INTO datom VALUES (?, ?, ?)", rows)
                edges = ((one, _FOLLOWS, other) for one, other in follows)
                connection.executemany("INSERT INTO datom VALUES (?, ?, ?)", edges)
            return dataset.datoms

        return load

    def prepare(self, case: Case, dataset: str) -> Run:
        execute = self._connections[dataset].execute
        if dataset not in self._analyzed:  # else its planner reads the wrong index for a join
            execute("ANALYZE")
            self._analyzed.add(dataset)
        sql, inputs = case.statement, case.sql_inputs
        if case.kind == "query":
            return lambda: len(execute(sql, inputs).fetchall())
        ids = [{"id": n} for n in itertools.islice(itertools.cycle(range(1, FAMILIES + 1)), PER_RUN)]
        if case.kind == "entid":
            return lambda: len([execute(sql, one).fetchone() for one in ids])
        tree = _nested if "NULL" in sql else _flat
        return lambda: len([tree(execute(sql, one).fetchall()) for one in ids])


def _flat(rows: list[Any]) -> dict[str, Any]:
    return {_NAMES[a]: v for a, v in rows}


def _nested(rows: list[Any]) -> dict[str, Any]:
    (_, a, v), *others = rows
    children: dict[int, dict[str, Any]] = {}
    for child, name, value in others:
        children.setdefault(child, {})[_NAMES[name]] = value
    return {_NAMES[a]: v, ":follows": list(children.values())}


if __name__ == "__main__":
    serve(Sqlite())
