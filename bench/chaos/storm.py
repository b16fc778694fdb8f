"""Processes that write at once while they are killed at random, and the history that they leave."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import bucketlog
from bench.chaos.faults import Rates
from bench.chaos.history import Finding, Operation
from bench.chaos.journal import Journal, read_journal
from bench.chaos.judge import judge, keys_of, relaxed
from bench.chaos.nursery import Nursery, Writer
from bench.chaos.workload import SCHEMA, log_of, read_all
from bucketlog.store import open_store

__all__ = ["Storm", "weather"]

_POLL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Storm:
    """What came of it."""

    history: list[Operation]
    log: list[tuple[int, str]]
    seconds: float
    """From the first start to the last end of a process."""
    kills: int
    faults: Counter[str]
    staleness: float

    @property
    def outcomes(self) -> Counter[str]:
        """How many operations ended how."""
        return Counter(operation.outcome for operation in self.history)

    def findings(self) -> list[Finding]:
        """The verdict: empty when the history is strictly serializable, and nothing was lost or doubled.

        Reads alone may be as old as the faults made them.
        """
        return judge(relaxed(self.history, self.staleness), self.log)


def weather(
    url: str, folder: Path, *, processes: int, transactions: int, apart: int, rates: Rates, seed: int
) -> Storm:
    """Let so many processes write to `url` until so many transactions have been acknowledged.

    After each `apart` transactions, give or take a half, one of them is killed, and a new one starts: on a
    busy machine, too, they come to something between two kills. `folder` is for their journals.
    """
    random = Random(seed)  # noqa: S311 -- whom it hits
    with bucketlog.connect(url) as conn:
        conn.transact(SCHEMA)
    progress = _Progress(folder)
    kills = 0
    began = time.monotonic()
    with Nursery(folder / "errors") as nursery:

        def start() -> int:
            number = progress.add()
            return nursery.start(Writer(url, str(folder), number, seed * 10_000 + number, rates))

        running = [start() for _ in range(processes)]
        due = apart
        while min(due, acknowledged := progress.transactions()) < transactions:
            time.sleep(_POLL)
            nursery.check()
            if acknowledged >= due:
                due += random.randint(apart // 2, apart * 3 // 2)
                victim = random.randrange(processes)
                nursery.kill(running[victim])
                kills += 1
                running[victim] = start()
    seconds = time.monotonic() - began
    history = [operation for path in progress.paths for operation in read_journal(path)]
    with Journal(folder / "final") as journal, bucketlog.connect(open_store(url)) as conn:
        read_all(conn, keys_of(history), journal)
        log = log_of(conn)
    history += read_journal(folder / "final")
    faults = Counter((folder / "faults").read_text().split()) if (folder / "faults").exists() else Counter()
    return Storm(history, log, seconds, kills, faults, rates.staleness if rates.stale else 0.0)


@dataclass(slots=True)
class _Progress:
    """The journals, as far as they have been read."""

    folder: Path
    paths: list[Path] = field(default_factory=list)
    _read: list[int] = field(default_factory=list)
    _count: int = 0

    def add(self) -> int:
        """The number of the next process."""
        number = len(self.paths)
        self.paths.append(self.folder / str(number))
        self.paths[-1].touch()
        self._read.append(0)
        return number

    def transactions(self) -> int:
        """How many have been acknowledged that changed something."""
        for number, path in enumerate(self.paths):
            with path.open("rb") as file:
                file.seek(self._read[number])
                lines = file.read().rpartition(b"\n")[0]
            if lines:
                self._read[number] += len(lines) + 1
                self._count += sum(_is_change(json.loads(line)) for line in lines.split(b"\n"))
        return self._count


def _is_change(line: dict[str, object]) -> bool:
    steps = line["steps"]
    assert isinstance(steps, list)
    return line.get("outcome") == "ok" and any(
        step[0] == "Append" or (step[0] == "Swap" and step[-1]) for step in steps
    )
