"""From transaction data to datoms: a pure function of a database value.

The steps: functions are called and maps expanded into operations on known attributes; temp ids become
entities (those whose unique identity exists, then new ones); operations become a set of additions and
retractions; what is already so is left out; uniqueness and the schema are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from bucketlog.composite import maintain, with_entities
from bucketlog.definition import check_definitions
from bucketlog.errors import ConflictError, TransactionError, UniqueError
from bucketlog.guard import check_values
from bucketlog.operation import (
    CURRENT_TRANSACTION,
    Operation,
    Reader,
    Retract,
    RetractEntity,
    Swap,
    TransactionData,
)
from bucketlog.schema import (
    FIRST_ENTITY,
    TX_BASE,
    TX_INSTANT,
    Attribute,
    Change,
    transaction_entity,
)
from bucketlog.value import Stored, decode, encode, instant_from_micros, instant_micros

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction ready to be written; without changes there is nothing to write."""

    changes: tuple[Change, ...]
    tempids: Mapping[str | int, int]
    ensured: tuple[tuple[int, int], ...] = ()
    """Entities, and the specifications that they must meet when this is done."""


def prepare(db: Database, data: TransactionData, now: datetime) -> Prepared:
    """The datoms that `data` means on `db`, as its next transaction.

    `:db/txInstant` is `now`, or one microsecond after the last transaction's when clocks disagree. Raises
    `TransactionError` (`ConflictError` for a failed compare-and-swap, `UniqueError` for a taken value) and
    whatever a transaction function raises.
    """
    reader = Reader(db)
    reader.read(data)
    holders = _Holders(db)
    resolution = _resolve(db, reader, holders)
    adds = _adds(reader, resolution)
    changes = _changes(db, reader.operations, adds, resolution)
    after = db.schema.evolve(changes)
    check_definitions(db, after, changes)
    changes = maintain(db, after, changes, adds)
    _check_unique(db, changes, holders)
    check_values(db, changes)
    ensured = tuple((resolution.entity(e), resolution.entity(of)) for e, of in reader.ensured)
    added = {e for e, _, _ in reader.adds}
    tempids = {name: resolution.entity(temp) for name, temp in reader.named.items() if temp in added}
    if changes:
        _state_instant(db, changes, now)
    return Prepared(tuple(changes), tempids, ensured)


def _state_instant(db: Database, changes: list[Change], now: datetime) -> None:
    """See to it that the transaction says when it was made, later than the one before."""
    tx = transaction_entity(db.state.t + 1)
    earliest = db.state.instant + 1
    latest = max(instant_micros(now), earliest)
    stated = next((decode(v) for e, a, v, _ in changes if a == TX_INSTANT and e == tx), None)
    if stated is None:
        changes.append(Change(tx, TX_INSTANT, encode(instant_from_micros(latest)), True))
    elif not earliest <= instant_micros(stated) <= latest:
        raise TransactionError(
            f":db/txInstant {stated.isoformat()} must be after the last transaction's and not in the future"
        )


