"""Objects of mapped classes: from pulled trees."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from bucketlog.database import Database
from bucketlog.mapping.fields import REF, Field, MappingError, mapped

__all__ = ["pull_objects"]

T = TypeVar("T")

_Key = tuple[type, int]
"""A class, and the entity that an object of it stands for."""


def pull_objects(db: Database, cls: type[T], entities: Sequence[int]) -> list[T | None]:
    """Entities and all that they refer to as objects; `None` for one that has no field's value."""
    trees = _trees(db, cls, entities)
    objects = _Objects(trees)
    return [objects.of((cls, e)) if trees[cls, e] else None for e in entities]


def _trees(db: Database, cls: type, entities: Iterable[int]) -> dict[_Key, dict[str, Any]]:
    """What is pulled of entities and of all that their fields lead to, in one pull a class and level."""
    trees: dict[_Key, dict[str, Any]] = {}
    level: dict[type, dict[int, None]] = {cls: dict.fromkeys(entities)}
    while level:
        below: dict[type, dict[int, None]] = {}
        for kind, wanted in level.items():
            fields = mapped(kind).fields
            ids = [e for e in wanted if (kind, e) not in trees]
            pulled = db.pull_many([field.pattern() for field in fields], ids)
            trees.update(((kind, e), tree) for e, tree in zip(ids, pulled, strict=True))
            for field in fields:
                if field.target is not None:
                    found = {e: None for tree in pulled for e in _pulled(tree, field)}
                    below.setdefault(field.target, {}).update(found)
        level = {kind: found for kind, found in below.items() if found}
    return trees


def _pulled(tree: Mapping[str, Any], field: Field) -> list[Any]:
    """What a field has in a tree: values, and of entities the ids."""
    found = tree.get(field.attribute.ident)
    values = [] if found is None else found if isinstance(found, list) else [found]
    return [value[":db/id"] for value in values] if field.value_type == REF else values


class _Objects:
    """Objects of trees, each made after those that it needs.

    Where they need each other, one is made without the other, which it is given in the end.
    """

    def __init__(self, trees: Mapping[_Key, Mapping[str, Any]]) -> None:
        self._trees = trees
        self._made: dict[_Key, Any] = {}

    def of(self, key: _Key) -> Any:
        """The object of a class and an entity."""
        incomplete: list[tuple[_Key, Field]] = []
        begun: set[_Key] = set()
        pending = [key]
        while pending:
            current = pending[-1]
            if current not in begun and current not in self._made:
                begun.add(current)
                pending += [below for below in self._needs(current) if below not in begun]
                continue
            pending.pop()
            if current not in self._made:
                incomplete += self._make(current)
        for owner, field in incomplete:
            object.__setattr__(self._made[owner], field.name, self._value(owner, field))
        return self._made[key]

    def _needs(self, key: _Key) -> list[_Key]:
        return [below for field in mapped(key[0]).fields for below in self._below(key, field)]

    def _below(self, key: _Key, field: Field) -> list[_Key]:
        return (
            [(field.target, e) for e in _pulled(self._trees[key], field)] if field.target is not None else []
        )

    def _make(self, key: _Key) -> list[tuple[_Key, Field]]:
        """Make an object; the fields that could not be filled because what they need is not made yet."""
        cls, e = key
        mapping = mapped(cls)
        values: dict[str, Any] = {} if mapping.id is None else {mapping.id: e}
        incomplete = []
        for field in mapping.fields:
            if any(below not in self._made for below in self._below(key, field)):
                incomplete.append((key, field))
                self._leave_out(key, field, values)
            elif _pulled(self._trees[key], field):
                values[field.name] = self._value(key, field)
            else:
                self._leave_out(key, field, values)
        try:
            self._made[key] = mapping.build(values)
        except (ValueError, TypeError) as error:
            raise MappingError(f"entity {e} makes no {cls.__qualname__}: {error}") from error
        return incomplete

    def _leave_out(self, key: _Key, field: Field, values: dict[str, Any]) -> None:
        """What a field is without a value."""
        if field.container is not None and field.required:
            values[field.name] = field.container(())
        elif field.required and field.optional:
            values[field.name] = None
        elif field.required:
            cls, e = key
            why = "refers to itself through" if _pulled(self._trees[key], field) else "has no"
            raise MappingError(
                f"{cls.__qualname__}.{field.name}: entity {e} {why} {field.attribute.ident}: annotate the "
                f"field with None, or give it a default"
            )

    def _value(self, key: _Key, field: Field) -> Any:
        values = _pulled(self._trees[key], field)
        if field.target is not None:
            values = [self._made[below] for below in self._below(key, field)]
        elif field.enumeration is not None:
            values = [_member(key, field.enumeration, field.name, value) for value in values]
        return field.container(values) if field.container is not None else values[0]


def _member(key: _Key, enumeration: type[enum.Enum], name: str, value: Any) -> enum.Enum:
    try:
        return enumeration(value)
    except ValueError as error:
        raise MappingError(f"{key[0].__qualname__}.{name} of entity {key[1]}: {error}") from None
