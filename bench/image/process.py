"""A command run as a user runs it: what it took, and what it printed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`seconds` of wall time, and `memory` in bytes: the most that any one process of it held at once."""

    seconds: float
    memory: int
    output: str


def run(*command: str | Path, environment: Mapping[str, str] | None = None, mask: int = 0o022) -> Outcome:
    """Run it to its end, with that mask of file modes. Raises RuntimeError with its words when it fails."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complaint:
        # An installed program has its byte code beside it; one that is worked on gets it at its first run.
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            env={**inherited, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaint,
            umask=mask,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            complaint.seek(0)
            raise RuntimeError(f"{' '.join(map(str, command))}:\n{complaint.read().strip()[-2000:]}")
        output.seek(0)
        return Outcome(seconds, usage.ru_maxrss * 1024, output.read().strip())
