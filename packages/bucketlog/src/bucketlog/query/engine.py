"""Running queries: inputs are matched to `:in`, the plan is found or compiled, rows become results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import apsw

from bucketlog.errors import QueryError
from bucketlog.image import Image, Row
from bucketlog.pages import Base, Pages
from bucketlog.pull import pull
from bucketlog.query.binding import binding_text, rows_of, single_row
from bucketlog.query.compiler import Compiled, compile_query
from bucketlog.query.inputs import Run
from bucketlog.query.parser import parse_query, parse_rules, pattern_input
from bucketlog.query.syntax import Binding, PullElement, Query, RuleSet, Shape

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["measure", "run", "stored_rows"]

_NO_RULES: Final = RuleSet()
_Result = TypeVar("_Result")
Read = Callable[[Compiled, Image, Mapping[str, Any]], _Result]
"""Reads an image by a plan with parameters."""


class _Running(threading.local):
    """How many queries the thread is computing: those that functions in queries ask come on top."""

    count = 0


_running: Final = _Running()


def run(query: str | Sequence[Any] | Mapping[Any, Any] | Query, inputs: Sequence[Any]) -> Any:
    """The result of `query`; see `bucketlog.q`."""
    parsed = query if isinstance(query, Query) else parse_query(query)
    context, rules = _sort(parsed, inputs)
    compiled, rows = _rows(parsed, rules, context)
    return _shaped(parsed, _decoded(compiled, rows, context), context)


def measure(
    query: str | Sequence[Any] | Mapping[Any, Any], inputs: Sequence[Any], read: Read[_Result]
) -> _Result:
    """What `read` finds out about the plan of a query, when its tables are filled."""
    parsed = parse_query(query)
    context, rules = _sort(parsed, inputs)
    image = _image(context)
    found = None
    for heads in (_heads(context, image), frozenset[str]()):
        if found is None:
            compiled = _compiled(parsed, rules, context, heads, traced=True)
            found = _computed(compiled, context, image, heads, read)
    if found is None:
        raise QueryError("the plan of the query gives nothing to read")
    return found


def stored_rows(query: Query, rules: RuleSet, databases: Mapping[str, Database]) -> list[tuple[Any, ...]]:
    """The rows of a query whose only inputs are databases, with values in stored form."""
    context = Run(databases, tuple(databases.values()))
    return _rows(query, rules, context)[1]


def _sort(query: Query, inputs: Sequence[Any]) -> tuple[Run, RuleSet]:
    """The inputs by what they are, and the rules among them."""
    if len(inputs) != len(query.inputs):
        raise QueryError(f"the query has {len(query.inputs)} inputs in :in, but {len(inputs)} are given")
    databases: dict[str, Database] = {}
    collections: dict[str, Any] = {}
    rules = _NO_RULES
    for item, value in zip(query.inputs, inputs, strict=True):
        if item.source is not None:
            if hasattr(value, "image"):
                databases[item.source] = value
            else:
                _check_collection(item.source, value)
                collections[item.source] = value
        elif item.is_rules:
            rules = parse_rules(value)
        elif item.binding is not None and single_row(item.binding):
            _check_form(item.binding, value)
    return Run(databases, inputs, collections), rules


def _check_collection(source: str, value: Any) -> None:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise QueryError(
            f"{source} in :in must be a database or a collection of rows, not {type(value).__name__}"
        )


def _check_form(binding: Binding, value: Any) -> None:
    try:
        list(rows_of(binding, value))
    except ValueError as error:
        raise QueryError(f"input {binding_text(binding)}: {error}") from None


def _heads(context: Run, image: Image) -> frozenset[str]:
    """The databases that show the newest state of the image."""
    basis = image.basis
    return frozenset(
        name for name, db in context.databases.items() if db.image is image and db.basis_t == basis
    )


def _plan(query: Query, rules: RuleSet, context: Run, heads: frozenset[str]) -> Compiled:
    image = _image(context)
    kinds = tuple(
        (name, db.schema, db.is_history, db.since_t >= 0, db.image is image)
        for name, db in context.databases.items()
    )
    key = (query, rules, kinds, heads, _running.count)
    compiled: Compiled | None = image.plans.get(key)
    if compiled is None:
        compiled = image.plans[key] = _compiled(query, rules, context, heads)
    return compiled


def _compiled(
    query: Query, rules: RuleSet, context: Run, heads: frozenset[str], *, traced: bool = False
) -> Compiled:
    return compile_query(
        query,
        rules,
        context.databases,
        frozenset(context.collections),
        heads=heads,
        nesting=_running.count,
        traced=traced,
    )


def _image(context: Run) -> Image:
    """Where a query is computed: the first database's, for the datoms of others come there as tables."""
    first = next(iter(context.databases.values()), None)
    return _empty_image() if first is None else first.image


