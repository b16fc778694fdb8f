"""Predicates and functions of queries: what each is called, and where it is computed.

All of them work on Python values (`bucketlog.query.library`). Those that SQL can compute on operands in
stored form with the same result have that too, for operands of types that suit it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from bucketlog.query.library import LIBRARY
from bucketlog.value import ValueType

__all__ = ["INTEGERS", "NUMBERS", "TEXTS", "Function", "Operation", "find_function"]

INTEGERS: Final = frozenset({ValueType.LONG, ValueType.REF})
NUMBERS: Final = INTEGERS | {ValueType.DOUBLE}
TEXTS: Final = frozenset({ValueType.STRING})


@dataclass(frozen=True, slots=True)
class Operation:
    """SQL for a call: `write` gets the operands' SQL."""

    write: Callable[[Sequence[str]], str]
    takes: frozenset[ValueType] | None = None
    """The types of operands that it is right for; `None` for all."""
    predicate: bool = False
    """Whether the SQL is a condition, not a value in stored form."""
    partial: bool = False
    """Whether it may be NULL for operands that are not: no result."""
    compares: str | None = None
    """How it compares the operands, if it does; nothing when the result is one of them."""


@dataclass(frozen=True, slots=True)
class Function:
    """A predicate or function by its name."""

    name: str
    call: Callable[..., Any]
    least: int
    most: int | None
    operation: Operation | None

    def accepts(self, count: int) -> bool:
        """Whether it takes that many arguments."""
        return self.least <= count and (self.most is None or count <= self.most)


def _compare(operator: str) -> Operation:
    def write(operands: Sequence[str]) -> str:
        pairs = (f"{left} {operator} {right}" for left, right in pairwise(operands))
        return f"({' AND '.join(pairs)})"

    return Operation(write, predicate=True, compares=operator)


def _infix(operator: str, takes: frozenset[ValueType]) -> Operation:
    return Operation(lambda operands: f"({f' {operator} '.join(operands)})", takes)


def _template(
    template: str, takes: frozenset[ValueType] | None, *, predicate: bool = False, partial: bool = False
) -> Operation:
    return Operation(lambda operands: template.format(*operands), takes, predicate, partial)


def _minus(operands: Sequence[str]) -> str:
    return f"(-{operands[0]})" if len(operands) == 1 else f"({' - '.join(operands)})"


def _number_test(condition: str) -> Operation:
    return _template(condition, NUMBERS, predicate=True)


_OPERATIONS: Final[dict[str, Operation]] = {
    "=": _compare("="),
    "==": _compare("="),
    "identical?": _compare("="),
    "!=": Operation(lambda o: f"(NOT {_compare('=').write(o)})", predicate=True, compares="="),
    "not=": Operation(lambda o: f"(NOT {_compare('=').write(o)})", predicate=True, compares="="),
    "<": _compare("<"),
    ">": _compare(">"),
    "<=": _compare("<="),
    ">=": _compare(">="),
    "+": _infix("+", NUMBERS),
    "-": Operation(_minus, NUMBERS),
    "*": _infix("*", NUMBERS),
    "/": Operation(
        lambda o: f"(CAST({o[0] if len(o) > 1 else 1} AS REAL) / {' / '.join(o[1:] or o)})",
        NUMBERS,
        partial=True,
    ),
    "abs": _template("abs({0})", NUMBERS),
    "max": Operation(lambda o: f"max({', '.join(o)})" if len(o) > 1 else o[0], compares=""),
    "min": Operation(lambda o: f"min({', '.join(o)})" if len(o) > 1 else o[0], compares=""),
    "quot": _template("({0} / {1})", INTEGERS, partial=True),
    "rem": _template("({0} % {1})", INTEGERS, partial=True),
    "mod": _template("((({0} % {1}) + {1}) % {1})", INTEGERS, partial=True),
    "inc": _template("({0} + 1)", NUMBERS),
    "dec": _template("({0} - 1)", NUMBERS),
    "even?": _template("({0} % 2 = 0)", INTEGERS, predicate=True),
    "odd?": _template("({0} % 2 <> 0)", INTEGERS, predicate=True),
    "pos?": _number_test("({0} > 0)"),
    "neg?": _number_test("({0} < 0)"),
    "zero?": _number_test("({0} = 0)"),
    "identity": _template("{0}", None),
    "nil?": _template("({0} IS NULL)", None, predicate=True),
    "some?": _template("({0} IS NOT NULL)", None, predicate=True),
    "true?": _template("({0} = x'0101')", None, predicate=True),
    "false?": _template("({0} = x'0100')", None, predicate=True),
    "str": Operation(lambda o: f"({' || '.join(o)})" if o else "''", TEXTS),
    "starts-with?": _template("(instr({0}, {1}) = 1)", TEXTS, predicate=True),
    "includes?": _template("(instr({0}, {1}) > 0)", TEXTS, predicate=True),
}

_NAMESPACES: Final = frozenset({"clojure.core", "clojure.string", "str", "string"})
_ALIASES: Final = {"-differ?": "differ?"}


def find_function(name: str) -> Function | None:
    """The function of that name, which may have one of Clojure's namespaces before it."""
    namespace, slash, rest = name.rpartition("/")
    if slash and namespace in _NAMESPACES:
        name = rest
    name = _ALIASES.get(name, name)
    if name not in LIBRARY:
        return None
    call, least, most = LIBRARY[name]
    return Function(name, call, least, most, _OPERATIONS.get(name))
