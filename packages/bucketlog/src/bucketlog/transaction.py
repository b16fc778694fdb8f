"""From transaction data to datoms: a pure function of a database value.

The steps: functions are called and maps expanded into operations on known attributes; temp ids become entities (those
whose unique identity exists, then new ones); operations become a set of additions and retractions; what is already so
is left out; uniqueness and the schema are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bucketlog import edn
from bucketlog.errors import ConflictError, QueryError, TransactionError, UniqueError
from bucketlog.schema import (
    CARDINALITY,
    ENUMERATIONS,
    FIRST_ENTITY,
    IDENT,
    TX_BASE,
    TX_INSTANT,
    UNIQUE,
    VALUE_TYPE,
    Attribute,
    Change,
    Schema,
    transaction_entity,
)
from bucketlog.value import Stored, decode, encode, encode_as, instant_from_micros, instant_micros

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["CURRENT_TRANSACTION", "Prepared", "TransactionData", "prepare"]

CURRENT_TRANSACTION: Final = "datomic.tx"
"""The temp id of the transaction's own entity."""

TransactionData = Iterable[Any]
"""Entity maps, lists `[":db/add", …]`, and functions `fn(db) -> TransactionData`."""

_MAX_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction ready to be written; without changes there is nothing to write."""

    changes: tuple[Change, ...]
    tempids: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Temp:
    """An entity that is not known yet: a temp id of the user's, or a number for a map without `:db/id`."""

    name: str | int

    def __str__(self) -> str:
        return f"temp id {self.name!r}" if isinstance(self.name, str) else "an entity map without :db/id"


@dataclass(frozen=True, slots=True)
class _Add:
    e: int | _Temp
    attribute: Attribute
    v: Stored | _Temp


@dataclass(frozen=True, slots=True)
class _Retract:
    e: int
    attribute: Attribute
    v: Stored | None  # None: every value


@dataclass(frozen=True, slots=True)
class _RetractEntity:
    e: int


@dataclass(frozen=True, slots=True)
class _Swap:
    e: int
    attribute: Attribute
    old: Stored | None
    new: Stored | _Temp | None


_Operation = _Add | _Retract | _RetractEntity | _Swap


def prepare(db: Database, data: TransactionData, now: datetime) -> Prepared:
    """The datoms that `data` means on `db`, as its next transaction.

    `:db/txInstant` is `now`, or one microsecond after the last transaction's when clocks disagree. Raises
    `TransactionError` (`ConflictError` for a failed compare-and-swap, `UniqueError` for a taken value) and whatever a
    transaction function raises.
    """
    reader = _Reader(db)
    operations = list(reader.read(data))
    resolution = _resolve(db, operations)
    changes = _changes(db, [_substitute(operation, resolution) for operation in operations])
    _check_unique(db, changes)
    _check_schema(db, db.schema.evolve(changes), changes)
    tempids = {temp.name: e for temp, e in resolution.entities.items() if isinstance(temp.name, str)}
    if changes:
        _state_instant(db, changes, now)
    return Prepared(tuple(changes), tempids)


def _state_instant(db: Database, changes: list[Change], now: datetime) -> None:
    """See to it that the transaction says when it was made, later than the one before."""
    tx = transaction_entity(db.state.t + 1)
    earliest = db.state.instant + 1
    latest = max(instant_micros(now), earliest)
    stated = next((decode(change.v) for change in changes if change.a == TX_INSTANT and change.e == tx), None)
    if stated is None:
        changes.append(Change(tx, TX_INSTANT, encode(instant_from_micros(latest)), True))
    elif not earliest <= instant_micros(stated) <= latest:
        raise TransactionError(
            f":db/txInstant {stated.isoformat()} must be after the last transaction's and not in the future"
        )


