"""Evaluating a regular family: the edges by SQL, the way through them in memory.

When it is known where walks begin, or at which items they end, edges are read level by level from there, as
long as that is less work than to read them all.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final

import apsw

from bucketlog.image import Image, Row
from bucketlog.query.recursion.closure import gather, reach

__all__ = ["FRONTIER", "Pairs", "Seeds", "Walk"]

FRONTIER: Final = "carray(:frontier)"
"""The table, in SQL, of the values that a statement of `Pairs` is asked about; its column is `value`."""

_LEVEL: Final = 50  # what one more level of a walk costs, in edges that are read with all others
_FEW: Final = 300  # so few edges are always read at once

_Graph = dict[Any, list[Any]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """What leads from nodes of `rule` to those of the rule `to`, or to items when that is `None`.

    The statements give pairs, each once: all, those of a frontier of nodes, and those of a frontier of ends.
    """

    rule: str
    to: str | None
    all: str
    ahead: str
    back: str
    size: Callable[[], int]
    """About how many there are."""


@dataclass(frozen=True, slots=True)
class Seeds:
    """Where walks begin, or the items that they end at: a statement of one column."""

    sql: str
    nodes: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """The rows of one rule of a regular family: nodes, and the items that they lead to."""

    rule: str
    own: tuple[Pairs, ...]
    steps: tuple[Pairs, ...]
    closed: bool
    """Whether `own` and `steps` are the same."""
    item_first: bool
    seeds: Seeds | None

    def rows(self, image: Image, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows, each once; called while the image is read."""
        run = _Run(self, image, parameters)
        if self.seeds is None:
            by_item, found = False, run.everything()
        else:
            values = [value for (value,) in image.execute(self.seeds.sql, parameters) if value is not None]
            by_item, found = not self.seeds.nodes, (run.ahead if self.seeds.nodes else run.back)(values)
        rows: list[Row] = []
        if by_item is self.item_first:
            for value, others in found.items():
                rows += zip(repeat(value), others, strict=False)
        else:
            for value, others in found.items():
                rows += zip(others, repeat(value), strict=False)
        return rows


