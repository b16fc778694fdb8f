"""bucketlog beside its peers, on the same data and the same work in the same run."""

from __future__ import annotations

from bench.db import bill, commits, comparison, opening, plans, views
from bench.db.engines import start_engines
from bench.db.stores import s3_server
from bench.row import Row

__all__ = ["run"]


def run() -> list[Row]:
    """Every figure; what a peer that is not there would have done is said in a row of its own."""
    with start_engines() as engines:
        rows = comparison.measure(engines)
        rows += [Row("db", f"without {name}: {why}", 0, "-") for name, why in engines.absent.items()]
    rows += views.measure()
    rows += plans.measure()
    with s3_server() as s3:
        rows += commits.measure(s3)
        rows += opening.measure(s3)
    rows += bill.measure()
    return rows
