"""Commits: what they add to the time of the store, how many objects they write, how many fit in a second."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import bucketlog
from bench.db.peers.ours import SCHEMA
from bench.db.stores import Watched
from bench.row import Row
from bucketlog.directory import DirectoryStore

__all__ = ["measure"]

_COMMITS: Final = 200
_THREADS: Final = 64
_GROUPED: Final = 6000
_DATOMS: Final = 10
"""In a transaction, besides its instant."""
_OVERHEAD_GOAL: Final = 300.0  # microseconds
_RATE_GOAL: Final = 20_000.0


def measure(s3: Callable[[], Any]) -> list[Row]:
    """Rows for a directory and for the S3 server whose stores `s3` makes."""
    with tempfile.TemporaryDirectory(prefix="bench-commits-") as folder:
        directories = (DirectoryStore(Path(folder) / str(number)) for number in itertools.count())
        rows = []
        for name, store in (("directory", lambda: next(directories)), ("S3", s3)):
            rows += _one_by_one(name, store())
            rows += _threads(name, store())
            rows += _pipelined(name, store())
        return rows


def _one_by_one(name: str, inner: Any) -> list[Row]:
    store = Watched(inner)
    with bucketlog.connect(store) as conn:
        conn.transact(SCHEMA)
        number = itertools.count(1)
        seconds, overheads = [], []
        before = store.puts.copy()
        for _ in range(_COMMITS):
            data = _transaction(number)
            waited, began = store.put_seconds, time.perf_counter()
            conn.transact(data)
            seconds.append(time.perf_counter() - began)
            overheads.append(seconds[-1] - (store.put_seconds - waited))
        written = store.puts - before
    others = sum(written.values()) - written["log"]
    title = f"{name}: commit of {_DATOMS} datoms"
    return [
        Row("db", title, statistics.median(seconds) * 1e3, "ms"),
        Row(
            "db",
            f"{title}, less the store's time",
            statistics.median(overheads) * 1e6,
            "us",
            goal=_OVERHEAD_GOAL,
        ),
        Row("db", f"{title}: PUTs of the log", written["log"] / _COMMITS, "each", goal=1),
        Row("db", f"{title}: PUTs of snapshots", others / _COMMITS, "each"),
    ]


def _threads(name: str, inner: Any) -> list[Row]:
    """Threads that each commit one transaction after the other; those that wait at once share an object."""
    store = Watched(inner)
    with bucketlog.connect(store) as conn:
        conn.transact(SCHEMA)
        number = itertools.count(1)
        work = [[_transaction(number) for _ in range(_GROUPED // _THREADS)] for _ in range(_THREADS)]

        def commit(transactions: list[list[Any]]) -> None:
            for data in transactions:
                conn.transact(data)

        threads = [threading.Thread(target=commit, args=(part,)) for part in work]
        before = store.puts["log"]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
    return _rates(f"{name}: group commit of {_THREADS} threads", seconds, store.puts["log"] - before)


def _pipelined(name: str, inner: Any) -> list[Row]:
    """One thread that does not wait for a commit before it asks for the next."""
    store = Watched(inner)
    with bucketlog.connect(store) as conn:
        conn.transact(SCHEMA)
        number = itertools.count(1)
        work = [_transaction(number) for _ in range(_GROUPED)]
        before = store.puts["log"]
        began = time.perf_counter()
        for future in [conn.transact_async(data) for data in work]:
            future.result()
        seconds = time.perf_counter() - began
    return _rates(f"{name}: transact_async", seconds, store.puts["log"] - before)


def _rates(title: str, seconds: float, objects: int) -> list[Row]:
    transactions = _GROUPED // _THREADS * _THREADS if "threads" in title else _GROUPED
    return [
        Row("db", title, transactions * _DATOMS / seconds, "datoms/s", goal=_RATE_GOAL),
        Row("db", f"{title}: transactions in an object", transactions / objects, "each"),
    ]


def _transaction(number: itertools.count[int]) -> list[dict[str, Any]]:
    return [
        {":id": next(number), ":name": "Ivan", ":last-name": "Ivanov", ":sex": ":male", ":age": 30}
        for _ in range(_DATOMS // 5)
    ]
