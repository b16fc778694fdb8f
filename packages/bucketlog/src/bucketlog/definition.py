"""What may be said of attributes: definitions that are whole, and changes that the data allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bucketlog.composite import check_tuple
from bucketlog.errors import TransactionError
from bucketlog.schema import (
    CARDINALITY,
    DEFINING,
    ENUMERATIONS,
    IDENT,
    TX_BASE,
    VALUE_TYPE,
    Attribute,
    Change,
    Schema,
)
from bucketlog.value import ValueType, decode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["check_definitions"]


def check_definitions(db: Database, after: Schema, changes: list[Change]) -> None:
    """Raise `TransactionError` unless definitions in `after` are whole and fit the values that `db` has."""
    if after is db.schema:
        return
    for e, a, v, added in changes:
        if added and v not in ENUMERATIONS.get(a, (v,)):
            raise TransactionError(
                f"attribute {_name(after, e)}: {v!r} is not one of the idents that its schema allows"
            )
    used = {change.a for change in changes}
    for e in {change.e for change in changes if change.a in DEFINING and change.e < TX_BASE}:
        before = db.schema.attributes.get(e)
        definition = after.definitions.get(e, {})
        name = _name(after, e)
        if name.startswith((":db/", ":db.")):
            raise TransactionError(f"{name}: names that begin with :db are bucketlog's own")
        if before is None and definition.keys() <= {IDENT}:
            continue
        _check_definition(after, e, name)
        if before is not None:
            _check_alteration(db, before, after.attributes[e], used)


def _name(schema: Schema, e: int) -> str:
    """An entity's ident, or what else to call it in a message."""
    ident = schema.definitions.get(e, {}).get(IDENT)
    return f"entity {e}" if ident is None else str(decode(ident))


def _check_definition(after: Schema, e: int, name: str) -> None:
    definition = after.definitions.get(e, {})
    missing = [
        key
        for key, a in ((":db/ident", IDENT), (":db/valueType", VALUE_TYPE), (":db/cardinality", CARDINALITY))
        if a not in definition
    ]
    if missing:
        raise TransactionError(f"attribute {name} lacks {', '.join(missing)}")
    attribute = after.attributes[e]
    if attribute.component and not attribute.is_ref:
        raise TransactionError(f"attribute {name}: only a :db.type/ref can be a component")
    if attribute.fulltext and attribute.type is not ValueType.STRING:
        raise TransactionError(f"attribute {name}: only of a :db.type/string the texts can be searched")
    try:
        check_tuple(after, e)
    except ValueError as error:
        raise TransactionError(f"attribute {name}: {error}") from None


def _check_alteration(db: Database, before: Attribute, now: Attribute, used: set[int]) -> None:
    if before.type is not now.type:
        raise TransactionError(
            f"attribute {before.ident} exists with type {before.type.value}: its type cannot change; make a "
            f"new attribute"
        )
    if before.ident != now.ident and before.id in db.schema.composites:
        raise TransactionError(
            f"attribute {before.ident} is a part of {db.schema.composites[before.id][0].ident}, which knows "
            f"it by that name: it cannot be renamed"
        )
    if (before.elements, before.components) != (now.elements, now.components):
        raise TransactionError(
            f"attribute {before.ident} exists, and what its tuples are made of cannot change; make a new one"
        )
    if before != now and before.id in used:
        raise TransactionError(
            f"attribute {before.ident} cannot be changed and used in one transaction: use two"
        )
    if before.many and not now.many and db.has_duplicates(before, by="e"):
        raise TransactionError(
            f"attribute {before.ident} cannot become :db.cardinality/one: an entity has many values; "
            f"retract all but one of each in an earlier transaction"
        )
    if now.unique and not before.unique and db.has_duplicates(before, by="v"):
        raise TransactionError(
            f"attribute {before.ident} cannot become unique: two entities share a value; "
            f"change or retract one in an earlier transaction"
        )
