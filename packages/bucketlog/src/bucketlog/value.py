"""Values: which Python values each `:db.type/…` takes, and how a value is stored.

A stored value is what SQLite holds: text, integer, float, or a tagged blob. It says its own type, so
equality, order and joins need one column only, and a value read back needs no schema. References are stored
as the entity's integer, like longs.
"""

from __future__ import annotations

import enum
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final

from bucketlog.edn import Keyword

__all__ = [
    "PLAIN_TYPES",
    "Encoder",
    "Stored",
    "ValueType",
    "decode",
    "encode",
    "encode_as",
    "encoder",
    "instant_from_micros",
    "instant_micros",
]

Stored = str | int | float | bytes

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BIAS: Final = 1 << 63
_MIN_LONG: Final = -(1 << 63)
_MAX_LONG: Final = (1 << 63) - 1

# The first byte of a blob says what it is. Instants are big-endian and biased: bytes sort as times do.
_BOOLEAN: Final = 1
_INSTANT: Final = 2
_KEYWORD: Final = 3
_UUID: Final = 4
_BYTES: Final = 5
_FALSE: Final = bytes([_BOOLEAN, 0])
_TRUE: Final = bytes([_BOOLEAN, 1])


class ValueType(enum.Enum):
    """The value types an attribute can have."""

    STRING = ":db.type/string"
    LONG = ":db.type/long"
    DOUBLE = ":db.type/double"
    BOOLEAN = ":db.type/boolean"
    INSTANT = ":db.type/instant"
    UUID = ":db.type/uuid"
    KEYWORD = ":db.type/keyword"
    REF = ":db.type/ref"
    BYTES = ":db.type/bytes"


PLAIN_TYPES: Final = frozenset({ValueType.STRING, ValueType.LONG, ValueType.DOUBLE, ValueType.REF})
"""Types whose stored values are the Python values themselves."""


def encode_as(value_type: ValueType, value: Any) -> Stored:
    """The stored form of `value` as a value of `value_type`.

    Raises `ValueError` with what is wrong. A keyword may be given as a plain `str` with its colon, a double
    as an `int`. References take the entity's integer only: names of entities are resolved before.
    """
    if value_type is ValueType.KEYWORD and isinstance(value, str):
        value = Keyword(value)
    elif value_type is ValueType.DOUBLE and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    expected = _EXPECTED[value_type]
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"expected {expected.__name__}, got {type(value).__name__}")
    if value_type is ValueType.STRING:
        value = str(value)
    return encode(value)


Encoder = Callable[[Any], Stored]


def encoder(value_type: ValueType) -> Encoder:
    """`encode_as` for one type, with a short way for the values that are most frequent."""
    return _FAST.get(value_type) or partial(encode_as, value_type)


def _encode_string(value: Any) -> Stored:
    if value.__class__ is str and value.isascii():
        return str(value)
    return encode_as(ValueType.STRING, value)


def _encode_long(value: Any) -> Stored:
    if value.__class__ is int and _MIN_LONG <= value <= _MAX_LONG:
        return int(value)
    return encode_as(ValueType.LONG, value)


def _encode_keyword(value: Any) -> Stored:
    return _keyword(value) if isinstance(value, str) else encode_as(ValueType.KEYWORD, value)


@lru_cache(maxsize=4096)
def _keyword(value: str) -> Stored:
    return encode_as(ValueType.KEYWORD, value)


_FAST: Final[dict[ValueType, Encoder]] = {
    ValueType.STRING: _encode_string,
    ValueType.LONG: _encode_long,
    ValueType.KEYWORD: _encode_keyword,
}

_EXPECTED: Final[dict[ValueType, type]] = {
    ValueType.STRING: str,
    ValueType.LONG: int,
    ValueType.DOUBLE: float,
    ValueType.BOOLEAN: bool,
    ValueType.INSTANT: datetime,
    ValueType.UUID: uuid.UUID,
    ValueType.KEYWORD: Keyword,
    ValueType.REF: int,
    ValueType.BYTES: bytes,
}


def encode(value: Any) -> Stored:  # noqa: PLR0911 -- one return a type
    """The stored form of `value` by its Python type alone; raises `ValueError` when it has none."""
    if isinstance(value, Keyword):
        return bytes([_KEYWORD]) + value.encode()
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text is not valid Unicode: {error.reason}") from None
        return str(value)
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int):
        if not _MIN_LONG <= value <= _MAX_LONG:
            raise ValueError(f"{value} does not fit in 64 bits")
        return int(value)
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("NaN equals nothing, so it cannot be stored or found")
        return value + 0.0  # -0.0 becomes 0.0, which it equals
    if isinstance(value, datetime):
        return bytes([_INSTANT]) + (instant_micros(value) + _BIAS).to_bytes(8, "big")
    if isinstance(value, uuid.UUID):
        return bytes([_UUID]) + value.bytes
    if isinstance(value, bytes):
        return bytes([_BYTES]) + value
    raise ValueError(f"{type(value).__name__} is not a type of value")


def instant_micros(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; raises `ValueError` for a time without time zone."""
    if instant.tzinfo is None:
        raise ValueError("a datetime needs a time zone, e.g. datetime.now(UTC)")
    return (instant - _EPOCH) // _MICROSECOND


def instant_from_micros(micros: int) -> datetime:
    """The time, in UTC, that many microseconds after 1970-01-01."""
    return _EPOCH + micros * _MICROSECOND


def decode(stored: Stored) -> Any:
    """The Python value of a stored one; instants come back in UTC."""
    if not isinstance(stored, bytes):
        return stored
    tag = stored[0]
    if tag == _KEYWORD:
        return Keyword(stored[1:].decode())
    if tag == _INSTANT:
        return instant_from_micros(int.from_bytes(stored[1:], "big") - _BIAS)
    if tag == _BOOLEAN:
        return stored == _TRUE
    if tag == _UUID:
        return uuid.UUID(bytes=stored[1:])
    return stored[1:]
