"""What every node of a graph gathers from the nodes that it reaches.

Where the graph has no cycles, nodes are visited below before above, and each takes the union of what the ones
right below it gathered. Else its strongly connected components are (Tarjan, "Depth-first search and linear
graph algorithms", 1972), and the nodes of one component share one set (Nuutila, "Efficient transitive closure
computation in large digraphs", 1995).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, TypeVar

__all__ = ["components", "gather", "reach"]

_Node = TypeVar("_Node")
_Item = TypeVar("_Item")


def reach(steps: Mapping[_Node, Sequence[_Node]], starts: Iterable[_Node]) -> set[_Node]:
    """The nodes that `steps` lead to from `starts`, which are among them."""
    found = set(starts)
    frontier = found
    while frontier:
        frontier = set(chain.from_iterable([steps[node] for node in frontier if node in steps])) - found
        found |= frontier
    return found


def gather(
    steps: Mapping[_Node, Sequence[_Node]], own: Mapping[_Node, Sequence[_Item]], *, disjoint: bool
) -> dict[_Node, Collection[_Item]]:
    """The items of every node: its own, and those of all nodes that `steps` lead to.

    `disjoint` says that no item belongs to two nodes and no two steps lead to one node, so that what comes
    together without cycles is without duplicates. `own` has no duplicates within a node.
    """
    order = _below_first(steps)
    if order is None:
        return _gather_components(steps, own)
    if disjoint:
        return _gather_lists(steps, own, order)
    found: dict[_Node, Collection[_Item]] = dict(own)
    for node in order:
        parts = [found[other] for other in steps[node] if other in found]
        if not parts:
            continue
        if node in own:
            parts.append(own[node])
        found[node] = parts[0] if len(parts) == 1 else set().union(*parts)
    return found


def _gather_lists(
    steps: Mapping[_Node, Sequence[_Node]], own: Mapping[_Node, Sequence[_Item]], order: Iterable[_Node]
) -> dict[_Node, Collection[_Item]]:
    found: dict[_Node, Collection[_Item]] = dict(own)
    for node in order:
        items = list(own.get(node, ()))
        for other in steps[node]:
            if other in found:
                items += found[other]
        found[node] = items
    return found


def _below_first(steps: Mapping[_Node, Sequence[_Node]]) -> list[_Node] | None:
    """The nodes that have steps, each after those that its steps lead to; `None` when there is a cycle."""
    order: list[_Node] = []
    pending = set(steps)
    opened: set[_Node] = set()
    for root in reversed(list(steps)):  # later nodes are often further below
        if root not in pending:
            continue
        if pending.isdisjoint(steps[root]):
            pending.discard(root)
            order.append(root)
            continue
        stack = [root]
        while stack:
            node = stack[-1]
            if node in pending:
                below = pending.intersection(steps[node])
                if below:
                    if node in opened:
                        return None
                    opened.add(node)
                    stack += below
                    continue
                pending.discard(node)
                order.append(node)
            stack.pop()
    return order


def _gather_components(
    steps: Mapping[_Node, Sequence[_Node]], own: Mapping[_Node, Sequence[_Item]]
) -> dict[_Node, Collection[_Item]]:
    found: dict[_Node, Collection[_Item]] = {}
    for component in components(steps):
        below = set(chain.from_iterable([steps[node] for node in component if node in steps]))
        parts = [found[node] for node in below.difference(component)]
        items: set[_Item] = set().union(*parts, *[own[node] for node in component if node in own])
        for node in component:
            found[node] = items
    return {**own, **found}


def components(steps: Mapping[_Node, Sequence[_Node]]) -> Iterator[list[_Node]]:
    """The strongly connected components of what `steps` lead from and to, below before above."""
    lowest: dict[_Node, int] = {}  # of the nodes that were seen; _DONE when their component is known
    waiting: list[_Node] = []
    for root in steps:
        path: list[tuple[_Node, int, Iterator[_Node]]] = []
        node, entered = root, root not in lowest
        while path or entered:
            if entered:
                path.append((node, len(lowest), iter(steps.get(node, ()))))
                lowest[node] = len(lowest)
                waiting.append(node)
            node, own, below = path[-1]
            entered = False
            for other in below:
                if other not in lowest:
                    node, entered = other, True
                    break
                lowest[node] = min(lowest[node], lowest[other])
            if entered:
                continue
            path.pop()
            if path:
                above = path[-1][0]
                lowest[above] = min(lowest[above], lowest[node])
            if lowest[node] == own:
                start = len(waiting) - 1
                while waiting[start] != node:
                    start -= 1
                component = waiting[start:]
                del waiting[start:]
                lowest.update(dict.fromkeys(component, _DONE))
                yield component


_DONE: Final = sys.maxsize
