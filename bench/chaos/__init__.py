"""Whether many writers that are killed, on a store that fails, lose, double or reorder anything.

Sixteen processes write at once, to a directory until 10,000 transactions have been acknowledged, and to an S3
server. Requests fail before and after they were done, arrive late, take long, break off and are
answered with what was true a moment ago; processes are killed at random. Then every checker judges the
history. Some more are written over a proxy that fails on the wire, so that the client tries again by itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.chaos.faults import Rates
from bench.chaos.proxy import FaultProxy
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
_TRANSACTIONS: Final = 10_000  # in a directory
_S3_TRANSACTIONS: Final = 2_000
_WIRE_TRANSACTIONS: Final = 500
_KILLS: Final = 100
"""About so many processes are killed, of each kind of storm."""


def run() -> list[Row]:
    """Throughput, how bad the weather was, and the verdicts."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-chaos-") as name:
        storm = _storm(f"file://{name}/store", Path(name), _TRANSACTIONS, FAULTS)
        rows += _rows("directory", storm)
    with _s3_server() as location:
        with tempfile.TemporaryDirectory(prefix="bench-chaos-") as name:
            rows += _rows("S3", _storm(location(), Path(name), _S3_TRANSACTIONS, FAULTS))
        with tempfile.TemporaryDirectory(prefix="bench-chaos-") as name:
            wire = replace(FAULTS, reads=0.3)
            with FaultProxy(os.environ["AWS_ENDPOINT_URL"], wire, 1) as proxy:
                os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
                storm = _storm(location(), Path(name), _WIRE_TRANSACTIONS, Rates())
            rows += _rows("S3, faults on the wire", replace(storm, faults=proxy.injected))
    return rows


def _storm(url: str, folder: Path, transactions: int, rates: Rates) -> Storm:
    apart = transactions // _KILLS
    return weather(
        url, folder, processes=_PROCESSES, transactions=transactions, apart=apart, rates=rates, seed=1
    )


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
def _s3_server() -> Iterator[Callable[[], str]]:
    """An S3 server, with the environment set to reach it; what it yields gives URLs where nothing is yet."""
    with s3_server() as make:
        config = make().config
        settings = {f"AWS_{key.upper()}": str(value) for key, value in config.items()}
        before = dict(os.environ)
        os.environ.update(settings | {"AWS_ENDPOINT_URL": settings["AWS_ENDPOINT"], "AWS_ALLOW_HTTP": "true"})
        try:
            yield lambda: f"s3://{config['bucket']}/{make().prefix}"
        finally:
            os.environ.clear()
            os.environ.update(before)
