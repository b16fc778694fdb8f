"""The log: what one commit looks like as an object of the bucket.

Key: `log/` and the number of the object's first transaction in 16 decimal digits, so keys sort as history
goes. The next object's key follows from the number of transactions in this one, so two writers that both know
the log's end try to create the same key, and the store lets exactly one of them.

Format 1, byte for byte: the header `bucketlog/1 sha256=<64 hex digits>` and a line feed, then the payload,
whose SHA-256 the header gives. The payload is UTF-8 JSON without insignificant spaces::

    {"id": "<32 hex digits, random>", "t": <first transaction>, "transactions": [[[e, a, v, added], …], …]}

`e` and `a` are entity ids, `added` is a boolean. `v` is a JSON string for strings, an integer for longs and
references, a boolean for booleans, and otherwise an object with one key: `double` (a number, or "inf",
"-inf"), `keyword` (with its colon), `instant` (microseconds since 1970-01-01 UTC), `uuid` (32 hex digits),
`bytes` (base64), `bigdec` (its digits as text), `uri`, `tuple` (a list of values; `null` is none).

Transaction `t` is itself the entity 2^40 + t and carries `:db/txInstant` (attribute 8).
Object 0 is the genesis: it holds the attributes that describe attributes (`bucketlog.schema.bootstrap`), with
the ids they keep for ever.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bucketlog.edn import URI, Keyword
from bucketlog.errors import FormatError
from bucketlog.schema import TX_INSTANT, Change, bootstrap, transaction_entity
from bucketlog.value import Stored, decode, elements, encode, instant_from_micros, instant_micros

__all__ = [
    "PREFIX",
    "Entry",
    "decode_entry",
    "encode_entry",
    "genesis",
    "key_of",
    "t_of",
    "value_from_json",
    "value_to_json",
]

PREFIX: Final = "log/"

_VERSION: Final = 1
_MAX_ENTITY: Final = 1 << 62
_HEADER: Final = re.compile(rb"bucketlog/([0-9]{1,9}) sha256=([0-9a-f]{64})")
_KEY: Final = re.compile(r"log/([0-9]{16})")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the log: transactions `t`, `t + 1`, …, and an id that no other attempt to write has."""

    t: int
    transactions: tuple[tuple[Change, ...], ...]
    id: str

    @property
    def last_t(self) -> int:
        """The number of the last transaction in it."""
        return self.t + len(self.transactions) - 1

    def until(self, t: int) -> Entry:
        """The entry with no transaction after `t`, which is one of its own or a later one."""
        return self if self.last_t <= t else replace(self, transactions=self.transactions[: t + 1 - self.t])


def key_of(t: int) -> str:
    """The key of the object whose first transaction is `t`."""
    return f"{PREFIX}{t:016d}"


def t_of(key: str) -> int | None:
    """The first transaction of the object at `key`; `None` when that is not a key of the log."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match else None


def genesis(now: datetime) -> Entry:
    """The first entry of a new database."""
    instant = Change(transaction_entity(0), TX_INSTANT, encode(now), True)
    return Entry(0, ((*bootstrap(), instant),), uuid.uuid4().hex)


def encode_entry(entry: Entry) -> bytes:
    """The bytes of `entry` in format 1."""
    document = {
        "id": entry.id,
        "t": entry.t,
        "transactions": [
            # Most values are what JSON has too, and a call for each would be most of the time.
            [
                [e, a, v if v.__class__ is str or v.__class__ is int else value_to_json(v), added]
                for e, a, v, added in transaction
            ]
            for transaction in entry.transactions
        ],
    }
    payload = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b"bucketlog/%d sha256=%s\n%s" % (_VERSION, hashlib.sha256(payload).hexdigest().encode(), payload)


def decode_entry(key: str, data: bytes) -> Entry:
    """The entry that the object `key` holds; raises `FormatError`, which names it, unless it is whole.

    The key may begin with a branch's prefix.
    """
    header, newline, payload = data.partition(b"\n")
    match = _HEADER.fullmatch(header)
    if match is None or not newline:
        raise FormatError(f"{key} is not a log entry: it does not begin with 'bucketlog/1 sha256=…'")
    version = int(match[1])
    if version != _VERSION:
        raise FormatError(
            f"{key} has format {version}, but this bucketlog reads format {_VERSION} only: upgrade it"
        )
    if hashlib.sha256(payload).hexdigest().encode() != match[2]:
        raise FormatError(f"{key} is corrupt: its SHA-256 is not the one it states; restore it from a backup")
    try:
        document = json.loads(payload)
        transactions = tuple(
            tuple(
                Change(
                    e if e.__class__ is int and 0 <= e < _MAX_ENTITY else _entity(e),
                    a if a.__class__ is int and 0 <= a < _MAX_ENTITY else _entity(a),
                    v if v.__class__ is str else value_from_json(v),
                    added if added is True or added is False else _flag(added),
                )
                for e, a, v, added in transaction
            )
            for transaction in document["transactions"]
        )
        entry = Entry(_entity(document["t"]), transactions, str(document["id"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{key} is not a valid log entry: {type(error).__name__}: {error}") from error
    if not key.endswith(key_of(entry.t)) or not transactions:
        raise FormatError(
            f"{key} holds transaction {entry.t}, which belongs at {key_of(entry.t)}: it was moved"
        )
    return entry


def value_to_json(stored: Stored) -> Any:  # noqa: PLR0911 -- one return a type
    """A stored value as an entry of the log has it: texts, whole numbers and booleans as they are, others as
    an object with one member, their kind.
    """
    if isinstance(stored, str | int):
        return stored
    if isinstance(stored, float):
        return {"double": stored if math.isfinite(stored) else str(stored)}
    value = decode(stored)
    if isinstance(value, bool):
        return value
    if isinstance(value, Keyword):
        return {"keyword": value}
    if isinstance(value, datetime):
        return {"instant": instant_micros(value)}
    if isinstance(value, uuid.UUID):
        return {"uuid": value.hex}
    if isinstance(value, Decimal):
        return {"bigdec": str(value)}
    if isinstance(value, URI):
        return {"uri": value}
    if isinstance(value, tuple):
        return {"tuple": [None if item is None else value_to_json(item) for item in elements(stored)]}
    return {"bytes": base64.b64encode(value).decode()}


def value_from_json(value: Any) -> Stored:
    """The value back. Raises ValueError for what `value_to_json` does not write."""
    if isinstance(value, str | int):
        return encode(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{value!r} is not a value")
    ((kind, content),) = value.items()
    return encode(_tagged(kind, content))


def _tagged(kind: str, content: Any) -> Any:
    if isinstance(content, str) and kind in _FROM_TEXT:
        return _FROM_TEXT[kind](content)
    if kind == "double":
        return float(content)
    if kind == "instant" and content.__class__ is int:
        return instant_from_micros(content)
    if kind == "tuple" and isinstance(content, list):
        return tuple(None if item is None else decode(value_from_json(item)) for item in content)
    raise ValueError(f"{kind!r} is not a kind of value, or not of this one")


def _decimal(content: str) -> Decimal:
    try:
        return Decimal(content)
    except InvalidOperation:
        raise ValueError(f"{content!r} is not a decimal") from None


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "keyword": Keyword,
    "uuid": lambda text: uuid.UUID(hex=text),
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "bigdec": _decimal,
    "uri": URI,
}


def _entity(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_ENTITY:
        raise ValueError(f"{value!r} is not an entity id")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is not a boolean")  # noqa: TRY004 -- collected by the caller
    return value
