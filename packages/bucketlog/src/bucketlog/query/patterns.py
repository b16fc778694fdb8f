"""Patterns over datoms, as joins of a SELECT with rows of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from bucketlog.edn import Keyword
from bucketlog.errors import QueryError
from bucketlog.image import OPEN, live
from bucketlog.query.inputs import Run
from bucketlog.query.sources import Sources
from bucketlog.query.statement import Select, Statement, fixed
from bucketlog.query.syntax import Blank, Constant, Pattern, Term
from bucketlog.schema import TX_BASE, Attribute
from bucketlog.value import Stored, ValueType

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Datoms", "attribute_of"]

_TRUE: Final = "x'0101'"
_FALSE: Final = "x'0100'"


def attribute_of(
    pattern: Pattern, databases: Mapping[str, Database], collections: frozenset[str]
) -> Attribute | None:
    """The attribute of a pattern that names one; raises `QueryError` when it is none of the database's."""
    if pattern.source in collections:
        return None
    if pattern.source not in databases:
        raise QueryError(f"{pattern.source} is not in :in, in: {pattern.text}")
    if len(pattern.places) > 5:
        raise QueryError(f"a pattern has one to five places [e a v tx added], in: {pattern.text}")
    place = pattern.places[1]
    if not isinstance(place, Constant):
        return None
    name = place.value
    schema = databases[pattern.source].schema
    attribute = schema.attribute(name) if isinstance(name, str | int) else None
    if attribute is None:
        nearest = schema.nearest(name)
        raise QueryError(f"{name!r} is not an attribute of the database{nearest}, in: {pattern.text}")
    return attribute


class Datoms:
    """Compiles the patterns of one statement."""

    def __init__(
        self,
        statement: Statement,
        databases: Mapping[str, Database],
        sources: Sources,
        encoder: Callable[[Term], Callable[[Run, Any], Stored | None]],
        heads: frozenset[str],
    ) -> None:
        """`encoder` says how a value for a term is read; `heads` are the databases that show the newest state
        of their image.
        """
        self._statement = statement
        self._databases = databases
        self._sources = sources
        self.encoder = encoder
        self._heads = heads
        self._bases: dict[str, str] = {}  # parameters by database, as are those below
        self._sinces: dict[str, str] = {}

    def attribute_of(self, pattern: Pattern) -> Attribute | None:
        """The attribute of a pattern that names one."""
        return attribute_of(pattern, self._databases, self._sources.collections)

    def size(self, pattern: Pattern) -> int | None:
        """About how many datoms a pattern has to do with; `None` when that is not known."""
        if pattern.source in self._sources.collections or pattern.source in self._sources.foreign:
            return None
        attribute = self.attribute_of(pattern)
        return self._databases[pattern.source].image.size(attribute.id if attribute else None)

    def pattern(self, pattern: Pattern, select: Select) -> None:
        """Join a SELECT with the datoms of a pattern."""
        if pattern.source in self._sources.collections or pattern.source in self._sources.foreign:
            self._sources.join_pattern(pattern, select)
            return
        e, a, v, tx, added = pattern.places
        attribute = self.attribute_of(pattern)
        alias = self._statement.alias("d")
        select.tables.append(f"datom AS {alias}")
        if isinstance(e, Constant):
            select.conditions.append(f"{alias}.e = {self._entity(e, pattern)}")
        else:
            self._statement.meet(select, e, f"{alias}.e", ValueType.REF)
        if attribute is not None:
            select.conditions.append(f"{alias}.a = {attribute.id}")
        else:
            self._statement.meet(select, a, f"{alias}.a", ValueType.REF)
        if isinstance(v, Constant):
            select.conditions.append(f"{alias}.v = {self.value(v, attribute, pattern)}")
        else:
            self._statement.meet(select, v, f"{alias}.v", attribute.type if attribute else None)
        when, sign = self._interval(pattern, alias, select)
        if isinstance(tx, Constant):
            if not isinstance(tx.value, int):
                raise QueryError(f"{tx.value!r} is no transaction, in: {pattern.text}")
            select.conditions.append(f"{when} = {tx.value % TX_BASE}")
        else:
            self._statement.meet(select, tx, f"({when} + {TX_BASE})", ValueType.REF)
        self._statement.meet(select, added, sign)

    def _interval(self, pattern: Pattern, alias: str, select: Select) -> tuple[str, str]:
        """Restrict a row to what the database shows; gives SQL for its transaction, and its being added."""
        database = self._databases[pattern.source]
        source = pattern.source
        if database.is_history and all(isinstance(place, Blank) for place in pattern.places[3:]):
            # Whether it was added or retracted, and when, is not asked: the row counts once.
            select.conditions.append(f"{alias}.added <= {self._basis(source)}")
            if database.since_t >= 0:
                since, basis = self._since(source), self._basis(source)
                retracted = f"{alias}.retracted > {since} AND {alias}.retracted <= {basis}"
                select.conditions.append(f"({alias}.added > {since} OR {retracted})")
            return f"{alias}.added", _TRUE
        if database.is_history:
            # A row is two datoms, an addition and a retraction; both are found through the row's own indexes.
            sign = self._statement.alias("h")
            select.tables.append(f"(SELECT {_TRUE} AS sign UNION ALL SELECT {_FALSE}) AS {sign}")
            when = f"iif({sign}.sign = {_TRUE}, {alias}.added, nullif({alias}.retracted, {OPEN}))"
            select.conditions += [f"{when} <= {self._basis(source)}", f"{when} > {self._since(source)}"]
            return when, f"{sign}.sign"
        if source in self._heads:
            select.conditions.append(f"{alias}.retracted = {OPEN}")
        else:
            select.conditions.append(live(f"{alias}.", self._basis(source)))
        if database.since_t >= 0:
            select.conditions.append(f"{alias}.added > {self._since(source)}")
        return f"{alias}.added", _TRUE

    def _basis(self, source: str) -> str:
        if source not in self._bases:
            self._bases[source] = self._statement.parameter(lambda run: run.databases[source].basis_t)
        return self._bases[source]

    def _since(self, source: str) -> str:
        if source not in self._sinces:
            self._sinces[source] = self._statement.parameter(lambda run: run.databases[source].since_t)
        return self._sinces[source]

    def _entity(self, term: Constant, pattern: Pattern) -> str:
        value, source = term.value, pattern.source
        if isinstance(value, bool) or not isinstance(value, int | Keyword | tuple):
            raise QueryError(f"{value!r} names no entity, in: {pattern.text}")
        if isinstance(value, int):
            return str(value)
        return self._statement.parameter(lambda run: run.databases[source].entid(value))

    def value(self, term: Constant, attribute: Attribute | None, pattern: Pattern) -> str:
        """The SQL of a constant at the place of a value."""
        value = term.value
        if attribute is None:
            return self._statement.constant(term)
        if attribute.is_ref:
            return self._entity(term, pattern)
        if attribute.refers:
            return self._statement.parameter(
                lambda run: run.databases[pattern.source].stored(attribute, value)
            )
        try:
            stored = attribute.encode(value)
        except ValueError as error:
            raise QueryError(
                f"{value!r} can be no value of {attribute.ident} ({attribute.type.value}): {error}, "
                f"in: {pattern.text}"
            ) from None
        return self._statement.parameter(fixed(stored))
