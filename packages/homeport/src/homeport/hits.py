"""How often each redirect has answered: HAProxy's counters, added up over its workers and over restarts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from homeport.configuration import REDIRECT
from homeport.edge import sessions

Counts = Mapping[tuple[int, str], int]  # by worker's process id and redirect's id


class Hits:
    """Totals in a file. A worker's counter begins at 0 and only grows; what it has counted is added once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._totals: Counter[str] = Counter()
        self._seen: dict[tuple[int, str], int] = {}

    def load(self) -> None:
        """A file that is not there or damaged is no hits."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            document = json.loads(self._path.read_text())
            totals = Counter({str(name): int(count) for name, count in document["totals"].items()})
            seen = {(int(worker), str(name)): int(count) for worker, name, count in document["seen"]}
            self._totals, self._seen = totals, seen

    def observe(self, seen: Counts) -> bool:
        """Add what is new; True when something is."""
        grown = {key: count - self._seen.get(key, 0) for key, count in seen.items()}
        for (worker, name), more in grown.items():
            # Fewer than before is another worker with the number of one that has ended.
            self._totals[name] += more if more >= 0 else seen[worker, name]
        changed = any(grown.values())
        self._seen = dict(seen)
        return changed

    def keep(self, names: Iterable[str]) -> None:
        """Forget all others."""
        kept = set(names)
        self._totals = Counter({name: count for name, count in self._totals.items() if name in kept})

    def of(self, name: str) -> int:
        return self._totals[name]

    def save(self) -> None:
        """Blocks."""
        new = self._path.with_name(f"{self._path.name}.new")
        seen = [[worker, name, count] for (worker, name), count in self._seen.items()]
        new.write_text(json.dumps({"totals": dict(self._totals), "seen": seen}))
        new.replace(self._path)


def counts(answers: Mapping[int, str]) -> dict[tuple[int, str], int]:
    """How often each redirect has answered, of what HAProxy's workers say (`Edge.statistics`)."""
    return {
        (worker, backend.removeprefix(REDIRECT)): total
        for worker, answer in answers.items()
        for backend, _, total in sessions(answer)
        if backend.startswith(REDIRECT)
    }
