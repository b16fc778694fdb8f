"""Running queries: inputs are matched to `:in`, the plan is found or compiled, rows become results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import apsw

from bucketlog.errors import QueryError
from bucketlog.pull import pull
from bucketlog.query.compiler import Compiled, compile_query
from bucketlog.query.inputs import RelationInput, Run
from bucketlog.query.parser import parse_query, parse_rules
from bucketlog.query.syntax import Binding, Find, PullElement, Query, RuleSet, Shape
from bucketlog.value import Stored, decode

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["run"]

_NO_RULES: Final = RuleSet()


def run(query: str | Sequence[Any] | Mapping[Any, Any], inputs: Sequence[Any]) -> Any:
    """The result of `query`; see `bucketlog.q`."""
    parsed = parse_query(query)
    if len(inputs) != len(parsed.inputs):
        raise QueryError(f"the query has {len(parsed.inputs)} inputs in :in, but {len(inputs)} are given")
    databases, rules = _sort(parsed, inputs)
    image = _one_image(databases)
    key = (
        parsed,
        rules,
        tuple((name, db.schema, db.is_history, db.since_t >= 0) for name, db in databases.items()),
    )
    compiled = image.plans.get(key)
    if compiled is None:
        compiled = image.plans[key] = compile_query(parsed, rules, databases)
    rows = _rows(compiled, databases, inputs)
    return _shaped(parsed.find, _decoded(compiled, rows), databases)


def _sort(query: Query, inputs: Sequence[Any]) -> tuple[dict[str, Database], RuleSet]:
    """The databases and rules among the inputs."""
    databases: dict[str, Database] = {}
    rules = _NO_RULES
    for item, value in zip(query.inputs, inputs, strict=True):
        if item.source is not None:
            if not hasattr(value, "image"):
                raise QueryError(f"{item.source} in :in must be a database, not {type(value).__name__}")
            databases[item.source] = value
        elif item.is_rules:
            rules = parse_rules(value)
        elif item.binding is not None and item.binding.shape is Shape.TUPLE:
            _check_tuple(item.binding, value)
    return databases, rules


def _check_tuple(binding: Binding, value: Any) -> None:
    if not isinstance(value, list | tuple) or len(value) != len(binding.terms):
        raise QueryError(f"an input of :in takes a tuple of {len(binding.terms)}, got {value!r}")


def _one_image(databases: Mapping[str, Database]) -> Any:
    images = {id(db.image): db.image for db in databases.values()}
    if len(images) != 1:
        raise QueryError("a query needs a database, and all of its databases must come from one connection")
    return next(iter(images.values()))


def _rows(
    compiled: Compiled, databases: Mapping[str, Database], inputs: Sequence[Any]
) -> list[tuple[Any, ...]]:
    context = Run(databases, inputs)
    parameters = {name: parameter(context) for name, parameter in compiled.parameters.items()}
    relations = [
        (len(relation.columns), _relation(relation, context, inputs[relation.position]))
        for relation in compiled.relations
    ]
    image = next(iter(databases.values())).image
    try:
        return image.rows(compiled.sql, parameters, relations)
    except apsw.Error as error:
        raise QueryError(f"the query cannot be computed: {error}") from error


def _relation(relation: RelationInput, context: Run, value: Any) -> list[list[Stored | None]]:
    width = len(relation.columns)
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise QueryError(f"input {relation.text} takes a collection, not {type(value).__name__}")
    rows = []
    for item in value:
        row = (item,) if relation.shape is Shape.COLLECTION else item
        if not isinstance(row, list | tuple) or len(row) != width:
            raise QueryError(f"input {relation.text}: {item!r} is not a row of {width}")
        rows.append([encoder(context, cell) for encoder, cell in zip(relation.columns, row, strict=True)])
    return rows


def _decoded(compiled: Compiled, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if all(column.plain for column in compiled.columns):
        return rows
    return [tuple(map(decode, row)) for row in rows]


def _shaped(find: Find, rows: list[tuple[Any, ...]], databases: Mapping[str, Database]) -> Any:
    for position, element in enumerate(find.elements):
        if isinstance(element, PullElement):
            if element.source not in databases:
                raise QueryError(f"pull: {element.source} is not in :in")
            trees = pull(databases[element.source], element.pattern, [row[position] for row in rows])
            rows = [
                (*row[:position], tree, *row[position + 1 :]) for row, tree in zip(rows, trees, strict=True)
            ]
    if find.shape is Shape.RELATION:
        return rows
    if find.shape is Shape.COLLECTION:
        return [row[0] for row in rows]
    if not rows:
        return None
    return rows[0] if find.shape is Shape.TUPLE else rows[0][0]
