"""Whether any history is strictly serializable, by searching for an order in which it could have happened.

After Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the memory of Lowe, "Testing for
Linearizability" (2017): an order that begins with the same operations and leaves the same state as one that
led nowhere leads nowhere too. A transaction over several keys is one operation on all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.chaos.execution import State, execute
from bench.chaos.history import Finding, Operation

__all__ = ["check_by_search"]


def check_by_search(history: Sequence[Operation]) -> list[Finding]:
    """What is wrong with a history: nothing, or that there is no order for it, and how far one comes.

    It takes time exponential in the number of operations that overlap, unknown ones most of all: for
    histories of some hundred operations of a few processes.
    """
    operations = sorted((o for o in history if o.outcome != "fail"), key=lambda o: o.invoked)
    needed = sum(1 << n for n, operation in enumerate(operations) if operation.outcome == "ok")
    seen: set[tuple[int, frozenset[tuple[str, object]]]] = set()
    furthest = 0
    start: State = {}
    work = [_continued(0, start, operations)]
    while work:
        done, state = next(work[-1], (None, start))
        if done is None:
            work.pop()
            continue
        if done & needed == needed:
            return []
        reached = (done, frozenset(state.items()))
        if reached not in seen:
            seen.add(reached)
            furthest = max(furthest, done, key=lambda mask: (mask & needed).bit_count())
            work.append(_continued(done, state, operations))
    if not needed:
        return []
    stuck = [o.name for n, o in enumerate(operations) if needed & ~furthest & 1 << n]
    return [
        Finding(
            "no order", f"none explains more than {(furthest & needed).bit_count()}: {stuck[:5]} are left"
        )
    ]


def _continued(done: int, state: State, operations: Sequence[Operation]) -> Iterator[tuple[int, State]]:
    """Each set of operations that may have happened after one more than `done`, and the state they leave.

    The next is one that was invoked before any of the others that are left had completed.
    """
    first = (~done & done + 1).bit_length() - 1
    left = [n for n in range(first, len(operations)) if not done & 1 << n]
    end = min((operations[n].completed for n in left), default=0.0)
    for n in left:
        if operations[n].invoked > end:
            return
        after = execute(operations[n], state)
        if after is not None:
            yield done | 1 << n, after
