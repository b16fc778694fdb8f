"""Mapping: dataclasses and pydantic models that entities are pulled into and transacted from.

A field says by `Annotated` which attribute it is::

    @dataclass
    class User:
        name: Annotated[str, Attribute(":user/name", unique="identity")]
        tags: Annotated[set[Keyword], Attribute(":user/tags")] = field(default_factory=set)
        friends: Annotated[list["User"], Attribute(":user/friends")] = field(default_factory=list)
        id: Id = None

The annotation gives the value type and the cardinality: `str`, `int`, `float`, `bool`, `datetime`, `UUID`,
`Keyword`, `URI`, `bytes`, `Decimal` or an `Enum` of one of these are values; another mapped class is a
reference; `list`, `set`, `frozenset` and `tuple[…, ...]` of one are many; `tuple[int, str]` is one value. A
field whose value may be absent is `… | None`, or has a default. A reverse attribute (`":post/_author"`) is a
field too, but no part of the schema. Fields without `Attribute` are not stored, and need a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from bucketlog.database import Database
from bucketlog.mapping.fields import Attribute, EntityId, Field, Id, MappedClass, MappingError, mapped
from bucketlog.mapping.objects import pull_objects

__all__ = [
    "Attribute",
    "EntityId",
    "Id",
    "MappingError",
    "pull_as",
    "q_as",
    "schema_of",
    "temp_id",
    "to_transaction",
]

T = TypeVar("T")


def schema_of(*classes: type) -> list[dict[str, Any]]:
    """The transaction data that defines the attributes of mapped classes and of all that they refer to.

    To transact it again changes nothing. Raises `MappingError`.
    """
    found: dict[str, dict[str, Any]] = {}
    owners: dict[str, str] = {}
    for owner in _reachable(classes):
        for field in owner.fields:
            if field.is_reverse:
                continue
            definition, name = _definition(field), f"{owner.cls.__qualname__}.{field.name}"
            ident = field.attribute.ident
            if found.setdefault(ident, definition) != definition:
                raise MappingError(f"{name} and {owners[ident]} define {ident} in different ways")
            owners.setdefault(ident, name)
    return list(found.values())


def to_transaction(*objects: Any) -> list[dict[str, Any]]:
    """The transaction data that states objects, and all objects that they refer to, as entities.

    An object whose id field is set is that entity; others are new, or those that have the same unique
    identity. What an object has is added; nothing is retracted for what is `None` or missing from a
    collection. Keep the objects until the data is transacted. Raises `MappingError` for what is not mapped.
    """
    data = []
    pending, seen = list(reversed(objects)), {id(item) for item in objects}
    while pending:
        item = pending.pop()
        mapping = mapped(type(item))
        form: dict[str, Any] = {":db/id": _reference(item, mapping)}
        for field in mapping.fields:
            values = _values(item, field)
            if field.target is not None:
                new = [value for value in values if id(value) not in seen]
                seen.update(map(id, new))
                pending += reversed(new)
                values = [_reference(value, mapped(type(value))) for value in values]
            if values:
                form[field.attribute.ident] = values if field.container else values[0]
        data.append(form)
    return data


def temp_id(item: object) -> str:
    """The temp id of an object in `to_transaction`: `TransactionReport.tempids` has its entity."""
    return f"{type(item).__qualname__}-{id(item):x}"


def pull_as(db: Database, cls: type[T], entity: Any) -> T | None:
    """The entity that an id, an ident or a lookup ref names, as an object; `None` when no field has a value.

    Objects that it refers to are pulled too, as far as fields lead. One entity is one object of a class, so
    where references go in a circle, the objects do. Raises `MappingError` when an entity lacks a field that
    its class needs, and `QueryError` when an attribute is not in the database.
    """
    found = db.entid(entity)
    return None if found is None else pull_objects(db, cls, [found])[0]


def q_as(db: Database, cls: type[T], query: str | Sequence[Any] | Mapping[Any, Any], *inputs: Any) -> list[T]:
    """The entities that a query finds as objects, in its order: `[:find [?e ...] …]` or `[:find ?e …]`.

    Raises `MappingError`, also when it finds anything else than entities.
    """
    rows = db.q(query, *inputs)
    if rows and isinstance(rows, list) and all(isinstance(row, tuple) and len(row) == 1 for row in rows):
        rows = [row[0] for row in rows]
    if not isinstance(rows, list) or not all(type(row) is int for row in rows):
        raise MappingError(
            f"a query for {cls.__qualname__} finds entities and nothing else, as in [:find [?e ...] :where …]"
        )
    return [item for item in pull_objects(db, cls, rows) if item is not None]


def _reachable(classes: Iterable[type]) -> Iterator[MappedClass]:
    """Classes and those that their fields lead to, each once."""
    pending, seen = list(classes), set(classes)
    while pending:
        found = mapped(pending.pop(0))
        yield found
        for field in found.fields:
            if field.target is not None and field.target not in seen:
                seen.add(field.target)
                pending.append(field.target)


def _definition(field: Field) -> dict[str, Any]:
    attribute = field.attribute
    definition: dict[str, Any] = {
        ":db/ident": attribute.ident,
        ":db/valueType": field.value_type,
        ":db/cardinality": ":db.cardinality/many" if field.container else ":db.cardinality/one",
    }
    if field.elements:
        definition[":db/tupleTypes"] = list(field.elements)
    if attribute.unique is not None:
        definition[":db/unique"] = f":db.unique/{attribute.unique}"
    if attribute.component:
        definition[":db/isComponent"] = True
    if attribute.doc is not None:
        definition[":db/doc"] = attribute.doc
    return definition


def _reference(item: Any, mapping: MappedClass) -> int | str:
    known = getattr(item, mapping.id) if mapping.id else None
    return temp_id(item) if known is None else known


def _values(item: Any, field: Field) -> list[Any]:
    value = getattr(item, field.name)
    values = [] if value is None else list(value) if field.container else [value]
    if field.enumeration is not None:
        return [member.value for member in values]
    if field.target is not None and not all(isinstance(one, field.target) for one in values):
        where = f"{type(item).__qualname__}.{field.name}"
        raise MappingError(f"{where} holds something that is no {field.target.__qualname__}")
    return values
