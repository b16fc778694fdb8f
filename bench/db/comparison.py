"""Queries, rules and reads: every engine in turn on the same work."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.db.cases import GRAPH_QUERIES, LOOKUPS, PEOPLE_QUERIES, Case
from bench.db.data import Dataset, chain, cyclic, families, people, wide
from bench.db.engines import Engines
from bench.db.install import PeerError
from bench.row import Row

__all__ = ["measure"]

_ROUNDS: Final = 3
_SECONDS: Final = 0.15
"""How long an engine runs a case in each round."""
_LEAST: Final = 3
_ABSOLUTE: Final = {
    "load of 1,200,000 datoms": 1.2 * 6,
    "families: read by unique value": 6,
    "families: pull of 6 attributes": 30,
    "families: pull with 20 children": 250,
}
"""Goals that no peer sets, in the rows' own units."""


def measure(engines: Engines) -> list[Row]:
    """Rows of loads, queries at both sizes, rules and reads, one for each peer."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-db-") as folder:
        for count in (20_000, 200_000):
            dataset = people(count)
            rows += _loads(engines, dataset, Path(folder), times=3 if count == 20_000 else 1)
            rows += _queries(engines, dataset)
        for graph in (wide(7, 3), wide(4, 6), chain(30, 5), cyclic(100, 2)):
            _loads(engines, graph, Path(folder), times=1)
            for case in GRAPH_QUERIES[graph.name]:
                rows += _case(engines, case, graph.name, "rules")
        family = families()
        _loads(engines, family, Path(folder), times=1)
        for case in LOOKUPS:
            rows += _case(engines, case, family.name, "read")
    return rows


def _loads(engines: Engines, dataset: Dataset, folder: Path, *, times: int) -> list[Row]:
    """Every engine loads the dataset, in turn; the fastest of several times counts."""
    path = dataset.write(folder)
    seconds: dict[str, float] = {}
    for _ in range(times):
        for engine in engines.all:
            if engine.bridge:
                continue  # it has the database of the engine before it
            try:
                took = engine.process.load(path)
            except PeerError as error:
                _say(f"{engine.name} cannot load {dataset.name}: {error}")
            else:
                seconds[engine.name] = min(took, seconds.get(engine.name, took))
    return _rows(engines, f"load of {dataset.datoms:,} datoms", "s", seconds, {})


def _queries(engines: Engines, dataset: Dataset) -> list[Row]:
    """The queries about people, and how they compare with the fastest Datalog peer of each."""
    rows: list[Row] = []
    shares: list[float] = []
    for case in PEOPLE_QUERIES:
        found = _case(engines, case, dataset.name, "query")
        rows += found
        datalog = [row.peer for row in found if row.peer and row.peer_name != engines.plain]
        if datalog:
            shares.append(found[0].ours / min(datalog))
    if shares:
        title = f"{dataset.name}: geometric mean of ours / the fastest Datalog peer"
        rows.append(Row("db", title, statistics.geometric_mean(shares), "x", goal=0.5))
    return rows


def _case(engines: Engines, case: Case, dataset: str, kind: str) -> list[Row]:
    """The case in every engine, in turn and again; the median of each."""
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    failed = set(case.unfinished)
    for turn in range(1 + _ROUNDS):
        for engine in engines.all:
            if engine.name in failed or (engine.bridge and kind != "query"):
                continue
            duration = _SECONDS if turn else engine.warm_up
            try:
                sample = engine.process.run(
                    case, dataset, least=_LEAST, seconds=duration, bridge=engine.bridge
                )
            except PeerError as error:
                if engine is engines.ours:
                    raise
                _say(f"{engine.name}, {case.name}: {error}")
                failed.add(engine.name)
                continue
            sizes[engine.name] = sample.rows
            if turn:
                seconds.setdefault(engine.name, []).extend(sample.seconds)
    if len(set(sizes.values())) > 1:
        raise RuntimeError(f"{case.name} on {dataset}: the engines disagree on the number of rows: {sizes}")
    scale, unit = (1e6, "us") if case.per_run > 1 else (1e3, "ms")
    medians = {
        name: statistics.median(times) * scale / case.per_run
        for name, times in seconds.items()
        if name not in failed
    }
    goals = {engine.name: engine.goals[kind] for engine in engines.peers if kind in engine.goals}
    return _rows(engines, f"{dataset}: {case.name}", unit, medians, goals)


def _rows(
    engines: Engines, case: str, unit: str, measured: dict[str, float], goals: dict[str, float]
) -> list[Row]:
    """One row for each peer, with the goal that its figure sets."""
    ours = measured[engines.ours.name]
    absolute = _ABSOLUTE.get(case)
    rows = [
        Row("db", case, ours, unit, peer, name, absolute or (goals[name] * peer if name in goals else None))
        for name, peer in measured.items()
        if name != engines.ours.name
    ]
    return rows or [Row("db", case, ours, unit, goal=absolute)]


def _say(text: str) -> None:
    print(f"bench db: {text}", file=sys.stderr, flush=True)
