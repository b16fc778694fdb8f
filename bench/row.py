"""One measured comparison."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """Ours beside a peer on the same work in the same run.

    `goal` bounds `ours` in the row's own unit: at most for times and sizes, at least for rates (unit `…/s`).
    A row without a peer is a step of one that has one.
    """

    bench: str
    case: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str | None = None
    goal: float | None = None

    @property
    def higher_is_better(self) -> bool:
        return self.unit.endswith("/s")

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.higher_is_better else self.peer / self.ours

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ours >= self.goal if self.higher_is_better else self.ours <= self.goal

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "met": self.met}


Cell = str | float | bool | None


def table(rows: list[Row]) -> str:
    """The rows as an aligned text table."""
    lines: list[tuple[str, ...]] = [("case", "ours", "unit", "peer", "", "ratio", "goal", "met")]
    lines += [
        tuple(
            _cell(value)
            for value in (row.case, row.ours, row.unit, row.peer, row.peer_name, row.ratio, row.goal, row.met)
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: Cell) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "NO"
        case float() | int():
            return f"{value:.3g}"
        case str():
            return value
