"""A database as a value: the datoms known at one transaction, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from bucketlog.composite import resolve_references
from bucketlog.datom import Datom
from bucketlog.edn import Keyword
from bucketlog.entity import Entity
from bucketlog.errors import QueryError
from bucketlog.fulltext import FOUND, search_expression
from bucketlog.guard import NO_FUNCTIONS, Functions
from bucketlog.image import LIVE, Image, live
from bucketlog.indexes import datoms, index_range
from bucketlog.operation import TransactionData
from bucketlog.pull import pull as _pull
from bucketlog.query.engine import run
from bucketlog.query.explain import Plan, explain
from bucketlog.report import TransactionReport
from bucketlog.schema import IDENT, TX_BASE, TX_INSTANT, Attribute, Schema
from bucketlog.speculation import speculate
from bucketlog.state import State
from bucketlog.value import Stored, decode, encode

__all__ = ["Database"]

_ABSENT: Final = object()
"""Stands in a tuple for an entity that is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Database:
    """An immutable value: it shows the same datoms for ever, whatever is committed later.

    Values come from `Connection.db`, `Connection.sync` and transaction reports; `as_of`, `since` and
    `history` give other views of the same datoms. They are valid until their connection is closed.
    """

    _image: Image
    _state: State
    _as_of: int
    _since: int = -1
    _history: bool = False
    _functions: Functions = field(default_factory=lambda: NO_FUNCTIONS, repr=False)

    def __repr__(self) -> str:
        views = [f"as of {self._as_of}" if self._as_of < self._state.t else f"{self._as_of}"]
        views += [f"since {self._since}"] * (self._since >= 0) + ["history"] * self._history
        return f"<Database {', '.join(views)}>"

    @property
    def basis_t(self) -> int:
        """The last transaction that this value can show."""
        return self._as_of

    def as_of(self, t: int | datetime) -> Database:
        """The database as it was after transaction `t` (its number or entity id), or at that instant."""
        return replace(self, _as_of=max(0, min(self._as_of, self._transaction_at(t))))

    def since(self, t: int | datetime) -> Database:
        """Only what transactions after `t` have added and what still holds."""
        return replace(self, _since=max(self._since, self._transaction_at(t)))

    def history(self) -> Database:
        """All datoms, retracted ones too, and their retractions: patterns are `[?e ?a ?v ?tx ?added]`."""
        return replace(self, _history=True)

    def q(self, query: str | Sequence[Any] | Mapping[Any, Any], *inputs: Any) -> Any:
        """Run `query` with this value as `$` and `inputs` for what else `:in` names; see `bucketlog.q`."""
        return run(query, (self, *inputs))

    def explain(self, query: str | Sequence[Any] | Mapping[Any, Any], *inputs: Any) -> Plan:
        """How `q` computes this query: its steps in their order, with estimated and real numbers of rows."""
        return explain(query, (self, *inputs))

    def pull(self, pattern: str | Sequence[Any], entity: Any) -> dict[str, Any]:
        """The tree that `pattern` selects from one entity, keyed by attribute.

        `entity` is an id, an ident or a lookup ref `[attribute, value]`. An entity or attribute that is not
        there gives no key, so an absent entity gives `{}`. Raises `QueryError` for a wrong pattern.
        """
        return self.pull_many(pattern, (entity,))[0]

    def pull_many(self, pattern: str | Sequence[Any], entities: Iterable[Any]) -> list[dict[str, Any]]:
        """`pull` of several entities at once, in their order."""
        return _pull(self, pattern, [self.entid(entity) for entity in entities])

    def entity(self, entity: Any) -> Entity | None:
        """The entity that an id, an ident or a lookup ref names, to be read attribute by attribute.

        `None` when a name is nobody's; an id always gives one, which may be empty. Raises `QueryError`.
        """
        if self._history:
            raise QueryError("a history has no single value for an entity to show: use as_of")
        found = self.entid(entity)
        return None if found is None else Entity(self, found)

    def datoms(self, index: str, *components: Any) -> Iterator[Datom]:
        """The datoms with these first places, in the order of `:eavt`, `:aevt`, `:avet` or `:vaet`.

        The last has references only. Entities are named as everywhere, values are those of the attribute.
        Attributes come in the order of their ids, values of one type in theirs. Raises `QueryError`.
        """
        return datoms(self, index, components, seek=False)

    def seek_datoms(self, index: str, *components: Any) -> Iterator[Datom]:
        """The datoms of an index from the place of `components` on, to its end; otherwise as `datoms`."""
        return datoms(self, index, components, seek=True)

    def index_range(self, attribute: Any, start: Any = None, end: Any = None) -> Iterator[Datom]:
        """The datoms of an attribute with values from `start` on, before `end`, in the order of values."""
        return index_range(self, attribute, start, end)

    def with_(self, data: TransactionData) -> TransactionReport:
        """What `Connection.transact` would do if this were the newest state: nothing is written.

        `db_after` can be asked like any other, and tried further with `with_`. It is a value of its own, that
        shares what did not change and goes with the last reference to it. Raises `TransactionError`.
        """
        return speculate(self, data, datetime.now(UTC))

    def entid(self, entity: Any) -> int | None:
        """The id of the entity that an id, an ident or a lookup ref names; `None` when there is none.

        Raises `QueryError` when `entity` is none of these.
        """
        if isinstance(entity, int) and not isinstance(entity, bool):
            return entity
        if isinstance(entity, str) and entity.startswith(":"):
            return self.schema.idents.get(entity)
        if isinstance(entity, list | tuple) and len(entity) == 2:
            attribute = self.schema.attribute(entity[0]) if isinstance(entity[0], str | int) else None
            if attribute is None or not attribute.unique:
                raise QueryError(f"{entity!r} is not a lookup ref: {entity[0]!r} is not a unique attribute")
            try:
                value = self.stored(attribute, entity[1])
            except ValueError as error:
                raise QueryError(f"lookup ref {entity!r}: {error} ({attribute.type.value})") from None
            return None if value is None else self.holder(attribute, value)
        raise QueryError(
            f"{entity!r} names no entity: use an id, an ident or a lookup ref [attribute, value]"
        )

    def ident(self, entity: int) -> Keyword | None:
        """The ident of an entity, `None` when it has none."""
        ident = self.schema.definitions.get(entity, {}).get(IDENT)
        return None if ident is None else Keyword(str(decode(ident)))

    def attribute(self, name: str | int) -> Attribute | None:
        """The attribute of that ident or id, `None` when there is none."""
        return self.schema.attribute(name)

    def shows_same(self, other: Database) -> bool:
        """Whether another value shows the very same datoms, of the same connection."""
        return self._image is other._image and (self._as_of, self._since, self._history) == (
            other._as_of,
            other._since,
            other._history,
        )

    # What the transactor, the query engine and pull read; values are in stored form.

    @property
    def schema(self) -> Schema:
        """The attributes and idents."""
        return self._state.schema

    @property
    def state(self) -> State:
        """The end of the log that this value was taken at."""
        return self._state

    @property
    def image(self) -> Image:
        """Where the datoms are."""
        return self._image

    @property
    def functions(self) -> Functions:
        """What transactions can call by name."""
        return self._functions

    @property
    def is_history(self) -> bool:
        """True for a `history` view."""
        return self._history

    @property
    def since_t(self) -> int:
        """Only transactions after this one show; -1 for all."""
        return self._since

    def stored(self, attribute: Attribute, value: Any) -> Stored | None:
        """The stored form of a value that may name entities; `None` when one of them is not there.

        Raises `ValueError` when it is no value of the attribute, `QueryError` when it does not name entities.
        """
        if attribute.is_ref:
            return self.entid(value)
        if attribute.refers:
            value = resolve_references(attribute, value, self._present)
            if isinstance(value, tuple) and _ABSENT in value:
                return None
        return attribute.encode(value)

    def holder(self, attribute: Attribute, value: Stored) -> int | None:
        """The entity that has this value of a unique attribute."""
        rows = self._rows("SELECT e FROM datom WHERE a = :a AND v = :v AND", a=attribute.id, v=value)
        return rows[0][0] if rows else None

    def values(self, entity: int, attribute: int) -> list[Stored]:
        """The values of one attribute of one entity."""
        rows = self._rows("SELECT v FROM datom WHERE e = :e AND a = :a AND", e=entity, a=attribute)
        return [row[0] for row in rows]

    def holds(self, entity: int, attribute: int, value: Stored) -> bool:
        """Whether an attribute of an entity has that value, among however many."""
        head = "SELECT 1 FROM datom WHERE e = :e AND a = :a AND v = :v AND"
        return bool(self._rows(head, e=entity, a=attribute, v=value))

    def datoms_of(self, entity: int) -> list[tuple[int, Stored]]:
        """Attribute and value of every datom of one entity."""
        return [(a, v) for a, v in self._rows("SELECT a, v FROM datom WHERE e = :e AND", e=entity)]

    def search(self, attributes: Sequence[Attribute], words: str) -> list[tuple[int, str, int, float]]:
        """Entity, text, transaction and score of the datoms with a text that `words` find, best first.

        Of a history every addition. Raises `QueryError` for an attribute whose texts are not searched, or
        when there is nothing to search for; see `bucketlog.fulltext.search_expression` for the words.
        """
        searchable = self._image.searchable
        for attribute in attributes:
            if attribute.id not in searchable:
                raise QueryError(f"{attribute.ident} has no :db/fulltext true, so its texts are not searched")
        try:
            expression = search_expression(words)
        except ValueError as error:
            raise QueryError(f"fulltext: {error}") from None
        shown = "d.added <= :t" if self._history else live("d.", ":t")
        among = ", ".join(str(attribute.id) for attribute in attributes)
        sql = (
            f"SELECT d.e, d.v, d.added + {TX_BASE}, found.score FROM {FOUND} "  # noqa: S608 -- integers
            f"WHERE text.a IN ({among}) AND {shown} AND d.added > :since ORDER BY found.score DESC, d.e"
        )
        return self._image.rows(sql, {"words": expression, "t": self._as_of, "since": self._since})

    def ever(self, entity: int, attribute: int) -> list[Any]:
        """The values that an attribute of an entity has, or had at any time."""
        sql = "SELECT v FROM datom WHERE e = ? AND a = ?"
        return [row[0] for row in self._image.rows(sql, (entity, attribute))]

    def entities_with(self, attribute: int) -> list[int]:
        """The entities that have a value of the attribute."""
        rows = self._rows("SELECT DISTINCT e FROM datom WHERE a = :a AND", a=attribute)
        return [row[0] for row in rows]

    def references_to(self, entity: int) -> list[tuple[int, int]]:
        """Entity and attribute of every reference to one entity."""
        return [
            (e, a) for e, a in self._rows("SELECT e, a FROM datom WHERE ref = 1 AND v = :v AND", v=entity)
        ]

    def referrers(self, entity: int, attribute: int) -> list[int]:
        """The entities that refer to one by that attribute."""
        rows = self._rows(
            "SELECT e FROM datom WHERE ref = 1 AND v = :v AND a = :a AND", v=entity, a=attribute
        )
        return [row[0] for row in rows]

    def has_duplicates(self, attribute: Attribute, *, by: str) -> bool:
        """Whether some value (`by="v"`) or entity (`by="e"`) occurs twice with `attribute`."""
        column = {"v": "v", "e": "e"}[by]
        head, tail = "SELECT 1 FROM datom WHERE a = :a AND", f"GROUP BY {column} HAVING count(*) > 1 LIMIT 1"
        return bool(self._rows(head, tail, a=attribute.id))

    def _present(self, name: Any) -> Any:
        found = self.entid(name)
        return _ABSENT if found is None else found

    def _rows(self, head: str, tail: str = "", **parameters: Stored) -> list[tuple[Any, ...]]:
        parameters |= {"t": self._as_of, "since": self._since}
        return self._image.rows(f"{head} {LIVE} {tail}", parameters)

    def _transaction_at(self, t: int | datetime) -> int:
        if isinstance(t, datetime):
            try:
                instant = encode(t)
            except ValueError as error:
                raise QueryError(f"{t!r}: {error}") from None
            sql = "SELECT max(e) FROM datom WHERE a = :a AND v <= :v AND added <= :t"
            ((found,),) = self._image.rows(sql, {"a": TX_INSTANT, "v": instant, "t": self._as_of})
            return -1 if found is None else int(found) - TX_BASE
        if not isinstance(t, int):
            raise QueryError(f"{t!r} is neither a transaction (its number or entity id) nor an instant")
        return t - TX_BASE if t >= TX_BASE else t
