"""Semi-naive evaluation of any family, by SQL over temporary tables.

Rows get ascending row ids, so those that the last round has added are a range of them: in each further
round every definition is asked once for each of its calls, with that call restricted to the range, the calls
before it to all rows and the calls after it to the rows of earlier rounds (Bancilhon, "Naive evaluation of
recursively defined relations", 1986).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bucketlog.image import Image

__all__ = ["EARLIER", "KNOWN", "NEW", "Fixpoint", "Member"]

KNOWN: Final = "{alias}.rowid <= :high_{table}"
EARLIER: Final = "{alias}.rowid <= :low_{table}"
NEW: Final = "{alias}.rowid > :low_{table} AND {alias}.rowid <= :high_{table}"
"""Conditions on the row of a rule: of any round before, of those before the last, of the last one."""


@dataclass(frozen=True, slots=True)
class Member:
    """A rule of a family: its table, with a set of rows of so many columns."""

    table: str
    width: int
    searched: tuple[tuple[int, ...], ...]
    """By which columns the rows are searched, where these are not the first ones."""

    def create(self) -> Iterator[str]:
        """The statements that make the table, unless it is there, and empty it."""
        columns = [f"c{n}" for n in range(self.width)]
        names = ", ".join(columns)
        yield f"CREATE TEMP TABLE IF NOT EXISTS {self.table} ({names}, UNIQUE ({names}))"
        for places in self.searched:
            index = f"{self.table}_by_{'_'.join(map(str, places))}"
            on = ", ".join(columns[place] for place in places)
            yield f"CREATE INDEX IF NOT EXISTS temp.{index} ON {self.table} ({on})"
        yield f"DELETE FROM temp.{self.table}"  # noqa: S608 -- our own name


@dataclass(frozen=True, slots=True)
class Fixpoint:
    """The tables of a family, and the statements that add to them: in the first round, and in all others."""

    members: tuple[Member, ...]
    first: tuple[str, ...]
    again: tuple[str, ...]

    def run(self, image: Image, parameters: Mapping[str, Any]) -> None:
        """Fill the tables; called while the image is read."""
        bounds: dict[str, int] = {}
        for member in self.members:
            for sql in member.create():
                image.execute(sql)
            image.discard(member.table)
            bounds |= {f"low_{member.table}": 0, f"high_{member.table}": 0}
        statements = self.first
        while statements:
            for sql in statements:
                image.execute(sql, {**parameters, **bounds})
            grown = False
            for member in self.members:
                low = bounds[f"low_{member.table}"] = bounds[f"high_{member.table}"]
                ((high,),) = image.execute(f"SELECT ifnull(max(rowid), 0) FROM temp.{member.table}")  # noqa: S608
                bounds[f"high_{member.table}"] = high
                grown |= high > low
            statements = self.again if grown else ()