class _Holders:
    """Which entity has a value of a unique attribute, asked of the database once for each."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[tuple[int, Stored], int | None] = {}

    def of(self, attribute: Attribute, v: Stored) -> int | None:
        key = attribute.id, v
        if key not in self._known:
            self._known[key] = self._db.holder(attribute, v)
        return self._known[key]


class _Resolution:
    """Temp ids on their way to becoming entities: `_same` joins those that turn out to be one."""

    def __init__(self, next_entity: int, describe: Callable[[int], str]) -> None:
        self._next_entity = next_entity
        self._describe = describe
        self._same: dict[int, int] = {}
        self._entities: dict[int, int] = {}

    def of(self, e: int) -> int:
        """The entity of a term if it is known, else the temp id that stands for all the same ones."""
        while e in self._same:
            e = self._same[e]
        return self._entities.get(e, e)

    def allocate(self, temp: int) -> None:
        """Make a new entity for a temp id that is none yet."""
        root = self.of(temp)
        if root < 0:
            self._entities[root] = self._next_entity
            self._next_entity += 1

    def entity(self, e: int) -> int:
        """The entity of a term, once all are known."""
        found = self.of(e)
        if found < 0:
            raise TransactionError(f"{self._describe(e)} is used as a value only: nothing says what it is")
        return found

    def value(self, attribute: Attribute, v: Stored) -> Stored:
        """The value of a term, once all entities are known."""
        if attribute.is_ref:
            return self.entity(int(v))
        return with_entities(attribute, v, self.entity) if attribute.refers else v

    def known(self, attribute: Attribute, v: Stored) -> tuple[Stored, bool]:
        """The value of a term as far as entities are known, and whether all in it are."""
        if attribute.is_ref:
            v = self.of(int(v))
            return v, v >= 0
        if not attribute.refers:
            return v, True
        unknown: list[int] = []

        def entity(e: int) -> int:
            found = self.of(e)
            if found < 0:
                unknown.append(found)
            return found

        return with_entities(attribute, v, entity), not unknown

    def unite(self, temp: int, other: int) -> None:
        """Learn that `temp`, which stands for itself until now, is `other`."""
        if other < 0:
            self._same[temp] = other
        else:
            self._entities[temp] = other


def _resolve(db: Database, reader: Reader, holders: _Holders) -> _Resolution:
    resolution = _Resolution(db.state.next_entity, reader.describe)
    identities = [add for add in reader.adds if add[1].identity]
    settled = not any(e < 0 for e, _, _ in identities)
    while not settled:
        settled = True
        claims: dict[tuple[int, Stored], int] = {}
        for temp, attribute, value in identities:
            e = resolution.of(temp)
            v, is_known = resolution.known(attribute, value)
            holder = holders.of(attribute, v) if is_known else None
            claim = claims.setdefault((attribute.id, v), e) if holder is None else holder
            known = resolution.of(claim)
            if known == e:
                continue
            if e < 0:
                resolution.unite(e, known)
            elif known < 0:
                resolution.unite(known, e)
            else:
                continue  # two different entities are for the check of uniqueness to refuse
            settled = False
    for e in dict.fromkeys(e for e, _, _ in reader.adds if e < 0):
        resolution.allocate(e)
    return resolution


def _shown(stored: Stored) -> str:
    return repr(decode(stored))


_Fact = tuple[int, int, Stored]


def _adds(reader: Reader, resolution: _Resolution) -> dict[_Fact, Attribute]:
    """What is added, each fact once, with entities in the places of temp ids."""
    entity = resolution.entity
    known: dict[int, int] = {}
    adds: dict[_Fact, Attribute] = {}
    for e, attribute, v in reader.adds:
        if e < 0:
            found = known.get(e)
            if found is None:
                found = known[e] = entity(e)
            e = found  # noqa: PLW2901 -- the term's entity, from here on
        adds[e, attribute.id, resolution.value(attribute, v) if attribute.refers else v] = attribute
    return adds


def _changes(
    db: Database, operations: list[Operation], adds: dict[_Fact, Attribute], resolution: _Resolution
) -> list[Change]:
    """What the operations really change, retractions first."""
    retracts: dict[_Fact, None] = {}
    for operation in operations:
        match operation:
            case Retract(e, attribute, v) if v is not None:
                if db.holds(e, attribute.id, v):
                    retracts[e, attribute.id, v] = None
            case Retract(e, attribute):
                retracts |= dict.fromkeys((e, attribute.id, old) for old in db.values(e, attribute.id))
            case RetractEntity(e):
                _retract_entity(db, e, retracts)
            case Swap(e, attribute, old, new):
                _compare(db, operation)
                if new is not None:
                    adds[e, attribute.id, resolution.value(attribute, new)] = attribute
                elif old is not None:
                    retracts[e, attribute.id, old] = None
    both = next((fact for fact in retracts if fact in adds), None)
    if both is not None:
        e, a, v = both
        raise TransactionError(f"{adds[both].ident} {_shown(v)} of entity {e} is both added and retracted")
    added = _news(db, adds, retracts)
    for e, a, _ in retracts:
        _check_writable(db, e, db.schema.attributes[a])
    return [Change(*fact, False) for fact in retracts] + added


def _news(db: Database, adds: dict[_Fact, Attribute], retracts: dict[_Fact, None]) -> list[Change]:
    """The additions that are not so already; the values that they replace are added to `retracts`."""
    chosen: dict[tuple[int, int], Stored] = {}
    first_new, tx = db.state.next_entity, transaction_entity(db.state.t + 1)
    news: list[Change] = []
    for fact, attribute in adds.items():
        e, a, v = fact
        if e < FIRST_ENTITY or a == TX_INSTANT:
            _check_writable(db, e, attribute)
        if not attribute.many and chosen.setdefault((e, a), v) != v:
            raise TransactionError(
                f"{attribute.ident} of entity {e} holds one value, but both {_shown(chosen[e, a])} and "
                f"{_shown(v)} are added"
            )
        if e < first_new or TX_BASE <= e < tx:
            if attribute.many and db.holds(e, a, v):
                continue
            held = [] if attribute.many else db.values(e, a)
            if v in held:
                continue
            retracts |= dict.fromkeys((e, a, old) for old in held)
        news.append(_NEW_CHANGE(Change, (e, a, v, True)))
    return news


_NEW_CHANGE: Final = tuple.__new__  # a third of the time of `Change(…)`, and there is one for each datom


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


def _compare(db: Database, swap: Swap) -> None:
    """Raise `ConflictError` unless the attribute has the expected value."""
    attribute = swap.attribute
    if attribute.many:
        raise TransactionError(f":db/cas on {attribute.ident}: of many values there is none to compare")
    held = db.values(swap.e, attribute.id)
    current = held[0] if held else None
    if current != swap.old:
        found = "no value" if current is None else _shown(current)
        expected = "none" if swap.old is None else _shown(swap.old)
        raise ConflictError(
            f":db/cas on {attribute.ident} of entity {swap.e}: expected {expected}, found {found}"
        )


def _check_unique(db: Database, changes: list[Change], holders: _Holders) -> None:
    attributes = db.schema.attributes
    unique = {a for a, attribute in attributes.items() if attribute.unique}
    gone = {change[:3] for change in changes if not change[3]}
    taken: dict[tuple[int, Stored], int] = {}
    for e, a, v, added in changes:
        if not (added and a in unique):
            continue
        attribute = attributes[a]
        holder = holders.of(attribute, v)
        if holder is not None and (holder, a, v) in gone:
            holder = None
        other = taken.setdefault((a, v), e) if holder is None else holder
        if other != e:
            raise UniqueError(
                f"{attribute.ident} is unique and {_shown(v)} belongs to entity {other}, not to {e}"
            )
