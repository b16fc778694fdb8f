"""Import from DataScript, Datahike and Datalevin: datoms printed as EDN become the log of a new database.

The text is any number of EDN forms, which may be:

- `#datascript/DB {:schema {…} :datoms [[e a v tx] …]}`, as `pr-str` prints a database, or with another tag;
- datoms `[e a v]`, `[e a v tx]` or `[e a v tx added]`, tagged or not, each by itself, as `export-db` of older
  versions of Datahike prints them, or in a vector;
- schemas in DataScript's form, `{:name {:db/unique :db.unique/identity} …}`, as Datalevin's `dump -g` has one
  before its datoms. Other maps, such as options, are skipped.

Entity n becomes 1024 + n, transactions become 2, 3, … in the order of their ids, and transaction 1 defines
all attributes: as the schema says, or the datoms of entities with `:db/ident`, and where neither names a type
or a cardinality, as the values are. A transaction's time is its `:db/txInstant`, or a microsecond after the
one before. The whole text is held in memory.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from bucketlog import edn
from bucketlog.bucket import Bucket
from bucketlog.edn import URI, Keyword, Vector
from bucketlog.errors import EdnError
from bucketlog.importing import Ident, ImportTextError, Transaction, write_transactions
from bucketlog.schema import FIRST_ENTITY, TX_INSTANT, transaction_entity
from bucketlog.store import ObjectStore, open_store
from bucketlog.value import Stored, ValueType, decode, encode, encode_as

__all__ = ["import_edn"]

# What EDN lacks, outside of strings: tags, which are dropped, and `#:db{:ident :name}`, Clojure's short
# form of `{:db/ident :name}`, whose namespace becomes a key that no keyword can be.
_CLOJURE: Final = re.compile(
    r""""(?:[^"\\]|\\.)*"
      | \#(?:datascript|datahike|datalevin)/(?:DB|Datom)\b
      | \#:([^\s{}()\[\]"]+)\s*\{""",
    re.DOTALL | re.VERBOSE,
)
_NAMESPACE: Final = Keyword(":#namespace")
_TICK: Final = timedelta(microseconds=1)
_BEFORE: Final = 2 * _TICK  # of the first transaction that the text has, the database begins
_FIRST_TX: Final = 0x20000000
"""Where DataScript and Datahike begin to number transactions, whose entities have the same numbers."""
_TX_INSTANT: Final = ":db/txInstant"
_TUPLE_KEYS: Final = (":db/tupleAttrs", ":db/tupleType", ":db/tupleTypes")
_DEFINING: Final = frozenset(
    {
        ":db/ident",
        ":db/valueType",
        ":db/cardinality",
        ":db/unique",
        ":db/isComponent",
        ":db/doc",
        ":db/fulltext",
        *_TUPLE_KEYS,
    }
)
_IGNORED: Final = frozenset({":db/index", ":db/noHistory", ":db.install/attribute"})
_TYPE_NAMES: Final = {":db.type/float": ":db.type/double", ":db.type/bigint": ":db.type/long"}
_BY_CLASS: Final[tuple[tuple[type, str], ...]] = (
    (Keyword, ":db.type/keyword"),
    (URI, ":db.type/uri"),
    (str, ":db.type/string"),
    (bool, ":db.type/boolean"),
    (int, ":db.type/long"),
    (float, ":db.type/double"),
    (datetime, ":db.type/instant"),
    (UUID, ":db.type/uuid"),
    (bytes, ":db.type/bytes"),
    (Decimal, ":db.type/bigdec"),
)


class _Datom(NamedTuple):
    e: int
    a: str
    v: Any
    tx: int
    added: bool


@dataclass(slots=True)
class _Attribute:
    """What is known about an attribute: its entity in the text, if it has one there, and its definition."""

    entity: int | None = None
    definition: dict[str, Any] = field(default_factory=dict)

    @property
    def is_ref(self) -> bool:
        return self.definition.get(":db/valueType") == ":db.type/ref"

    @property
    def is_many(self) -> bool:
        return self.definition.get(":db/cardinality") == ":db.cardinality/many"


