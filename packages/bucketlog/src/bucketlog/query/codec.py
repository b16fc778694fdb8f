"""Objects in a query that no attribute can hold: collections, functions, whatever a custom function gives.

SQL sees a handle instead, which is the same for equal objects, so that they join and are distinct as values
are. Handles live as long as the run of the query.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bucketlog.edn import URI, Keyword
from bucketlog.value import Stored, decode, encode

__all__ = ["Codec"]

_HANDLE: Final = 0xFF
"""The first byte of a handle; no value begins with it."""


class Codec:
    """Values in stored form, and handles of other objects, for one run of a query."""

    def __init__(self) -> None:
        self._objects: list[Any] = []
        self._handles: dict[Hashable, Stored] = {}

    def encode(self, value: Any) -> Stored | None:
        """The stored form of a value, else a handle; `None` for `None`, which SQL takes for nothing.

        Raises `ValueError` for a value that its type cannot store, such as a number of 65 bits.
        """
        if value is None:
            return None
        try:
            return encode(value)
        except ValueError:
            if isinstance(value, str | int | float | datetime):
                raise
            return self._handle(value)

    def decode(self, stored: Stored | None) -> Any:
        """The value, or the object of a handle."""
        if not isinstance(stored, bytes):
            return stored
        if stored[0] == _HANDLE:
            return self._objects[int.from_bytes(stored[1:], "big")]
        return decode(stored)

    def decode_all(self, stored: Sequence[Stored | None]) -> Sequence[Any]:
        """`decode` of each, once for equal ones: of a column, values come many times more often than not."""
        packed = {value for value in stored if isinstance(value, bytes)}
        if not packed:
            return stored
        known = {value: self.decode(value) for value in packed}
        return [known[value] if isinstance(value, bytes) else value for value in stored]

    def _handle(self, value: Any) -> Stored:
        key = _key(value)
        found = self._handles.get(key)
        if found is None:
            found = self._handles[key] = bytes([_HANDLE]) + len(self._objects).to_bytes(8, "big")
            self._objects.append(value)
        return found


def _key(value: Any) -> Hashable:
    """The same for equal objects only; unlike in Python, true is not 1."""
    if isinstance(value, Mapping):
        return ("map", frozenset((_key(key), _key(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("vector", tuple(map(_key, value)))
    if isinstance(value, set | frozenset):
        return ("set", frozenset(map(_key, value)))
    if isinstance(value, bool | Keyword | URI):
        return (type(value), value)
    try:
        hash(value)
    except TypeError:
        return ("object", id(value))
    return value  # type: ignore[no-any-return]
