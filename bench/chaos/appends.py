"""Whether a history of appends to lists and of reads of them can be strictly serializable.

After Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020):
because each element is appended once, a read of a list tells all versions that were before it and who wrote
them. That gives the order of writes (ww), of writes before who read them (wr) and of reads before the writes
that they did not see (rw). With the order in real time (rt) these must form no cycle.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from bench.chaos.cycles import Graph
from bench.chaos.history import Append, Elements, Finding, Operation, Read

__all__ = ["check_appends"]

_LEVELS: Final = (
    ("dirty write (G0)", frozenset({"ww"})),
    ("circular information flow (G1c)", frozenset({"ww", "wr"})),
    ("anti-dependency cycle (G2)", frozenset({"ww", "wr", "rw"})),
    ("real-time violation", frozenset({"ww", "wr", "rw", "rt"})),
)
"""Kinds of cycles, the worst first, each by the kinds of its edges."""


_DISORDER: Final = frozenset({"duplicate", "invented", "incompatible order"})
"""After these there is no order of versions to draw a graph from."""


def check_appends(history: Sequence[Operation]) -> list[Finding]:
    """What is wrong with a history of `Append` and `Read` steps; nothing, if it is strictly serializable.

    Every anomaly that a cycle shows is found if some later read sees each list to its end. Raises
    `ValueError` when an element was appended to a list twice, for then the history cannot tell.
    """
    writers = _writers(history)
    findings = list(_inside(history))
    findings += _seen(history, writers)
    orders, incompatible = _version_orders(history)
    findings += incompatible
    findings += _late(history, orders)
    if not any(finding.kind in _DISORDER for finding in findings):
        findings += _cycles(history, writers, orders)
    return findings


def _writers(history: Iterable[Operation]) -> dict[tuple[str, int], Operation]:
    writers: dict[tuple[str, int], Operation] = {}
    for operation in history:
        for step in operation.steps:
            if isinstance(step, Append):
                if (step.key, step.element) in writers:
                    raise ValueError(f"{step.element} is appended to {step.key} twice")
                writers[step.key, step.element] = operation
    return writers


def _reads(operation: Operation) -> Iterator[tuple[str, Elements]]:
    """What the operation read of each list as others left it: without what it had appended itself."""
    own: dict[str, int] = defaultdict(int)
    for step in operation.steps:
        if isinstance(step, Append):
            own[step.key] += 1
        elif isinstance(step, Read) and operation.outcome == "ok":
            value = step.value or ()
            assert isinstance(value, tuple)
            yield step.key, value[: max(0, len(value) - own[step.key])]


def _inside(history: Iterable[Operation]) -> Iterator[Finding]:
    """Reads that contradict what the same transaction did before."""
    for operation in history:
        known: dict[str, Elements] = {}
        tails: dict[str, Elements] = defaultdict(tuple)
        for step in operation.steps:
            if isinstance(step, Append):
                tails[step.key] += (step.element,)
            elif isinstance(step, Read) and operation.outcome == "ok":
                value = step.value or ()
                assert isinstance(value, tuple)
                tail = tails[step.key]
                base = value[: max(0, len(value) - len(tail))]
                if value[len(base) :] != tail or known.setdefault(step.key, base) != base:
                    yield Finding(
                        "internal",
                        f"{operation.name} read {step.key} = {list(value)} after it had read "
                        f"{list(known.get(step.key, ()))} and appended {list(tail)}",
                    )


def _seen(history: Iterable[Operation], writers: dict[tuple[str, int], Operation]) -> Iterator[Finding]:
    """Elements that nobody can have read: doubled, invented, of what failed, or of half a transaction."""
    for operation in history:
        for key, value in _reads(operation):
            if len(set(value)) != len(value):
                twice = sorted({element for element in value if value.count(element) > 1})
                yield Finding("duplicate", f"{operation.name} read {key} with {twice} more than once")
            for element in value:
                writer = writers.get((key, element))
                if writer is None:
                    yield Finding("invented", f"{operation.name} read {element} in {key}; nobody appended it")
                elif writer.outcome == "fail":
                    yield Finding(
                        "aborted read", f"{operation.name} read {element} in {key}; {writer.name} failed"
                    )
            last = writers.get((key, value[-1])) if value else None
            if last is not None and last is not operation and _last_append(last, key) != value[-1]:
                yield Finding(
                    "intermediate read", f"{operation.name} read {key} in the middle of {last.name}"
                )


def _last_append(operation: Operation, key: str) -> int:
    return [s.element for s in operation.steps if isinstance(s, Append) and s.key == key][-1]


def _version_orders(history: Iterable[Operation]) -> tuple[dict[str, Elements], list[Finding]]:
    """The longest read of each list, and reads that are no beginnings of it."""
    longest: dict[str, tuple[Elements, str]] = {}
    for operation in history:
        for key, value in _whole_reads(operation):
            if len(value) > len(longest.get(key, ((), ""))[0]):
                longest[key] = (value, operation.name)
    incompatible = [
        Finding(
            "incompatible order",
            f"{operation.name} read {key} = {_short(value)}, "
            f"{longest[key][1]} read {_short(longest[key][0])}",
        )
        for operation in history
        for key, value in _whole_reads(operation)
        if value and longest[key][0][: len(value)] != value
    ]
    return {key: value for key, (value, _) in longest.items()}, incompatible


def _whole_reads(operation: Operation) -> Iterator[tuple[str, Elements]]:
    if operation.outcome == "ok":
        for step in operation.steps:
            if isinstance(step, Read):
                assert isinstance(step.value, tuple | None)
                yield step.key, step.value or ()


def _short(value: Elements) -> str:
    return str(list(value)) if len(value) <= 8 else f"[…, {str(list(value[-8:]))[1:]}"


def _late(history: Iterable[Operation], orders: dict[str, Elements]) -> Iterator[Finding]:
    """Appends that were acknowledged before a read began, and that it did not see.

    The cycles show them too, but this names them: lost when no read has them, else the read was stale.
    """
    positions = {(key, e): n for key, order in orders.items() for n, e in enumerate(order)}
    acknowledged: dict[str, list[tuple[float, float, int, str]]] = defaultdict(list)
    for operation in history:
        if operation.outcome == "ok":
            for step in operation.steps:
                if isinstance(step, Append):
                    position = positions.get((step.key, step.element), math.inf)
                    acknowledged[step.key].append(
                        (operation.completed, position, step.element, operation.name)
                    )
    furthest: dict[str, list[tuple[float, int, str]]] = {}
    for key, appends in acknowledged.items():
        appends.sort()
        furthest[key] = []
        for _, position, element, name in appends:
            best = (position, element, name)
            furthest[key].append(max([best, *furthest[key][-1:]]))
    lost: set[tuple[str, int]] = set()
    for operation in history:
        for key, value in _reads(operation):
            count = bisect_left(acknowledged[key], operation.invoked, key=lambda append: append[0])
            position, element, name = furthest[key][count - 1] if count else (-1, 0, "")
            if position < len(value) or (key, element) in lost:
                continue
            if position == math.inf:
                lost.add((key, element))
            kind = "lost append" if position == math.inf else "stale read"
            yield Finding(
                kind, f"{name} had appended {element} to {key} before {operation.name} read {_short(value)}"
            )


def _cycles(
    history: Sequence[Operation], writers: dict[tuple[str, int], Operation], orders: dict[str, Elements]
) -> Iterator[Finding]:
    graph = Graph()
    _add_dependencies(graph, history, writers, orders)
    _add_real_time(graph, history)
    for kind, edges in _LEVELS:
        cycles = graph.cycles(edges)
        yield from (Finding(kind, _told(cycle, history)) for cycle in cycles)
        if cycles:
            return  # the further levels would find the same ones again


def _add_dependencies(
    graph: Graph,
    history: Sequence[Operation],
    writers: dict[tuple[str, int], Operation],
    orders: dict[str, Elements],
) -> None:
    numbers = {operation.name: number for number, operation in enumerate(history)}
    chains: dict[str, list[int]] = defaultdict(list)  # who wrote the versions of a list, in their order
    unseen: dict[str, list[int]] = defaultdict(list)  # and who wrote those after all that was read
    for key, order in orders.items():
        chains[key] = [numbers[writers[key, element].name] for element in order if (key, element) in writers]
    seen = {(key, element) for key, order in orders.items() for element in order}
    happened = {writers[item].name for item in seen if item in writers}  # even if nobody was told
    for (key, element), writer in writers.items():
        if (writer.outcome == "ok" or writer.name in happened) and (key, element) not in seen:
            unseen[key].append(numbers[writer.name])
    for key, chain in chains.items():
        for one, other in pairwise(chain):
            graph.add(one, other, "ww")
        for other in unseen[key] if chain else ():
            graph.add(chain[-1], other, "ww")
    for number, operation in enumerate(history):
        for key, value in _reads(operation):
            chain = chains[key]
            if value:
                graph.add(chain[len(value) - 1], number, "wr")
            for writer_number in chain[len(value) : len(value) + 1] or unseen[key]:
                graph.add(number, writer_number, "rw")


def _add_real_time(graph: Graph, history: Sequence[Operation]) -> None:
    """Edges from each completion to each later invocation.

    Not one for each pair: they lead over nodes that are moments, one after each completion.
    """
    done = sorted((o.completed, number) for number, o in enumerate(history) if o.outcome == "ok")
    for moment, (_, number) in enumerate(done, len(history)):
        graph.add(number, moment, "rt")
        graph.add(moment, moment + 1, "rt")
    for number, operation in enumerate(history):
        before = bisect_left(done, (operation.invoked, -1))
        if before and operation.outcome != "fail":
            graph.add(len(history) + before - 1, number, "rt")


def _told(cycle: Sequence[tuple[int, str]], history: Sequence[Operation]) -> str:
    told = [(history[node].name, kind) for node, kind in cycle if node < len(history)]
    return " ".join([*(f"{name} -{kind}->" for name, kind in told), told[0][0]])
