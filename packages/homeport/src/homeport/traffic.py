"""What has come to each service: HAProxy's own counters, added up over its workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

# Of `show stat` (HAProxy's management guide, section 9.1), the columns that only grow.
_GROWING: Final = ("req_tot", "bin", "bout", "hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx")
# And those that say how it is now.
_CURRENT: Final = ("scur", "qcur")

CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")


class Traffic:
    """Totals since this process began to look, by backend and column. A worker's counters begin at 0 and only
    grow; what one counts after it was last looked at, and before it ends, is lost.
    """

    def __init__(self) -> None:
        self._totals: Counter[tuple[str, str]] = Counter()
        self._current: Counter[tuple[str, str]] = Counter()
        self._seen: dict[tuple[int, str, str], int] = {}

    def observe(self, answers: Mapping[int, str]) -> None:
        """Take over what each worker, by its process id, answers to `show stat`."""
        seen: dict[tuple[int, str, str], int] = {}
        self._current = Counter()
        for worker, text in answers.items():
            for backend, row in _rows(text):
                for column in _GROWING:
                    count = seen[worker, backend, column] = row[column]
                    # Fewer than before is another worker with the number of one that has ended.
                    before = self._seen.get((worker, backend, column), 0)
                    self._totals[backend, column] += count - before if count >= before else count
                for column in _CURRENT:
                    self._current[backend, column] += row[column]
        self._seen = seen

    def requests(self, backend: str) -> int:
        return self._totals[backend, "req_tot"]

    def responses(self, backend: str, kind: str) -> int:
        """`kind` is one of CLASSES."""
        return self._totals[backend, f"hrsp_{kind}"]

    def received(self, backend: str) -> int:
        """Bytes from clients."""
        return self._totals[backend, "bin"]

    def sent(self, backend: str) -> int:
        """Bytes to clients."""
        return self._totals[backend, "bout"]

    def in_flight(self, backend: str) -> int:
        """Requests that are answered or wait now, at the edge."""
        return self._current[backend, "scur"]

    def queued(self, backend: str) -> int:
        """Of these, how many wait."""
        return self._current[backend, "qcur"]

    def keep(self, backends: set[str]) -> None:
        """Forget all others."""
        self._totals = Counter({key: count for key, count in self._totals.items() if key[0] in backends})


def _rows(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Each backend's name and numbers. Texts, which may hold commas, come behind all of the columns here."""
    head, *lines = text.lstrip("# ").splitlines()
    names = head.split(",")
    places = {column: names.index(column) for column in (*_GROWING, *_CURRENT)}
    last = max(places.values())
    for line in lines:
        row = line.split(",", last + 1)
        if len(row) == last + 2:  # a worker may end within its answer
            yield row[0], {column: int(row[place] or 0) for column, place in places.items()}
