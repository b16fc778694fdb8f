"""Excision: datoms that are removed for good, from the past too.

A transaction asks for it with datoms like any other's: `:db/excise` names entities, `:db.excise/attrs` only
some of their attributes, `:db.excise/beforeT` only what was added before a transaction. Every image drops
what is covered when it applies that transaction; `Redaction` does the same to the entries of the log. It
stays known that something was removed, when, and of which entity ids, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bucketlog.errors import TransactionError
from bucketlog.log import Entry
from bucketlog.schema import (
    EXCISE,
    EXCISE_ATTRIBUTES,
    EXCISE_BEFORE,
    FIRST_ENTITY,
    TX_INSTANT,
    Change,
    Schema,
)
from bucketlog.value import Stored

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Excision", "Redaction", "excisions", "request"]


@dataclass(frozen=True, slots=True)
class Excision:
    """What transaction `t` removes: datoms of `entities` that were added before transaction `before`.

    With `attributes` only those; without, references to the entities too.
    """

    t: int
    entities: frozenset[int]
    attributes: frozenset[int] | None
    before: int

    def covers(self, change: Change, t: int, references: Collection[int]) -> bool:
        """Whether the datom that transaction `t` added goes; `references` are the attributes of that type."""
        if t >= self.before or change.a == TX_INSTANT:
            return False
        if change.e in self.entities:
            return self.attributes is None or change.a in self.attributes
        return self.attributes is None and change.a in references and change.v in self.entities


def excisions(t: int, changes: Iterable[Change], schema: Schema) -> Iterator[Excision]:
    """The excisions that transaction `t` asks for. What defines attributes and idents cannot go."""
    asked: dict[int, dict[int, list[int]]] = {}
    for e, a, v, added in [change for change in changes if EXCISE <= change[1] <= EXCISE_BEFORE]:
        if added:
            asked.setdefault(e, {}).setdefault(a, []).append(int(v))
    for terms in asked.values():
        entities = frozenset(
            e for e in terms.get(EXCISE, ()) if e >= FIRST_ENTITY and e not in schema.definitions
        )
        attributes = terms.get(EXCISE_ATTRIBUTES)
        if entities:
            yield Excision(
                t,
                entities,
                None if attributes is None else frozenset(attributes),
                min([t, *terms.get(EXCISE_BEFORE, ())]),
            )


class Redaction:
    """Takes excised datoms out of the entries of a log, which are given in order and from the first."""

    def __init__(self, asked: Sequence[Excision], schema: Schema) -> None:
        self._asked = asked
        self._references = frozenset(attribute.id for attribute in schema.references)
        self._gone: set[tuple[int, int, Stored]] = set()

    def redact(self, entry: Entry) -> Entry:
        """The entry without what is excised: the same object when there is nothing of that in it.

        The retraction of a datom tells its value, so it goes with the datom.
        """
        transactions = tuple(
            tuple(change for change in changes if not self._goes(change, t))
            for t, changes in enumerate(entry.transactions, entry.t)
        )
        return entry if transactions == entry.transactions else replace(entry, transactions=transactions)

    def _goes(self, change: Change, t: int) -> bool:
        fact = change.e, change.a, change.v
        if not change.added:
            if fact in self._gone:
                self._gone.discard(fact)
                return True
            return False
        if any(excision.covers(change, t, self._references) for excision in self._asked):
            self._gone.add(fact)
            return True
        self._gone.discard(fact)
        return False


def request(
    db: Database, entities: Sequence[Any], attributes: Sequence[Any] | None, before: int | None
) -> list[dict[str, Any]]:
    """The transaction data that asks for an excision; raises `TransactionError` for what cannot go.

    Composite tuples that hold what goes do so altogether: later ones may hold an earlier value.
    """
    found: dict[int, None] = {}
    for entity in entities:
        e = db.entid(entity)
        if e is None:
            raise TransactionError(f"{entity!r} names no entity to excise")
        if e < FIRST_ENTITY or e in db.schema.definitions:
            raise TransactionError(f"{entity!r} defines an attribute or an ident: that cannot be excised")
        found |= dict.fromkeys([e] if attributes is not None else [e, *_components(db, e)])
    if not found:
        raise TransactionError("there is no entity to excise")
    asked: dict[str, Any] = {":db/id": "excision", ":db/excise": list(found)}
    composites = _composites(db, attributes)
    if attributes is not None:
        asked[":db.excise/attrs"] = [*attributes, *composites]
    if before is None:
        return [asked]
    asked[":db.excise/beforeT"] = before
    if not composites:
        return [asked]
    return [asked, {":db/id": "composites", ":db/excise": list(found), ":db.excise/attrs": composites}]


def _composites(db: Database, attributes: Sequence[Any] | None) -> list[int]:
    """The composite tuples that hold values of the attributes, or of any."""
    schema = db.schema
    if attributes is None:
        parts = set(schema.composites)
    else:
        named = [schema.attribute(name) for name in attributes if isinstance(name, str | int)]
        parts = {attribute.id for attribute in named if attribute is not None}
    return list(dict.fromkeys(c.id for part in parts for c in schema.composites.get(part, ())))


def _components(db: Database, e: int) -> Iterator[int]:
    """The parts of an entity, and theirs, also those that it had in the past."""
    parts = [attribute.id for attribute in db.schema.references if attribute.component]
    pending, seen = [e], {e}
    while pending:
        entity = pending.pop()
        for a in parts:
            for part in db.ever(entity, a):
                if part not in seen:
                    seen.add(part)
                    pending.append(part)
                    yield part
