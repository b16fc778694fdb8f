"""Clojure's functions as queries use them, on Python values.

`None` is nil: no result, so no row. Keywords are `Keyword`, vectors and lists are Python's lists and tuples,
regular expressions are Python's. Numbers are what `numbers.Number` says, without booleans.
"""

from __future__ import annotations

import datetime
import math
import numbers
import random
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Context, Decimal, localcontext
from itertools import pairwise
from typing import Any

from bucketlog import edn
from bucketlog.decimals import EXACT, ROUNDED
from bucketlog.edn import URI, Keyword
from bucketlog.errors import EdnError
from bucketlog.schema import TX_BASE
from bucketlog.value import encode

__all__ = ["LIBRARY", "number", "rank", "truth"]


def truth(value: Any) -> bool:
    """Whether a value counts as true in Clojure: nil and false do not."""
    return value is not None and value is not False


# Numbers


def number(value: Any) -> Any:
    """The value if it is a number; raises `TypeError`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Number):
        raise TypeError(f"{value!r} is not a number")
    return value


def _numeric(function: Callable[..., Any], context: Context = EXACT) -> Callable[..., Any]:
    """A function of numbers only; decimals meet floats as what the floats are exactly."""

    def call(*values: Any) -> Any:
        known = [number(value) for value in values]
        if not any(isinstance(value, Decimal) for value in known):
            return function(*known)
        with localcontext(context):
            return function(*(Decimal(value) if isinstance(value, float) else value for value in known))

    return call


def _fold(operation: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def fold(*values: Any) -> Any:
        result = values[0]
        for value in values[1:]:
            result = operation(result, value)
        return result

    return _numeric(fold)


def _divide(*values: Any) -> Any:
    result = 1 if len(values) == 1 else values[0]
    for value in values[1:] or values:
        if value == 0:
            return None
        result = result / value
    return result


def _quot(a: Any, b: Any) -> Any:
    if b == 0:
        return None
    if isinstance(a, Decimal) or isinstance(b, Decimal):
        return a // b
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return type(a / b)(math.trunc(a / b))


def _rem(a: Any, b: Any) -> Any:
    return None if b == 0 else a - b * _quot(a, b)


def _mod(a: Any, b: Any) -> Any:
    rem = _rem(a, b)
    return rem if rem is None or rem == 0 or (rem < 0) == (b < 0) else rem + b


# Order and equality


def compare(a: Any, b: Any) -> int:
    """-1, 0 or 1: numbers by size, then texts, then other values, each type by itself, then collections.

    Those compare item by item, and nil is before everything in them.
    """
    left, right = rank(a), rank(b)
    return (left > right) - (left < right)


def rank(value: Any) -> tuple[int, Any]:
    """What values of all kinds are ordered by: numbers, texts, other values, tuples.

    Raises TypeError for what has no order.
    """
    if isinstance(value, numbers.Number) and not isinstance(value, bool):
        return (0, value)
    if isinstance(value, list | tuple):
        return (3, [(-1, 0) if item is None else rank(item) for item in value])
    try:
        stored = encode(value)
    except ValueError:
        raise TypeError(f"{type(value).__name__} has no order") from None
    return (1, stored) if isinstance(stored, str) else (2, stored)


def equal(a: Any, b: Any) -> bool:
    """Equality as in the database: true is not 1, and a keyword or a URI is not its text."""
    if any(isinstance(a, kind) != isinstance(b, kind) for kind in (bool, Keyword, URI)):
        return False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def _chain(test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    return lambda *values: all(test(a, b) for a, b in pairwise(values))


def _different(*values: Any) -> bool:
    """Whether the first half of the arguments is not the second half."""
    middle = len(values) // 2
    return not all(map(equal, values[:middle], values[middle:]))


# Text


def text(value: Any) -> str:
    """The value if it is text; raises `TypeError`."""
    if not isinstance(value, str) or isinstance(value, Keyword | URI):
        raise TypeError(f"{value!r} is not text")
    return value


def _textual(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose first argument is text."""
    return lambda value, *rest: function(text(value), *rest)


def as_text(*values: Any) -> str:
    """The arguments, one after the other, as they are read by people."""
    return "".join(_one_text(value) for value in values)


def _one_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, numbers.Number | uuid.UUID):
        return str(value)
    return _printed(value)


def _printed(*values: Any) -> str:
    try:
        return " ".join(edn.dumps(value) for value in values)
    except EdnError:
        return " ".join(repr(value) for value in values)


def _pattern(value: Any) -> re.Pattern[str]:
    return value if isinstance(value, re.Pattern) else re.compile(text(value))


def _found(match: re.Match[str] | None) -> Any:
    """As in Clojure: the whole match, or with groups a vector of it and them."""
    if match is None:
        return None
    return (match.group(), *match.groups()) if match.re.groups else match.group()


def _subs(value: str, start: int, end: int | None = None) -> str:
    stop = len(value) if end is None else end
    if not 0 <= start <= stop <= len(value):
        raise IndexError(f"{start} to {stop} is not within {value!r}")
    return value[start:stop]


