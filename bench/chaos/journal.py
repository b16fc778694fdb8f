"""What a process notes of its operations, so that nothing of it is lost when the process is killed.

A file has a line for each invocation, written before it, and one for each outcome, written after it, each
with one write(2): what the kernel has outlives its process. An invocation without an outcome is unknown.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

from bench.chaos.history import Append, Operation, Outcome, Read, Step, Swap, Write

__all__ = ["Journal", "read_journal"]

_KINDS: Final[dict[str, Callable[..., Step]]] = {kind.__name__: kind for kind in (Read, Append, Write, Swap)}


class Journal:
    """The file of one process, for one thread; times are those of the machine's monotonic clock."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def invoke(self, name: str, steps: Sequence[Step]) -> None:
        """Note an operation that is about to begin, and what it is to do."""
        self._write({"name": name, "invoked": time.monotonic(), "steps": _encoded(steps)})

    def complete(self, name: str, outcome: Outcome, steps: Sequence[Step], t: int | None = None) -> None:
        """Note an operation that is over: what it did, and its place in the log."""
        now = time.monotonic()
        self._write({"name": name, "completed": now, "outcome": outcome, "steps": _encoded(steps), "t": t})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def read_journal(path: Path) -> Iterator[Operation]:
    """The operations of a process, in the order in which it began them."""
    invoked: dict[str, dict[str, Any]] = {}
    completed: dict[str, dict[str, Any]] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # else it was killed while it wrote this
            entry = json.loads(line)
            (completed if "completed" in entry else invoked)[entry["name"]] = entry
    for name, began in invoked.items():
        ended = completed.get(name, {"outcome": "unknown"})
        is_known = ended["outcome"] != "unknown"
        yield Operation(
            name,
            began["invoked"],
            ended["completed"] if is_known else math.inf,
            ended["outcome"],
            _decoded((ended if is_known else began)["steps"]),
            ended.get("t"),
        )


def _encoded(steps: Sequence[Step]) -> list[list[Any]]:
    return [[type(step).__name__, *(getattr(step, name) for name in step.__slots__)] for step in steps]


def _decoded(steps: list[list[Any]]) -> tuple[Step, ...]:
    return tuple(
        _KINDS[kind](*(tuple(value) if isinstance(value, list) else value for value in values))
        for kind, *values in steps
    )
