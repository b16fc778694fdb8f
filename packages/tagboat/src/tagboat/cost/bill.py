"""A bill: lines of so many of something at a price."""

from __future__ import annotations

from dataclasses import dataclass

from tagboat.cost.prices import Price


@dataclass(frozen=True, slots=True)
class Line:
    """`quantity` of what `price` is for, per month."""

    what: str
    quantity: float
    price: Price

    @property
    def dollars(self) -> float:
        return self.quantity * self.price.dollars


@dataclass(frozen=True, slots=True)
class Bill:
    """A month on one target. `problem` says why it cannot be had there; then there are no lines."""

    target: str
    means: str
    lines: tuple[Line, ...] = ()
    problem: str | None = None
    note: str | None = None

    @property
    def dollars(self) -> float | None:
        return None if self.problem else sum(line.dollars for line in self.lines)

    def part(self, what: str) -> float:
        """Dollars of the lines that are called so."""
        return sum(line.dollars for line in self.lines if line.what == what)
