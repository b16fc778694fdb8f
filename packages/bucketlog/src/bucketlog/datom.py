"""A datom as the caller sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bucketlog.edn import Keyword
from bucketlog.schema import Change, Schema, transaction_entity
from bucketlog.value import decode

__all__ = ["Datom", "datoms_of"]


@dataclass(frozen=True, slots=True)
class Datom:
    """One fact: from transaction `tx` on, entity `e` has value `v` of attribute `a` (not, unless `added`)."""

    e: int
    a: Keyword
    v: Any
    tx: int
    added: bool


def datoms_of(t: int, changes: Iterable[Change], schema: Schema) -> tuple[Datom, ...]:
    """The datoms of transaction `t`."""
    tx, attributes = transaction_entity(t), schema.attributes
    return tuple(Datom(e, attributes[a].ident, decode(v), tx, added) for e, a, v, added in changes)
