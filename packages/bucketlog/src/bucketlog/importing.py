"""Import: an exported text (`bucketlog.export`) becomes the log of a new database.

Every line is checked against what came before it as a transaction would be, so that a text somebody has
edited cannot make a database that nobody can read. What holds so far is kept in a temporary SQLite database
on disk, and the log is written as the text is read, so that memory does not grow with the text.

What is there already must be the beginning of the same history, transaction by transaction: so an import that
was cut short is taken up where it ended, and one that is repeated verifies the database against the text.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, Self

import apsw

import bucketlog
from bucketlog.bucket import Bucket
from bucketlog.composite import check_tuple
from bucketlog.errors import BucketlogError, StoreError
from bucketlog.export import FORMAT, VERSION, instant_text
from bucketlog.log import Entry, genesis, value_from_json
from bucketlog.schema import (
    CARDINALITY,
    ENUMERATIONS,
    FIRST_ENTITY,
    IDENT,
    TX_BASE,
    TX_INSTANT,
    VALUE_TYPE,
    Attribute,
    Change,
    Schema,
    transaction_entity,
)
from bucketlog.store import ObjectStore, open_store
from bucketlog.value import Stored, decode, encode

__all__ = ["ImportTextError", "Transaction", "import_text", "write_transactions"]

_MOST_TRANSACTIONS: Final = 256
_MOST_DATOMS: Final = 20_000
"""In one object of the log."""


class ImportTextError(BucketlogError, ValueError):
    """The text is not an export that can be imported; the message gives the line."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction of a text: where it stands there, when it was made, and its datoms.

    A datom is `(e, attribute, value, added)`, with the attribute's ident, and the value in stored form or,
    for an entity of bucketlog's own, as `Ident`.
    """

    place: str
    t: int
    instant: datetime
    datoms: Sequence[tuple[int, str, Stored | Ident, bool]]


@dataclass(frozen=True, slots=True)
class Ident:
    """A reference to an entity by its ident."""

    name: str


def import_text(lines: Iterable[bytes], location: str | ObjectStore) -> int:
    """Make a database at `location` of the lines of a text; the number of the last transaction.

    Raises `ImportTextError`, which names the line, when the text is wrong, and `StoreError` when there is a
    database with transactions already, or the store fails. What was read before the error is in the database
    then, as a history that ends early: import into another place once the text is right.
    """
    return write_transactions(_read(lines), location)


def write_transactions(transactions: Iterable[Transaction], location: str | ObjectStore) -> int:
    """Write a history from transaction 0 on to a new database, or what a shorter one lacks of it.

    Returns the number of its last transaction.
    """
    store = open_store(location) if isinstance(location, str) else location
    bucket = Bucket(store, None)
    pending = iter(transactions)
    begin = next(pending, None)
    if begin is None:
        raise ImportTextError("the text has no transaction: every history begins with number 0")
    last = _write(bucket, begin, pending)
    with bucketlog.connect(store) as conn:
        conn.snapshot()
    return last


def _write(bucket: Bucket, begin: Transaction, pending: Iterator[Transaction]) -> int:
    if begin.t != 0 or begin.datoms:
        raise ImportTextError(f"{begin.place}: a history begins with transaction 0, which has no datoms")
    entry = _begin(bucket, begin.instant)
    there = chain(entry.transactions[1:], chain.from_iterable(_transactions(bucket, entry.last_t)))
    with _History(entry.transactions[0], begin.instant) as history:
        batch = _Batch(bucket)
        for transaction in pending:
            changes = history.changes(transaction)
            present = next(there, None)
            if present is None:
                batch.add(transaction.t, changes)
            elif set(present) != set(changes):
                raise StoreError(
                    f"there is a database with another transaction {transaction.t} than the text has: "
                    f"import into a place where none is"
                )
        if next(there, None) is not None:
            raise StoreError(
                f"the database that is there goes on after transaction {history.t}, the text does not"
            )
        batch.flush()
        return history.t


def _begin(bucket: Bucket, instant: datetime) -> Entry:
    """The first entry of the database; it is made unless it is there."""
    entry = bucket.log.read(0)
    if entry is None:
        entry = genesis(instant)
        entry = bucket.log.append(entry) or entry
        bucket.log.verify(entry)
    return entry


def _transactions(bucket: Bucket, t: int) -> Iterator[tuple[tuple[Change, ...], ...]]:
    for entry in bucket.log.read_after(t):
        yield entry.transactions


class _Batch:
    """Transactions that go into one object of the log."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._t = 0
        self._transactions: list[tuple[Change, ...]] = []
        self._datoms = 0

    def add(self, t: int, changes: tuple[Change, ...]) -> None:
        if not self._transactions:
            self._t = t
        self._transactions.append(changes)
        self._datoms += len(changes)
        if len(self._transactions) >= _MOST_TRANSACTIONS or self._datoms >= _MOST_DATOMS:
            self.flush()

    def flush(self) -> None:
        if not self._transactions:
            return
        entry = Entry(self._t, tuple(self._transactions), uuid.uuid4().hex)
        if self._bucket.log.append(entry) is not None:
            raise StoreError(
                f"somebody else has written transaction {self._t}: nobody may while an import runs"
            )
        self._transactions, self._datoms = [], 0


