"""The end of the log, as a few numbers and the schema that each transaction moves on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bucketlog.errors import FormatError
from bucketlog.schema import TX_BASE, TX_INSTANT, Change, Schema, transaction_entity
from bucketlog.value import decode, instant_micros

__all__ = ["State", "advance"]


@dataclass(frozen=True, slots=True)
class State:
    """What a connection knows about the end of the log."""

    t: int
    schema: Schema
    next_entity: int
    instant: int
    """`:db/txInstant` of transaction `t` in microseconds since 1970."""


def advance(state: State, t: int, changes: Sequence[Change]) -> State:
    """The state after the next transaction."""
    tx = transaction_entity(t)
    instant = next((decode(c.v) for c in changes if c.e == tx and c.a == TX_INSTANT and c.added), None)
    if not isinstance(instant, datetime):
        raise FormatError(f"transaction {t} of the log does not say when it was made")
    newest = max((change.e for change in changes if change.e < TX_BASE), default=0)
    return State(
        t=t,
        schema=state.schema.evolve(changes),
        next_entity=max(state.next_entity, newest + 1),
        instant=instant_micros(instant),
    )
