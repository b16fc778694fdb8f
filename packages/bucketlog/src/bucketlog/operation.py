"""Reading transaction data: maps, lists and functions become operations on known attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from bucketlog import edn
from bucketlog.errors import EdnError, QueryError, TransactionError
from bucketlog.schema import TX_BASE, Attribute, transaction_entity
from bucketlog.value import Stored, encode_as

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
    "TempId",
    "TransactionData",
]

CURRENT_TRANSACTION: Final = "datomic.tx"
"""The temp id of the transaction's own entity."""

TransactionData = Iterable[Any]
"""Entity maps, lists `[":db/add", …]`, and functions `fn(db) -> TransactionData`."""

_MAX_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class TempId:
    """An entity not known yet: a temp id of the user's, or a number for a map without `:db/id`."""

    name: str | int

    def __str__(self) -> str:
        return f"temp id {self.name!r}" if isinstance(self.name, str) else "an entity map without :db/id"


@dataclass(frozen=True, slots=True)
class Add:
    """`[:db/add e a v]`."""

    e: int | TempId
    attribute: Attribute
    v: Stored | TempId


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
    """`[:db/cas e a old new]`; `None` is no value."""

    e: int
    attribute: Attribute
    old: Stored | None
    new: Stored | TempId | None


Operation = Add | Retract | RetractEntity | Swap


