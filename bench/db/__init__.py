"""bucketlog beside its peers, on the same data and the same work in the same run."""

from __future__ import annotations

from bench.db.bill import bill
from bench.db.commits import commits
from bench.db.comparison import compare
from bench.db.engines import start_engines
from bench.db.opening import opening
from bench.db.plans import plans
from bench.db.stores import s3_server
from bench.db.views import views
from bench.row import Row

__all__ = ["run"]


def run() -> list[Row]:
    """Every figure; what a peer that is not there would have done is said in a row of its own."""
    with start_engines() as engines:
        rows = compare(engines)
        rows += [Row("db", f"without {name}: {why}", 0, "-") for name, why in engines.absent.items()]
    rows += views()
    rows += plans()
    with s3_server() as s3:
        rows += commits(s3)
        rows += opening(s3)
    rows += bill()
    return rows
