"""What `:find` makes of the rows: the SELECT around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bucketlog.query.aggregates import aggregate_sql
from bucketlog.query.statement import Statement
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
    query: Query,
    inner: str,
    types: Mapping[str, ValueType],
    statement: Statement,
    fixed: Mapping[str, str],
) -> tuple[str, tuple[Column, ...]]:
    """The statement around the distinct rows of :find and :with together, on which aggregates work.

    `inner` has one column `c<n>` for each variable that is `wanted`; `types` says the types that are certain;
    `fixed` has the parameters of the inputs that are one value.
    """
    names = wanted(query)
    elements = query.find.elements
    expressions, groups, columns = [], [], []
    for element in elements:
        name = element.name if isinstance(element, Variable) else element.variable.name
        column, kind = f"c{names.index(name)}", types.get(name)
        if isinstance(element, Aggregate):
            sql, kind = aggregate_sql(element, column, kind, statement, fixed)
            expressions.append(sql)
        else:
            expressions.append(column)
            groups.append(column)
        columns.append(Column(kind in PLAIN_TYPES))
    has_aggregates = len(groups) < len(elements)
    if not has_aggregates and expressions == [f"c{n}" for n in range(len(names))]:
        return inner, tuple(columns)
    # Without groups an aggregate of no rows is no row, as in Datomic, hence GROUP BY NULL.
    tail = f" GROUP BY {', '.join(groups) or 'NULL'}" if has_aggregates else ""
    return f"SELECT {', '.join(expressions)} FROM ({inner}){tail}", tuple(columns)  # noqa: S608 -- our own parts
