"""Attributes of the database, as transaction data."""

from __future__ import annotations

from typing import Any

__all__ = ["attribute"]


def attribute(
    ident: str, kind: str, *, many: bool = False, identity: bool = False, indexed: bool = False
) -> dict[str, Any]:
    """What defines the attribute `:ident`, whose values are of type `kind`, one an entity or many.

    With `identity` a value names its entity; with `indexed` entities are found by it.
    """
    definition: dict[str, Any] = {
        ":db/ident": f":{ident}",
        ":db/valueType": f":db.type/{kind}",
        ":db/cardinality": f":db.cardinality/{'many' if many else 'one'}",
    }
    if identity:
        definition[":db/unique"] = ":db.unique/identity"
    if indexed:
        definition[":db/index"] = True
    return definition
