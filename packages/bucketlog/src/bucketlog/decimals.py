"""Decimals as bytes that sort as the numbers do, and that say where they end.

A number is ±0.d₁d₂…dₙ · 10^point with d₁ and dₙ not 0, so numbers that are equal have the same bytes: 1.0 is
1.00. The bytes are the sign; the point, biased, in two bytes; the digits, two a byte and one more than they
are, so that no byte is 0; then a 0. All after the sign of a negative number is complemented.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Final

__all__ = ["EXACT", "MAX_DIGITS", "MAX_POINT", "ROUNDED", "pack", "unpack"]

MAX_DIGITS: Final = 64
"""Without zeros at either end."""

MAX_POINT: Final = 6144
"""The absolute value of a number other than 0 is from 10^-6144 up to, but not, 10^6144."""

ROUNDED: Final = Context(prec=MAX_DIGITS)
"""For computing what may not have an end, such as quotients: as many digits as can be stored."""

EXACT: Final = Context(prec=4 * MAX_POINT)
"""For sums and products, which are exact whatever two decimals they are of."""

_NEGATIVE: Final = 0
_ZERO: Final = 1
_POSITIVE: Final = 2
_BIAS: Final = 1 << 15
_COMPLEMENT: Final = bytes(range(255, -1, -1))
_DIGITS: Final = ("", *(f"{pair:02d}" for pair in range(100)))
"""The two digits that a byte stands for; 0 stands for none, and is in no number."""
_PAIR: Final = {digits: byte for byte, digits in enumerate(_DIGITS)}
_END: Final = {_NEGATIVE: b"\xff", _POSITIVE: b"\x00"}


def pack(value: Decimal) -> bytes:
    """The bytes of a number; raises `ValueError` for one that is infinite, none, too long or too large."""
    sign, figures, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is no number that can be stored or found")  # noqa: TRY004 -- its value is wrong
    if not value:
        return bytes([_ZERO])
    digits = "".join(map(str, figures)).rstrip("0")
    point = len(figures) + exponent
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a decimal has at most {MAX_DIGITS} digits, and this one has {len(digits)}")
    if not -MAX_POINT < point <= MAX_POINT:
        raise ValueError(f"a decimal is from 10^-{MAX_POINT} to 10^{MAX_POINT}, and this one is {value:.3E}")
    if len(digits) % 2:
        digits += "0"
    pairs = bytes([_PAIR[digits[place : place + 2]] for place in range(0, len(digits), 2)])
    body = (point + _BIAS).to_bytes(2, "big") + pairs + b"\x00"
    return bytes([_NEGATIVE]) + body.translate(_COMPLEMENT) if sign else bytes([_POSITIVE]) + body


def unpack(data: bytes, start: int) -> tuple[Decimal, int]:
    """The number whose bytes begin at `start`, and where they end; raises `ValueError` for other bytes.

    It has no zeros at the end of its fraction, and an exponent only when it has more than 64 places.
    """
    sign = data[start] if start < len(data) else None
    if sign == _ZERO:
        return Decimal(0), start + 1
    if sign not in _END:
        raise ValueError("the sign of a decimal is not there")
    end = data.find(_END[sign], start + 3)
    body = data[start + 1 : max(end, 0)]
    if sign == _NEGATIVE:
        body = body.translate(_COMPLEMENT)
    if len(body) < 3 or max(body[2:]) > 100:
        raise ValueError("the digits of a decimal are damaged")
    digits = "".join([_DIGITS[pair] for pair in body[2:]]).rstrip("0")
    point = int.from_bytes(body[:2], "big") - _BIAS
    if len(digits) < point <= MAX_DIGITS:
        digits = digits.ljust(point, "0")
    return Decimal(f"{'-' if sign == _NEGATIVE else ''}{digits or 0}E{point - len(digits)}"), end + 1
