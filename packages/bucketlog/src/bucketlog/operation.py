"""Reading transaction data: maps, lists and functions become operations on known attributes.

This runs for every datom that is written, so the common case, a map of plain attributes, is a short loop over
plain tuples. A term for an entity that is not known yet is a negative integer: ids are never negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from bucketlog import edn
from bucketlog.composite import resolve_references
from bucketlog.errors import EdnError, QueryError, TransactionError
from bucketlog.guard import find_function
from bucketlog.schema import ENSURE, TX_BASE, Attribute, reversed_name, transaction_entity
from bucketlog.value import Stored

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = [
    "CURRENT_TRANSACTION",
    "Add",
    "Operation",
    "Reader",
    "Retract",
    "RetractEntity",
    "Swap",
    "TransactionData",
]

CURRENT_TRANSACTION: Final = "datomic.tx"
"""The temp id of the transaction's own entity."""
_CURRENT: Final = frozenset({CURRENT_TRANSACTION, ":db/current-tx"})

TransactionData = Iterable[Any]
"""Entity maps, lists `[":db/add", …]`, and functions `fn(db) -> TransactionData`."""

_MAX_DEPTH: Final = 100

Add = tuple[int, Attribute, Stored]
"""`[:db/add e a v]`; an entity not known yet is a negative number, as `e` and as `v` of a reference."""


@dataclass(frozen=True, slots=True)
class Retract:
    """`[:db/retract e a v]`; every value of the attribute with `v` None."""

    e: int
    attribute: Attribute
    v: Stored | None


@dataclass(frozen=True, slots=True)
class RetractEntity:
    """`[:db/retractEntity e]`."""

    e: int


@dataclass(frozen=True, slots=True)
class Swap:
    """`[:db/cas e a old new]`; `None` is no value, and `new` of a reference may be negative as in `Add`."""

    e: int
    attribute: Attribute
    old: Stored | None
    new: Stored | None


Operation = Retract | RetractEntity | Swap


