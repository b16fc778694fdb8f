"""What a query costs before SQLite runs: compiled for the first time, and found compiled."""

from __future__ import annotations

import statistics
import time
import uuid
from typing import Final

import bucketlog
from bench.db.cases import GRAPH_QUERIES, LOOKUPS, PEOPLE_QUERIES, Case
from bench.db.data import families
from bench.db.peers.ours import SCHEMA, transactions
from bench.db.peers.sqlite import Sqlite
from bench.row import Row

__all__ = ["measure"]

_TIMES: Final = 25
_READS: Final = 2000
_COLD_GOAL: Final = 1.0  # milliseconds
_CACHED_GOAL: Final = 15.0  # microseconds


def measure() -> list[Row]:
    """Rows of the first time of a query, less the time of a later one, and of what a cached plan adds."""
    data = families()
    cases = [*PEOPLE_QUERIES, *GRAPH_QUERIES["wide 7x3"]]
    with bucketlog.connect(f"memory://{uuid.uuid4().hex}") as conn:
        conn.transact(SCHEMA)
        for entities in transactions(data):
            conn.transact(entities)
        db = conn.db()
        rows = [
            Row("db", f"compile, cold: {case.name}", _compile(db, case) * 1e3, "ms", goal=_COLD_GOAL)
            for case in cases
        ]
        sqlite = Sqlite()
        sqlite.load(data)()
        by_hand = sqlite.prepare(LOOKUPS[0], data.name)
        query = "[:find ?e . :in $ ?id :where [?e :id ?id]]"
        ours, sql = [], []
        for _ in range(_TIMES):
            began = time.perf_counter()
            for _ in range(_READS):
                db.q(query, 7)
            ours.append((time.perf_counter() - began) / _READS)
            began = time.perf_counter()
            for _ in range(_READS // 1000):
                by_hand()
            sql.append((time.perf_counter() - began) / _READS)
    overhead = (statistics.median(ours) - statistics.median(sql)) * 1e6
    rows.append(
        Row("db", "cached plan: a query by id, less the same in SQL", overhead, "us", goal=_CACHED_GOAL)
    )
    return rows


def _compile(db: bucketlog.Database, case: Case) -> float:
    """Seconds that a text which was never seen takes longer than one that was."""
    inputs = ((case.rules,) if case.rules else ()) + case.inputs
    first: list[float] = []
    again: list[float] = []
    for number in range(_TIMES):
        query = case.datalog.replace("?e", f"?e{number}x")
        for seconds in (first, again):
            began = time.perf_counter()
            db.q(query, *inputs)
            seconds.append(time.perf_counter() - began)
    return statistics.median(first) - statistics.median(again)
