"""What `:find` makes of the rows: the SELECT around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bucketlog.errors import QueryError
from bucketlog.query.functions import AGGREGATES
from bucketlog.query.syntax import Aggregate, Query, Variable
from bucketlog.value import PLAIN_TYPES, ValueType

__all__ = ["Column", "result", "wanted"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the result: `plain` ones need no decoding."""

    plain: bool


def wanted(query: Query) -> list[str]:
    """The variables of :find and :with, each once."""
    elements = query.find.elements
    names = [element.name if isinstance(element, Variable) else element.variable.name for element in elements]
    return list(dict.fromkeys(names + [variable.name for variable in query.extra]))


def result(
    query: Query, inner: str, names: Sequence[str], types: Mapping[str, ValueType]
) -> tuple[str, tuple[Column, ...]]:
    """The statement around the distinct rows of :find and :with together, on which aggregates work.

    `inner` has one column `c<n>` for each of `names`; `types` says the types that are certain.
    """
    elements = query.find.elements
    plain = {name for name, value_type in types.items() if value_type in PLAIN_TYPES}
    expressions, groups, columns = [], [], []
    for element in elements:
        name = element.name if isinstance(element, Variable) else element.variable.name
        column = f"c{names.index(name)}"
        if isinstance(element, Aggregate):
            if element.name not in AGGREGATES:
                raise QueryError(f"{element.name} is no aggregate; there are {', '.join(AGGREGATES)}")
            expressions.append(AGGREGATES[element.name].format(column))
            columns.append(Column(name in plain or element.name not in {"min", "max"}))
        else:
            expressions.append(column)
            groups.append(column)
            columns.append(Column(name in plain))
    has_aggregates = len(groups) < len(elements)
    if not has_aggregates and expressions == [f"c{n}" for n in range(len(names))]:
        return inner, tuple(columns)
    # Without groups an aggregate of no rows is no row, as in Datomic, hence GROUP BY NULL.
    tail = f" GROUP BY {', '.join(groups) or 'NULL'}" if has_aggregates else ""
    return f"SELECT {', '.join(expressions)} FROM ({inner}){tail}", tuple(columns)  # noqa: S608 -- our own parts
