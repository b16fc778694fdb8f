"""An engine's program, in a process of its own: lines of JSON in, lines of JSON out.

    {"load": "data.json"}                             -> {"seconds": 1.2}
    {"run": {case…}, "on": "name of a dataset", "least": 3, "for": 0.2}
                                                      -> {"seconds": [0.001, …], "rows": 2500}

Whatever cannot be done answers `{"error": "why"}`. Times are taken within the process, on values of its own
language; so neither start-up nor these lines count.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bench.db.cases import Case
from bench.db.data import Dataset

__all__ = ["Program", "Run", "measure", "serve"]

Run = Callable[[], int]
"""Does a case's work once; the number of rows of its result."""


class Program(Protocol):
    """What a Python process does for each message."""

    def load(self, dataset: Dataset) -> Run:
        """A function that builds a new database of `dataset`, in place of the one before."""

    def prepare(self, case: Case, dataset: str) -> Run:
        """A function that does the case's work once."""


def serve(program: Program) -> None:
    """Answer the messages on standard input until it ends."""
    for line in sys.stdin:
        try:
            answer = _answer(program, json.loads(line))
        except Exception as error:  # noqa: BLE001 -- told to the other side
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _answer(program: Program, message: dict[str, Any]) -> dict[str, Any]:
    if "load" in message:
        load = program.load(Dataset.read(Path(message["load"])))
        began = time.perf_counter()
        load()
        return {"seconds": time.perf_counter() - began}
    case = Case(**message["run"])
    return measure(program.prepare(case, message["on"]), message)


def measure(run: Run, message: dict[str, Any]) -> dict[str, Any]:
    """Run again and again, at least as often and as long as `message` says; the answer to it."""
    seconds: list[float] = []
    rows = 0
    end = time.perf_counter() + message["for"]
    while len(seconds) < message["least"] or time.perf_counter() < end:
        began = time.perf_counter()
        rows = run()
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "rows": rows}
