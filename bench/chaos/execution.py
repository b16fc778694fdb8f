"""What transactions read and leave when they run one after the other."""

from __future__ import annotations

from collections.abc import Mapping

from bench.chaos.history import Append, Elements, Operation, Read, Swap, Write

__all__ = ["State", "execute"]

State = Mapping[str, Elements | int]


def execute(operation: Operation, state: State) -> State | None:
    """The state after an operation that happens in `state`; `None` if it would not have read what it did.

    What an operation of unknown outcome read is not known, so that it fits everywhere.
    """
    after = dict(state)
    for step in operation.steps:
        value = after.get(step.key)
        match step:
            case Read():
                if operation.outcome == "ok" and (step.value or None) != (value or None):
                    return None
            case Append():
                assert not isinstance(value, int)
                after[step.key] = (*(value or ()), step.element)
            case Write():
                after[step.key] = step.value
            case Swap():
                if (value == step.old) != step.swapped:
                    return None
                if step.swapped:
                    after[step.key] = step.new
    return after
