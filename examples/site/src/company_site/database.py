"""The database as requests see it: opened once, read at a known age, written in a thread.

Several instances of the site may write to one bucket. How soon does one see what another wrote?

- A signed-in visitor always sees the newest value: the read waits for a look at the log's tail that began
  after the request came in. So an author reads back what they wrote whichever instance answers, and a role
  that was revoked or a session that was ended counts from the next request on.
- Everybody else gets the value that is known, at once. When the last look is `STALENESS` seconds ago, a
  visit begins the next one, which nobody waits for: one read of the tail in that time, however many visitors
  there are. Only when it is `OLDEST` seconds ago a visitor waits for it; and when the bucket does not answer
  they get the last value known, after at most `PATIENCE` seconds.

Looks at the tail run in a thread, one at a time; those that wait for one share it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import bucketlog

STALENESS = 0.5  # seconds
OLDEST = 2.0  # seconds
PATIENCE = 1.0  # seconds

_T = TypeVar("_T")
Prepare = Callable[[bucketlog.Database], object]

acting: ContextVar[str | None] = ContextVar("acting", default=None)
"""The id of the user whom the running request is answered for: every transaction states its own."""


class Data:
    """One connection, used from one event loop. `close` ends it.

    `prepare` is called with each new value in the thread that brings it, so that what is derived from it for
    visitors is there when they ask.
    """

    def __init__(self, connection: bucketlog.Connection, prepare: Prepare | None = None) -> None:
        self._connection = connection
        self._prepare = prepare or (lambda _: None)
        self._looked = 0.0  # when the last look that has ended began, by time.monotonic()
        self._running: asyncio.Task[bucketlog.Database] | None = None
        self._running_since = 0.0
        self._queued: asyncio.Task[bucketlog.Database] | None = None
        self._derived: dict[Callable[[bucketlog.Database], Any], tuple[int, Any]] = {}

    @classmethod
    def open(cls, url: str, *steps: Iterable[Any], prepare: Prepare | None = None) -> Data:
        """Connect, making the database when there is none, and bring it up to date with these transactions.

        Each must be one that does nothing the second time. Raises bucketlog.BucketlogError.
        """
        began = time.monotonic()
        connection = bucketlog.connect(url)
        try:
            for transaction in steps:
                connection.transact(list(transaction))
            data = cls(connection, prepare)
            data._prepare(connection.db())
        except BaseException:
            connection.close()
            raise
        data._looked = began
        return data

    def close(self) -> None:
        self._connection.close()

    async def newest(self) -> bucketlog.Database:
        """The value with everything in it that was committed before this call.

        Raises bucketlog.StoreError when the bucket does not answer.
        """
        return await asyncio.shield(self._look_from_now())

    async def recent(self) -> bucketlog.Database:
        """A value at most `OLDEST` seconds old if the bucket answers, and the last known one if not."""
        now = time.monotonic()
        age = now - self._looked
        if age < STALENESS:
            return self._connection.db()
        if self._running is None:
            look, patience = self._look_from_now(), PATIENCE
        else:
            look, patience = self._running, self._running_since + PATIENCE - now
        if age >= OLDEST:
            await asyncio.wait([look], timeout=max(patience, 0))
        return self._connection.db()

    async def transact(self, transaction: Iterable[Any]) -> bucketlog.TransactionReport:
        """Commit; when this returns, `newest` of every instance has it. Raises bucketlog.BucketlogError.

        What is written says by whom: `:tx/by` of the transaction is the user who is `acting`.
        """
        return await asyncio.to_thread(self._transact, [attributed(transaction, acting.get())])

    def stats(self) -> bucketlog.Stats:
        """What this instance knows and has asked the bucket for; without I/O."""
        return self._connection.stats()

    def derive(self, database: bucketlog.Database, compute: Callable[[bucketlog.Database], _T]) -> _T:
        """`compute(database)`, kept for as long as the database stays the same."""
        kept = self._derived.get(compute)
        if kept is None or kept[0] != database.basis_t:
            kept = self._derived[compute] = (database.basis_t, compute(database))
        value: _T = kept[1]
        return value

    def _transact(self, transaction: list[Any]) -> bucketlog.TransactionReport:
        report = self._connection.transact(transaction)
        self._offer(report.db_after)
        return report

    def _sync(self) -> bucketlog.Database:
        database = self._connection.sync()
        self._offer(database)
        return database

    def _offer(self, database: bucketlog.Database) -> None:
        # What cannot be read now fails no commit that is made; whoever needs it asks again.
        with suppress(bucketlog.BucketlogError):
            self._prepare(database)

    def _look_from_now(self) -> asyncio.Task[bucketlog.Database]:
        # A look that is under way may have passed a write that ended since: only the next one will do.
        if self._queued is None:
            self._queued = asyncio.create_task(self._look(after=self._running))
            self._queued.add_done_callback(_retrieve)
        return self._queued

    async def _look(self, after: asyncio.Task[bucketlog.Database] | None) -> bucketlog.Database:
        if after is not None:
            await asyncio.wait([after])
        self._running, self._queued = self._queued, None
        began = self._running_since = time.monotonic()
        try:
            return await asyncio.to_thread(self._sync)
        finally:
            self._looked = began
            if self._queued is None:
                self._running = None


def _retrieve(look: asyncio.Task[bucketlog.Database]) -> None:
    """A look that nobody waits for any longer may fail in silence."""
    if not look.cancelled():
        look.exception()


Transaction = Callable[[bucketlog.Database], list[Any]]
"""A transaction function: what to write, given the value of the database that it will be written on."""


def attributed(transaction: Iterable[Any], user_id: str | None) -> Transaction:
    """The transaction as one function that, if there is anything to write, writes by whom, too."""
    parts = list(transaction)

    def apply(database: bucketlog.Database) -> list[Any]:
        written: list[Any] = []
        for part in parts:
            written += part(database) if callable(part) else [part]
        if written and user_id is not None:
            written.append({":db/id": "datomic.tx", ":tx/by": [":user/id", user_id]})
        return written

    return apply


def once(name: str, transaction: Transaction) -> Transaction:
    """A transaction function that does its work once in the life of a database, however many instances
    try.
    """

    def apply(database: bucketlog.Database) -> list[Any]:
        if database.q("[:find ?e . :in $ ?name :where [?e :step/name ?name]]", name) is not None:
            return []
        return [{":step/name": name}, *transaction(database)]

    return apply


def attribute(
    ident: str, value_type: str, *, many: bool = False, identity: bool = False, searched: bool = False
) -> dict[str, Any]:
    """A schema attribute as transaction data; `searched` keeps a full text index of it."""
    definition: dict[str, Any] = {
        ":db/ident": f":{ident}",
        ":db/valueType": f":db.type/{value_type}",
        ":db/cardinality": ":db.cardinality/many" if many else ":db.cardinality/one",
    }
    if identity:
        definition[":db/unique"] = ":db.unique/identity"
    if searched:
        definition[":db/fulltext"] = True
    return definition


SCHEMA = [attribute("step/name", "string", identity=True), attribute("tx/by", "ref")]
