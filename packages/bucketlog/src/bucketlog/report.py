"""What a transaction did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bucketlog.datom import Datom, datoms_of
from bucketlog.schema import Change

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["TransactionReport"]


@dataclass(frozen=True, slots=True)
class TransactionReport:
    """What a transaction did.

    `t` is its number; when there was nothing to change, `tx_data` is empty and `t` the last transaction's.
    """

    t: int
    db_before: Database
    db_after: Database
    tempids: dict[str | int, int]
    changes: tuple[Change, ...]
    """The datoms in stored form."""

    @property
    def tx_data(self) -> tuple[Datom, ...]:
        """The datoms that were added and retracted, the transaction's own with them."""
        return datoms_of(self.t, self.changes, self.db_after.schema)
