"""What a month of a site costs in requests."""

from __future__ import annotations

from typing import Final

from obstore.store import MemoryStore

import bucketlog
from bench.db.data import people
from bench.db.peers.ours import SCHEMA, transactions
from bench.row import Row
from bucketlog.requests import PRICES

__all__ = ["measure"]

_WRITES: Final = 1000
_READS: Final = 100_000
_STARTS: Final = 30
"""How often a container comes up in the month."""
_GOAL: Final = 0.10  # dollars


def measure() -> list[Row]:
    """Rows of the dollars of two containers that share the work, each read and write seeing the newest state.

    Reads are `sync()`, the dearest there are: a request each, when `db()` costs none.
    """
    store = MemoryStore()
    dollars: dict[str, float] = {"put": 0.0, "get": 0.0, "list": 0.0}
    with bucketlog.connect(store) as conn:
        conn.transact(SCHEMA)
        for entities in transactions(people(3000)):
            conn.transact(entities)
    writes = iter(range(_WRITES))
    for _ in range(_STARTS // 2):
        with bucketlog.connect(store) as one, bucketlog.connect(store) as other:
            for turn in range(_READS // (_STARTS // 2)):
                (one, other)[turn % 2].sync()
                if turn % (_READS // _WRITES) == 0 and (number := next(writes, None)) is not None:
                    (other, one)[turn % 3 % 2].transact([{":id": number + 1, ":age": number % 100}])
            for conn in (one, other):
                for kind, count in conn.stats().requests.counts.items():
                    dollars[kind] = dollars.get(kind, 0.0) + PRICES[kind] * count / 1e6
    title = f"a month of a site, {_WRITES:,} writes and {_READS:,} reads"
    return [
        Row("db", title, sum(dollars.values()), "dollars", goal=_GOAL),
        *(Row("db", f"{title}: {kind} requests", cost, "dollars") for kind, cost in dollars.items() if cost),
    ]
