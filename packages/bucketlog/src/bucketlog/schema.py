"""The schema: attributes and idents, read from the datoms that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from bucketlog.edn import Keyword
from bucketlog.value import ELEMENT_TYPES, Encoder, Stored, ValueType, decode, encode, encoder, tuple_encoder

__all__ = [
    "ATTRIBUTE_PREDICATES",
    "CARDINALITY",
    "DEFINING",
    "ENSURE",
    "ENTITY_ATTRIBUTES",
    "ENTITY_PREDICATES",
    "ENUMERATIONS",
    "EXCISE",
    "EXCISE_ATTRIBUTES",
    "EXCISE_BEFORE",
    "FIRST_ENTITY",
    "IDENT",
    "TUPLE_ATTRIBUTES",
    "TUPLE_TYPE",
    "TUPLE_TYPES",
    "TX_BASE",
    "TX_INSTANT",
    "UNIQUE",
    "VALUE_TYPE",
    "Attribute",
    "Change",
    "Schema",
    "bootstrap",
    "reversed_name",
    "transaction_entity",
]

FIRST_ENTITY: Final = 1024
"""Ids below are bucketlog's own."""

TX_BASE: Final = 1 << 40
"""The transaction entity of transaction `t` is `TX_BASE + t`; all other entities have smaller ids."""

IDENT: Final = 1
VALUE_TYPE: Final = 2
CARDINALITY: Final = 3
UNIQUE: Final = 4
IS_COMPONENT: Final = 5
INDEX: Final = 6
DOC: Final = 7
TX_INSTANT: Final = 8
TUPLE_ATTRIBUTES: Final = 9
TUPLE_TYPE: Final = 10
TUPLE_TYPES: Final = 11
FULLTEXT: Final = 12
ATTRIBUTE_PREDICATES: Final = 13
ENSURE: Final = 14
ENTITY_ATTRIBUTES: Final = 15
ENTITY_PREDICATES: Final = 16
EXCISE: Final = 60
EXCISE_ATTRIBUTES: Final = 61
EXCISE_BEFORE: Final = 62
_CARDINALITY_ONE: Final = 35
_CARDINALITY_MANY: Final = 36
_UNIQUE_VALUE: Final = 40
_UNIQUE_IDENTITY: Final = 41
_TYPES: Final = {20 + position: value_type for position, value_type in enumerate(ValueType)}

ENUMERATIONS: Final = {
    VALUE_TYPE: frozenset(_TYPES),
    CARDINALITY: frozenset({_CARDINALITY_ONE, _CARDINALITY_MANY}),
    UNIQUE: frozenset({_UNIQUE_VALUE, _UNIQUE_IDENTITY}),
}
"""The entities that an attribute of the schema may refer to."""

DEFINING: Final = frozenset(
    {
        IDENT, VALUE_TYPE, CARDINALITY, UNIQUE, IS_COMPONENT, TUPLE_ATTRIBUTES, TUPLE_TYPE, TUPLE_TYPES,
        FULLTEXT, ATTRIBUTE_PREDICATES,
    }
)  # fmt: skip
"""The attributes that say what an attribute is."""


class Change(NamedTuple):
    """One datom of one transaction, with its value in stored form: `added` or retracted."""

    e: int
    a: int
    v: Stored
    added: bool


def transaction_entity(t: int) -> int:
    """The entity id of transaction `t`."""
    return TX_BASE + t


def reversed_name(name: str) -> str | None:
    """The reference that `:person/_friend` follows backwards; `None` for a name that follows one forwards."""
    namespace, separator, last = name.rpartition("/" if "/" in name else ":")
    return f"{namespace}{separator}{last[1:]}" if last.startswith("_") and len(last) > 1 else None


@dataclass(frozen=True, slots=True)
class Attribute:
    """What the schema says about one attribute."""

    id: int
    ident: Keyword
    type: ValueType
    many: bool
    unique: bool
    identity: bool
    component: bool
    encode: Encoder = field(compare=False, repr=False)
    """Gives the stored form of a value; raises `ValueError` for what is none of the attribute's type."""

    is_ref: bool
    """True when values are entities."""

    elements: tuple[ValueType, ...] = ()
    """The types of a tuple's elements; one, if a tuple has any number of elements of it."""

    components: tuple[int, ...] = ()
    """The attributes whose values a composite tuple is made of."""

    refers: bool = False
    """True when values are entities, or tuples with entities in them."""

    fulltext: bool = False
    """True when the texts can be searched."""

    predicates: tuple[str, ...] = ()
    """Names of the functions that every new value must satisfy."""

    def refers_at(self, place: int) -> bool:
        """Whether that element of a tuple is an entity."""
        return self.elements[place if len(self.elements) > 1 else 0] is ValueType.REF


