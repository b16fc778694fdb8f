"""Export: a whole database, with its history, as lines of text.

Version 1 of the format is UTF-8, a JSON document a line, each ended by a line feed. The first and the last
line say what the text is, and that it is whole; between them is a line for each transaction, from 0, in which
a database begins, without a gap::

    {"format": "bucketlog-export", "version": 1}
    {"t": 0, "instant": "2026-05-01T12:00:00Z", "datoms": []}
    {"t": 1, "instant": "2026-05-01T12:00:00.000001Z", "datoms": [[e, a, v, added], …]}
    {"end": 1}

`instant` is the transaction's `:db/txInstant`, later than the one before. `e` is an entity id; the
transaction is itself the entity 2^40 + t. `a` is the attribute's ident as it is after the transaction.
`added` is `true`, or `false` for a retraction. `v` is a value as the log writes it (`bucketlog.log`):
strings, longs, references and booleans are JSON's own, all others an object with one key that names the type,
such as `{"keyword": ":news"}`; a reference to an entity of bucketlog's own is `{"ident": …}`.

What bucketlog keeps about itself (entities below 1024) is not in the text, so that later versions can read it
whatever they keep. Everything else comes back as it was: entity ids, transaction numbers, instants, metadata,
retractions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

from bucketlog.bucket import EXCISED, Bucket
from bucketlog.errors import StoreError
from bucketlog.excision import excisions
from bucketlog.log import Entry, key_of, value_to_json
from bucketlog.schema import FIRST_ENTITY, IDENT, TX_INSTANT, Change, Schema, transaction_entity
from bucketlog.store import ObjectStore, open_store
from bucketlog.value import decode

__all__ = ["FORMAT", "VERSION", "export_text", "instant_text"]

FORMAT: Final = "bucketlog-export"
VERSION: Final = 1


def export_text(
    location: str | ObjectStore,
    write: Callable[[bytes], Any],
    *,
    to: int | None = None,
    branch: str | None = None,
) -> int:
    """Write a database or a branch as text, up to transaction `to`; the number of the last one written.

    The log is read as the text is written, so that memory does not grow with the database. Raises
    `StoreError` when there is no database or the store fails, `FormatError` when an object is corrupt.
    """
    bucket = Bucket(open_store(location) if isinstance(location, str) else location, None, branch)
    first = bucket.log.read(0)
    if first is None:
        raise StoreError(f"there is no database: {key_of(0)} is not there")
    schema, last = Schema(), 0
    write(_line({"format": FORMAT, "version": VERSION}))
    for t, changes in _transactions(chain((first,), bucket.log.read_after(first.last_t))):
        if to is not None and t > to:
            break
        schema = schema.evolve(changes)
        write(_line(_document(t, changes, schema)))
        last = t
        for excision in excisions(t, changes, schema):
            _check_done(bucket, excision.t)
    write(_line({"end": last}))
    return last


def _check_done(bucket: Bucket, t: int) -> None:
    if bucket.read_note(f"{EXCISED}{t:016d}") is None:
        raise StoreError(
            f"what transaction {t} excises is not gone yet: collect the garbage, then export from the start"
        )


def _transactions(entries: Iterable[Entry]) -> Iterator[tuple[int, tuple[Change, ...]]]:
    for entry in entries:
        yield from enumerate(entry.transactions, entry.t)


def _document(t: int, changes: Sequence[Change], schema: Schema) -> dict[str, Any]:
    tx = transaction_entity(t)
    instant: str | None = None
    datoms: list[list[Any]] = []
    for e, a, v, added in changes:
        if e == tx and a == TX_INSTANT and added:
            instant = instant_text(decode(v))
        elif e >= FIRST_ENTITY:
            attribute = schema.attributes[a]
            value = value_to_json(v)
            if attribute.is_ref and value < FIRST_ENTITY:
                value = {"ident": decode(schema.definitions[value][IDENT])}
            datoms.append([e, attribute.ident, value, added])
    return {"t": t, "instant": instant, "datoms": datoms}


def instant_text(instant: datetime) -> str:
    """An instant in ISO 8601, in UTC."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
