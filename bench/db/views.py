"""The past beside the present: the same queries on as-of, since and history forms of a database."""

from __future__ import annotations

import random
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import bucketlog
from bench.db.cases import PEOPLE_QUERIES
from bench.db.data import people
from bench.db.peers.ours import SCHEMA, transactions
from bench.row import Row

__all__ = ["measure"]

_PEOPLE: Final = 20_000
_GOAL: Final = 2.0
_ROUNDS: Final = 9


def measure() -> list[Row]:
    """Rows of the time that a query takes on a view, as a multiple of that on the current database.

    A fifth of the people has had another age and salary twice since the transaction that `as_of` shows;
    `since` shows everything but the schema, and `history` all that ever was.
    """
    with bucketlog.connect(f"memory://{uuid.uuid4().hex}") as conn:
        schema = conn.transact(SCHEMA).t
        for entities in transactions(people(_PEOPLE)):
            loaded = conn.transact(entities).t
        chance = random.Random(1)  # noqa: S311 -- data
        for _ in range(2):
            conn.transact(
                [
                    {":id": number, ":age": chance.randrange(100), ":salary": chance.randrange(100_000)}
                    for number in range(1, _PEOPLE + 1, 5)
                ]
            )
        now = conn.db()
        past = {
            "as_of": now.as_of(loaded),
            "since": now.since(schema),
            "history": now.history(),
        }
        rows = []
        for case in PEOPLE_QUERIES:

            def ask(db: Any, query: str = case.datalog, inputs: tuple[Any, ...] = case.inputs) -> None:
                db.q(query, *inputs)

            seconds = _in_turn({"now": now, **past}, ask)
            rows += [
                Row("db", f"{view}: {case.name}", seconds[view] / seconds["now"], "x now", goal=_GOAL)
                for view in past
            ]
        return rows


def _in_turn(databases: dict[str, Any], ask: Callable[[Any], None]) -> dict[str, float]:
    """The median seconds of asking each, in turn and again."""
    seconds: dict[str, list[float]] = {name: [] for name in databases}
    for turn in range(1 + _ROUNDS):
        for name, db in databases.items():
            began = time.perf_counter()
            ask(db)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}