class _Reader:
    """Reads forms into operations; names of entities are resolved against the database before."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tx = transaction_entity(db.state.t + 1)
        self._anonymous = 0

    def read(self, data: TransactionData, depth: int = 0) -> Iterator[_Operation]:
        if depth > _MAX_DEPTH:
            raise TransactionError(f"transaction functions or maps are nested more than {_MAX_DEPTH} deep")
        if isinstance(data, str):
            data = edn.loads(data)
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

    def _list(self, form: list[Any] | tuple[Any, ...]) -> _Operation:
        match form:
            case [":db/add", e, a, v]:
                attribute = self._attribute(a, form)
                return _Add(self._entity(e, form), attribute, self._value(attribute, v, form))
            case [":db/retract", e, a]:
                return _Retract(self._existing(e, form), self._attribute(a, form), None)
            case [":db/retract", e, a, v]:
                attribute = self._attribute(a, form)
                return _Retract(self._existing(e, form), attribute, self._known_value(attribute, v, form))
            case [":db/retractEntity" | ":db.fn/retractEntity", e]:
                return _RetractEntity(self._existing(e, form))
            case [":db/cas" | ":db.fn/cas", e, a, old, new]:
                attribute = self._attribute(a, form)
                return _Swap(
                    self._existing(e, form),
                    attribute,
                    None if old is None else self._known_value(attribute, old, form),
                    None if new is None else self._value(attribute, new, form),
                )
        raise TransactionError(
            f"{form!r}: expected [:db/add e a v], [:db/retract e a v], [:db/retract e a], [:db/retractEntity e] or "
            f"[:db/cas e a old new]"
        )

    def _map_entity(self, form: Mapping[Any, Any]) -> int | _Temp:
        if ":db/id" in form:
            return self._entity(form[":db/id"], form)
        self._anonymous += 1
        return _Temp(self._anonymous)

    def _map(self, form: Mapping[Any, Any], e: int | _Temp, depth: int) -> Iterator[_Operation]:
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
        e: int | _Temp,
        attribute: Attribute,
        item: Any,
        depth: int,
        *,
        reverse: bool,
    ) -> Iterator[_Operation]:
        if attribute.is_ref and isinstance(item, Mapping):
            other = self._map_entity(item)
            known = ":db/id" in item or any(
                isinstance(key, str) and (named := self._db.schema.attribute(key)) and named.identity
                for key in item
            )
            if not (known or reverse or attribute.component):
                raise TransactionError(
                    f"{item!r} below {attribute.ident} would be an entity that nothing else can find: give it a "
                    f":db/id or a unique identity, or make {attribute.ident} a component"
                )
            yield _Add(other, attribute, _reference(e)) if reverse else _Add(e, attribute, _reference(other))
            yield from self._map(item, other, depth + 1)
        elif reverse:
            yield _Add(self._entity(item, form), attribute, _reference(e))
        else:
            yield _Add(e, attribute, self._value(attribute, item, form))

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
        return value

    def _attribute(self, name: Any, form: Any) -> Attribute:
        attribute = self._db.schema.attribute(name) if isinstance(name, str | int) else None
        if attribute is None:
            raise TransactionError(
                f"{name!r} in {_brief(form)} is not an attribute: define it with :db/ident, :db/valueType and "
                f":db/cardinality in an earlier transaction"
            )
        return attribute

    def _entity(self, e: Any, form: Any) -> int | _Temp:
        if isinstance(e, str) and e == CURRENT_TRANSACTION:
            return self._tx
        if isinstance(e, str) and not e.startswith(":"):
            return _Temp(str(e))
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
        if isinstance(found, _Temp):
            raise TransactionError(
                f"{_brief(form)}: {found} is new, so there is nothing to retract or compare"
            )
        return found

    def _value(self, attribute: Attribute, value: Any, form: Any) -> Stored | _Temp:
        if attribute.is_ref:
            return _reference(self._entity(value, form))
        try:
            return encode_as(attribute.type, value)
        except ValueError as error:
            raise TransactionError(f"{value!r} is no value for {_described(attribute)}: {error}") from None

    def _known_value(self, attribute: Attribute, value: Any, form: Any) -> Stored:
        found = self._value(attribute, value, form)
        if isinstance(found, _Temp):
            raise TransactionError(
                f"{_brief(form)}: {found} is new, so there is nothing to retract or compare"
            )
        return found


def _reference(e: int | _Temp) -> Stored | _Temp:
    return e


def _brief(form: Any) -> str:
    text = repr(form)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _described(attribute: Attribute) -> str:
    return f"{attribute.ident}, which is of type {attribute.type.value}"


@dataclass(slots=True)
class _Resolution:
    """Temp ids on their way to becoming entities: `same` joins those that turn out to be one."""

    next_entity: int
    same: dict[_Temp, _Temp] = field(default_factory=dict)
    entities: dict[_Temp, int] = field(default_factory=dict)

    def of(self, term: Any) -> Any:
        """The entity of a temp id if it is known, else the temp id that stands for all the same ones."""
        if not isinstance(term, _Temp):
            return term
        while term in self.same:
            term = self.same[term]
        return self.entities.get(term, term)

    def unite(self, temp: _Temp, other: int | _Temp) -> None:
        """Learn that `temp`, which stands for itself until now, is `other`."""
        if isinstance(other, _Temp):
            self.same[temp] = other
        else:
            self.entities[temp] = other


def _resolve(db: Database, operations: list[_Operation]) -> _Resolution:
    adds = [operation for operation in operations if isinstance(operation, _Add)]
    identities = [add for add in adds if add.attribute.identity]
    resolution = _Resolution(db.state.next_entity)
    settled = not any(isinstance(add.e, _Temp) for add in identities)
    while not settled:
        settled = True
        claims: dict[tuple[int, Stored | _Temp], int | _Temp] = {}
        for add in identities:
            e, v = resolution.of(add.e), resolution.of(add.v)
            known = None if isinstance(v, _Temp) else db.holder(add.attribute, v)
            if known is None:
                known = resolution.of(claims.setdefault((add.attribute.id, v), e))
            if known == e or not (isinstance(known, _Temp) or isinstance(e, _Temp)):
                continue  # two different entities are for the check of uniqueness to refuse
            if isinstance(e, _Temp):
                resolution.unite(e, known)
            else:
                resolution.unite(known, e)
            settled = False
    for add in adds:
        _allocate(resolution, add.e)
    for operation in operations:
        v = (
            operation.v
            if isinstance(operation, _Add)
            else operation.new
            if isinstance(operation, _Swap)
            else None
        )
        if isinstance(v, _Temp) and isinstance(resolution.of(v), _Temp):
            raise TransactionError(f"{v} is used as a value only: nothing says what it is")
    for temp in list(resolution.same):
        resolution.entities[temp] = resolution.of(temp)
    return resolution


def _allocate(resolution: _Resolution, e: int | _Temp) -> None:
    root = resolution.of(e)
    if isinstance(root, _Temp):
        resolution.entities[root] = resolution.next_entity
        resolution.next_entity += 1


def _substitute(operation: _Operation, resolution: _Resolution) -> _Operation:
    if isinstance(operation, _Add):
        return _Add(resolution.of(operation.e), operation.attribute, resolution.of(operation.v))
    if isinstance(operation, _Swap):
        return _Swap(operation.e, operation.attribute, operation.old, resolution.of(operation.new))
    return operation


def _shown(stored: Any) -> str:
    return str(stored) if isinstance(stored, _Temp) else repr(decode(stored))


_Fact = tuple[int, int, Stored]


def _changes(db: Database, operations: list[_Operation]) -> list[Change]:
    """What the operations (on entities only) really change, retractions first."""
    adds: dict[_Fact, Attribute] = {}
    retracts: dict[_Fact, None] = {}
    for operation in operations:
        match operation:
            case _Add(int(e), attribute, v):
                adds[e, attribute.id, v] = attribute  # type: ignore[index] -- temp ids are substituted
            case _Retract(e, attribute, v):
                held = db.values(e, attribute.id)
                retracts |= dict.fromkeys((e, attribute.id, old) for old in held if v is None or old == v)
            case _RetractEntity(e):
                _retract_entity(db, e, retracts)
            case _Swap():
                _swap(db, operation, adds, retracts)
    both = next((fact for fact in adds if fact in retracts), None)
    if both is not None:
        e, a, v = both
        raise TransactionError(f"{adds[both].ident} {_shown(v)} of entity {e} is both added and retracted")
    chosen: dict[tuple[int, int], Stored] = {}
    added: list[Change] = []
    for (e, a, v), attribute in adds.items():
        _check_writable(db, e, attribute)
        if not attribute.many and chosen.setdefault((e, a), v) != v:
            raise TransactionError(
                f"{attribute.ident} of entity {e} holds one value, but both {_shown(chosen[e, a])} and {_shown(v)} "
                f"are added"
            )
        held = db.values(e, a) if e < db.state.next_entity or e >= TX_BASE else []
        if v in held:
            continue
        if not attribute.many:
            retracts |= dict.fromkeys((e, a, old) for old in held)
        added.append(Change(e, a, v, True))
    for e, a, _ in retracts:
        _check_writable(db, e, db.schema.attributes[a])
    return [Change(*fact, False) for fact in retracts] + added


def _check_writable(db: Database, e: int, attribute: Attribute) -> None:
    if e < FIRST_ENTITY:
        raise TransactionError(f"entity {e} ({db.ident(e)}) is bucketlog's own and does not change")
    if attribute.id == TX_INSTANT and e != transaction_entity(db.state.t + 1):
        raise TransactionError(
            f":db/txInstant belongs to the transaction itself ({CURRENT_TRANSACTION!r}) only"
        )


def _retract_entity(db: Database, e: int, retracts: dict[_Fact, None]) -> None:
    """Everything about the entity, every reference to it, and its components likewise."""
    pending, seen = [e], {e}
    while pending:
        entity = pending.pop()
        for a, v in db.datoms_of(entity):
            retracts[entity, a, v] = None
            if db.schema.attributes[a].component and isinstance(v, int) and v not in seen:
                seen.add(v)
                pending.append(v)
        for referrer, a in db.references_to(entity):
            retracts[referrer, a, entity] = None


def _swap(db: Database, swap: _Swap, adds: dict[_Fact, Attribute], retracts: dict[_Fact, None]) -> None:
    attribute = swap.attribute
    if attribute.many:
        raise TransactionError(
            f":db/cas on {attribute.ident}: it holds many values, so there is none to compare"
        )
    held = db.values(swap.e, attribute.id)
    current = held[0] if held else None
    if current != swap.old:
        found = "no value" if current is None else _shown(current)
        expected = "none" if swap.old is None else _shown(swap.old)
        raise ConflictError(
            f":db/cas on {attribute.ident} of entity {swap.e}: expected {expected}, found {found}"
        )
    if swap.new is None:
        retracts |= dict.fromkeys((swap.e, attribute.id, old) for old in held)
    else:
        adds[swap.e, attribute.id, swap.new] = attribute  # type: ignore[index] -- temp ids are substituted


def _check_unique(db: Database, changes: list[Change]) -> None:
    gone = {change[:3] for change in changes if not change.added}
    taken: dict[tuple[int, Stored], int] = {}
    for e, a, v, added in changes:
        attribute = db.schema.attributes[a]
        if not (added and attribute.unique):
            continue
        holder = db.holder(attribute, v)
        if holder is not None and (holder, a, v) in gone:
            holder = None
        other = taken.setdefault((a, v), e) if holder is None else holder
        if other != e:
            raise UniqueError(
                f"{attribute.ident} is unique and {_shown(v)} belongs to entity {other}, so entity {e} cannot have it"
            )


def _check_schema(db: Database, after: Schema, changes: list[Change]) -> None:
    """The rules for attribute definitions, and for changing one that may already have values."""
    if after is db.schema:
        return
    used = {change.a for change in changes}
    for e in {change.e for change in changes if change.a <= TX_INSTANT and change.e < TX_BASE}:
        before = db.schema.attributes.get(e)
        definition = after.definitions.get(e, {})
        name = str(decode(definition[IDENT])) if IDENT in definition else f"entity {e}"
        if name.startswith((":db/", ":db.")):
            raise TransactionError(f"{name}: names that begin with :db are bucketlog's own")
        if (
            before is None
            and VALUE_TYPE not in definition
            and CARDINALITY not in definition
            and UNIQUE not in definition
        ):
            continue
        _check_definition(after, e, name)
        if before is not None:
            _check_alteration(db, before, after.attributes[e], used)


def _check_definition(after: Schema, e: int, name: str) -> None:
    definition = after.definitions.get(e, {})
    missing = [
        key
        for key, a in ((":db/ident", IDENT), (":db/valueType", VALUE_TYPE), (":db/cardinality", CARDINALITY))
        if a not in definition
    ]
    if missing:
        raise TransactionError(f"attribute {name} lacks {', '.join(missing)}")
    for a, allowed in ENUMERATIONS.items():
        if a in definition and definition[a] not in allowed:
            raise TransactionError(
                f"attribute {name}: {definition[a]} is not one of the idents that its schema allows"
            )
    attribute = after.attributes[e]
    if attribute.component and not attribute.is_ref:
        raise TransactionError(f"attribute {name}: only a :db.type/ref can be a component")


def _check_alteration(db: Database, before: Attribute, now: Attribute, used: set[int]) -> None:
    if before.type is not now.type or before.ident != now.ident:
        raise TransactionError(
            f"attribute {before.ident} exists with type {before.type.value}: its name and type cannot change; "
            f"make a new attribute"
        )
    if before != now and before.id in used:
        raise TransactionError(f"attribute {before.ident} cannot be changed and used in one transaction")
    if before.many and not now.many and db.has_duplicates(before, by="e"):
        raise TransactionError(
            f"attribute {before.ident} cannot become :db.cardinality/one: an entity has many values"
        )
    if now.unique and not before.unique and db.has_duplicates(before, by="v"):
        raise TransactionError(f"attribute {before.ident} cannot become unique: two entities share a value")
