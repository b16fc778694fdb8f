"""Comparisons in SQL of values that may be decimals, which SQL sees as blobs, and other numbers.

SQL is right for operands that are all decimals, or none of them. Where the types tell that one operand is a
decimal and another a number, a parameter is turned into what the column has; otherwise Python compares.
Python also compares tuples: whoever asks for those below `[1 2]` need not know that these are of doubles.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from bucketlog.decimals import MAX_DIGITS, MAX_POINT
from bucketlog.query.functions import INTEGERS, NUMBERS
from bucketlog.query.statement import Statement
from bucketlog.value import Stored, ValueType, decode, encode

__all__ = ["Operand", "bound", "comparable"]

Operand = tuple[str, ValueType | None]
"""SQL, and the type if that is certain."""

_NUMERIC: Final = NUMBERS | {ValueType.BIGDEC, None}
_UPWARD: Final = {"<": (False, True), ">=": (False, True), ">": (True, False), "<=": (True, False)}
"""By operator: whether the number on the left, or on the right, may be rounded up."""
_DECIMAL: Final = b"\x06"  # the first byte of decimals; no bytes after it sort before all of them
_TUPLE: Final = "x'08'"  # where tuples begin; after them are objects only
_OBJECT: Final = "x'ff'"  # where objects begin that are no values of attributes
_GREATEST: Final = _DECIMAL + b"\xff"
_CONTEXT: Final = {
    up: decimal.Context(MAX_DIGITS, ROUND_CEILING if up else ROUND_FLOOR, Emin=-MAX_POINT, Emax=MAX_POINT)
    for up in (False, True)
}


def comparable(
    statement: Statement, operator: str, operands: Sequence[Operand]
) -> tuple[Sequence[Operand], str] | None:
    """The operands that SQL can compare, and the condition under which it is right, or nothing.

    `operator` is one of `=`, `<`, `>`, `<=`, `>=`, or nothing when the operands themselves are the result.
    `None` when Python has to compare.
    """
    if any(kind is ValueType.TUPLE for _, kind in operands):
        return None
    kinds = {kind for _, kind in operands if kind in _NUMERIC}
    if kinds <= NUMBERS or kinds == {ValueType.BIGDEC} or sum(kind in _NUMERIC for _, kind in operands) < 2:
        return operands, ""
    if operator and len(operands) == 2:
        for place, ((parameter, _), (column, kind)) in enumerate((operands, operands[::-1])):
            if parameter.startswith(":") and kind is not None and not column.startswith(":"):
                adapted = _adapted(statement, parameter, kind, _UPWARD.get(operator, (None, None))[place])
                return ((adapted, kind), (column, kind))[:: -1 if place else 1], ""
    guard = _guard(kinds - {None}, [sql for sql, kind in operands if kind is None])
    return None if guard is None else (operands, guard)


def _guard(known: AbstractSet[ValueType | None], unknown: Sequence[str]) -> str | None:
    """The condition that operands of unknown type are of those that SQL compares; `None` when none are."""
    if ValueType.BIGDEC in known:
        other = [f"typeof({sql}) NOT IN ('integer', 'real') AND {sql} < {_OBJECT}" for sql in unknown]
        return " AND ".join(other) if len(known) == 1 else None
    if known:
        return " AND ".join(f"({sql} < x'06' OR {sql} >= x'07') AND {sql} < {_OBJECT}" for sql in unknown)
    first, *rest = unknown
    alike = [f"(typeof({first}) = 'blob') = (typeof({sql}) = 'blob')" for sql in rest]
    return " AND ".join([f"{first} < {_TUPLE}", *alike])


def _adapted(statement: Statement, parameter: str, kind: ValueType, up: bool | None) -> str:
    """The parameter as what compares with values of that type as it does."""
    original = statement.parameters[parameter.removeprefix(":")]
    return statement.parameter(lambda run: bound(original(run), kind, up=up))


def bound(stored: Stored | None, kind: ValueType, *, up: bool | None) -> Stored | None:
    """What compares with values of type `kind`, a number's, as `stored` does, if that is a number.

    When no value of the type equals it, it is rounded `up` or down; with `None` it stays, as it equals none.
    """
    if isinstance(stored, int | float):
        return _as_decimal(stored, up=up) if kind is ValueType.BIGDEC else stored
    if kind is ValueType.BIGDEC or not isinstance(stored, bytes) or stored[:1] != _DECIMAL:
        return stored
    value: Decimal = decode(stored)
    found = _as_integer(value, up=up) if kind in INTEGERS else _as_double(value, up=up)
    return stored if found is None else found


def _as_decimal(value: float, *, up: bool | None) -> Stored:
    if math.isinf(value):
        return value if up is None else _GREATEST if value > 0 else _DECIMAL
    exact = Decimal(value)
    rounded = _CONTEXT[bool(up)].plus(exact)
    return encode(rounded) if rounded == exact or up is not None else value


def _as_integer(value: Decimal, *, up: bool | None) -> Stored | None:
    if not -(1 << 63) <= value < 1 << 63:
        return None if up is None else math.copysign(math.inf, value)
    rounded = math.ceil(value) if up else math.floor(value)
    return rounded if rounded == value or up is not None else None


def _as_double(value: Decimal, *, up: bool | None) -> Stored | None:
    near = float(value)
    exact = Decimal(near)
    if exact == value:
        return near
    if up is None:
        return None
    if up == (exact > value):
        return near
    return math.nextafter(near, math.inf if up else -math.inf)