def _split(value: str, separator: Any, limit: int = 0) -> list[str]:
    parts = _pattern(separator).split(value, maxsplit=max(limit - 1, 0))
    while limit == 0 and parts and not parts[-1]:
        parts.pop()
    return parts


def _replace(value: str, match: Any, new: str, count: int = 0) -> str:
    if isinstance(match, re.Pattern):
        return match.sub(re.sub(r"\$(\d)", r"\\g<\1>", new), value, count=count)
    return value.replace(match, new, count or -1)


def _join(*arguments: Any) -> str:
    *separator, items = arguments
    return (separator[0] if separator else "").join(as_text(item) for item in items)


def _index_of(find: Callable[[str, str], int]) -> Callable[[str, str], int | None]:
    def index(value: str, part: str) -> int | None:
        place = find(text(value), text(part))
        return None if place < 0 else place

    return index


def _keyword(*parts: Any) -> Keyword:
    names = [str(part).removeprefix(":") for part in parts]
    return Keyword(":" + "/".join(names))


def _name(value: str) -> str:
    return value.rpartition("/")[2].removeprefix(":") if isinstance(value, Keyword) else text(value)


def _namespace(value: str) -> str | None:
    return value.rpartition("/")[0].removeprefix(":") or None


# Collections


def _count(value: Any) -> int:
    return 0 if value is None else len(value)


def _pairs(*items: Any) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _get(collection: Any, key: Any, default: Any = None) -> Any:
    if isinstance(collection, Mapping):
        return collection.get(key, default)
    if isinstance(collection, AbstractSet):
        return key if key in collection else default
    if isinstance(collection, Sequence) and isinstance(key, int) and 0 <= key < len(collection):
        return collection[key]
    return default


def _nth(collection: Sequence[Any], index: int, *default: Any) -> Any:
    if 0 <= index < len(collection):
        return collection[index]
    if default:
        return default[0]
    raise IndexError(f"{index} is not within {len(collection)} items")


def _first(collection: Iterable[Any]) -> Any:
    return next(iter(collection), None)


def _last(collection: Iterable[Any]) -> Any:
    items = list(collection)
    return items[-1] if items else None


# The log, as far as a database shows it


def _tx_ids(db: Any, start: Any, end: Any) -> list[int]:
    """The transactions from `start` up to but not at `end`: numbers, entities, instants, or `None`."""
    found: list[tuple[int, datetime.datetime]] = db.q("[:find ?tx ?at :where [?tx :db/txInstant ?at]]")

    def key(tx: int, at: datetime.datetime, bound: Any) -> Any:
        if isinstance(bound, datetime.datetime):
            return at
        return tx if bound >= TX_BASE else tx - TX_BASE

    return sorted(
        tx
        for tx, at in found
        if (start is None or key(tx, at, start) >= start) and (end is None or key(tx, at, end) < end)
    )


def _tx_data(db: Any, tx: int) -> Any:
    """The datoms of a transaction: entity, attribute, value, transaction and whether it is added."""
    query = "[:find ?e ?a ?v ?tx ?added :in $ ?tx :where [?e ?a ?v ?tx ?added]]"
    return db.history().q(query, tx if tx >= TX_BASE else TX_BASE + tx)


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


