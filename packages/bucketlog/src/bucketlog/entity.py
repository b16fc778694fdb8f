"""An entity of one database value, as a mapping that is read when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bucketlog.errors import QueryError
from bucketlog.schema import Attribute, reversed_name
from bucketlog.value import Stored, decode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Entity"]


class Entity(Mapping[str, Any]):
    """What is known of one entity, by attribute, as Datomic's `entity` has it.

    A reference gives another `Entity`, or the `Keyword` that is the ident of what it refers to; an attribute
    of many values gives a list. `":person/_friend"` gives a list of those that refer here (the owner itself,
    where the attribute is a component). The first look reads all attributes at once. Equal when the same
    entity of the same database value.
    """

    def __init__(self, db: Database, entity: int) -> None:
        self._db = db
        self._id = entity

    @property
    def id(self) -> int:
        """The entity's id."""
        return self._id

    @property
    def db(self) -> Database:
        """The database value that it is read from."""
        return self._db

    def touch(self) -> dict[str, Any]:
        """All of it as a plain tree with its components, as `pull` gives for `[*]`."""
        return self._db.pull("[*]", self._id)

    def __getitem__(self, key: str) -> Any:
        if key == ":db/id":
            return self._id
        forward = reversed_name(key) if isinstance(key, str) else None
        return self._values[key] if forward is None else self._referrers(forward, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self._id == other._id and self._db.shows_same(other._db)

    def __hash__(self) -> int:
        return hash((self._id, self._db.basis_t))

    def __repr__(self) -> str:
        return f"Entity({self._id}, {self._db.basis_t})"

    @cached_property
    def _values(self) -> dict[str, Any]:
        found: dict[int, list[Stored]] = {}
        for a, v in self._db.datoms_of(self._id):
            found.setdefault(a, []).append(v)
        attributes = self._db.schema.attributes
        return {str(attributes[a].ident): self._shown(attributes[a], values) for a, values in found.items()}

    def _shown(self, attribute: Attribute, values: list[Stored]) -> Any:
        shown = [self._other(int(v)) if attribute.is_ref else decode(v) for v in values]
        return shown if attribute.many else shown[0]

    def _other(self, entity: int) -> Any:
        return self._db.ident(entity) or Entity(self._db, entity)

    def _referrers(self, name: str, key: str) -> Any:
        attribute = self._db.schema.attribute(name)
        if attribute is None or not attribute.is_ref:
            raise QueryError(f"{key!r}: {name} is not a reference, so nothing is found by it backwards")
        found = [Entity(self._db, e) for e in self._db.referrers(self._id, attribute.id)]
        if not found:
            raise KeyError(key)
        return found[0] if attribute.component else found
