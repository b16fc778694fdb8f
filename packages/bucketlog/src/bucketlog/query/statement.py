"""SQL that grows: the SELECTs of one statement, and the parameters and aliases that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bucketlog.query.inputs import Parameter, encode_value
from bucketlog.query.syntax import Blank, Constant, Term
from bucketlog.value import Stored, ValueType

__all__ = ["Select", "Statement", "Traced", "common_types", "fixed"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A step in the growth of a SELECT."""

    clause: str
    estimate: float | None
    """About how many rows there are after it, if it joins."""
    counted: str
    """SQL that counts them."""
    tables: tuple[str, ...]
    """Of the SELECT from here on."""


@dataclass(slots=True)
class Select:
    """A SELECT that grows: tables, conditions, and the SQL of every variable bound so far."""

    bound: dict[str, str]
    types: dict[str, ValueType]
    """The types of the variables of which that is certain."""
    tables: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    rows: float = 1.0
    """About how many rows there will be."""
    alone: bool = True
    """Whether it means the same outside of the statement that it is for, before that is run."""
    trace: list[Traced] | None = None
    """How it has grown, when somebody wants to know."""

    def sql(self, columns: Sequence[str], *, distinct: bool) -> str:
        """The text with these result columns."""
        parts = ["SELECT DISTINCT" if distinct else "SELECT", ", ".join(columns)]
        if self.tables:
            parts.append("FROM " + " CROSS JOIN ".join(self.tables))
        if self.conditions:
            parts.append("WHERE " + " AND ".join(self.conditions))
        return " ".join(parts)

    def record(self, clause: str, estimate: float | None) -> None:
        """Add to the trace that a clause has been added."""
        if self.trace is not None:
            counted = self.sql(["count(*)"], distinct=False)
            self.trace.append(Traced(clause, estimate, counted, tuple(self.tables)))

    def stage(self, statement: Statement, *computed: tuple[str, str]) -> None:
        """Make a subquery of what there is, so that what is `computed`, name and SQL, is so once a row.

        Parameters stay; the other variables become columns of the subquery, and so do the computed names.
        """
        local = [(name, sql) for name, sql in self.bound.items() if not sql.startswith(":")]
        columns = [*local, *computed]
        inner = self.sql([f"{sql} AS x{n}" for n, (_, sql) in enumerate(columns)], distinct=False)
        alias = statement.alias("s")
        # SQLite does not merge a subquery with a limit into the query around it.
        self.tables = [f"({inner} LIMIT -1) AS {alias}"]
        self.conditions = []
        self.bound.update((name, f"{alias}.x{n}") for n, (name, _) in enumerate(columns))


@dataclass(slots=True)
class Statement:
    """What all SELECTs of one statement share."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    aliases: int = 0

    def alias(self, prefix: str) -> str:
        """A name that nothing else in the statement has."""
        self.aliases += 1
        return f"{prefix}{self.aliases}"

    def parameter(self, value: Parameter) -> str:
        """The SQL of a value that is known when the statement is run."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    def constant(self, term: Constant) -> str:
        """The SQL of a value written in the query, by its Python type alone."""
        return self.parameter(fixed(encode_value(term.value, "a constant")))

    def meet(self, select: Select, term: Term, sql: str, value_type: ValueType | None = None) -> None:
        """Let the value of `sql` be `term`: bind a new variable (of that type, if known) or demand it."""
        if isinstance(term, Blank):
            return
        if isinstance(term, Constant):
            select.conditions.append(f"{sql} = {self.constant(term)}")
        elif term.name in select.bound:
            select.conditions.append(f"{sql} = {select.bound[term.name]}")
        else:
            select.bound[term.name] = sql
            if value_type is not None:
                select.types[term.name] = value_type


def fixed(stored: Stored) -> Parameter:
    """A parameter that is the same at every run."""
    return lambda _: stored


def common_types(selects: Sequence[Select]) -> dict[str, ValueType]:
    """The types that variables have in every one of some SELECTs."""
    first, *rest = selects
    return {
        name: value_type
        for name, value_type in first.types.items()
        if all(select.types.get(name) is value_type for select in rest)
    }