class _Run:
    """One evaluation. A node is its value, with its rule where there are several."""

    def __init__(self, walk: Walk, image: Image, parameters: Mapping[str, Any]) -> None:
        self._walk = walk
        self._image = image
        self._parameters = dict(parameters)
        self._single = len({pairs.rule for pairs in (*walk.own, *walk.steps)}) == 1

    def everything(self) -> Mapping[Any, Collection[Any]]:
        """The items of every node of the rule that is asked for."""
        steps = self._read(self._walk.steps)
        own = steps if self._walk.closed else self._read(self._walk.own)
        return self._asked(gather(steps, own, disjoint=_disjoint(steps) and (own is steps or _disjoint(own))))

    def ahead(self, values: Sequence[Any]) -> Mapping[Any, Collection[Any]]:
        """The items of some nodes."""
        walk = self._walk
        starts = self._nodes(walk.rule, values)
        steps = self._spread(starts)
        if steps is None:
            steps = self._read(walk.steps)
            own = steps if walk.closed else self._read(walk.own)
        else:
            own = steps if walk.closed else self._ask(walk.own, reach(steps, starts), turned=False)
        if len(starts) == 1:
            lists = [own[node] for node in reach(steps, starts) if node in own]
            return {values[0]: set().union(*lists)}
        found = gather(steps, own, disjoint=False)
        return self._asked({node: found[node] for node in starts if node in found})

    def back(self, values: Sequence[Any]) -> Mapping[Any, Collection[Any]]:
        """By item, the nodes that lead to it."""
        walk = self._walk
        ends = self._ask(walk.own, values, turned=True)
        starts = set(chain.from_iterable(ends.values()))
        steps = self._spread(starts, turned=True)
        if steps is None:
            steps = self._read(walk.steps, turned=True)
        if len(values) == 1:
            found = {values[0]: reach(steps, starts)}
        else:
            own = {node: (node,) for node in chain(starts, steps, chain.from_iterable(steps.values()))}
            nodes = gather(steps, own, disjoint=False)
            found = {item: set().union(*[nodes[node] for node in ends[item]]) for item in ends}
        if self._single:
            return found
        return {item: [v for rule, v in nodes if rule == walk.rule] for item, nodes in found.items()}

    def _asked(self, found: Mapping[Any, Collection[Any]]) -> Mapping[Any, Collection[Any]]:
        if self._single:
            return found
        return {value: items for (rule, value), items in found.items() if rule == self._walk.rule}

    def _nodes(self, rule: str, values: Iterable[Any]) -> set[Any]:
        return set(values) if self._single else {(rule, value) for value in values}

    def _spread(self, starts: Collection[Any], *, turned: bool = False) -> _Graph | None:
        """The steps from some nodes on (or back), level by level; `None` when it is less to read all."""
        budget = sum(pairs.size() for pairs in self._walk.steps)
        graph: _Graph = {}
        known = set(starts)
        frontier: Collection[Any] = known
        while frontier:
            budget -= _LEVEL + len(frontier)
            if budget < _FEW:
                return None
            level = self._ask(self._walk.steps, frontier, turned=turned)
            budget -= sum(map(len, level.values()))
            graph |= level
            frontier = set(chain.from_iterable(level.values())) - known
            known |= frontier
        return graph

    def _read(self, relations: Sequence[Pairs], *, turned: bool = False) -> _Graph:
        """All of some relations, turned round if asked for."""
        found = [(pairs, self._image.execute(pairs.all, self._parameters)) for pairs in relations]
        return self._graph(found, turned=turned)

    def _ask(self, relations: Sequence[Pairs], frontier: Iterable[Any], *, turned: bool) -> _Graph:
        """What leads away from some nodes; turned round, what leads to some ends."""
        values: dict[str | None, list[Any]] = defaultdict(list)
        for pairs in relations:
            rule = pairs.to if turned else pairs.rule
            if rule not in values:
                named = rule is not None and not self._single
                values[rule] = [v for r, v in frontier if r == rule] if named else list(frontier)
        found = []
        for pairs in relations:
            sql = pairs.back if turned else pairs.ahead
            for bound in _arrays(values[pairs.to if turned else pairs.rule]):
                self._parameters["frontier"] = bound
                found.append((pairs, self._image.execute(sql, self._parameters)))
        return self._graph(found, turned=turned)

    def _graph(self, found: Sequence[tuple[Pairs, Iterable[Row]]], *, turned: bool) -> _Graph:
        graph: _Graph = defaultdict(list)
        for pairs, values in found:
            rows = values if self._single else _named(pairs, values)
            if turned:
                for node, end in rows:
                    graph[end].append(node)
            else:
                for node, end in rows:
                    graph[node].append(end)
        if len(found) > 1:  # which may have pairs in common
            return {node: list(dict.fromkeys(ends)) for node, ends in graph.items()}
        return dict(graph)


def _named(pairs: Pairs, rows: Iterable[Row]) -> list[Row]:
    """Rows of values as rows of nodes with their rules; items stay what they are."""
    rule, to = pairs.rule, pairs.to
    return [((rule, node), end if to is None else (to, end)) for node, end in rows]


def _disjoint(graph: _Graph) -> bool:
    """Whether nothing leads to the same end as anything else."""
    return len(set(chain.from_iterable(graph.values()))) == sum(map(len, graph.values()))


def _arrays(values: Iterable[Any]) -> Iterable[Any]:
    """The values as parameters for `FRONTIER`, one for those of each type."""
    by_type: dict[type, list[Any]] = defaultdict(list)
    for value in values:
        by_type[type(value)].append(value)
    for kind, items in by_type.items():
        code = {int: "q", float: "d"}.get(kind)
        yield apsw.carray(array(code, items) if code else tuple(items))
