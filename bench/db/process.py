"""An engine's process, seen from the benchmark: messages go to it one at a time."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from bench.db.cases import Case
from bench.db.install import ROOT, PeerError

__all__ = ["Process", "Sample"]

_PATIENCE: Final = 120.0
"""Seconds that one message may take."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds of every run, and the number of rows that the work gave."""

    seconds: list[float]
    rows: int


class Process:
    """A running engine; a context manager that ends it.

    What it is asked raises `PeerError` when it cannot be done.
    """

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], log: IO[str] | int
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env=os.environ | environment,
        )

    def load(self, path: Path) -> float:
        """Build the database of a dataset anew; the seconds it took."""
        return float(self._ask({"load": str(path)})["seconds"])

    def run(self, case: Case, dataset: str, *, least: int, seconds: float, bridge: bool = False) -> Sample:
        """Do the case's work at least so often and so long."""
        message = {"run": case.message(), "on": dataset, "least": least, "for": seconds, "bridge": bridge}
        answer = self._ask(message)
        return Sample(answer["seconds"], answer["rows"])

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except OSError as error:
            raise PeerError(f"its process is gone: {error}") from error
        if not select.select([stdout], [], [], _PATIENCE)[0]:
            self._process.kill()
            raise PeerError(f"it was not done within {_PATIENCE:.0f} seconds")
        line = stdout.readline()
        if not line:
            raise PeerError(f"its process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
