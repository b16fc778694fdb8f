"""Values: which Python values each `:db.type/…` takes, and how a value is stored.

A stored value is what SQLite holds: text, integer, float, or a tagged blob. It says its own type, so
equality, order and joins need one column only, and a value read back needs no schema. References are stored
as the entity's integer, like longs.
"""

from __future__ import annotations

import enum
import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final

from bucketlog import decimals, tuples
from bucketlog.edn import URI, Keyword

__all__ = [
    "ELEMENT_TYPES",
    "PLAIN_TYPES",
    "Encoder",
    "Stored",
    "ValueType",
    "decode",
    "elements",
    "encode",
    "encode_as",
    "encoder",
    "instant_from_micros",
    "instant_micros",
    "stored_tuple",
    "tuple_encoder",
]

Stored = str | int | float | bytes

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BIAS: Final = 1 << 63
_MIN_LONG: Final = -(1 << 63)
_MAX_LONG: Final = (1 << 63) - 1

# The first byte of a blob says what it is. Instants are big-endian and biased: bytes sort as times do, and
# those of decimals and tuples as numbers and elements do.
_BOOLEAN: Final = 1
_INSTANT: Final = 2
_KEYWORD: Final = 3
_UUID: Final = 4
_BYTES: Final = 5
_DECIMAL: Final = 6
_URI: Final = 7
_TUPLE: Final = 8
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
    BIGDEC = ":db.type/bigdec"
    URI = ":db.type/uri"
    TUPLE = ":db.type/tuple"


PLAIN_TYPES: Final = frozenset({ValueType.STRING, ValueType.LONG, ValueType.DOUBLE, ValueType.REF})
"""Types whose stored values are the Python values themselves."""

ELEMENT_TYPES: Final = frozenset(ValueType) - {ValueType.BYTES, ValueType.TUPLE}
"""Types that an element of a tuple can have."""


def encode_as(value_type: ValueType, value: Any) -> Stored:
    """The stored form of `value` as a value of `value_type`.

    Raises `ValueError` with what is wrong. A keyword may be given as a plain `str` with its colon, a URI as a
    `str`, a double or decimal as an `int`. References take the entity's integer only: names of entities are
    resolved before.
    """
    if value_type is ValueType.KEYWORD and isinstance(value, str):
        value = Keyword(value)
    elif value_type is ValueType.DOUBLE and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif value_type is ValueType.BIGDEC and isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    elif value_type is ValueType.URI and isinstance(value, str):
        value = URI(value)
    elif value_type is ValueType.TUPLE and isinstance(value, list):
        value = tuple(value)
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


def tuple_encoder(types: Sequence[ValueType]) -> Encoder:
    """`encode` for tuples with elements of these types, or with one type of any number of elements."""
    encoders = [encoder(value_type) for value_type in types]

    def encode_tuple(value: Any) -> Stored:
        if not isinstance(value, tuple | list):
            raise ValueError(f"expected tuple, got {type(value).__name__}")  # noqa: TRY004 -- as for all types
        if len(encoders) > 1 and len(value) != len(encoders):
            raise ValueError(f"expected {len(encoders)} elements, got {len(value)}")
        each = encoders if len(encoders) > 1 else encoders * len(value)
        return stored_tuple(
            [None if item is None else write(item) for write, item in zip(each, value, strict=True)]
        )

    return encode_tuple


def stored_tuple(elements: Sequence[Stored | None]) -> Stored:
    """The stored form of a tuple of elements in stored form; raises `ValueError` when they are none."""
    return bytes([_TUPLE]) + tuples.pack(elements)


def elements(stored: Stored) -> list[Stored | None]:
    """The elements of a tuple, all in stored form; raises `ValueError` when it is none."""
    if not isinstance(stored, bytes) or stored[:1] != bytes([_TUPLE]):
        raise ValueError(f"{stored!r} is no tuple")
    return tuples.unpack(stored, 1)


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
    ValueType.BIGDEC: Decimal,
    ValueType.URI: URI,
    ValueType.TUPLE: tuple,
}


