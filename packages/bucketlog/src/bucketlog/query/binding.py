"""Destructuring: the flat rows that a value has for a binding, one cell for each of its terms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bucketlog.query.syntax import Binding, Blank, Constant, Shape, Term, Variable

__all__ = ["binding_text", "rows_of", "single_row"]

Row = tuple[Any, ...]


def binding_text(binding: Binding) -> str:
    """A binding as it is written."""
    parts = " ".join(_part_text(term) for term in binding.terms)
    return {
        Shape.SCALAR: parts,
        Shape.COLLECTION: f"[{parts} ...]",
        Shape.TUPLE: f"[{parts}]",
        Shape.RELATION: f"[[{parts}]]",
    }[binding.shape]


def _part_text(part: Term | Binding) -> str:
    match part:
        case Binding():
            return binding_text(part)
        case Variable(name):
            return name
        case Constant(value):
            return repr(value)
        case Blank():
            return "_"


def single_row(binding: Binding) -> bool:
    """Whether every value has exactly one row."""
    if binding.shape in {Shape.COLLECTION, Shape.RELATION}:
        return False
    return all(single_row(term) for term in binding.terms if isinstance(term, Binding))


def rows_of(binding: Binding, value: Any) -> Iterator[Row]:
    """The rows of `value`; raises `ValueError` when it does not have the form of the binding."""
    match binding.shape:
        case Shape.SCALAR:
            yield (value,)
        case Shape.TUPLE:
            yield from _tuple_rows(binding, value)
        case Shape.COLLECTION:
            (term,) = binding.terms
            for item in _items(value, binding):
                if isinstance(term, Binding):
                    yield from rows_of(term, item)
                else:
                    yield (item,)
        case Shape.RELATION:
            for item in _items(value, binding):
                yield from _tuple_rows(binding, item)


def _tuple_rows(binding: Binding, value: Any) -> Iterator[Row]:
    width = len(binding.terms)
    if not isinstance(value, list | tuple) or len(value) != width:
        raise ValueError(f"{value!r} is not a row of {width}, as {binding_text(binding)} wants")
    if not any(isinstance(term, Binding) for term in binding.terms):
        yield tuple(value)
        return
    parts = [
        list(rows_of(term, item)) if isinstance(term, Binding) else [(item,)]
        for term, item in zip(binding.terms, value, strict=True)
    ]
    for combination in itertools.product(*parts):
        yield tuple(itertools.chain.from_iterable(combination))


def _items(value: Any, binding: Binding) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f"{binding_text(binding)} takes a collection, not {type(value).__name__}")  # noqa: TRY004
    return value
