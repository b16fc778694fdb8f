"""Whether many writers that are killed, on a store that fails, lose, double or reorder anything.

Sixteen processes write at once, to a directory and to an S3 server, until 10,000 transactions have been
acknowledged. Requests fail before and after they were done, arrive late, take long, break off and are
answered with what was true a moment ago; processes are killed at random. Then every checker judges the
history.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.chaos.faults import Rates
from bench.chaos.storm import Storm, weather
from bench.db.stores import s3_server
from bench.row import Row

__all__ = ["FAULTS", "run"]

FAULTS: Final = Rates(
    lost_request=0.02,
    lost_answer=0.02,
    late=0.02,
    slow=0.02,
    torn=0.02,
    stale=0.02,
    reads=0.05,  # what is read of a store in a row is much, and obstore tries most of it again by itself
    delay=0.05,
    staleness=0.05,
)
_PROCESSES: Final = 16
_TRANSACTIONS: Final = 10_000
_PAUSE: Final = 0.5
"""Seconds between two kills."""


def run() -> list[Row]:
    """Throughput, how bad the weather was, and the verdicts."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-chaos-") as name:
        rows += _measure("directory", f"file://{name}/store", Path(name))
    with tempfile.TemporaryDirectory(prefix="bench-chaos-") as name, _s3_location() as url:
        rows += _measure("S3", url, Path(name))
    return rows


def _measure(name: str, url: str, folder: Path) -> list[Row]:
    storm = weather(
        url,
        folder,
        processes=_PROCESSES,
        transactions=_TRANSACTIONS,
        pause=_PAUSE,
        rates=FAULTS,
        seed=1,
    )
    return _rows(name, storm)


def _rows(name: str, storm: Storm) -> list[Row]:
    def row(case: str, value: float, unit: str, goal: float | None = None) -> Row:
        return Row("chaos", f"{name}: {case}", value, unit, goal=goal)

    findings = storm.findings()
    for finding in findings[:20]:
        print(f"{name}: {finding}")
    kinds = [finding.kind for finding in findings]
    lost = sum(kind.startswith("lost") for kind in kinds)
    doubled = sum(kind in ("doubled", "duplicate") for kind in kinds)
    return [
        row(f"transactions of {_PROCESSES} processes", len(storm.log) / storm.seconds, "/s"),
        row("operations in the history", len(storm.history), ""),
        row("operations whose outcome nobody was told", storm.outcomes["unknown"], ""),
        row("processes killed", storm.kills, ""),
        *(
            row(f"faults: {fault.replace('_', ' ')}", count, "")
            for fault, count in sorted(storm.faults.items())
        ),
        row("acknowledged and lost", lost, "", 0),
        row("doubled", doubled, "", 0),
        row("violations of strict serializability", len(findings) - lost - doubled, "", 0),
    ]


@contextmanager
def _s3_location() -> Iterator[str]:
    """The URL of a place on an S3 server, with the environment set to reach it."""
    with s3_server() as make:
        store = make()
        before = dict(os.environ)
        settings = {f"AWS_{key.upper()}": str(value) for key, value in store.config.items()}
        os.environ.update(settings | {"AWS_ENDPOINT_URL": settings["AWS_ENDPOINT"], "AWS_ALLOW_HTTP": "true"})
        try:
            yield f"s3://{store.config['bucket']}/{store.prefix}"
        finally:
            os.environ.clear()
            os.environ.update(before)
