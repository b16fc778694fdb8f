"""Whether a history happened in the order that the log gives: each operation says its place there.

That needs no search, whatever the operations do: the log is the order, and this runs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from bench.chaos.execution import State, execute
from bench.chaos.history import Finding, Operation

__all__ = ["check_log", "check_order"]


def check_log(history: Sequence[Operation], log: Sequence[tuple[int, str]]) -> list[Finding]:
    """Whether the log has each acknowledged operation once, at its place, each unknown one at most once, and
    nothing else. `log` has the number of each transaction, and the name of the operation that it is of.
    """
    places: dict[str, list[int]] = {}
    for t, name in log:
        places.setdefault(name, []).append(t)
    names = {operation.name for operation in history}
    findings = [
        Finding("invented", f"{name} is in the log at {found}, and nobody did that")
        for name, found in places.items()
        if name not in names
    ]
    for operation in history:
        found = places.get(operation.name, [])
        if len(found) > 1:
            findings.append(Finding("doubled", f"{operation.name} is in the log at {found}"))
        if operation.outcome == "fail" and found:
            findings.append(Finding("failed, yet there", f"{operation.name} is in the log at {found}"))
        if operation.outcome == "ok" and not operation.reads_only:
            if not found:
                findings.append(Finding("lost", f"{operation.name} was acknowledged, and is not in the log"))
            elif operation.t not in found:
                told = f"{operation.name} was said to be at {operation.t}, and is at {found}"
                findings.append(Finding("moved", told))
    return findings


def check_order(history: Sequence[Operation], log: Mapping[str, int]) -> list[Finding]:
    """Whether running the operations in the order of the log gives what each of them read, and whether that
    order is the one of real time. `log` has the places of operations whose outcome nobody was told; what has
    no place in either is not looked at.
    """
    places = [log.get(operation.name, operation.t) for operation in history]
    placed = [
        (t, operation.reads_only, operation.invoked, number, operation)
        for number, (t, operation) in enumerate(zip(places, history, strict=True))
        if t is not None
    ]
    ordered = [operation for *_, operation in sorted(placed)]
    return [*_run(ordered), *_out_of_time(ordered)]


def _run(ordered: Sequence[Operation]) -> Iterator[Finding]:
    state: State = {}
    for operation in ordered:
        after = execute(operation, state)
        if after is None:
            found = {step.key: state.get(step.key) for step in operation.steps}
            yield Finding(
                "wrong read", f"{operation.name} at {operation.t} did {operation.steps}, where {found}"
            )
        else:
            state = after


def _out_of_time(ordered: Sequence[Operation]) -> Iterator[Finding]:
    """Operations that come after one that was asked for only when they had been answered."""
    first, name = math.inf, ""
    for operation in reversed(ordered):
        if first < operation.invoked:
            yield Finding(
                "real-time violation", f"{name} was over before {operation.name} began, and comes after it"
            )
        if operation.completed < first:
            first, name = operation.completed, operation.name
