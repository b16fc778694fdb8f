"""A database that nobody has open: how much is read, and in how many round trips, until it answers."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from obstore.store import MemoryStore

import bucketlog
from bench.db.data import people
from bench.db.peers.ours import SCHEMA, transactions
from bench.db.stores import Watched, copy_objects
from bench.row import Row

__all__ = ["measure"]

_PEOPLE: Final = 166_667
"""Of six datoms each: a million."""
_LATENCY: Final = 0.03
"""Seconds that each request is held up while round trips are counted, to see which wait for which."""
_TIMES: Final = 7
_LONGEST_TAIL: Final = 250
"""Commits after a snapshot; with a few more the next one is due."""

_Ask = Callable[[bucketlog.Database], Any]


def measure(s3: Callable[[], Any]) -> list[Row]:
    """Rows of loading a million datoms, of opening them, and of opening a site's database."""
    return [*_million(s3), *_site(s3)]


def _million(s3: Callable[[], Any]) -> list[Row]:
    data = transactions(people(_PEOPLE))
    memory = MemoryStore()
    conn = bucketlog.connect(memory)
    conn.transact(SCHEMA)
    began = time.perf_counter()
    for entities in data:
        conn.transact(entities)
    seconds = time.perf_counter() - began
    stats = conn.stats()
    rows = [
        Row("db", "load of 1,000,000 datoms through transact", seconds, "s", goal=6),
        Row("db", "image", stats.image_bytes / stats.datoms, "bytes a datom", goal=120),
    ]
    conn.snapshot()
    chance = random.Random(2)  # noqa: S311 -- data

    def read(db: bucketlog.Database) -> Any:
        found = db.pull("[:name]", [":id", chance.randrange(1, _PEOPLE + 1)])
        assert found
        return found

    for commits in (0, 20, _LONGEST_TAIL):
        for number in range(commits):
            conn.transact([{":id": number + 1, ":age": chance.randrange(100)}])
        store = s3()
        copy_objects(memory, store)
        title = f"1,000,000 datoms on S3, {commits} commits after a snapshot, to the first read"
        rows += _cold(title, store, read, trips=4, megabytes=1)
        if commits:
            rows += _cold(title.replace("read", "read of what they change"), store, _changed)
        rows += _warm(title, store, read)
        conn.snapshot()
    conn.close()
    return rows


def _changed(db: bucketlog.Database) -> Any:
    """An entity that the first of the commits changes."""
    return db.pull("[:age]", [":id", 1])


def _site(s3: Callable[[], Any]) -> list[Row]:
    """20,000 datoms in 3,000 commits, left as the process that wrote them was killed."""
    memory = MemoryStore()
    conn = bucketlog.connect(memory)
    conn.transact(SCHEMA)
    for (person,) in zip(*[iter(p for batch in transactions(people(3000)) for p in batch)], strict=True):
        conn.transact([person])
    store = s3()
    copy_objects(memory, store)
    conn.close()

    def ask(db: bucketlog.Database) -> Any:
        return db.q('[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]')

    return _cold("a site's database on S3, to the first query", store, ask, trips=3, milliseconds=60)


def _cold(
    title: str,
    store: Any,
    ask: _Ask,
    *,
    trips: int | None = None,
    megabytes: float | None = None,
    milliseconds: float | None = None,
) -> list[Row]:
    watched = Watched(store, _LATENCY)
    _open(watched, ask)
    seconds = statistics.median(_open(store, ask) for _ in range(_TIMES))
    return [
        Row("db", f"{title}: round trips", watched.round_trips, "each", goal=trips),
        Row("db", f"{title}: requests", watched.requests, "each"),
        Row("db", f"{title}: read", watched.bytes_read / 1e6, "MB", goal=megabytes),
        Row("db", f"{title}: time", seconds * 1e3, "ms", goal=milliseconds),
    ]


def _warm(title: str, store: Any, ask: _Ask) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-cache-") as folder:
        for _ in range(40):  # most of what such reads need is there then
            _open(store, ask, Path(folder))
        seconds = statistics.median(_open(store, ask, Path(folder)) for _ in range(_TIMES))
    return [Row("db", f"{title}, disk cache warm: time", seconds * 1e3, "ms", goal=10)]


def _open(store: Any, ask: _Ask, cache: Path | None = None) -> float:
    began = time.perf_counter()
    conn = bucketlog.connect(store, cache=cache)
    ask(conn.db())
    seconds = time.perf_counter() - began
    conn.close()
    return seconds