@dataclass(frozen=True, eq=False)
class Schema:
    """All attributes and idents of one database value. Immutable; compared by identity."""

    definitions: Mapping[int, Mapping[int, Stored]] = field(default_factory=dict)

    @cached_property
    def idents(self) -> dict[str, int]:
        """Entity id by ident."""
        return {str(decode(d[IDENT])): e for e, d in self.definitions.items() if IDENT in d}

    @cached_property
    def attributes(self) -> dict[int, Attribute]:
        """Attribute by entity id."""
        return {
            e: self._attribute(e, definition)
            for e, definition in self.definitions.items()
            if VALUE_TYPE in definition and CARDINALITY in definition and IDENT in definition
        }

    @cached_property
    def _by_ident(self) -> dict[str, Attribute]:
        return {str(attribute.ident): attribute for attribute in self.attributes.values()}

    def nearest(self, name: Any) -> str:
        """What an error says of a name that is none: the ident that looks most like it, if any does."""
        from difflib import get_close_matches  # noqa: PLC0415  only for who has made a mistake

        found = get_close_matches(str(name), self.idents, 1)
        return f"; did you mean {found[0]}?" if found else ""

    @cached_property
    def references(self) -> tuple[Attribute, ...]:
        """The attributes whose values are entities."""
        return tuple(attribute for attribute in self.attributes.values() if attribute.is_ref)

    @cached_property
    def simple(self) -> dict[str, Attribute]:
        """The attributes that hold one value, and no entity, by their idents."""
        return {name: a for name, a in self._by_ident.items() if not (a.many or a.refers)}

    @cached_property
    def composites(self) -> dict[int, tuple[Attribute, ...]]:
        """The composite tuples that an attribute is a part of, by its id."""
        found: dict[int, list[Attribute]] = {}
        for attribute in self.attributes.values():
            for component in attribute.components:
                found.setdefault(component, []).append(attribute)
        return {component: tuple(composites) for component, composites in found.items()}

    @cached_property
    def fulltext(self) -> frozenset[int]:
        """The attributes whose texts can be searched."""
        return frozenset(e for e, attribute in self.attributes.items() if attribute.fulltext)

    @cached_property
    def guarded(self) -> dict[int, Attribute]:
        """The attributes with predicates, by their ids."""
        return {e: attribute for e, attribute in self.attributes.items() if attribute.predicates}

    def attribute(self, name: str | int) -> Attribute | None:
        """The attribute of that ident or entity id."""
        return self.attributes.get(name) if isinstance(name, int) else self._by_ident.get(name)

    def evolve(self, changes: Iterable[Change]) -> Schema:
        """The schema after `changes`: `self` when none of them touches it."""
        touched = [change for change in changes if change.a in DEFINING]
        if not touched:
            return self
        definitions = {e: dict(definition) for e, definition in self.definitions.items()}
        for change in sorted(touched, key=lambda change: change.added):  # retractions first
            definition = definitions.setdefault(change.e, {})
            if change.a == ATTRIBUTE_PREDICATES:
                _change_predicates(definition, change)
            elif change.added:
                definition[change.a] = change.v
            elif definition.get(change.a) == change.v:
                del definition[change.a]
        return Schema({e: definition for e, definition in definitions.items() if definition})

    def _attribute(self, e: int, definition: Mapping[int, Stored]) -> Attribute:
        unique = definition.get(UNIQUE)
        value_type = _TYPES[int(definition[VALUE_TYPE])]
        components = self._components(definition)
        elements = _elements(definition) or tuple(
            _TYPES[int(self.definitions[component][VALUE_TYPE])] for component in components
        )
        return Attribute(
            id=e,
            ident=Keyword(str(decode(definition[IDENT]))),
            type=value_type,
            many=definition[CARDINALITY] == _CARDINALITY_MANY,
            unique=unique is not None,
            identity=unique == _UNIQUE_IDENTITY,
            component=bool(IS_COMPONENT in definition and decode(definition[IS_COMPONENT])),
            encode=tuple_encoder(elements) if elements else encoder(value_type),
            is_ref=value_type is ValueType.REF,
            elements=elements,
            components=components,
            refers=value_type is ValueType.REF or ValueType.REF in elements,
            fulltext=bool(FULLTEXT in definition and decode(definition[FULLTEXT])),
            predicates=tuple(str(definition.get(ATTRIBUTE_PREDICATES, "")).split()),
        )

    def _components(self, definition: Mapping[int, Stored]) -> tuple[int, ...]:
        """The attributes that a composite is made of; none when one of them is no attribute."""
        if TUPLE_ATTRIBUTES not in definition:
            return ()
        found = [self.idents.get(name, -1) for name in decode(definition[TUPLE_ATTRIBUTES])]
        return tuple(found) if all(VALUE_TYPE in self.definitions.get(e, {}) for e in found) else ()


