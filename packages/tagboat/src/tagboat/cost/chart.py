"""Dollars a month over traffic, as a chart of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tagboat.cost.bill import Bill
from tagboat.cost.prices import Prices
from tagboat.cost.targets import TARGETS, bills
from tagboat.cost.usage import Usage

STEPS = tuple(base * 10**power for power in range(3, 8) for base in (1, 2, 5) if base * 10**power <= 1e7)
_MARKS = "LVAEOK"  # of the targets, in their order
_COLUMNS = 61
_ROWS = 16


def over_traffic(
    usage: Usage, prices: Prices, steps: Sequence[float] = STEPS
) -> list[tuple[float, list[Bill]]]:
    """The bills of each number of views a month."""
    return [(views, bills(replace(usage, views=views), prices)) for views in steps]


def chart(usage: Usage, prices: Prices) -> list[str]:
    """Lines: dollars upwards, views a month to the right by powers of ten, a letter for each target.

    Where two are on the same spot, the one that comes first below the chart is seen.
    """
    first, last = math.log10(STEPS[0]), math.log10(STEPS[-1])
    columns = [10 ** (first + (last - first) * column / (_COLUMNS - 1)) for column in range(_COLUMNS)]
    drawn = over_traffic(usage, prices, columns)
    highest = max(bill.dollars or 0.0 for _, made in drawn for bill in made)
    step = _round_step(highest / 4)
    top = step * max(1, math.ceil(highest / step))
    cells = [[" "] * _COLUMNS for _ in range(_ROWS + 1)]
    marks = dict(zip(TARGETS, _MARKS, strict=True))
    for column, (_, made) in enumerate(drawn):
        for bill in sorted(made, key=lambda one: list(TARGETS).index(one.target), reverse=True):
            if bill.dollars is not None:
                cells[round(bill.dollars / top * _ROWS)][column] = marks[bill.target]
    labels = {round(step * at / top * _ROWS): f"{step * at:g}" for at in range(round(top / step) + 1)}
    lines = ["dollars a month"]
    for row in range(_ROWS, -1, -1):
        axis = "┤" if row in labels else "│"
        lines.append(f"{labels.get(row, ''):>8} {axis}{''.join(cells[row])}".rstrip())
    ticks = "".join("┴" if column % 15 == 0 else "─" for column in range(_COLUMNS))
    lines.append(f"{'':>8} └{ticks}")
    lines.append(f"{'':>9} {'1k':<15}{'10k':<15}{'100k':<15}{'1M':<14}10M views a month")
    lines += [f"{'':>9} {marks[name]}  {name}" for name in TARGETS]
    return lines


def _round_step(about: float) -> float:
    """The next number like 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(about, 0.01)))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= about)