LIBRARY: dict[str, tuple[Callable[..., Any], int, int | None]] = {
    # Order and equality
    "=": (_chain(equal), 2, None),
    "==": (_chain(equal), 2, None),
    "identical?": (equal, 2, 2),
    "not=": (lambda *values: not _chain(equal)(*values), 2, None),
    "!=": (lambda *values: not _chain(equal)(*values), 2, None),
    "<": (_chain(lambda a, b: compare(a, b) < 0), 2, None),
    ">": (_chain(lambda a, b: compare(a, b) > 0), 2, None),
    "<=": (_chain(lambda a, b: compare(a, b) <= 0), 2, None),
    ">=": (_chain(lambda a, b: compare(a, b) >= 0), 2, None),
    "compare": (compare, 2, 2),
    "differ?": (_different, 2, None),
    # Numbers
    "+": (_fold(lambda a, b: a + b), 2, None),
    "-": (_numeric(lambda a, *rest: a - sum(rest) if rest else -a), 1, None),
    "*": (_fold(lambda a, b: a * b), 2, None),
    "/": (_numeric(_divide, ROUNDED), 1, None),
    "quot": (_numeric(_quot), 2, 2),
    "rem": (_numeric(_rem), 2, 2),
    "mod": (_numeric(_mod), 2, 2),
    "inc": (_numeric(lambda a: a + 1), 1, 1),
    "dec": (_numeric(lambda a: a - 1), 1, 1),
    "abs": (_numeric(abs), 1, 1),
    "max": (lambda *values: max(values, key=rank), 1, None),
    "min": (lambda *values: min(values, key=rank), 1, None),
    "long": (_numeric(math.trunc), 1, 1),
    "double": (_numeric(float), 1, 1),
    "bigdec": (_numeric(Decimal), 1, 1),
    "even?": (_numeric(lambda a: a % 2 == 0), 1, 1),
    "odd?": (_numeric(lambda a: a % 2 != 0), 1, 1),
    "pos?": (_numeric(lambda a: a > 0), 1, 1),
    "neg?": (_numeric(lambda a: a < 0), 1, 1),
    "zero?": (_numeric(lambda a: a == 0), 1, 1),
    "rand": (lambda top=1: random.random() * top, 0, 1),  # noqa: S311 -- no secrets
    "rand-int": (random.randrange, 1, 1),
    # Logic
    "identity": (lambda value: value, 1, 1),
    "not": (lambda value: not truth(value), 1, 1),
    "and": (
        lambda *values: next((v for v in values if not truth(v)), values[-1] if values else True),
        0,
        None,
    ),
    "or": (lambda *values: next((v for v in values if truth(v)), values[-1] if values else None), 0, None),
    "true?": (lambda value: value is True, 1, 1),
    "false?": (lambda value: value is False, 1, 1),
    "nil?": (lambda value: value is None, 1, 1),
    "some?": (lambda value: value is not None, 1, 1),
    "boolean?": (_is(bool), 1, 1),
    "string?": (lambda value: isinstance(value, str) and not isinstance(value, Keyword | URI), 1, 1),
    "keyword?": (_is(Keyword), 1, 1),
    "number?": (_is(numbers.Number), 1, 1),
    "int?": (_is(int), 1, 1),
    "double?": (_is(float), 1, 1),
    "inst?": (_is(datetime.datetime), 1, 1),
    "uuid?": (_is(uuid.UUID), 1, 1),
    "uri?": (_is(URI), 1, 1),
    "decimal?": (_is(Decimal), 1, 1),
    # Text
    "starts-with?": (lambda value, part: text(value).startswith(text(part)), 2, 2),
    "ends-with?": (lambda value, part: text(value).endswith(text(part)), 2, 2),
    "includes?": (lambda value, part: text(part) in text(value), 2, 2),
    "blank?": (lambda value: value is None or not text(value).strip(), 1, 1),
    "lower-case": (_textual(str.lower), 1, 1),
    "upper-case": (_textual(str.upper), 1, 1),
    "capitalize": (_textual(str.capitalize), 1, 1),
    "trim": (_textual(str.strip), 1, 1),
    "triml": (_textual(str.lstrip), 1, 1),
    "trimr": (_textual(str.rstrip), 1, 1),
    "subs": (_textual(_subs), 2, 3),
    "split": (_textual(_split), 2, 3),
    "split-lines": (_textual(str.splitlines), 1, 1),
    "join": (_join, 1, 2),
    "replace": (_textual(_replace), 3, 3),
    "replace-first": (_textual(lambda value, match, new: _replace(value, match, new, 1)), 3, 3),
    "index-of": (_index_of(str.find), 2, 2),
    "last-index-of": (_index_of(str.rfind), 2, 2),
    "re-pattern": (_pattern, 1, 1),
    "re-find": (lambda regex, value: _found(_pattern(regex).search(text(value))), 2, 2),
    "re-matches": (lambda regex, value: _found(_pattern(regex).fullmatch(text(value))), 2, 2),
    "re-seq": (lambda regex, value: [_found(match) for match in _pattern(regex).finditer(text(value))], 2, 2),
    "str": (as_text, 0, None),
    "pr-str": (_printed, 0, None),
    "keyword": (_keyword, 1, 2),
    "name": (_name, 1, 1),
    "namespace": (_namespace, 1, 1),
    # Collections
    "vector": (lambda *items: items, 0, None),
    "list": (lambda *items: items, 0, None),
    "tuple": (lambda *items: items, 1, None),
    "untuple": (lambda items: items, 1, 1),
    "set": (frozenset, 1, 1),
    "hash-map": (_pairs, 0, None),
    "array-map": (_pairs, 0, None),
    "count": (_count, 1, 1),
    "empty?": (lambda value: not _count(value), 1, 1),
    "not-empty": (lambda value: value if _count(value) else None, 1, 1),
    "contains?": (lambda collection, item: item in collection, 2, 2),
    "get": (_get, 2, 3),
    "nth": (_nth, 2, 3),
    "first": (_first, 1, 1),
    "second": (lambda items: _first(list(items)[1:]), 1, 1),
    "last": (_last, 1, 1),
    "keys": (list, 1, 1),
    "vals": (lambda mapping: list(mapping.values()), 1, 1),
    "range": (range, 1, 3),
    # The log
    "tx-ids": (_tx_ids, 3, 3),
    "tx-data": (_tx_data, 2, 2),
}
"""By name: the function, the least and the most arguments that it takes.

`contains?` asks for a member, or for a key of a map, of lists too: there is no use for their indices here.
"""