def _change_predicates(definition: dict[int, Stored], change: Change) -> None:
    """Add or remove one of the names, which a definition has as a text with spaces between them."""
    names = set(str(definition.pop(ATTRIBUTE_PREDICATES, "")).split())
    name = {str(decode(change.v))}
    if names := names | name if change.added else names - name:
        definition[ATTRIBUTE_PREDICATES] = " ".join(sorted(names))


def _elements(definition: Mapping[int, Stored]) -> tuple[ValueType, ...]:
    """The types of a tuple's elements as its definition states them; none when it states no types."""
    if TUPLE_TYPE in definition:
        stated: tuple[Any, ...] = (decode(definition[TUPLE_TYPE]),)
    else:
        stated = decode(definition[TUPLE_TYPES]) if TUPLE_TYPES in definition else ()
    known = {value_type.value: value_type for value_type in ELEMENT_TYPES}
    return tuple(known[name] for name in stated) if all(name in known for name in stated) else ()


_MANY: Final = frozenset(
    {EXCISE, EXCISE_ATTRIBUTES, ATTRIBUTE_PREDICATES, ENSURE, ENTITY_ATTRIBUTES, ENTITY_PREDICATES}
)


def bootstrap() -> tuple[Change, ...]:
    """The datoms that every database starts with: attributes that describe attributes, and their values."""
    one, many = _CARDINALITY_ONE, _CARDINALITY_MANY
    types = {value_type: e for e, value_type in _TYPES.items()}
    attributes = [
        (IDENT, ":db/ident", ValueType.KEYWORD, _UNIQUE_IDENTITY, "The name of an entity"),
        (VALUE_TYPE, ":db/valueType", ValueType.REF, None, "The type of an attribute's values"),
        (CARDINALITY, ":db/cardinality", ValueType.REF, None, "Whether an attribute holds one value or many"),
        (UNIQUE, ":db/unique", ValueType.REF, None, "Whether a value belongs to at most one entity"),
        (IS_COMPONENT, ":db/isComponent", ValueType.BOOLEAN, None, "Whether the referenced entity is a part"),
        (INDEX, ":db/index", ValueType.BOOLEAN, None, "Kept for other readers; every attribute is indexed"),
        (DOC, ":db/doc", ValueType.STRING, None, "A description"),
        (TX_INSTANT, ":db/txInstant", ValueType.INSTANT, None, "When a transaction was made"),
        (
            TUPLE_ATTRIBUTES,
            ":db/tupleAttrs",
            ValueType.TUPLE,
            None,
            "The attributes that make a tuple's values",
        ),
        (TUPLE_TYPE, ":db/tupleType", ValueType.KEYWORD, None, "The type of all of a tuple's elements"),
        (TUPLE_TYPES, ":db/tupleTypes", ValueType.TUPLE, None, "The types of a tuple's elements"),
        (FULLTEXT, ":db/fulltext", ValueType.BOOLEAN, None, "Whether the texts can be searched"),
        (ATTRIBUTE_PREDICATES, ":db.attr/preds", ValueType.KEYWORD, None, "Functions that values satisfy"),
        (ENSURE, ":db/ensure", ValueType.REF, None, "What an entity must be; checked and not kept"),
        (ENTITY_ATTRIBUTES, ":db.entity/attrs", ValueType.KEYWORD, None, "Attributes that must be there"),
        (ENTITY_PREDICATES, ":db.entity/preds", ValueType.KEYWORD, None, "Functions that entities satisfy"),
        (EXCISE, ":db/excise", ValueType.REF, None, "Entities whose datoms are removed for good"),
        (EXCISE_ATTRIBUTES, ":db.excise/attrs", ValueType.REF, None, "Only these attributes of them"),
        (EXCISE_BEFORE, ":db.excise/beforeT", ValueType.LONG, None, "Only what was added before it"),
    ]
    changes = []
    for e, ident, value_type, unique, doc in attributes:
        changes += [
            Change(e, IDENT, encode(Keyword(ident)), True),
            Change(e, VALUE_TYPE, types[value_type], True),
            Change(e, CARDINALITY, many if e in _MANY else one, True),
            Change(e, DOC, doc, True),
        ]
        if unique is not None:
            changes.append(Change(e, UNIQUE, unique, True))
        if value_type is ValueType.TUPLE:
            changes.append(Change(e, TUPLE_TYPE, encode(Keyword(ValueType.KEYWORD.value)), True))
    enumerations = {e: value_type.value for e, value_type in _TYPES.items()} | {
        _CARDINALITY_ONE: ":db.cardinality/one",
        _CARDINALITY_MANY: ":db.cardinality/many",
        _UNIQUE_VALUE: ":db.unique/value",
        _UNIQUE_IDENTITY: ":db.unique/identity",
    }
    changes += [Change(e, IDENT, encode(Keyword(ident)), True) for e, ident in enumerations.items()]
    return tuple(changes)
