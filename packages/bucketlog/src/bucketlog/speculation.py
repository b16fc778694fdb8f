"""Transactions that nobody commits: what the database would be, in a copy that shares the image's pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from bucketlog.errors import TransactionError
from bucketlog.guard import check_entities
from bucketlog.operation import TransactionData
from bucketlog.report import TransactionReport
from bucketlog.state import advance
from bucketlog.transaction import prepare

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["speculate"]


def speculate(db: Database, data: TransactionData, now: datetime) -> TransactionReport:
    """What `transact` would report if `db` were the newest state, with nothing written anywhere.

    Raises `TransactionError` as `transact` does, and for a database that shows less than all that was known
    at its time.
    """
    state = db.state
    if db.is_history or db.since_t >= 0 or db.basis_t != state.t:
        raise TransactionError(
            "with_ continues the newest state of its time; from an earlier one a branch can: Connection.fork"
        )
    prepared = prepare(db, data, now)
    image, after = db.image.fork(state.t), state
    if prepared.changes:
        after = advance(state, state.t + 1, prepared.changes)
        image.begin()
        image.apply(after.t, prepared.changes, after.schema)
        image.commit()
    shown = replace(db, _image=image, _state=after, _as_of=after.t)
    check_entities(shown, prepared.ensured)
    return TransactionReport(after.t, db, shown, dict(prepared.tempids), prepared.changes)
