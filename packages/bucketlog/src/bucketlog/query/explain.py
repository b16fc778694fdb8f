"""The plan of a query as people read it: its steps, and how many rows there are after each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bucketlog.image import Image
from bucketlog.query.compiler import Compiled
from bucketlog.query.engine import measure
from bucketlog.query.statement import Traced

__all__ = ["Plan", "PlanStep", "explain"]

_ALIAS: Final = re.compile(r" AS (\w+)$")


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One clause: how its rows are found, and how many there are when it and all before it hold."""

    clause: str
    access: tuple[str, ...]
    """How SQLite reads what the clause adds; `eavt`, `avet` and `vaet` are the indexes of datoms."""
    estimated: float | None
    """Rows as the planner guessed them, for clauses that it puts in an order."""
    rows: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is computed, with real counts; as `str`, a table."""

    branches: tuple[tuple[PlanStep, ...], ...]
    """The steps of each conjunction that the query is the union of, in their order."""
    rows: int
    """Of the result, before it gets the form that `:find` wants."""
    sql: str

    def __str__(self) -> str:
        lines = [
            "\n".join(["  estimated       rows  clause", *map(_line, branch)]) for branch in self.branches
        ]
        return "\n\n".join([*lines, f"result: {self.rows} rows", self.sql])


def explain(query: str | Sequence[Any] | Mapping[Any, Any], inputs: Sequence[Any]) -> Plan:
    """The plan of a query, which is run for it step by step; raises `QueryError` as the query does."""
    return measure(query, inputs, _plan)


def _plan(compiled: Compiled, image: Image, parameters: Mapping[str, Any]) -> Plan:
    branches = []
    for trace in compiled.traces:
        steps = []
        known: set[str] = set()
        for step in trace:
            ((rows,),) = image.execute(step.counted, parameters)
            access = _access(step, known, image, parameters)
            steps.append(PlanStep(step.clause, access, step.estimate, rows))
            known.update(step.tables)
        branches.append(tuple(steps))
    rows = len(image.execute(compiled.sql, parameters))
    return Plan(tuple(branches), rows, compiled.sql)


def _access(step: Traced, known: set[str], image: Image, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """What SQLite says of the tables that a step adds."""
    found = (_ALIAS.search(table) for table in step.tables if table not in known)
    aliases = {match.group(1) for match in found if match}
    details = [str(row[3]) for row in image.execute(f"EXPLAIN QUERY PLAN {step.counted}", parameters)]
    return tuple(_readable(detail) for detail in details if aliases.intersection(detail.split()))


def _readable(detail: str) -> str:
    words = (
        detail.replace("COVERING ", "").replace("PRIMARY KEY", "INDEX eavt").replace("AUTOMATIC", "its own")
    )
    kind, _alias, *rest = words.split(" ")
    return " ".join([kind.lower(), *rest]).replace(" USING INDEX", "").replace("USING ", "")


def _line(step: PlanStep) -> str:
    estimated = "" if step.estimated is None else f"{step.estimated:.0f}"
    access = f"   -- {', '.join(step.access)}" if step.access else ""
    return f"{estimated:>11} {step.rows:>10}  {step.clause}{access}"