# What holds so far: of attributes with one value an entity, with many, and the holders of unique values.
_TABLES: Final = """
CREATE TABLE one (e, a, v, PRIMARY KEY (e, a)) WITHOUT ROWID;
CREATE TABLE many (e, a, v, PRIMARY KEY (e, a, v)) WITHOUT ROWID;
CREATE TABLE uniq (a, v, e, PRIMARY KEY (a, v)) WITHOUT ROWID;
"""
# By whether an attribute has many values.
_ADD: Final = {False: "INSERT INTO one VALUES (?, ?, ?)", True: "INSERT INTO many VALUES (?, ?, ?)"}
_RETRACT: Final = {
    False: "DELETE FROM one WHERE e = ? AND a = ? AND v = ?",
    True: "DELETE FROM many WHERE e = ? AND a = ? AND v = ?",
}
_MOVE: Final = {
    False: ("INSERT INTO one SELECT * FROM many WHERE a = ?", "DELETE FROM many WHERE a = ?"),
    True: ("INSERT INTO many SELECT * FROM one WHERE a = ?", "DELETE FROM one WHERE a = ?"),
}
_CLAIM: Final = {
    False: "INSERT INTO uniq SELECT a, v, e FROM one WHERE a = ?",
    True: "INSERT INTO uniq SELECT a, v, e FROM many WHERE a = ?",
}


class _History:
    """The transactions up to `t`, as far as the next one must fit to them."""

    def __init__(self, begin: Sequence[Change], instant: datetime) -> None:
        self.t = 0
        self._instant = instant
        self._own = self._schema = Schema().evolve(begin)
        self._facts = apsw.Connection("")  # a file that SQLite deletes, once it outgrows its cache
        self._facts.execute(_TABLES)
        self._facts.execute("BEGIN")
        for change in begin:
            self._hold(change)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._facts.close()

    def changes(self, transaction: Transaction) -> tuple[Change, ...]:
        """The next transaction as the log has it; raises `ImportTextError` when it cannot be the next one."""
        try:
            return self._next(transaction)
        except ValueError as error:
            raise ImportTextError(f"{transaction.place}: {error}") from error

    def _next(self, transaction: Transaction) -> tuple[Change, ...]:
        t, instant = transaction.t, transaction.instant
        if t != self.t + 1:
            raise ValueError(f"transaction {t} follows transaction {self.t}")
        if instant <= self._instant:
            raise ValueError(f"instant {instant_text(instant)} is not after that of the transaction before")
        before = self._schema
        own = [datom for datom in transaction.datoms if self._own.attribute(datom[1])]
        self._schema = before.evolve([self._change(t, *datom) for datom in own])
        self._check_schema(before)
        changes = [self._change(t, *datom) for datom in transaction.datoms]
        for change in sorted(changes, key=lambda change: change.added):  # retractions first
            self._hold(change)
        self.t, self._instant = t, instant
        return (*changes, Change(transaction_entity(t), TX_INSTANT, encode(instant), True))

    def _change(self, t: int, e: int, a: str, v: Stored | Ident, added: bool) -> Change:
        attribute = self._schema.attribute(a)
        if attribute is None:
            raise ValueError(f"{a} is not an attribute")
        if attribute.id == TX_INSTANT:
            raise ValueError(":db/txInstant is the transaction's instant, not a datom of it")
        if not (FIRST_ENTITY <= e < TX_BASE or TX_BASE <= e <= transaction_entity(t)):
            raise ValueError(f"{e} is not the id of an entity at that time")
        return Change(e, attribute.id, self._value(attribute, v), added)

    def _value(self, attribute: Attribute, value: Stored | Ident) -> Stored:
        if isinstance(value, Ident):
            found = self._own.idents.get(value.name)
            if found is None or not attribute.is_ref:
                raise ValueError(
                    f"{value.name} is nothing that {attribute.ident} of this bucketlog can refer to"
                )
            return found
        encoded = attribute.encode(decode(value))
        if encoded != value or (attribute.is_ref and int(encoded) < FIRST_ENTITY):
            raise ValueError(f"{decode(value)!r} is no value for {attribute.ident}")
        return encoded

    def _check_schema(self, before: Schema) -> None:
        """Definitions are whole; what holds moves along when one is altered."""
        if self._schema is before:
            return
        definitions = self._schema.definitions
        touched = {e for e, definition in definitions.items() if definition != before.definitions.get(e)}
        for e in touched:
            _check_definition(e, definitions[e])
        for e in touched & self._schema.attributes.keys():
            check_tuple(self._schema, e)
        for e, attribute in before.attributes.items():
            if e not in self._schema.attributes:
                raise ValueError(f"attribute {attribute.ident} cannot go: make another one")
            if e in touched:
                self._alter(attribute, self._schema.attributes[e])

    def _alter(self, before: Attribute, after: Attribute) -> None:
        if before.type is not after.type:
            raise ValueError(f"attribute {before.ident} exists with type {before.type.value}")
        if (before.elements, before.components) != (after.elements, after.components):
            raise ValueError(f"attribute {before.ident} exists with other tuples")
        try:
            for statement in _MOVE[after.many] if before.many is not after.many else ():
                self._facts.execute(statement, (after.id,))
            self._facts.execute("DELETE FROM uniq WHERE a = ?", (after.id,))
            if after.unique:
                self._facts.execute(_CLAIM[after.many], (after.id,))
        except apsw.ConstraintError:
            raise ValueError(
                f"attribute {after.ident} cannot change like that: its values do not fit"
            ) from None

    def _hold(self, change: Change) -> None:
        """Take in what one datom changes."""
        attribute = self._schema.attributes[change.a]
        e, a, v, added = change
        if added:
            try:
                self._facts.execute(_ADD[attribute.many], (e, a, v))
                if attribute.unique:
                    self._facts.execute("INSERT INTO uniq VALUES (?, ?, ?)", (a, v, e))
            except apsw.ConstraintError:
                raise ValueError(
                    f"{attribute.ident} {decode(v)!r} of entity {e} cannot be added: it is there already, or "
                    f"another value is where only one may be"
                ) from None
            return
        self._facts.execute(_RETRACT[attribute.many], (e, a, v))
        if not self._facts.changes():
            raise ValueError(
                f"{attribute.ident} {decode(v)!r} of entity {e} is retracted, but it does not hold"
            )
        if attribute.unique:
            self._facts.execute("DELETE FROM uniq WHERE a = ? AND v = ?", (a, v))


