"""Mapped classes: what their annotations say about attributes."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from bucketlog.edn import URI, Keyword
from bucketlog.errors import BucketlogError
from bucketlog.schema import reversed_name

__all__ = ["REF", "Attribute", "EntityId", "Field", "Id", "MappedClass", "MappingError", "mapped"]


class MappingError(BucketlogError, TypeError):
    """A class cannot be mapped, or an entity does not fit it; the message names class and field."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """Metadata of a field: the attribute that it is, with what the annotation alone does not tell.

    `type` is a value type such as `":db.type/uri"` or `":db.type/ref"`, where the annotation's is not meant.
    """

    ident: str
    _: KW_ONLY
    type: str | None = None
    unique: Literal["identity", "value"] | None = None
    component: bool = False
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class EntityId:
    """Metadata of the field that holds the entity's id."""


Id = Annotated[int | None, EntityId()]
"""The type of a field for the entity's id: `id: Id = None`. An object whose id is set is that entity."""

_TYPES: Final[dict[type, str]] = {
    Keyword: ":db.type/keyword",
    URI: ":db.type/uri",
    str: ":db.type/string",
    bool: ":db.type/boolean",
    int: ":db.type/long",
    float: ":db.type/double",
    datetime: ":db.type/instant",
    UUID: ":db.type/uuid",
    bytes: ":db.type/bytes",
    Decimal: ":db.type/bigdec",
}
_CONTAINERS: Final[tuple[type, ...]] = (list, set, frozenset, tuple)
REF: Final = ":db.type/ref"
TUPLE: Final = ":db.type/tuple"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a class as the attribute that it is."""

    name: str
    attribute: Attribute
    value_type: str
    container: Callable[[Iterable[Any]], Any] | None
    """What the values of an attribute with many are given in."""
    target: type | None
    """The class of the entities that it refers to."""
    enumeration: type[enum.Enum] | None
    optional: bool
    required: bool
    """Without a default."""
    elements: tuple[str, ...] = ()
    """The value types of a tuple's elements."""

    @property
    def is_reverse(self) -> bool:
        return reversed_name(self.attribute.ident) is not None

    def pattern(self) -> Any:
        """Its part of a pull pattern: all values, and of entities the ids."""
        spec = (self.attribute.ident, ":limit", None)
        return {spec: [":db/id"]} if self.value_type == REF else spec


@dataclass(frozen=True, slots=True)
class MappedClass:
    """A class and the attributes that its fields are."""

    cls: type
    id: str | None
    fields: tuple[Field, ...]
    build: Callable[[dict[str, Any]], Any]
    """Makes an object of its fields by name."""


_mappings: dict[type, MappedClass] = {}


def mapped(cls: type) -> MappedClass:
    """How a class is mapped; raises `MappingError`."""
    mapping = _mappings.get(cls)
    if mapping is None:
        mapping = _mappings[cls] = _read(cls)
    return mapping


def _read(cls: type) -> MappedClass:
    if dataclasses.is_dataclass(cls):
        declared = list(_dataclass_fields(cls))
        build = _dataclass_builder(cls)
    elif hasattr(cls, "model_fields") and hasattr(cls, "model_validate"):
        declared = list(_model_fields(cls))
        build = _model_builder(cls)
    else:
        raise MappingError(f"{cls.__qualname__} is neither a dataclass nor a pydantic model")
    fields, ids = [], []
    for name, annotation, metadata, required in declared:
        attribute = next((item for item in metadata if isinstance(item, Attribute)), None)
        if attribute is not None:
            fields.append(_field(cls, name, annotation, attribute, required=required))
        elif any(isinstance(item, EntityId) for item in metadata):
            ids.append(name)
        elif required:
            raise MappingError(
                f"{cls.__qualname__}.{name} is not stored, so that it needs a default; what is stored is "
                f'Annotated[…, Attribute(":namespace/name")]'
            )
    if not fields or len(ids) > 1:
        raise MappingError(
            f"{cls.__qualname__} needs at least one field with Attribute, and at most one with EntityId"
        )
    return MappedClass(cls, ids[0] if ids else None, tuple(fields), build)


