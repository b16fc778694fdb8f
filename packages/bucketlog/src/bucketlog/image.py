"""The image: a SQLite database derived from the log, thrown away with the connection.

One row a datom, with the interval `[added, retracted)` of transactions in which it holds. Rows are never
changed except that an open interval is closed, so "the database as of t" is the predicate `added <= t AND
retracted > t`, and a value of the database stays what it was while later transactions are applied, even ones
that are rolled back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Final, TypeVar

import apsw

from bucketlog.cache import Cache
from bucketlog.errors import FormatError, StoreError
from bucketlog.excision import Excision, excisions
from bucketlog.fulltext import TextIndex
from bucketlog.objects import MissingObjectError
from bucketlog.outline import Step, changed_pages, places
from bucketlog.pages import MissingPagesError, Pages
from bucketlog.query.callables import install
from bucketlog.schema import TX_INSTANT, Change, Schema
from bucketlog.value import Stored
from bucketlog.vfs import open_pages

__all__ = ["LIVE", "OPEN", "Image", "Parameters", "Row", "live"]

OPEN: Final = 0
"""`retracted` of a datom that still holds: no transaction retracts at 0, and SQLite stores 0 in no bytes."""


def live(table: str, t: str) -> str:
    """The condition that a row of `table` (an alias with its dot, or nothing) holds after transaction `t`."""
    return f"{table}added <= {t} AND ({table}retracted = {OPEN} OR {table}retracted > {t})"


LIVE: Final = f"{live('', ':t')} AND added > :since"
"""The condition that a row shows in the database as of `:t`, since `:since`."""

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]
_Result = TypeVar("_Result")

_KEPT_ROWS: Final = 1000  # of a temporary table, until its next rows come
_BATCHES: Final = (256, 16, 1)  # rows that one INSERT brings

_INSERT: Final = "INSERT INTO datom VALUES (?, ?, ?, ?, ?, ?)"
_NEVER: Final = 1 << 60  # a transaction that no datom is of
_REHEARSED: Final = 20_000  # changes; of more than that, what a rehearsal saves is little beside the rest
_REHEARSALS: Final = 3  # of three trees, one after the other lacks a page
_POSTPONED: Final = 4_000  # changes; of more than that, few reads would find nothing changed

_CACHE: Final = 512 << 20  # bytes of pages that SQLite keeps at most

# The table itself is the EAVT index. AVET also serves attribute scans; VAET only finds references.
_TABLES: Final = """
CREATE TABLE datom (
    e INTEGER NOT NULL, a INTEGER NOT NULL, v NOT NULL, added INTEGER NOT NULL, retracted INTEGER NOT NULL,
    ref INTEGER NOT NULL, PRIMARY KEY (e, a, v, added)
) WITHOUT ROWID;
CREATE INDEX avet ON datom (a, v, e, added, retracted);
CREATE INDEX vaet ON datom (v, a, e, added, retracted) WHERE ref = 1;
"""


class Image:
    """A SQLite database over `Pages`. Any thread may use it; statements run one at a time."""

    def __init__(self, pages: Pages, *, basis: int = -1, sizes: Mapping[int, int] | None = None) -> None:
        """`pages` are empty, or hold the datoms up to transaction `basis`, `sizes` of them by attribute."""
        self.lock = threading.RLock()
        """Held while a statement runs; take it to read `basis` and run statements on that basis."""
        self.basis = basis
        """The newest transaction that was applied, also when it may still be rolled back."""
        self.restore: Callable[[], bool] = lambda: False
        """Called when chunks have gone from the bucket; true when this image has become another by then."""
        self._before: list[tuple[int, Counter[int]]] = []
        self._waiting: tuple[Step, ...] = ()  # transactions up to `basis` that are not in the pages yet
        self._pages = pages
        self._connection = open_pages(pages, cache_bytes=_CACHE)
        install(self._connection)
        if pages.count == 0:
            self._connection.execute(_TABLES)
        self._texts = TextIndex(self._connection)
        self._readers = 0
        self._temporary: set[str] = set()
        self._large: set[str] = set()
        self._sizes: Counter[int] = Counter(sizes or {})
        self._closed = False
        self.plans: Cache[Any] = Cache(512)
        """Compiled queries."""

    def close(self) -> None:
        """Drop the image; reading it further raises `StoreError`."""
        with self.lock:
            self._closed = True
            self._connection.close()

    def fork(self, t: int) -> Image:
        """An independent image of the datoms up to transaction `t`, which shares what neither changes.

        Takes the longer the more datoms there are, if `t` is not the transaction that was committed last.
        """
        with self.lock:
            if self._closed:
                raise StoreError("the connection that this database came from is closed")
            self.settle()
            # What is open is not in the pages yet.
            basis, sizes = self._before[0] if self._before else (self.basis, self._sizes)
            copy = Image(self._pages.fork(), basis=basis, sizes=sizes)
            if basis < t:
                sql = "SELECT * FROM datom WHERE added > ?1 OR retracted > ?1"
                copy._take(self._connection.execute(sql, (basis,)).fetchall())
        if copy.basis > t:
            copy._rewind(t)
        return copy

    def _take(self, rows: Sequence[Row]) -> None:
        """Add rows of later transactions, in place of what these have changed."""
        with self._connection:
            self._connection.executemany("REPLACE INTO datom VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._texts.follow(self._texts.attributes, [row[1:3] for row in rows])
        newer = [(a, added) for _, a, _, added, _, _ in rows if added > self.basis]
        self._sizes.update(a for a, _ in newer)
        self.basis = max((added for _, added in newer), default=self.basis)

    def _rewind(self, t: int) -> None:
        """Forget what transactions after `t` did."""
        with self._connection:
            forgotten: list[Row] = self._connection.execute(
                "DELETE FROM datom WHERE added > ? RETURNING a", (t,)
            ).fetchall()
            self._connection.execute(f"UPDATE datom SET retracted = {OPEN} WHERE retracted > ?", (t,))  # noqa: S608
        self._sizes.subtract(a for (a,) in forgotten)
        self.basis = t

    def become(self, other: Image) -> None:
        """Take over what another image holds, which ends thereby. Open transactions are rolled back."""
        with self.lock:
            self._connection.close()
            self._connection, self._pages = other._connection, other._pages
            self._texts = other._texts
            self._temporary = other._temporary
            self._waiting = other._waiting
            self._large.clear()
            self.basis, self._sizes = other.basis, other._sizes
            self._before.clear()

    @property
    def pages(self) -> Pages:
        """The file; what is in it is what was committed."""
        return self._pages

    @property
    def sizes(self) -> Mapping[int, int]:
        """Rows by attribute."""
        return self._sizes

    def postpone(self, schema: Schema, steps: Sequence[Step]) -> bool:
        """Take these transactions after `schema`, and apply them when something is read that they change.

        Called before anything is read. False, and nothing is done, when they must be applied now.
        """
        pages = self._pages
        if not pages.base.chunks or sum(len(changes) for _, changes, _ in steps) > _POSTPONED:
            return False
        for t, changes, later in steps:
            if later.fulltext != schema.fulltext or any(excisions(t, changes, later)):
                return False
        changed = changed_pages(pages.base, steps)
        if changed is None:
            return False
        with self.lock:
            pages.watch(changed)
            self._waiting = tuple(steps)
            self._sizes.update(change.a for step in steps for change in step.changes if change.added)
            self.basis = steps[-1].t
        return True

    def settle(self) -> None:
        """Apply what was postponed: the pages are those of `basis` then. Raises `StoreError`."""
        with self.lock:
            if self._waiting:
                self._read(self._settle)

    def _settle(self) -> None:
        if not self._waiting:
            return
        steps, basis, sizes = self._waiting, self.basis, self._sizes.copy()
        changes = [change for step in steps for change in step.changes]
        self._waiting = ()
        self._pages.watch(frozenset())
        self._sizes.subtract(change.a for change in changes if change.added)
        try:
            self.prefetch(changes, steps[-1].schema)
            self._connection.execute("BEGIN")
            for step in steps:
                self.apply(step.t, step.changes, step.schema)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # an error of the file rolls back
                self._connection.execute("ROLLBACK")
            self._waiting, self.basis, self._sizes = steps, basis, sizes
            self._texts.forget_attributes()
            self._pages.touched = True  # SQLite may have kept pages that are to be changed
            raise

    def prefetch(self, changes: Sequence[Change], schema: Schema) -> None:
        """Fetch the pages that applying `changes` will touch, nearly all of them at once."""
        if not self._pages.base.chunks:
            return
        references = {attribute.id for attribute in schema.references}
        with self.lock:
            with self._pages.collecting():
                for e, a, v, _ in changes:
                    for sql in places(is_ref=a in references):
                        with suppress(MissingPagesError):
                            self._connection.execute(sql, (e, a, v)).fetchall()
            if len(changes) <= _REHEARSED:
                self._rehearse(changes, references)

    def _rehearse(self, changes: Sequence[Change], references: Container[int]) -> None:
        """Fetch what becomes needed where a page is full and SQLite divides its rows with the next ones."""
        for _ in range(_REHEARSALS):
            before = self._pages.fetched
            with self._pages.collecting(dividing=True):
                for e, a, v, _ in changes:
                    if not self._connection.in_transaction:  # an error of the file rolls back
                        self._connection.execute("BEGIN")
                    # Without a savepoint SQLite leaves half of what a failed INSERT has done, and divides a
                    # page that has been divided by half.
                    self._connection.execute("SAVEPOINT row")
                    try:
                        row = (e, a, v, _NEVER, OPEN, 1 if a in references else 0)
                        self._connection.execute(_INSERT, row)
                    except (MissingPagesError, apsw.ConstraintError):
                        if self._connection.in_transaction:
                            self._connection.execute("ROLLBACK TO row")
                    if self._connection.in_transaction:
                        self._connection.execute("RELEASE row")
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if self._pages.fetched == before:
                return

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of one SELECT."""
        return self.read(lambda: self._connection.execute(sql, parameters).fetchall())

    def read(self, reader: Callable[[], _Result]) -> _Result:
        """What `reader` gives, for whose `execute` and `load` the image stays as it is.

        The reader is called again when what was postponed must be applied for it, and when the image turns
        out to lack chunks that were collected meanwhile.
        """
        with self.lock:
            if self._closed:
                raise StoreError("the connection that this database came from is closed")
            if self._waiting and not self._readers:
                return self._read_postponed(reader)
            return self._read(reader)

    def _read_postponed(self, reader: Callable[[], _Result]) -> _Result:
        """Read pages as the snapshot has them, if none of them is to be changed."""
        if not self._pages.touched:
            try:
                result = self._read(reader)
                if not self._pages.touched:
                    return result
            except Exception:
                if not self._pages.touched:
                    raise

        def settled() -> _Result:
            self._settle()
            return reader()

        return self._read(settled)

    def _read(self, reader: Callable[[], _Result]) -> _Result:
        self._readers += 1
        try:
            return reader()
        except MissingObjectError:
            if self._readers > 1 or not self.restore():
                raise
            return reader()
        finally:
            self._readers -= 1
            if self._large and not self._readers:
                self._empty_large()

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """All rows of one statement, in a reader."""
        return self._connection.execute(sql, parameters).fetchall()

    def load(self, table: str, width: int, rows: Sequence[Sequence[Stored | None]]) -> None:
        """Let a temporary table have these rows, and columns `c0` and so on, until the reader is done.

        The width belongs to the name: a table is made once.
        """
        execute = self._connection.execute
        if table not in self._temporary:
            execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} ({', '.join(f'c{n}' for n in range(width))})")
            if not self._connection.in_transaction:  # inside of one, a roll-back would undo the creation
                self._temporary.add(table)
        execute(f"DELETE FROM temp.{table}")  # noqa: S608 -- our own name, here and below
        marks = f"({', '.join('?' * width)})"
        start = 0
        for size in _BATCHES:
            sql = f"INSERT INTO temp.{table} VALUES {', '.join([marks] * size)}"  # noqa: S608
            while len(rows) - start >= size:
                execute(sql, list(chain.from_iterable(rows[start : start + size])))
                start += size
        if len(rows) > _KEPT_ROWS:
            self.discard(table)

    def discard(self, table: str) -> None:
        """Empty a temporary table when the reader is done."""
        self._large.add(table)

    def _empty_large(self) -> None:
        for table in self._large:
            self._connection.execute(f"DELETE FROM temp.{table}")  # noqa: S608
        self._large.clear()

    def begin(self) -> None:
        """Start a transaction: what is applied from here on disappears again with `rollback`."""
        with self.lock:
            if self._closed:
                raise StoreError("the connection is closed")
            self.settle()
            self._connection.execute("BEGIN")
            self._before.append((self.basis, self._sizes.copy()))

    def commit(self) -> None:
        """Keep what was applied since `begin`."""
        with self.lock:
            self._connection.execute("COMMIT")
            self._before.clear()

    def rollback(self) -> None:
        """Forget what was applied since `begin`."""
        with self.lock:
            self._connection.execute("ROLLBACK")
            self.basis, self._sizes = self._before.pop()
            self._texts.forget_attributes()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside of a transaction: what is applied in a block that raises disappears again."""
        with self.lock:
            before = self.basis, self._sizes.copy()
            with self._connection:  # a savepoint
                try:
                    yield
                except BaseException:
                    self.basis, self._sizes = before
                    self._texts.forget_attributes()
                    raise

    def vacuum(self) -> None:
        """Write all pages anew, so that nothing is in them but what the tables hold."""
        with self.lock:
            self.settle()
            self._connection.execute("VACUUM")

    def apply(self, t: int, changes: Sequence[Change], schema: Schema) -> bool:
        """Add the datoms of transaction `t`; nothing that reads at an earlier basis sees them.

        True when the transaction excised something, which earlier bases do not see any more.
        """
        references = {attribute.id for attribute in schema.references}
        added: list[tuple[int, int, Stored, int, int, int]] = []
        retracted: list[tuple[int, int, int, Stored, int]] = []
        for e, a, v, is_added in changes:
            if is_added:
                added.append((e, a, v, t, OPEN, 1 if a in references else 0))
            else:
                retracted.append((t, e, a, v, OPEN))
        with self.lock:
            if retracted:
                self._connection.executemany(
                    "UPDATE datom SET retracted = ? WHERE e = ? AND a = ? AND v = ? AND retracted = ?",
                    retracted,
                )
            try:
                self._connection.executemany(_INSERT, added)
            except apsw.ConstraintError as error:
                raise FormatError(f"transaction {t} of the log adds one datom twice") from error
            self._sizes.update(row[1] for row in added)
            if schema.fulltext or self._texts.attributes:
                self._texts.follow(schema.fulltext, [row[1:3] for row in added])
            asked = list(excisions(t, changes, schema))
            for excision in asked:
                self._excise(excision)
            self.basis = t
            return bool(asked)

    def _excise(self, excision: Excision) -> None:
        only = ""
        if excision.attributes is not None:
            only = f"AND a IN ({', '.join(map(str, excision.attributes))})"
        kept = f"a <> {TX_INSTANT}"
        statements = [f"DELETE FROM datom WHERE e = ? AND added < ? AND {kept} {only} RETURNING a, v"]  # noqa: S608
        if excision.attributes is None:
            statements.append("DELETE FROM datom WHERE ref = 1 AND v = ? AND added < ? RETURNING a, v")
        removed: list[Row] = []
        for sql in statements:
            for e in excision.entities:
                removed += self._connection.execute(sql, (e, excision.before)).fetchall()
        self._sizes.subtract(a for a, _ in removed)
        self._texts.drop(removed)

    @property
    def searchable(self) -> frozenset[int]:
        """The attributes whose texts can be searched."""
        with self.lock:
            return self._texts.attributes

    def size(self, attribute: int | None) -> int:
        """About how many rows there are, with an attribute or at all: for estimates."""
        with self.lock:
            return self._sizes[attribute] if attribute is not None else self._sizes.total()
