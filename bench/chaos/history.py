"""A history: what each process asked for, when, and what it was told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Append", "Elements", "Finding", "Operation", "Outcome", "Read", "Step", "Swap", "Write"]

Elements = tuple[int, ...]
Outcome = Literal["ok", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Read:
    """What was read at `key`: a list's elements, a register's value, `None` for what is not there or, when
    the operation's outcome is unknown, not known.
    """

    key: str
    value: Elements | int | None


@dataclass(frozen=True, slots=True)
class Append:
    """An element was put at the end of the list at `key`; no other append to it has the same."""

    key: str
    element: int


@dataclass(frozen=True, slots=True)
class Write:
    """The register at `key` was set, whatever it was."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Swap:
    """The register at `key` was set because it was `old`, or was left alone because it was not."""

    key: str
    old: int | None
    new: int
    swapped: bool = True


Step = Read | Append | Write | Swap


@dataclass(frozen=True, slots=True)
class Operation:
    """One transaction, as who asked for it saw it. Times are of one clock that all processes share.

    `ok`: it happened. `fail`: it did not, and never will. `unknown`: it may have happened at any time after
    `invoked`, or not at all, so that its completion is never.
    """

    name: str
    invoked: float
    completed: float
    outcome: Outcome
    steps: tuple[Step, ...]
    t: int | None = None
    """Its number in the log; for what only reads, that of the last transaction it saw."""

    def __post_init__(self) -> None:
        if self.outcome == "unknown" and self.completed != math.inf:
            raise ValueError(f"{self.name} is unknown, so it has no completion")
        if self.completed <= self.invoked:
            raise ValueError(f"{self.name} ends before it begins")

    @property
    def reads_only(self) -> bool:
        """Whether it changes nothing."""
        return all(
            isinstance(step, Read) or (isinstance(step, Swap) and not step.swapped) for step in self.steps
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that no strictly serializable database does: its kind, and the evidence."""

    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