class Reader:
    """Reads forms into operations; names of entities are resolved against the database before."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tx = transaction_entity(db.state.t + 1)
        self._anonymous = 0

    def read(self, data: TransactionData, depth: int = 0) -> Iterator[Operation]:
        if depth > _MAX_DEPTH:
            raise TransactionError(f"transaction functions or maps are nested more than {_MAX_DEPTH} deep")
        if isinstance(data, str):
            data = _read(data)
        if isinstance(data, Mapping) or not isinstance(data, Iterable):
            raise TransactionError(f"transaction data is a list of maps and lists, not {type(data).__name__}")
        for form in data:
            if callable(form):
                yield from self.read(form(self._db), depth + 1)
            elif isinstance(form, Mapping):
                yield from self._map(form, self._map_entity(form), depth)
            elif isinstance(form, list | tuple) and form:
                yield self._list(form)
            else:
                raise TransactionError(
                    f"{form!r} is neither an entity map, a list such as [':db/add', e, a, v] nor a function"
                )

    def _list(self, form: list[Any] | tuple[Any, ...]) -> Operation:
        match form:
            case [":db/add", e, a, v]:
                attribute = self._attribute(a, form)
                return Add(self._entity(e, form), attribute, self._value(attribute, v, form))
            case [":db/retract", e, a]:
                return Retract(self._existing(e, form), self._attribute(a, form), None)
            case [":db/retract", e, a, v]:
                attribute = self._attribute(a, form)
                return Retract(self._existing(e, form), attribute, self._known_value(attribute, v, form))
            case [":db/retractEntity" | ":db.fn/retractEntity", e]:
                return RetractEntity(self._existing(e, form))
            case [":db/cas" | ":db.fn/cas", e, a, old, new]:
                attribute = self._attribute(a, form)
                return Swap(
                    self._existing(e, form),
                    attribute,
                    None if old is None else self._known_value(attribute, old, form),
                    None if new is None else self._value(attribute, new, form),
                )
        raise TransactionError(
            f"{form!r}: expected [:db/add e a v], [:db/retract e a v], [:db/retract e a], "
            f"[:db/retractEntity e] or [:db/cas e a old new]"
        )

    def _map_entity(self, form: Mapping[Any, Any]) -> int | TempId:
        if ":db/id" in form:
            return self._entity(form[":db/id"], form)
        self._anonymous += 1
        return TempId(self._anonymous)

    def _map(self, form: Mapping[Any, Any], e: int | TempId, depth: int) -> Iterator[Operation]:
        if depth > _MAX_DEPTH:
            raise TransactionError(f"entity maps are nested more than {_MAX_DEPTH} deep")
        for key, value in form.items():
            if key == ":db/id":
                continue
            namespace, slash, name = str(key).rpartition("/")
            reverse = name.startswith("_")
            attribute = self._attribute(f"{namespace}{slash}{name[1:]}" if reverse else key, form)
            if reverse and not attribute.is_ref:
                raise TransactionError(
                    f"{key} in {form!r}: only a reference has a reverse, {_described(attribute)}"
                )
            for item in self._items(attribute, value, reverse=reverse):
                yield from self._map_value(form, e, attribute, item, depth, reverse=reverse)

    def _map_value(
        self,
        form: Mapping[Any, Any],
        e: int | TempId,
        attribute: Attribute,
        item: Any,
        depth: int,
        *,
        reverse: bool,
    ) -> Iterator[Operation]:
        if attribute.is_ref and isinstance(item, Mapping):
            other = self._map_entity(item)
            known = ":db/id" in item or any(
                isinstance(key, str) and (named := self._db.schema.attribute(key)) and named.identity
                for key in item
            )
            if not (known or reverse or attribute.component):
                raise TransactionError(
                    f"{item!r} below {attribute.ident} would be an entity that nothing else can find: "
                    f"give it a :db/id or a unique identity, or make {attribute.ident} a component"
                )
            yield Add(other, attribute, e) if reverse else Add(e, attribute, other)
            yield from self._map(item, other, depth + 1)
        elif reverse:
            yield Add(self._entity(item, form), attribute, e)
        else:
            yield Add(e, attribute, self._value(attribute, item, form))

    def _items(self, attribute: Attribute, value: Any, *, reverse: bool) -> Iterable[Any]:
        if not (attribute.many or reverse) or not isinstance(value, list | tuple | set | frozenset):
            return (value,)
        if (
            attribute.is_ref
            and isinstance(value, list | tuple)
            and len(value) == 2
            and isinstance(value[0], str)
        ):
            named = self._db.schema.attribute(value[0])
            if named is not None and named.unique:
                return (value,)
        return list(value)

    def _attribute(self, name: Any, form: Any) -> Attribute:
        attribute = self._db.schema.attribute(name) if isinstance(name, str | int) else None
        if attribute is None:
            raise TransactionError(
                f"{name!r} in {_brief(form)} is not an attribute: define it with :db/ident, :db/valueType "
                f"and :db/cardinality in an earlier transaction"
            )
        return attribute

    def _entity(self, e: Any, form: Any) -> int | TempId:
        if isinstance(e, str) and e == CURRENT_TRANSACTION:
            return self._tx
        if isinstance(e, str) and not e.startswith(":"):
            return TempId(str(e))
        try:
            found = self._db.entid(e)
        except QueryError as error:
            raise TransactionError(f"{_brief(form)}: {error}") from None
        if found is None:
            raise TransactionError(f"{e!r} in {_brief(form)} names no entity")
        if not (0 < found < self._db.state.next_entity or TX_BASE <= found <= self._tx):
            raise TransactionError(
                f"entity {found} in {_brief(form)} was never made: use a temp id such as 'new-post'"
            )
        return found

    def _existing(self, e: Any, form: Any) -> int:
        found = self._entity(e, form)
        if isinstance(found, TempId):
            raise TransactionError(
                f"{_brief(form)}: {found} is new, so there is nothing to retract or compare"
            )
        return found

    def _value(self, attribute: Attribute, value: Any, form: Any) -> Stored | TempId:
        if attribute.is_ref:
            return self._entity(value, form)
        try:
            return encode_as(attribute.type, value)
        except ValueError as error:
            raise TransactionError(f"{value!r} is no value for {_described(attribute)}: {error}") from None

    def _known_value(self, attribute: Attribute, value: Any, form: Any) -> Stored:
        found = self._value(attribute, value, form)
        if isinstance(found, TempId):
            raise TransactionError(
                f"{_brief(form)}: {found} is new, so there is nothing to retract or compare"
            )
        return found


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