class Reader:
    """Reads forms into operations; names of entities are resolved against the database before."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._schema = db.schema
        self._tx = transaction_entity(db.state.t + 1)
        self.adds: list[Add] = []
        """What is added, in the order of the data."""
        self.operations: list[Operation] = []
        """All else."""
        self.ensured: list[tuple[int, int]] = []
        """Entities, and what specifies them."""
        self.named: dict[str | int, int] = {}
        """The negative numbers of the user's temp ids."""
        self._temps = 0

    def read(self, data: TransactionData, depth: int = 0) -> None:
        """Take in transaction data; raises `TransactionError`, and what a function in it raises."""
        if depth > _MAX_DEPTH:
            raise TransactionError(f"transaction functions or maps are nested more than {_MAX_DEPTH} deep")
        if isinstance(data, str):
            data = _read(data)
        if isinstance(data, Mapping | str) or not isinstance(data, Iterable):
            raise TransactionError(f"transaction data is a list of maps and lists, not {type(data).__name__}")
        for form in data:
            if isinstance(form, Mapping):
                self._map(form, self._map_entity(form), depth)
            elif callable(form):
                self.read(form(self._db), depth + 1)
            elif isinstance(form, list | tuple) and form:
                self._list(form, depth)
            else:
                raise TransactionError(
                    f"{form!r} is neither an entity map, a list such as [':db/add', e, a, v] nor a function"
                )

    def describe(self, temp: int) -> str:
        """What the user called the entity of a negative number."""
        name = next((name for name, number in self.named.items() if number == temp), None)
        return "an entity map without :db/id" if name is None else f"temp id {name!r}"

    def _list(self, form: list[Any] | tuple[Any, ...], depth: int) -> None:
        match form:
            case [":db/add", e, a, v]:
                attribute = self._attribute(a, form)
                self._add(self._entity(e, form), attribute, self._value(attribute, v, form))
            case [":db/retract" | ":db.fn/retractAttribute", e, a]:
                self.operations.append(Retract(self._existing(e, form), self._attribute(a, form), None))
            case [":db/retract", e, a, v]:
                attribute = self._attribute(a, form)
                known = self._known_value(attribute, v, form)
                self.operations.append(Retract(self._existing(e, form), attribute, known))
            case [":db/retractEntity" | ":db.fn/retractEntity", e]:
                self.operations.append(RetractEntity(self._existing(e, form)))
            case [":db/cas" | ":db.fn/cas", e, a, old, new]:
                attribute = self._attribute(a, form)
                self.operations.append(
                    Swap(
                        self._existing(e, form),
                        attribute,
                        None if old is None else self._known_value(attribute, old, form),
                        None if new is None else self._value(attribute, new, form),
                    )
                )
            case [":db.fn/call", function, *arguments] if callable(function):
                self.read(function(self._db, *arguments), depth + 1)
            case [str(name), *arguments] if not name.startswith((":db/", ":db.")):
                function = find_function(self._db.functions, name, f"the first of {_brief(form)}")
                self.read(function(self._db, *arguments), depth + 1)
            case _:
                raise TransactionError(
                    f"{form!r}: expected [:db/add e a v], [:db/retract e a v], [:db/retract e a], "
                    f"[:db/retractEntity e], [:db/cas e a old new], [:db.fn/call f …] or a function's name"
                )

    def _add(self, e: int, attribute: Attribute, v: Stored) -> None:
        """Take in a fact; `:db/ensure` is none, but a wish about the entity."""
        if attribute.id == ENSURE:
            self.ensured.append((e, int(v)))
        else:
            self.adds.append((e, attribute, v))

    def _map_entity(self, form: Mapping[Any, Any]) -> int:
        if ":db/id" in form:
            return self._entity(form[":db/id"], form)
        self._temps += 1
        return -self._temps

    def _map(self, form: Mapping[Any, Any], e: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise TransactionError(f"entity maps are nested more than {_MAX_DEPTH} deep")
        simple, add = self._schema.simple, self.adds.append
        for key, value in form.items():
            attribute = simple.get(key)
            if attribute is None:
                if key != ":db/id":
                    self._entry(form, e, key, value, depth)
                continue
            try:
                add((e, attribute, attribute.encode(value)))
            except ValueError as error:
                raise _no_value(value, attribute, error) from None

    def _entry(self, form: Mapping[Any, Any], e: int, key: Any, value: Any, depth: int) -> None:
        """An entry of a map whose attribute has many values, refers to entities, or is not known."""
        forward = reversed_name(key) if isinstance(key, str) else None
        reverse = forward is not None
        attribute = self._attribute(forward if reverse else key, form)
        if reverse and not attribute.is_ref:
            raise TransactionError(
                f"{key} in {form!r}: only a reference has a reverse, {_described(attribute)}"
            )
        for item in self._items(attribute, value, reverse=reverse):
            if attribute.is_ref and isinstance(item, Mapping):
                self._nested(item, e, attribute, depth, reverse=reverse)
            elif reverse:
                self.adds.append((self._entity(item, form), attribute, e))
            else:
                self._add(e, attribute, self._value(attribute, item, form))

    def _nested(
        self, item: Mapping[Any, Any], e: int, attribute: Attribute, depth: int, *, reverse: bool
    ) -> None:
        other = self._map_entity(item)
        known = ":db/id" in item or any(
            isinstance(key, str) and (named := self._schema.attribute(key)) and named.identity for key in item
        )
        if not (known or reverse or attribute.component):
            raise TransactionError(
                f"{item!r} below {attribute.ident} would be an entity that nothing else can find: "
                f"give it a :db/id or a unique identity, or make {attribute.ident} a component"
            )
        self.adds.append((other, attribute, e) if reverse else (e, attribute, other))
        self._map(item, other, depth + 1)

    def _items(self, attribute: Attribute, value: Any, *, reverse: bool) -> Iterable[Any]:
        if not (attribute.many or reverse) or not isinstance(value, list | tuple | set | frozenset):
            return (value,)
        if attribute.elements and not all(isinstance(item, list | tuple) for item in value):
            return (value,)
        if (
            attribute.is_ref
            and isinstance(value, list | tuple)
            and len(value) == 2
            and isinstance(value[0], str)
        ):
            named = self._schema.attribute(value[0])
            if named is not None and named.unique:
                return (value,)
        return list(value)

    def _attribute(self, name: Any, form: Any) -> Attribute:
        attribute = self._schema.attribute(name) if isinstance(name, str | int) else None
        if attribute is None:
            raise TransactionError(
                f"{name!r} in {_brief(form)} is not an attribute: define it with :db/ident, :db/valueType "
                f"and :db/cardinality in an earlier transaction{self._schema.nearest(name)}"
            )
        return attribute

    def _entity(self, e: Any, form: Any) -> int:
        if isinstance(e, str) and e in _CURRENT:
            return self._tx
        if (isinstance(e, str) and not e.startswith(":")) or (isinstance(e, int) and e < 0):
            temp = self.named.get(e)
            if temp is None:
                self._temps += 1
                temp = self.named[e] = -self._temps
            return temp
        try:
            found = self._db.entid(e)
        except QueryError as error:
            raise TransactionError(f"{_brief(form)}: {error}") from None
        if found is None:
            raise TransactionError(
                f"{e!r} in {_brief(form)} names no entity: what the same transaction makes has a temp id only"
                f"{self._schema.nearest(e) if isinstance(e, str) else ''}"
            )
        if not (0 < found < self._db.state.next_entity or TX_BASE <= found <= self._tx):
            raise TransactionError(
                f"entity {found} in {_brief(form)} was never made: use a temp id such as 'new-post'"
            )
        return found

    def _existing(self, e: Any, form: Any) -> int:
        found = self._entity(e, form)
        if found < 0:
            raise TransactionError(
                f"{_brief(form)}: {self.describe(found)} is new, so there is nothing to retract or compare"
            )
        return found

    def _value(self, attribute: Attribute, value: Any, form: Any) -> Stored:
        if attribute.is_ref:
            return self._entity(value, form)
        if attribute.refers:
            value = resolve_references(attribute, value, lambda item: self._entity(item, form))
        try:
            return attribute.encode(value)
        except ValueError as error:
            raise _no_value(value, attribute, error) from None

    def _known_value(self, attribute: Attribute, value: Any, form: Any) -> Stored:
        return self._existing(value, form) if attribute.is_ref else self._value(attribute, value, form)


def _read(text: str) -> TransactionData:
    try:
        return cast("TransactionData", edn.loads(text))
    except EdnError as error:
        raise TransactionError(f"the transaction data cannot be read: {error}") from error


def _brief(form: Any) -> str:
    text = repr(form)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _described(attribute: Attribute) -> str:
    return f"{attribute.ident}, which is of type {attribute.type.value}"


def _no_value(value: Any, attribute: Attribute, error: ValueError) -> TransactionError:
    return TransactionError(f"{value!r} is no value for {_described(attribute)}: {error}")
