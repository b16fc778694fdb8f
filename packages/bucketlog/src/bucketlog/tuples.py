"""Tuples as bytes that sort as their elements do, one after the other, and say the elements' types.

Elements are in stored form (`bucketlog.value`), `None` for one that is missing, which sorts first. Each is a
byte that says what it is, then bytes of a known length, or that say where they end.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from bucketlog import decimals

__all__ = ["MAX_LENGTH", "MIN_LENGTH", "pack", "unpack"]

MIN_LENGTH: Final = 2
MAX_LENGTH: Final = 8

_NONE: Final = 0x00
_INTEGER: Final = 0x10
_DOUBLE: Final = 0x11
_TEXT: Final = 0x20
_BLOB: Final = 0x30
"""Plus the tag of the blob, whose other bytes follow."""

_DECIMAL: Final = 6
_FIXED: Final = {1: 1, 2: 8, 4: 16}
"""The length of blobs by tag: booleans, instants, UUIDs."""
_TEXTS: Final = frozenset({3, 7})
"""The tags of keywords and URIs."""

_BIAS: Final = 1 << 63
_END: Final = b"\x00\x00"
_ZERO: Final = b"\x00\xff"  # a 0 within text: after the end of a shorter one


def pack(elements: Sequence[str | int | float | bytes | None]) -> bytes:
    """The bytes of elements; raises `ValueError` for a wrong number, or one that no tuple can have."""
    if not MIN_LENGTH <= len(elements) <= MAX_LENGTH:
        raise ValueError(f"a tuple has {MIN_LENGTH} to {MAX_LENGTH} elements, not {len(elements)}")
    return b"".join(map(_packed, elements))


def _packed(element: str | float | bytes | None) -> bytes:
    if element is None:
        return bytes([_NONE])
    if isinstance(element, str):
        return bytes([_TEXT]) + _escaped(element.encode())
    if isinstance(element, int):
        return bytes([_INTEGER]) + (element + _BIAS).to_bytes(8, "big")
    if isinstance(element, float):
        bits = int.from_bytes(struct.pack(">d", element), "big")
        return bytes([_DOUBLE]) + (bits ^ (2 * _BIAS - 1 if bits & _BIAS else _BIAS)).to_bytes(8, "big")
    tag, body = element[0], element[1:]
    if tag not in _FIXED and tag not in _TEXTS and tag != _DECIMAL:
        raise ValueError("a tuple holds no bytes and no tuples")
    return bytes([_BLOB + tag]) + (_escaped(body) if tag in _TEXTS else body)


def _escaped(text: bytes) -> bytes:
    return text.replace(b"\x00", _ZERO) + _END


def unpack(data: bytes, start: int) -> list[str | int | float | bytes | None]:
    """The elements whose bytes begin at `start`; raises `ValueError` for other bytes."""
    elements: list[str | int | float | bytes | None] = []
    while start < len(data):
        element, start = _unpacked(data, start)
        elements.append(element)
    if not MIN_LENGTH <= len(elements) <= MAX_LENGTH:
        raise ValueError(f"{len(elements)} elements are no tuple")
    return elements


def _unpacked(data: bytes, start: int) -> tuple[str | float | bytes | None, int]:
    """The element at `start`, and where the next one is."""
    kind, start = data[start], start + 1
    if kind == _NONE:
        return None, start
    if kind == _TEXT:
        text, end = _unescaped(data, start)
        return text.decode(), end
    if kind in {_INTEGER, _DOUBLE}:
        number = int.from_bytes(_cut(data, start, 8), "big")
        return number - _BIAS if kind == _INTEGER else _double(number), start + 8
    tag = kind - _BLOB
    if tag in _TEXTS:
        text, end = _unescaped(data, start)
        return bytes([tag]) + text, end
    if tag == _DECIMAL:
        _, end = decimals.unpack(data, start)
        return bytes([tag]) + data[start:end], end
    if tag not in _FIXED:
        raise ValueError(f"there is no element of kind {kind}")
    return bytes([tag]) + _cut(data, start, _FIXED[tag]), start + _FIXED[tag]


def _cut(data: bytes, start: int, length: int) -> bytes:
    if start + length > len(data):
        raise ValueError("an element is cut off")
    return data[start : start + length]


def _unescaped(data: bytes, start: int) -> tuple[bytes, int]:
    end = data.find(_END, start)
    if end < 0:
        raise ValueError("a text never ends")
    return data[start:end].replace(_ZERO, b"\x00"), end + len(_END)


def _double(ordered: int) -> float:
    bits = ordered ^ (_BIAS if ordered & _BIAS else 2 * _BIAS - 1)
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    if value != value:  # noqa: PLR0124 -- NaN
        raise ValueError("NaN is no element")
    return value