def import_edn(text: str | bytes, location: str | ObjectStore, *, now: datetime | None = None) -> int:
    """Make a database at `location` of the datoms in `text` (UTF-8); the number of the last transaction.

    `now` is the time of transactions that do not say theirs; a database that is there has its own. What is
    there already is compared, as `import_text` does. Raises `ImportTextError` for what is not such a text, or
    holds something that no attribute can have, and `StoreError` as `import_text` does.
    """
    try:
        schema, datoms = _read(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as error:
        raise ImportTextError(f"the text is not UTF-8: {error}") from error
    if not datoms:
        raise ImportTextError("there are no datoms in the text")
    store = open_store(location) if isinstance(location, str) else location
    begun = Bucket(store, None).log.read(0)
    if begun is not None:
        instants = [decode(v) for _, a, v, _ in begun.transactions[0] if a == TX_INSTANT]
        now = instants[0] + _BEFORE
    return write_transactions(_History(schema, datoms, now or datetime.now(UTC)).transactions(), store)


# Reading


def _read(text: str) -> tuple[dict[str, dict[str, Any]], list[_Datom]]:
    """The schema and the datoms of a text."""
    try:
        forms = edn.loads(f"[{_CLOJURE.sub(_without_tag, text)}\n]")
    except EdnError as error:
        raise ImportTextError(f"the text is not EDN: {error}") from error
    schema: dict[str, dict[str, Any]] = {}
    datoms: list[_Datom] = []
    for form in map(_expanded, forms):
        if isinstance(form, Mapping) and ":datoms" in form:
            schema |= _schema({} if form.get(":schema") is None else form[":schema"])
            datoms += [_datom(item) for item in form[":datoms"] or ()]
        elif isinstance(form, Mapping):
            if form and all(isinstance(value, Mapping) for value in form.values()):
                schema |= _schema(form)
        elif isinstance(form, tuple) and all(isinstance(item, Vector) for item in form):
            datoms += [_datom(item) for item in form]
        else:
            datoms.append(_datom(form))
    return schema, datoms


def _without_tag(match: re.Match[str]) -> str:
    if match[0].startswith('"'):
        return match[0]
    return f"{{{_NAMESPACE} :{match[1]} " if match[1] else " "


def _expanded(form: Any) -> Any:
    """The form with the namespaces of maps in their keys."""
    if not isinstance(form, Mapping):
        return form
    namespace = form.get(_NAMESPACE)
    if namespace is None:
        return {key: _expanded(value) for key, value in form.items()}
    return {
        Keyword(f"{namespace}/{key[1:]}") if isinstance(key, Keyword) and "/" not in key else key: _expanded(
            value
        )
        for key, value in form.items()
        if key != _NAMESPACE
    }


def _schema(form: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(form, Mapping) or not all(isinstance(value, Mapping) for value in form.values()):
        raise ImportTextError(f"{_shown(form)} is not a schema, a map of attributes to maps")
    return {_name(name, form): dict(value) for name, value in form.items() if not _is_own(_name(name, form))}


def _datom(form: Any) -> _Datom:
    match form:
        case (int(e), a, v):
            tx, added = 0, True
        case (int(e), a, v, int(tx)):
            added = True
        case (int(e), a, v, int(tx), bool(added)):
            pass
        case _:
            raise ImportTextError(f"{_shown(form)} is not a datom [e a v tx added]")
    if e < 0:
        raise ImportTextError(f"{_shown(form)}: an entity is a number from 0")
    return _Datom(e, _name(a, form), v, tx, added)


def _name(name: Any, form: Any) -> str:
    """An attribute's ident; DataScript for JavaScript names attributes by strings."""
    if isinstance(name, str):
        try:
            return Keyword(name if name.startswith(":") else f":{name}")
        except ValueError:
            pass
    raise ImportTextError(f"{_shown(form)}: {_shown(name)} is not the name of an attribute")


def _is_own(name: str) -> bool:
    """Whether it is the name of something that describes attributes or transactions."""
    return name.startswith((":db/", ":db."))


def _shown(form: Any) -> str:
    try:
        text = edn.dumps(form)
    except EdnError:
        text = repr(form)
    return text if len(text) <= 120 else f"{text[:120]}…"


# Writing


class _History:
    """The transactions of a text, as bucketlog's."""

    def __init__(self, schema: Mapping[str, dict[str, Any]], datoms: Sequence[_Datom], now: datetime) -> None:
        self._attributes = {name: _Attribute(None, definition) for name, definition in schema.items()}
        self._define(datoms)
        self._datoms = [datom for datom in datoms if not self._is_definition(datom)]
        self._datoms.sort(key=lambda datom: (datom.tx, datom.added))
        self._instants = {d.tx: d.v for d in datoms if d.a == _TX_INSTANT and d.e == d.tx}
        txs = sorted({datom.tx for datom in self._datoms})
        self._t = {tx: t for t, tx in enumerate(txs, 2)}
        self._tx_entities = {tx: t for tx, t in self._t.items() if tx >= _FIRST_TX or tx in self._instants}
        self._now = now
        self._next_entity = (
            FIRST_ENTITY + 1 + max((d.e for d in datoms if d.e not in self._tx_entities), default=0)
        )
        self._idents = {d.v: d.e for d in datoms if d.a == ":db/ident" and d.added}
        self._infer()
        self._ids = {name: self._attribute_id(attribute) for name, attribute in self._attributes.items()}

    def transactions(self) -> Iterator[Transaction]:
        """The transactions from 0 on."""
        first = next((self._instants[tx] for tx in self._t if tx in self._instants), self._now)
        instant = first - _BEFORE
        yield Transaction("the begin", 0, instant, ())
        instant += _TICK
        yield Transaction("the schema", 1, instant, list(self._schema_datoms()))
        held: dict[tuple[int, str], list[Stored]] = defaultdict(list)
        by_tx: dict[int, list[_Datom]] = defaultdict(list)
        for datom in self._datoms:
            by_tx[datom.tx].append(datom)
        for tx, t in self._t.items():
            instant = max(self._instants.get(tx, instant), instant + _TICK)
            changes = self._changes(by_tx[tx], held)
            yield Transaction(f"transaction {tx}", t, instant, changes)

    # The schema

    def _define(self, datoms: Sequence[_Datom]) -> None:
        """Take attribute definitions from the datoms of entities with a type or a cardinality."""
        entities: dict[int, dict[str, Any]] = defaultdict(dict)
        for datom in sorted(datoms, key=lambda datom: (datom.tx, datom.added)):
            if datom.a in _DEFINING and datom.added:
                entities[datom.e][datom.a] = datom.v
        for e, definition in entities.items():
            if ":db/ident" in definition and definition.keys() & {":db/valueType", ":db/cardinality"}:
                name = _name(definition[":db/ident"], definition)
                if not _is_own(name):
                    self._attributes[name] = _Attribute(e, {**definition})
        self._defined = {item.entity for item in self._attributes.values() if item.entity is not None}

    def _is_definition(self, datom: _Datom) -> bool:
        """Whether a datom goes into the schema, or is nothing to bucketlog."""
        if datom.a == _TX_INSTANT or datom.a in _IGNORED:
            return True
        return datom.e in self._defined and datom.a in _DEFINING

    def _infer(self) -> None:
        """Complete the definitions of all attributes by the values that they have."""
        values: dict[str, list[Any]] = defaultdict(list)
        several: set[str] = set()
        held: dict[tuple[int, str], set[str]] = defaultdict(set)
        for datom in self._datoms:
            values[datom.a].append(datom.v)
            now = held[datom.e, datom.a]
            (now.add if datom.added else now.discard)(repr(datom.v))
            if len(now) > 1:
                several.add(datom.a)
        for name in [*self._attributes, *values]:
            if _is_own(name):
                continue
            known = name in self._attributes
            definition = self._attributes.setdefault(name, _Attribute()).definition
            many = not known and name in several
            definition.setdefault(
                ":db/cardinality", ":db.cardinality/many" if many else ":db.cardinality/one"
            )
            stated = definition.get(":db/valueType")
            if definition.keys() & set(_TUPLE_KEYS):  # DataScript's have no type
                stated = ":db.type/tuple"
            stated = _TYPE_NAMES.get(stated, stated) if stated else None
            if stated not in {kind.value for kind in ValueType}:
                stated = _type_of(name, values[name])
            definition[":db/valueType"] = stated

    def _attribute_id(self, attribute: _Attribute) -> int:
        if attribute.entity is not None:
            return FIRST_ENTITY + attribute.entity
        self._next_entity += 1
        return self._next_entity - 1

    def _schema_datoms(self) -> Iterator[tuple[int, str, Stored | Ident, bool]]:
        for name, attribute in self._attributes.items():
            e, definition = self._ids[name], attribute.definition
            yield e, ":db/ident", encode(Keyword(name)), True
            for key in (":db/valueType", ":db/cardinality", ":db/unique"):
                if definition.get(key) is not None:
                    yield e, key, Ident(str(definition[key])), True
            for key in _TUPLE_KEYS:
                if key in definition:
                    yield e, key, encode(definition[key]), True
            if definition.get(":db/isComponent"):
                yield e, ":db/isComponent", encode(True), True
            if definition.get(":db/fulltext") and definition.get(":db/valueType") == ":db.type/string":
                yield e, ":db/fulltext", encode(True), True
            if isinstance(definition.get(":db/doc"), str):
                yield e, ":db/doc", definition[":db/doc"], True

    # Datoms

    def _changes(
        self, datoms: Sequence[_Datom], held: dict[tuple[int, str], list[Stored]]
    ) -> list[tuple[int, str, Stored, bool]]:
        """What the datoms of a transaction change in sum, retractions first; `held` is brought up to date.

        One that says what is so already changes nothing, and a value that another takes the place of ends.
        """
        before: dict[tuple[int, str], list[Stored]] = {}
        for datom in datoms:
            place, v = (self._entity(datom.e), datom.a), self._value(datom)
            now = held[place]
            before.setdefault(place, list(now))
            if not datom.added:
                held[place] = [one for one in now if one != v]
            elif v not in now:
                attribute = self._attributes.get(datom.a)
                held[place] = [*now, v] if attribute is not None and attribute.is_many else [v]
        ended = [(*place, v, False) for place, old in before.items() for v in old if v not in held[place]]
        begun = [(*place, v, True) for place, old in before.items() for v in held[place] if v not in old]
        return ended + begun

    def _entity(self, e: int) -> int:
        t = self._tx_entities.get(e)
        return FIRST_ENTITY + e if t is None else transaction_entity(t)

    def _value(self, datom: _Datom) -> Stored:
        attribute = self._attributes.get(datom.a)
        value = datom.v
        try:
            if attribute is None:  # one of bucketlog's own, such as :db/ident
                return encode(value)
            if attribute.is_ref and isinstance(value, Keyword):
                value = self._idents.get(value, value)
            if attribute.is_ref:
                return self._entity(int(encode_as(ValueType.REF, value)))
            if isinstance(value, tuple):
                value = tuple(map(self._element, self._element_types(attribute, len(value)), value))
            return encode_as(ValueType(attribute.definition[":db/valueType"]), value)
        except ValueError as error:
            raise ImportTextError(f"[{datom.e} {datom.a} {_shown(value)} {datom.tx}]: {error}") from None

    def _element_types(self, attribute: _Attribute, length: int) -> Sequence[Any]:
        """The types of a tuple's elements."""
        attributes, one, several = map(attribute.definition.get, _TUPLE_KEYS)
        if attributes is not None:
            found = [self._attributes.get(name, _Attribute()) for name in attributes]
            return [item.definition.get(":db/valueType") for item in found]
        return several if several is not None else [one] * length

    def _element(self, kind: Any, value: Any) -> Any:
        return self._entity(value) if kind == ":db.type/ref" and isinstance(value, int) else value


def _type_of(name: str, values: Sequence[Any]) -> str:
    """The type that all values have; integers among doubles are doubles."""
    found: dict[str, Any] = {}
    for value in values:
        kind = next((kind for cls, kind in _BY_CLASS if isinstance(value, cls)), None)
        if kind is None:
            raise ImportTextError(f"{name} {_shown(value)}: no attribute can hold a {type(value).__name__}")
        found.setdefault(kind, value)
    if found.keys() == {":db.type/long", ":db.type/double"}:
        return ":db.type/double"
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise ImportTextError(
            f"{name} has values of several types, such as {_shown(one)} and {_shown(other)}"
        )
    return next(iter(found), ":db.type/string")
