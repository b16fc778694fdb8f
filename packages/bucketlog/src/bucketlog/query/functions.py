"""Predicates, functions and aggregates, as SQL over operands in stored form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Final

__all__ = ["AGGREGATES", "FUNCTIONS", "PREDICATES", "Operation"]


class Operation:
    """SQL for a call: `write` gets the operands' SQL; `least` and `most` bound their number."""

    def __init__(self, least: int, most: int | None, write: Callable[[Sequence[str]], str]) -> None:
        self.least = least
        self.most = most
        self.write = write

    def accepts(self, count: int) -> bool:
        """Whether it takes that many operands."""
        return self.least <= count and (self.most is None or count <= self.most)


def _chain(operator: str) -> Operation:
    def write(operands: Sequence[str]) -> str:
        pairs = (f"{left} {operator} {right}" for left, right in pairwise(operands))
        return f"({' AND '.join(pairs)})"

    return Operation(2, None, write)


def _fold(operator: str) -> Operation:
    return Operation(2, None, lambda operands: "(" + f" {operator} ".join(operands) + ")")


def _format(template: str, count: int) -> Operation:
    return Operation(count, count, lambda operands: template.format(*operands))


_TEXTS: Final = "(typeof({0}) = 'text' AND typeof({1}) = 'text' AND "

_STRING_PREDICATES: Final = {
    "starts-with?": _format(_TEXTS + "substr({0}, 1, length({1})) = {1})", 2),
    "ends-with?": _format(_TEXTS + "(length({1}) = 0 OR substr({0}, -length({1})) = {1}))", 2),
    "includes?": _format(_TEXTS + "instr({0}, {1}) > 0)", 2),
}

PREDICATES: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "=": _chain("="),
        "==": _chain("="),
        "!=": _format("({0} <> {1})", 2),
        "not=": _format("({0} <> {1})", 2),
        "<": _chain("<"),
        ">": _chain(">"),
        "<=": _chain("<="),
        ">=": _chain(">="),
        "even?": _format("({0} % 2 = 0)", 1),
        "odd?": _format("({0} % 2 <> 0)", 1),
        "pos?": _format("({0} > 0)", 1),
        "neg?": _format("({0} < 0)", 1),
        "zero?": _format("({0} = 0)", 1),
        **{
            f"{prefix}{name}": it
            for name, it in _STRING_PREDICATES.items()
            for prefix in ("", "str/", "clojure.string/")
        },
    }
)
"""`[(name …)]`. Values of different types are never equal; numbers sort before text, text before the rest."""

_STRING_FUNCTIONS: Final = {
    "lower-case": _format("lower({0})", 1),
    "upper-case": _format("upper({0})", 1),
}

FUNCTIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "identity": _format("{0}", 1),
        "+": _fold("+"),
        "-": Operation(1, None, lambda o: f"(-{o[0]})" if len(o) == 1 else "(" + " - ".join(o) + ")"),
        "*": _fold("*"),
        "/": _format("(CAST({0} AS REAL) / {1})", 2),
        "quot": _format("({0} / {1})", 2),
        "rem": _format("({0} % {1})", 2),
        "mod": _format("((({0} % {1}) + {1}) % {1})", 2),
        "inc": _format("({0} + 1)", 1),
        "dec": _format("({0} - 1)", 1),
        "abs": _format("abs({0})", 1),
        "max": Operation(2, None, lambda operands: f"max({', '.join(operands)})"),
        "min": Operation(2, None, lambda operands: f"min({', '.join(operands)})"),
        "count": _format("length({0})", 1),
        "str": _fold("||"),
        **{
            f"{prefix}{name}": it
            for name, it in _STRING_FUNCTIONS.items()
            for prefix in ("", "str/", "clojure.string/")
        },
    }
)
"""`[(name …) ?x]`. A result that does not exist, such as a division by zero, gives no row."""

AGGREGATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "count": "count({0})",
        "count-distinct": "count(DISTINCT {0})",
        "sum": "sum({0})",
        "min": "min({0})",
        "max": "max({0})",
        "avg": "avg({0})",
    }
)
"""`(name ?x)` in `:find`."""
