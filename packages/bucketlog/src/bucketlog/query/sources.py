"""Sources beside the datoms of one connection: inputs of many rows, collections, databases elsewhere.

All of them become temporary tables. A query that a function of a running query asks has tables of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bucketlog.edn import Keyword
from bucketlog.errors import QueryError
from bucketlog.query.inputs import Run, Table, encode_any
from bucketlog.query.statement import Select, Statement
from bucketlog.query.syntax import (
    DEFAULT_SOURCE,
    Binding,
    Blank,
    Constant,
    Expression,
    Find,
    Input,
    Pattern,
    Query,
    RuleSet,
    Shape,
    Term,
    Variable,
)
from bucketlog.value import Stored

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Sources"]

_Encoder = Callable[[Run, Any], Stored | None]
_NO_RULES: Final = RuleSet()


class Sources:
    """The sources of one statement, and the tables that it reads beside the datoms."""

    def __init__(
        self,
        statement: Statement,
        databases: Mapping[str, Database],
        collections: frozenset[str],
        encoder: Callable[[Term], _Encoder],
        nesting: int,
    ) -> None:
        self._statement = statement
        self._encoder = encoder
        self.collections = collections
        """The sources that are no databases."""
        first = next(iter(databases.values()), None)
        self.foreign = frozenset(
            name for name, db in databases.items() if first is not None and db.image is not first.image
        )
        """The databases of other connections than the first one's."""
        self.tables: list[Table] = []
        self._nesting = nesting
        self._known: dict[Any, str] = {}

    def add(self, width: int, rows: Callable[[Run], Sequence[Sequence[Stored | None]]]) -> str:
        """Take in rows; the name of their table."""
        name = f"input{self._nesting}_{len(self.tables)}_{width}"
        self.tables.append(Table(name, width, rows))
        return name

    def join(self, select: Select, table: str, terms: Sequence[Term]) -> None:
        """Join a SELECT with the rows of a table."""
        alias = self._statement.alias("i")
        select.tables.append(f"temp.{table} AS {alias}")
        for column, term in enumerate(terms):
            self._statement.meet(select, term, f"{alias}.c{column}")

    def join_pattern(self, pattern: Pattern, select: Select) -> None:
        """Join a SELECT with the rows of a pattern over a collection or a database elsewhere."""
        if pattern.source in self.foreign:
            self._join_foreign(pattern, select)
        else:
            self._join_collection(pattern, select)

    def _join_collection(self, pattern: Pattern, select: Select) -> None:
        places = _written(pattern.places)
        encoders = tuple(self._encoder(term) for term in places)
        key = (pattern.source, encoders)
        if key not in self._known:
            self._known[key] = self.add(len(places), _collection_rows(pattern, encoders))
        alias = self._statement.alias("i")
        select.tables.append(f"temp.{self._known[key]} AS {alias}")
        for column, term in enumerate(places):
            sql = f"{alias}.c{column}"
            if isinstance(term, Constant):
                # In Python a keyword of a row is often a plain string.
                values = [term.value, str(term.value)] if isinstance(term.value, Keyword) else [term.value]
                options = (self._statement.parameter(_encoded(value, pattern)) for value in values)
                select.conditions.append(f"{sql} IN ({', '.join(options)})")
            elif not isinstance(term, Blank):
                select.conditions.append(f"{sql} IS NOT NULL")
                self._statement.meet(select, term, sql)

    def _join_foreign(self, pattern: Pattern, select: Select) -> None:
        query, terms = _pattern_query(pattern)
        self.join(select, self.add(len(terms), _foreign_rows(query, pattern)), terms)


def _written(places: tuple[Term, ...]) -> tuple[Term, ...]:
    """The places without the blank ones at the end, but at least one."""
    count = len(places)
    while count > 1 and isinstance(places[count - 1], Blank):
        count -= 1
    return places[:count]


def _encoded(value: Any, pattern: Pattern) -> Callable[[Run], Stored | None]:
    return lambda run: encode_any(run, value, pattern.text)


def _collection_rows(
    pattern: Pattern, encoders: Sequence[_Encoder]
) -> Callable[[Run], list[list[Stored | None]]]:
    def rows(run: Run) -> list[list[Stored | None]]:
        # What a row does not have is NULL, which matches a blank only.
        return [
            [encoder(run, row[n]) if n < len(row) else None for n, encoder in enumerate(encoders)]
            for row in _rows(run.collections[pattern.source], pattern)
        ]

    return rows


def _rows(collection: Any, pattern: Pattern) -> Iterator[Sequence[Any]]:
    """The rows of a collection: pairs of a mapping; `[position key value]` of records that are mappings."""
    if isinstance(collection, Mapping):
        yield from collection.items()
        return
    for position, item in enumerate(collection):
        if isinstance(item, list | tuple):
            yield item
        elif isinstance(item, Mapping):
            for key, value in item.items():
                values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
                yield from ((position, key, one) for one in values)
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            yield tuple(getattr(item, field.name) for field in dataclasses.fields(item))
        else:
            raise QueryError(f"{pattern.source}: {item!r} is not a row, in: {pattern.text}")


def _pattern_query(pattern: Pattern) -> tuple[Query, tuple[Variable, ...]]:
    """The query for what one pattern binds."""
    terms = tuple(dict.fromkeys(term for term in pattern.places if isinstance(term, Variable)))
    clauses: tuple[Any, ...] = (dataclasses.replace(pattern, source=DEFAULT_SOURCE),)
    if not terms:
        terms = (Variable("?found~"),)
        found = Binding(Shape.SCALAR, terms)
        clauses = (*clauses, Expression("ground", DEFAULT_SOURCE, (Constant(1),), found, pattern.text))
    return Query(Find(Shape.RELATION, terms), (), (Input(source=DEFAULT_SOURCE),), clauses), terms


def _foreign_rows(query: Query, pattern: Pattern) -> Callable[[Run], list[tuple[Stored, ...]]]:
    def rows(run: Run) -> list[tuple[Stored, ...]]:
        from bucketlog.query.engine import stored_rows  # noqa: PLC0415 -- which compiles by way of this module

        return stored_rows(query, _NO_RULES, {DEFAULT_SOURCE: run.databases[pattern.source]})

    return rows