def _check_definition(e: int, definition: Mapping[int, Stored]) -> None:
    """An entity is an attribute as a whole, or not at all."""
    needed = {IDENT, VALUE_TYPE, CARDINALITY}
    wrong = [a for a, allowed in ENUMERATIONS.items() if a in definition and definition[a] not in allowed]
    if wrong or (definition.keys() - {IDENT} and not definition.keys() >= needed):
        raise ValueError(f"entity {e} is half of an attribute: it needs a name, a type and a cardinality")


def _read(lines: Iterable[bytes]) -> Iterator[Transaction]:
    """The transactions of a text, which must be whole."""
    numbered = enumerate(lines, 1)
    number, document = _document(next(numbered, (1, b"")))
    if document.get("format") != FORMAT:
        raise ImportTextError(f'line 1 is not the header {{"format": "{FORMAT}", …}} of an export')
    if document.get("version") != VERSION:
        raise ImportTextError(
            f"line 1: version {document.get('version')}, but this bucketlog reads version {VERSION} only"
        )
    t = -1
    for number, document in map(_document, numbered):
        if "end" in document:
            break
        transaction = _transaction(number, document)
        t = transaction.t
        yield transaction
    if document.get("end") != t:
        raise ImportTextError(f"line {number} should be the end after transaction {t}: the text was cut")
    if next(numbered, None) is not None:
        raise ImportTextError(f"line {number} is the end, but more lines follow")


def _document(item: tuple[int, bytes]) -> tuple[int, dict[str, Any]]:
    number, line = item
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ImportTextError(f"line {number} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ImportTextError(f"line {number} is not a JSON object")
    return number, document


def _transaction(number: int, document: dict[str, Any]) -> Transaction:
    try:
        return Transaction(
            place=f"line {number}",
            t=_integer(document["t"]),
            instant=_instant(document["instant"]),
            datoms=[
                (_integer(e), str(a), Ident(v["ident"]) if _is_ident(v) else value_from_json(v), _flag(added))
                for e, a, v, added in document["datoms"]
            ],
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ImportTextError(
            f"line {number} is not a transaction: {type(error).__name__}: {error}"
        ) from error


def _is_ident(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"ident"}


def _instant(text: Any) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"instant {text!r} has no time zone")
    return instant.astimezone(UTC)


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