@lru_cache(maxsize=1)
def _empty_image() -> Image:
    """For queries without a database."""
    return Image(Pages(Base(), lambda _: []))


def _rows(query: Query, rules: RuleSet, context: Run) -> tuple[Compiled, list[Row]]:
    """The plan of a query and its rows in stored form."""
    image = _image(context)
    heads = _heads(context, image)
    compiled = _plan(query, rules, context, heads)
    rows = _computed(compiled, context, image, heads, _result)
    if rows is None:
        compiled = _plan(query, rules, context, frozenset())
        rows = _computed(compiled, context, image, frozenset(), _result)
    return compiled, rows or []


def _result(compiled: Compiled, image: Image, parameters: Mapping[str, Any]) -> list[Row]:
    """The rows of a query, when its tables are filled."""
    if compiled.direct is not None:
        return compiled.direct.rows(image, parameters)
    return image.execute(compiled.sql, parameters)


def _computed(
    compiled: Compiled, context: Run, image: Image, heads: frozenset[str], ask: Read[_Result]
) -> _Result | None:
    """What `ask` reads; `None` when the plan is for a state that has passed meanwhile."""
    parameters = {name: parameter(context) for name, parameter in compiled.parameters.items()}
    tables = [
        (table.name, table.width, list(dict.fromkeys(map(tuple, table.rows(context)))))
        for table in compiled.tables
    ]

    def read() -> _Result | None:
        if heads and not heads <= _heads(context, image):
            return None
        for name, width, rows in tables:
            image.load(name, width, rows)
        for step in compiled.steps:
            step.run(image, parameters)
        return ask(compiled, image, parameters)

    _running.count += 1
    try:
        return image.read(read)
    except apsw.Error as error:
        raise QueryError(f"the query cannot be computed: {error}") from error
    finally:
        _running.count -= 1


def _decoded(compiled: Compiled, rows: list[tuple[Any, ...]], context: Run) -> list[tuple[Any, ...]]:
    if not rows or all(column.plain for column in compiled.columns):
        return rows
    decode = context.codec.decode_all
    columns = zip(compiled.columns, zip(*rows, strict=True), strict=True)
    return list(zip(*(values if column.plain else decode(values) for column, values in columns), strict=True))


def _shaped(query: Query, rows: list[tuple[Any, ...]], context: Run) -> Any:
    find = query.find
    for position, element in enumerate(find.elements):
        if isinstance(element, PullElement):
            trees = _pulled(query, element, [row[position] for row in rows], context)
            rows = [
                (*row[:position], tree, *row[position + 1 :]) for row, tree in zip(rows, trees, strict=True)
            ]
    if find.shape is Shape.COLLECTION:
        return [row[0] for row in rows]
    if find.shape is Shape.SCALAR:
        return rows[0][0] if rows else None
    found: list[Any] = rows
    if find.keys is not None:
        found = [dict(zip(find.keys, row, strict=True)) for row in rows]
    if find.shape is Shape.TUPLE:
        return found[0] if found else None
    return found


def _pulled(query: Query, element: PullElement, entities: list[Any], context: Run) -> list[dict[str, Any]]:
    if element.source not in context.databases:
        raise QueryError(f"{element.source} in :in must be a database, in: {element.text}")
    pattern: Any = element.pattern
    if isinstance(pattern, str):
        pattern = context.inputs[pattern_input(query.inputs, element)]
    return pull(context.databases[element.source], pattern, entities)
