"""Tails: entries of the log after a snapshot once more, in one object, for who opens the database.

`tail/<9999999999999999 - t>-<sha256>`, where t is the last transaction in it: the line `bucketlog/1 tail` and
a line feed, then one Zstandard frame of: four bytes, the length of the JSON document that follows, big
endian; the document; the objects of the entries as they are in the log, one after the other. The document has
`id` (of the log's first entry) and `entries`: of each entry its first transaction and how many bytes it has.

Whoever cannot use a tail reads the log.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from bucketlog.errors import FormatError
from bucketlog.frame import pack, unpack
from bucketlog.log import Entry, decode_entry, encode_entry, key_of
from bucketlog.objects import NamedObjects, name_of
from bucketlog.snapshot import SnapshotKey

__all__ = ["TAILS", "Tail", "read_tail", "write_tail"]

TAILS: Final = "tail/"

_HEADER: Final = b"bucketlog/1 tail\n"
# Who commits the last transaction of so many writes a tail, if so many entries are in none yet. Then fewer
# are in none than an open asks for before it knows their names.
_APART: Final = 16
_LEAST: Final = 8
_MOST_DATOMS: Final = 4_000
"""In a tail. More are soon in a snapshot."""
_MOST_HELD: Final = 500  # entries, while snapshots fail


@dataclass(slots=True)
class Tail:
    """What the log holds after the last time that a snapshot was begun, here, or is known of."""

    entries: int = 0
    datoms: int = 0
    held: list[Entry] | None = field(default_factory=list)
    """The entries, unless they are many, or must not be written anywhere; before them perhaps older ones."""
    written: int = 0
    """How many of them have been written once more."""
    encoded: list[bytes] = field(default_factory=list)
    """The first of them as they are in the log; one list for all copies, so that each is encoded once."""
    is_turn: bool = False
    """Whether this process is the one of all writers that is to write the next tail."""

    def copy(self) -> Tail:
        """Another one, to which entries may be added."""
        held = None if self.held is None else list(self.held)
        return replace(self, held=held)

    def restarted(self) -> Tail:
        """The one after a snapshot was begun; it holds older entries, too, until that snapshot is there."""
        if self.held is None or len(self.held) > _MOST_HELD:
            return Tail()
        return Tail(held=self.held, written=len(self.held), encoded=self.encoded)

    def drop(self, t: int) -> None:
        """Hold no entries up to transaction `t` any more."""
        count = sum(1 for entry in self.held or [] if entry.last_t <= t)
        if self.held is not None:
            self.held = self.held[count:]
        self.encoded = self.encoded[count:]
        self.written = max(0, self.written - count)

    def add(self, entry: Entry, *, is_ours: bool = False) -> None:
        """Take in the next entry, perhaps one that this process has committed."""
        self.entries += 1
        self.datoms += sum(map(len, entry.transactions))
        if self.datoms > _MOST_DATOMS:
            self.held = None
        if self.held is not None:
            self.held.append(entry)
        self.is_turn |= is_ours and entry.t // _APART != (entry.last_t + 1) // _APART

    @property
    def is_due(self) -> bool:
        """Whether to write a tail."""
        return self.is_turn and self.held is not None and len(self.held) >= self.written + _LEAST


def write_tail(objects: NamedObjects, database: str, tail: Tail, branch: str = "") -> None:
    """Write the entries that are held; `database` is the id of the log's first entry. Raises `StoreError`."""
    held = tail.held or []
    tail.encoded += [encode_entry(entry) for entry in held[len(tail.encoded) :]]
    entries = [[entry.t, len(data)] for entry, data in zip(held, tail.encoded, strict=True)]
    document = json.dumps({"id": database, "entries": entries}, separators=(",", ":")).encode()
    data = pack(_HEADER, b"".join([struct.pack(">I", len(document)), document, *tail.encoded]))
    objects.write(SnapshotKey(held[-1].last_t, name_of(data), branch, TAILS).prefix, data)


def read_tail(objects: NamedObjects, key: SnapshotKey, database: str) -> list[Entry]:
    """The entries in the tail at `key`, which follow one another; `database` as above.

    Raises `StoreError` (`MissingObjectError`, `FormatError`).
    """
    body = unpack(str(key), objects.read(key.prefix, key.name), _HEADER)
    try:
        (length,) = struct.unpack_from(">I", body)
        document = json.loads(body[4 : 4 + length])
        place = 4 + length
        entries = []
        for t, size in document["entries"]:
            entries.append(decode_entry(f"{key}: {key_of(int(t))}", body[place : place + int(size)]))
            place += int(size)
        found = str(document["id"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise FormatError(f"{key} is not a valid tail: {type(error).__name__}: {error}") from error
    follow = all(one.last_t + 1 == other.t for one, other in pairwise(entries))
    if found != database or place != len(body) or not entries or not follow or entries[-1].last_t != key.t:
        raise FormatError(
            f"{key} is of another database or transaction: delete it, the log still has everything"
        )
    return entries