def encode(value: Any) -> Stored:
    """The stored form of `value` by its Python type alone; raises `ValueError` when it has none."""
    write = _ENCODERS.get(value.__class__)
    if write is None:
        write = next((write for kind, write in _ENCODERS.items() if isinstance(value, kind)), None)
    if write is None:
        raise ValueError(f"{type(value).__name__} is not a type of value")
    return write(value)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text is not valid Unicode: {error.reason}") from None
    return str(value)


def _integer(value: int) -> int:
    if not _MIN_LONG <= value <= _MAX_LONG:
        raise ValueError(f"{value} does not fit in 64 bits")
    return int(value)


def _float(value: float) -> float:
    if math.isnan(value):
        raise ValueError("NaN equals nothing, so it cannot be stored or found")
    return value + 0.0  # -0.0 becomes 0.0, which it equals


def _instant(value: datetime) -> bytes:
    return bytes([_INSTANT]) + (instant_micros(value) + _BIAS).to_bytes(8, "big")


def _tuple(value: tuple[Any, ...]) -> Stored:
    return stored_tuple([None if item is None else encode(item) for item in value])


# Subclasses of `str` and `int` stand before them: a value is of the first type that it is an instance of.
_ENCODERS: Final[dict[type, Encoder]] = {
    Keyword: lambda value: bytes([_KEYWORD]) + value.encode(),
    URI: lambda value: bytes([_URI]) + value.encode(),
    str: _text,
    bool: lambda value: _TRUE if value else _FALSE,
    int: _integer,
    float: _float,
    datetime: _instant,
    uuid.UUID: lambda value: bytes([_UUID]) + value.bytes,
    bytes: lambda value: bytes([_BYTES]) + value,
    Decimal: lambda value: bytes([_DECIMAL]) + decimals.pack(value),
    tuple: _tuple,
}


def instant_micros(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; raises `ValueError` for a time without time zone."""
    if instant.tzinfo is None:
        raise ValueError("a datetime needs a time zone, e.g. datetime.now(UTC)")
    return (instant - _EPOCH) // _MICROSECOND


def instant_from_micros(micros: int) -> datetime:
    """The time, in UTC, that many microseconds after 1970-01-01."""
    return _EPOCH + micros * _MICROSECOND


def decode(stored: Stored) -> Any:
    """The Python value of a stored one; raises `ValueError` for bytes that are none.

    Instants come back in UTC, decimals without zeros at the end of their fraction.
    """
    if not isinstance(stored, bytes):
        return stored
    try:
        return _DECODERS[stored[0]](stored)
    except (LookupError, ValueError, OverflowError) as error:
        raise ValueError(f"{_shown(stored)} is no value: {error}") from None


def _shown(stored: bytes) -> str:
    return f"blob {stored[:40].hex()}{'…' if len(stored) > 40 else ''}"


def _decode_instant(stored: bytes) -> datetime:
    return instant_from_micros(int.from_bytes(stored[1:], "big") - _BIAS)


@lru_cache(maxsize=4096)
def _decode_keyword(stored: bytes) -> Keyword:
    return Keyword(stored[1:].decode())


def _decode_decimal(stored: bytes) -> Decimal:
    value, end = decimals.unpack(stored, 1)
    if end != len(stored):
        raise ValueError("bytes follow a decimal")
    return value


def _decode_tuple(stored: bytes) -> tuple[Any, ...]:
    return tuple(None if item is None else decode(item) for item in tuples.unpack(stored, 1))


_DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    _BOOLEAN: lambda stored: stored == _TRUE,
    _INSTANT: _decode_instant,
    _KEYWORD: _decode_keyword,
    _UUID: lambda stored: uuid.UUID(bytes=stored[1:]),
    _BYTES: lambda stored: stored[1:],
    _DECIMAL: _decode_decimal,
    _URI: lambda stored: URI(stored[1:].decode()),
    _TUPLE: _decode_tuple,
}
