"""The database for asyncio: the same connection, whose waiting does not hold up the event loop.

::

    async with bucketlog.aio.connect("s3://bucket/site") as conn:
        await conn.transact([{":user/name": "Ann"}])
        db = await conn.sync()
        await db.q("[:find [?n ...] :where [_ :user/name ?n]]")

What is asked runs in threads of the loop's default executor, except commits: those that are awaited at the
same time share an object of the log. To cancel an `await` gives up the answer, not the work: a transaction
that was begun is committed all the same, or refused, which the next `sync` shows; `async with` waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import bucketlog
from bucketlog.operation import TransactionData
from bucketlog.report import TransactionReport
from bucketlog.store import ObjectStore

__all__ = ["Connection", "Database", "connect"]

T = TypeVar("T")


@asynccontextmanager
async def connect(location: str | ObjectStore, **options: Any) -> AsyncIterator[Connection]:
    """A connection to the database at `location`; options and errors are those of `bucketlog.connect`."""
    opening = asyncio.ensure_future(asyncio.to_thread(bucketlog.connect, location, **options))
    try:
        conn = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unused)
        raise
    try:
        yield Connection(conn)
    finally:
        await _whatever_happens(asyncio.to_thread(conn.close))


class Connection:
    """A `bucketlog.Connection` for one event loop or several."""

    def __init__(self, conn: bucketlog.Connection) -> None:
        """Of a connection that somebody else closes; `connect` makes one that closes by itself."""
        self.conn = conn

    def db(self) -> Database:
        """The database as far as this process knows; no I/O, so there is nothing to await."""
        return Database(self.conn.db())

    async def recent(self, max_age: timedelta) -> Database:
        """The database with what was committed `max_age` ago, at least: `bucketlog.Connection.db`."""
        return Database(await asyncio.to_thread(self.conn.db, max_age=max_age))

    async def sync(self) -> Database:
        """The database with everything that anyone committed before the call; `bucketlog.Connection.sync`."""
        return Database(await asyncio.to_thread(self.conn.sync))

    async def transact(self, data: TransactionData) -> TransactionReport:
        """Commit `data` and return what it did; `bucketlog.Connection.transact`.

        Transactions are committed in the order of the calls. `Database(report.db_after)` can be awaited.
        """
        return await _whatever_happens(asyncio.wrap_future(self.conn.transact_async(data)))


@dataclass(frozen=True, slots=True)
class Database:
    """A `bucketlog.Database`: an immutable value, which is asked in a thread."""

    db: bucketlog.Database

    @property
    def basis_t(self) -> int:
        """The last transaction that this value can show."""
        return self.db.basis_t

    async def run(self, ask: Callable[[bucketlog.Database], T]) -> T:
        """What a function of the plain value gives, called in a thread: for all that has no method here."""
        return await asyncio.to_thread(ask, self.db)

    async def q(self, query: str | Sequence[Any] | Mapping[Any, Any], *inputs: Any) -> Any:
        """`bucketlog.Database.q`; databases among the inputs may be values of either kind."""
        plain = [item.db if isinstance(item, Database) else item for item in inputs]
        return await asyncio.to_thread(self.db.q, query, *plain)

    async def pull(self, pattern: str | Sequence[Any], entity: Any) -> dict[str, Any]:
        """`bucketlog.Database.pull`."""
        return await asyncio.to_thread(self.db.pull, pattern, entity)

    async def pull_many(self, pattern: str | Sequence[Any], entities: Iterable[Any]) -> list[dict[str, Any]]:
        """`bucketlog.Database.pull_many`."""
        return await asyncio.to_thread(self.db.pull_many, pattern, entities)

    async def as_of(self, t: int | datetime) -> Database:
        """`bucketlog.Database.as_of`."""
        return Database(await asyncio.to_thread(self.db.as_of, t))

    async def since(self, t: int | datetime) -> Database:
        """`bucketlog.Database.since`."""
        return Database(await asyncio.to_thread(self.db.since, t))

    def history(self) -> Database:
        """`bucketlog.Database.history`."""
        return Database(self.db.history())


async def _whatever_happens(work: Awaitable[T]) -> T:
    """Wait for work that goes on if the waiting is cancelled: a cancelled future could not be answered."""
    return await asyncio.shield(work)


def _close_unused(opening: asyncio.Future[bucketlog.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
