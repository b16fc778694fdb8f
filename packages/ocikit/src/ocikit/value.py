"""Values that are quick to define: a command that takes a tenth of a second defines some sixty of them.

`dataclasses` writes the methods of each class as text and compiles them, which for a frozen class takes half
a millisecond, whenever a program starts. These have their methods in common. To make one takes a microsecond
longer, so what is made by the ten thousands is better a data class.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

_put = object.__setattr__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`; it is a data class, and `replace` and `asdict` take it."""
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    for name, method in _METHODS.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    made.__hash__ = _hash
    found: type[T] = made
    return found


def _fields(self: Any) -> dict[str, Field[Any]]:
    found: dict[str, Field[Any]] = self.__dataclass_fields__
    return found


def _init(self: Any, *given: object, **named: object) -> None:
    fields = _fields(self)
    if len(given) > len(fields):
        raise TypeError(f"{type(self).__name__} takes {len(fields)} values, and {len(given)} were given")
    left = iter(fields.items())
    for argument, (name, _) in zip(given, left, strict=False):
        _put(self, name, argument)
    for name, one in left:
        if name in named:
            _put(self, name, named.pop(name))
        elif one.default is not MISSING:
            _put(self, name, one.default)
        elif one.default_factory is not MISSING:
            _put(self, name, one.default_factory())
        else:
            raise TypeError(f"{type(self).__name__} lacks a value for {name!r}")
    if named:
        raise TypeError(f"{type(self).__name__} has no room for {', '.join(named)}")
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _repr(self: Any) -> str:
    shown = (f"{name}={getattr(self, name)!r}" for name, one in _fields(self).items() if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _compared(self: Any) -> tuple[object, ...]:
    return tuple(getattr(self, name) for name, one in _fields(self).items() if one.compare)


def _eq(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _set(self: Any, name: str, _: object) -> None:
    raise FrozenInstanceError(f"{type(self).__name__} cannot be changed, and {name!r} not be set")


def _delete(self: Any, name: str) -> None:
    _set(self, name, None)


def _state(self: Any) -> list[object]:
    return [getattr(self, name) for name in _fields(self)]


def _restore(self: Any, state: list[object]) -> None:
    for name, one in zip(_fields(self), state, strict=True):
        _put(self, name, one)


_METHODS = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__setattr__": _set,
    "__delattr__": _delete,
    "__getstate__": _state,
    "__setstate__": _restore,
}