_Declared = tuple[str, Any, Sequence[Any], bool]
"""A field's name, annotation, metadata, and whether it has no default."""


def _dataclass_fields(cls: Any) -> Iterator[_Declared]:
    try:
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except NameError as error:
        raise MappingError(
            f"{cls.__qualname__}: {error}: classes that annotations name belong to the top of the module"
        ) from error
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        hint = hints[field.name]
        if typing.get_origin(hint) is Annotated:
            annotation, *metadata = typing.get_args(hint)
        else:
            annotation, metadata = hint, []
        if metadata and not field.init:
            raise MappingError(f"{cls.__qualname__}.{field.name} has init=False, so that it cannot be filled")
        yield field.name, annotation, metadata, required and field.init


def _model_fields(cls: Any) -> Iterator[_Declared]:
    cls.model_rebuild()
    for name, info in cls.model_fields.items():
        yield name, info.annotation, info.metadata, info.is_required()


def _dataclass_builder(cls: type) -> Callable[[dict[str, Any]], Any]:
    return lambda values: cls(**values)


def _model_builder(cls: Any) -> Callable[[dict[str, Any]], Any]:
    names = {name: info.validation_alias for name, info in cls.model_fields.items()}
    aliases = {name: alias for name, alias in names.items() if isinstance(alias, str)}
    return lambda values: cls.model_validate(
        {aliases.get(name, name): value for name, value in values.items()}
    )


def _field(cls: type, name: str, annotation: Any, attribute: Attribute, *, required: bool) -> Field:
    where = f"{cls.__qualname__}.{name}"
    try:
        Keyword(attribute.ident)
    except ValueError as error:
        raise MappingError(f"{where}: {error}") from None
    inner, optional = _without_none(annotation)
    container = next((kind for kind in _CONTAINERS if typing.get_origin(inner) is kind), None)
    if _is_tuple(inner):
        container = None
    elif container is not None:
        arguments = [item for item in typing.get_args(inner) if item is not Ellipsis]
        if len(arguments) != 1 or optional:
            raise MappingError(f"{where}: {annotation} is not a collection of one type and never None")
        inner = arguments[0]
    target = inner if isinstance(inner, type) and _is_mapped(inner) else None
    enumeration = inner if isinstance(inner, type) and issubclass(inner, enum.Enum) else None
    elements = _element_types(inner) if _is_tuple(inner) else ()
    kind = attribute.type or (REF if target else TUPLE if elements else _value_type(enumeration, inner))
    if kind is None:
        raise MappingError(
            f"{where}: {annotation} is no type of value and no mapped class; Attribute(type=…) may name one"
        )
    field = Field(name, attribute, kind, container, target, enumeration, optional, required, elements)
    if kind != REF and (attribute.component or field.is_reverse or target):
        raise MappingError(f"{where}: only a reference is a component, reverse or an object, not {kind}")
    return field


def _is_tuple(annotation: Any) -> bool:
    """Whether it is a tuple of so many elements, and not of any number."""
    arguments = typing.get_args(annotation)
    return typing.get_origin(annotation) is tuple and Ellipsis not in arguments and len(arguments) > 1


def _element_types(annotation: Any) -> tuple[str, ...]:
    """The value types of a tuple's elements, which may be `None`; nothing if one of them is none."""
    found = [_value_type(None, _without_none(item)[0]) for item in typing.get_args(annotation)]
    return tuple(kind for kind in found if kind is not None) if None not in found else ()


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """`T` of `T | None`, and whether it was that."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [item for item in typing.get_args(annotation) if item is not types.NoneType]
        if len(rest) == 1:
            return rest[0], True
    return annotation, False


def _value_type(enumeration: type[enum.Enum] | None, annotation: Any) -> str | None:
    if enumeration is not None:
        kinds = {_value_type(None, type(member.value)) for member in enumeration}
        return kinds.pop() if len(kinds) == 1 else None
    bases = annotation.__mro__ if isinstance(annotation, type) else ()
    return next((_TYPES[base] for base in bases if base in _TYPES), None)


def _is_mapped(cls: type) -> bool:
    return dataclasses.is_dataclass(cls) or hasattr(cls, "model_fields")
