"""Composite tuples: values made of an entity's other values, which a transaction keeps in step with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from bucketlog.errors import TransactionError
from bucketlog.schema import (
    FIRST_ENTITY,
    TUPLE_ATTRIBUTES,
    TUPLE_TYPE,
    TUPLE_TYPES,
    TX_BASE,
    Attribute,
    Change,
    Schema,
)
from bucketlog.value import ELEMENT_TYPES, Stored, ValueType, decode, elements, stored_tuple

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["check_tuple", "maintain", "resolve_references", "with_entities"]

_WAYS: Final = {
    TUPLE_ATTRIBUTES: ":db/tupleAttrs",
    TUPLE_TYPE: ":db/tupleType",
    TUPLE_TYPES: ":db/tupleTypes",
}


def maintain(
    db: Database, after: Schema, changes: list[Change], stated: Iterable[tuple[int, int, Stored]]
) -> list[Change]:
    """The changes of a transaction with those that they make to composites, retractions first.

    `after` is the schema that the changes lead to; what they add must be part of `stated`, which is what the
    transaction asks for, whether it is so already or not. A composite that is new gets its values at once.
    Raises `TransactionError` when the transaction says of a composite what its components do not.
    """
    if not after.composites:
        return changes
    keeper = _Keeper(db, after, changes)
    keeper.check(stated)
    return keeper.changes()


class _Keeper:
    """The composites of the entities that one transaction touches."""

    def __init__(self, db: Database, after: Schema, changes: Sequence[Change]) -> None:
        self._db = db
        self._attributes = after.attributes
        self._given = changes
        self._composites = {c.id: c for composites in after.composites.values() for c in composites}
        self._added = {(e, a): v for e, a, v, added in changes if added}
        self._gone = {(e, a): v for e, a, v, added in changes if not added}
        self._wanted: dict[tuple[int, int], Stored | None] = {}
        for e, a, _, _ in changes:
            for composite in after.composites.get(a, ()):
                self._want(e, composite)
            if a in self._composites:
                self._want(e, self._composites[a])
        for composite in self._composites.values():
            if composite.id not in db.schema.attributes:
                for e in dict.fromkeys(e for a in composite.components for e in db.entities_with(a)):
                    self._want(e, composite)

    def check(self, stated: Iterable[tuple[int, int, Stored]]) -> None:
        """Raise `TransactionError` when what is asked for is not what the components say."""
        for e, a, v in stated:
            composite = self._composites.get(a)
            if composite is not None and self._want(e, composite) != v:
                raise self._contradiction(composite, e, f"it cannot be {decode(v)!r}")
        for (e, a), v in self._gone.items():
            if a in self._composites and self._wanted[e, a] == v and (e, a) not in self._added:
                raise self._contradiction(self._composites[a], e, "it cannot be retracted")

    def changes(self) -> list[Change]:
        """All changes, retractions first."""
        found = [change for change in self._given if change.a not in self._composites]
        for (e, a), value in self._wanted.items():
            held = self._held(e, a)
            if held == value:
                continue
            if held is not None:
                found.append(Change(e, a, held, False))
            if value is not None:
                found.append(Change(e, a, value, True))
        return sorted(found, key=lambda change: change.added)

    def _want(self, e: int, composite: Attribute) -> Stored | None:
        """What the composite of an entity is after the transaction; `None` when it has no component."""
        key = e, composite.id
        if key not in self._wanted:
            parts = [self._after(e, component) for component in composite.components]
            self._wanted[key] = None if all(part is None for part in parts) else stored_tuple(parts)
        return self._wanted[key]

    def _after(self, e: int, a: int) -> Stored | None:
        if (e, a) in self._added:
            return self._added[e, a]
        return None if (e, a) in self._gone else self._held(e, a)

    def _held(self, e: int, a: int) -> Stored | None:
        if self._db.state.next_entity <= e < TX_BASE:
            return None  # a new entity
        held = self._db.values(e, a)
        return held[0] if held else None

    def _contradiction(self, composite: Attribute, e: int, why: str) -> TransactionError:
        names = ", ".join(str(self._attributes[a].ident) for a in composite.components)
        wanted = self._wanted[e, composite.id]
        value = "no value" if wanted is None else repr(decode(wanted))
        return TransactionError(
            f"{composite.ident} of entity {e} is made of {names} and so {value}: {why}; change these instead"
        )


# References in tuples


def resolve_references(attribute: Attribute, value: Any, entity: Callable[[Any], Any]) -> Any:
    """A tuple with what `entity` makes of the names of entities in it.

    What is no tuple of the attribute's is left as it is, for the encoder to refuse.
    """
    if not isinstance(value, tuple | list) or len(attribute.elements) not in {1, len(value)}:
        return value
    return tuple(
        entity(item) if item is not None and attribute.refers_at(place) else item
        for place, item in enumerate(value)
    )


def with_entities(attribute: Attribute, stored: Stored, entity: Callable[[int], int]) -> Stored:
    """A tuple in stored form with other entities in the places of references."""
    return stored_tuple(
        [
            entity(int(item)) if item is not None and attribute.refers_at(place) else item
            for place, item in enumerate(elements(stored))
        ]
    )


# Definitions


def check_tuple(schema: Schema, e: int) -> None:
    """Raise `ValueError` unless an attribute, defined well otherwise, says what its tuples are made of."""
    attribute, definition = schema.attributes[e], schema.definitions[e]
    if attribute.many and e in schema.composites:
        raise ValueError(f"it is a part of {schema.composites[e][0].ident}, so it is :db.cardinality/one")
    ways = [a for a in _WAYS if a in definition]
    if attribute.type is not ValueType.TUPLE:
        if ways:
            raise ValueError(f"{_WAYS[ways[0]]} is for attributes of :db.type/tuple only")
        return
    if len(ways) != 1:
        raise ValueError(f"a tuple needs one of {', '.join(_WAYS.values())}")
    if ways[0] != TUPLE_ATTRIBUTES:
        if not attribute.elements:
            types = ", ".join(sorted(kind.value for kind in ELEMENT_TYPES))
            raise ValueError(f"{_WAYS[ways[0]]}: the types of elements are {types}")
        return
    if attribute.many:
        raise ValueError("a composite tuple is :db.cardinality/one")
    for component in decode(definition[TUPLE_ATTRIBUTES]):
        _check_component(schema, component)


def _check_component(schema: Schema, name: Any) -> None:
    component = schema.attribute(name) if isinstance(name, str) else None
    if component is None or component.id < FIRST_ENTITY:
        raise ValueError(f":db/tupleAttrs: {name!r} is not an attribute that a tuple can be made of")
    if component.many or component.type not in ELEMENT_TYPES:
        raise ValueError(
            f":db/tupleAttrs: {name} is {component.type.value}, "
            f"{'with many values' if component.many else 'with one'}: a tuple is made of single values, of "
            f"other types than bytes and tuples"
        )
