"""Aggregates: what `(name ?x)` in `:find` makes of the values of a group."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

from bucketlog.decimals import EXACT, ROUNDED
from bucketlog.errors import QueryError
from bucketlog.query.callables import as_parameter
from bucketlog.query.functions import NUMBERS
from bucketlog.query.inputs import Parameter, Run
from bucketlog.query.library import number, rank
from bucketlog.query.statement import Statement
from bucketlog.query.syntax import Aggregate, Constant, Variable
from bucketlog.value import Stored, ValueType

__all__ = ["AGGREGATES", "aggregate_sql"]

Values = Sequence[Any]


def _sum(values: Values) -> Any:
    with localcontext(EXACT):
        return sum(_numbers(values))


def _numbers(values: Values) -> list[Any]:
    known = [number(value) for value in values]
    if any(isinstance(value, Decimal) for value in known):
        return [Decimal(value) if isinstance(value, float) else value for value in known]
    return known


def _avg(values: Values) -> Any:
    total = _sum(values)
    with localcontext(ROUNDED):
        return total / len(values)


def _median(values: Values) -> Any:
    with localcontext(ROUNDED):
        return statistics.median(_numbers(values))


def _variance(values: Values) -> float:
    """Of the whole group, not of a sample; exact before it is rounded."""
    known = [Fraction(value) for value in _numbers(values)]
    mean = sum(known) / len(known)
    return float(sum((value - mean) ** 2 for value in known) / len(known))


def _stddev(values: Values) -> float:
    return math.sqrt(_variance(values))


def _least(values: Values, count: int | None = None) -> Any:
    if count is None:
        return min(values, key=rank)
    return heapq.nsmallest(count, values, key=rank)


def _greatest(values: Values, count: int | None = None) -> Any:
    if count is None:
        return max(values, key=rank)
    return heapq.nlargest(count, values, key=rank)[::-1]


def _rand(values: Values, count: int | None = None) -> Any:
    return random.choice(values) if count is None else random.choices(values, k=count)  # noqa: S311


def _sample(values: Values, count: int) -> list[Any]:
    return random.sample(values, min(count, len(values)))


def _distinct(values: Values) -> frozenset[Any]:
    return frozenset(values)


AGGREGATES: Final[dict[str, tuple[Callable[..., Any], int, int]]] = {
    "count": (len, 0, 0),
    "count-distinct": (lambda values: len(_distinct(values)), 0, 0),
    "distinct": (_distinct, 0, 0),
    "sum": (_sum, 0, 0),
    "avg": (_avg, 0, 0),
    "median": (_median, 0, 0),
    "variance": (_variance, 0, 0),
    "stddev": (_stddev, 0, 0),
    "min": (_least, 0, 1),
    "max": (_greatest, 0, 1),
    "rand": (_rand, 0, 1),
    "sample": (_sample, 1, 1),
}
"""By name: the function of the values of a group, and how many numbers it takes before its variable."""

_ORDERED: Final = NUMBERS | {
    ValueType.STRING,
    ValueType.INSTANT,
    ValueType.KEYWORD,
    ValueType.UUID,
    ValueType.BOOLEAN,
    ValueType.BIGDEC,
    ValueType.URI,
    ValueType.TUPLE,
}
"""The types whose stored form sorts as their values do."""

_IN_SQL: Final[dict[str, tuple[str, frozenset[ValueType] | None]]] = {
    "count": ("count({0})", None),
    "count-distinct": ("count(DISTINCT {0})", None),
    "sum": ("sum({0})", NUMBERS),
    "avg": ("avg({0})", NUMBERS),
    "min": ("min({0})", _ORDERED),
    "max": ("max({0})", _ORDERED),
}
"""Those that SQL computes as well, for values of these types."""


def aggregate_sql(
    aggregate: Aggregate, column: str, kind: ValueType | None, statement: Statement, fixed: Mapping[str, str]
) -> tuple[str, ValueType | None]:
    """The SQL of an aggregate over a column of that type, and the type of its value if that is certain.

    `fixed` has the parameters of the inputs that are one value.
    """
    if aggregate.function is None and aggregate.name not in AGGREGATES:
        raise QueryError(
            f"{aggregate.name} is no aggregate; there are {', '.join(AGGREGATES)}, in: {aggregate.text}"
        )
    if aggregate.function is None and aggregate.name in _IN_SQL and not aggregate.arguments:
        template, takes = _IN_SQL[aggregate.name]
        if takes is None or kind in takes:
            given = {"count": ValueType.LONG, "count-distinct": ValueType.LONG, "avg": ValueType.DOUBLE}
            return template.format(column), given.get(aggregate.name, kind)
    names = [*aggregate.arguments, *([aggregate.function] if aggregate.function else [])]
    inputs = {}
    for term in names:
        if isinstance(term, Variable):
            if term.name not in fixed:
                raise QueryError(f"{term.name} is no input of one value, in: {aggregate.text}")
            inputs[term.name] = statement.parameters[fixed[term.name].removeprefix(":")]
    if aggregate.function is None:
        _, least, most = AGGREGATES[aggregate.name]
        if not least <= len(aggregate.arguments) <= most:
            raise QueryError(
                f"{aggregate.name} does not take {len(aggregate.arguments)} arguments before its variable, "
                f"in: {aggregate.text}"
            )
    parameter = statement.parameter(_plan(aggregate, inputs))
    return f"bucketlog_aggregate({parameter}, {column})", None


def _plan(aggregate: Aggregate, inputs: Mapping[str, Parameter]) -> Parameter:
    """The callable for the groups of one run."""

    def prepare(run: Run) -> Any:
        def given(term: Any) -> Any:
            return run.codec.decode(inputs[term.name](run)) if isinstance(term, Variable) else term

        function = given(aggregate.function) if aggregate.function else AGGREGATES[aggregate.name][0]
        arguments = [
            given(term.value if isinstance(term, Constant) else term) for term in aggregate.arguments
        ]
        decode = run.codec.decode

        def compute(stored: list[Stored]) -> Stored | None:
            values = list(map(decode, stored))
            try:
                if aggregate.function is None:
                    return run.codec.encode(function(values, *arguments))
                return run.codec.encode(function(*arguments, values))
            except Exception as error:
                raise QueryError(
                    f"{aggregate.name} fails: {type(error).__name__}: {error}, in: {aggregate.text}"
                ) from error

        return as_parameter(compute)

    return prepare
