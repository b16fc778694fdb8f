"""Cycles in a graph whose edges have kinds."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final

__all__ = ["Graph"]

_STARTS: Final = 50
"""How many nodes of a component are tried for a short cycle through them."""


class Graph:
    """A directed graph of numbered nodes; between two of them there may be edges of several kinds."""

    def __init__(self) -> None:
        self._edges: dict[int, dict[int, list[str]]] = {}

    def add(self, source: int, target: int, kind: str) -> None:
        """Add an edge; one from a node to itself is none."""
        if source != target:
            self._edges.setdefault(target, {})
            kinds = self._edges.setdefault(source, {}).setdefault(target, [])
            if kind not in kinds:
                kinds.append(kind)

    def cycles(self, kinds: Collection[str]) -> list[list[tuple[int, str]]]:
        """A short cycle of each strongly connected component of the edges of some kinds.

        A cycle is its nodes, each with the kind of the edge that leads on from it.
        """
        return [self._short_cycle(component, kinds) for component in self._components(kinds)]

    def _next(self, node: int, kinds: Collection[str]) -> Iterator[tuple[int, str]]:
        for target, present in self._edges[node].items():
            kind = next((kind for kind in present if kind in kinds), None)
            if kind is not None:
                yield target, kind

    def _components(self, kinds: Collection[str]) -> Iterator[set[int]]:
        """Those of several nodes, by Tarjan's algorithm with a stack of its own."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        path: list[int] = []
        on_path: set[int] = set()
        work: list[tuple[int, Iterator[tuple[int, str]]]] = []

        def enter(node: int) -> None:
            index[node] = low[node] = len(index)
            path.append(node)
            on_path.add(node)
            work.append((node, self._next(node, kinds)))

        for root in self._edges:
            if root not in index:
                enter(root)
            while work:
                node, targets = work[-1]
                target, _ = next(targets, (None, ""))
                if target is None:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
                    if low[node] == index[node]:
                        component = set()
                        while node not in component:
                            component.add(path.pop())
                        on_path -= component
                        if len(component) > 1:
                            yield component
                elif target not in index:
                    enter(target)
                elif target in on_path:
                    low[node] = min(low[node], index[target])

    def _short_cycle(self, component: set[int], kinds: Collection[str]) -> list[tuple[int, str]]:
        starts = islice(sorted(component), _STARTS)
        return min((self._cycle_through(start, component, kinds) for start in starts), key=len)

    def _cycle_through(
        self, start: int, component: set[int], kinds: Collection[str]
    ) -> list[tuple[int, str]]:
        """The shortest cycle through a node, searched breadth first."""
        came: dict[int, tuple[int, str]] = {}
        queue = deque([start])
        while start not in came:
            node = queue.popleft()
            for target, kind in self._next(node, kinds):
                if target in component and target not in came:
                    came[target] = (node, kind)
                    queue.append(target)
        cycle = [came[start]]
        while cycle[-1][0] != start:
            cycle.append(came[cycle[-1][0]])
        return cycle[::-1]
