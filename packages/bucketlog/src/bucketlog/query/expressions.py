"""Predicates and function clauses, as conditions and columns of a SELECT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bucketlog.errors import QueryError
from bucketlog.query.binding import binding_text
from bucketlog.query.functions import FUNCTIONS, PREDICATES
from bucketlog.query.inputs import Run
from bucketlog.query.statement import Select, Statement
from bucketlog.query.syntax import Binding, Blank, Constant, Expression, Pattern, Shape, Term, Variable
from bucketlog.schema import Attribute
from bucketlog.value import Stored

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Expressions", "Patterns"]


class Patterns(Protocol):
    """What expressions need of the compiler of patterns."""

    def pattern(self, pattern: Pattern, select: Select) -> None:
        """Join a SELECT with the datoms of a pattern."""

    def attribute_of(self, pattern: Pattern) -> Attribute | None:
        """The attribute of a pattern that names one."""

    def value(self, term: Constant, attribute: Attribute | None, pattern: Pattern) -> str:
        """The SQL of a constant at the place of a value."""

    def encoder(self, term: Term) -> Callable[[Run, Any], Stored | None]:
        """How a value for a term is read."""


class Expressions:
    """Compiles the expressions of one statement."""

    def __init__(self, statement: Statement, databases: Mapping[str, Database], patterns: Patterns) -> None:
        self._statement = statement
        self._databases = databases
        self._patterns = patterns

    def _operand(self, term: Term, select: Select, atom: Expression) -> str:
        if isinstance(term, Variable):
            return select.bound[term.name]
        if isinstance(term, Constant):
            return self._statement.constant(term)
        raise QueryError(f"_ cannot be an argument, in: {atom.text}")

    def add(self, atom: Expression, select: Select) -> None:
        """Add an expression whose arguments are bound: a condition, or what it binds."""
        if atom.name in {"get-else", "missing?"}:
            self._lookup(atom, select)
        elif atom.name == "ground":
            self._ground(atom, select)
        elif atom.binding is None:
            select.conditions.append(self._operation(atom, select, PREDICATES, "predicate"))
        else:
            sql = self._operation(atom, select, FUNCTIONS, "function")
            select.conditions.append(f"{sql} IS NOT NULL")
            self._statement.meet(select, _only(atom), sql)

    def _operation(self, atom: Expression, select: Select, known: Mapping[str, Any], kind: str) -> str:
        operation = known.get(atom.name)
        if operation is None:
            raise QueryError(f"{atom.name} is no {kind}; there are {', '.join(known)}, in: {atom.text}")
        if not operation.accepts(len(atom.arguments)):
            raise QueryError(f"{atom.name} does not take {len(atom.arguments)} arguments, in: {atom.text}")
        return str(operation.write([self._operand(term, select, atom) for term in atom.arguments]))

    def _lookup(self, atom: Expression, select: Select) -> None:
        """`(get-else $ ?e attribute default)` and `(missing? $ ?e attribute)`."""
        count = 3 if atom.name == "get-else" else 2
        if len(atom.arguments) != count or not isinstance(atom.arguments[1], Constant):
            form = "$ ?e :attribute default" if count == 3 else "$ ?e :attribute"
            raise QueryError(f"expected ({atom.name} {form}), in: {atom.text}")
        if self._databases[atom.source].is_history:
            raise QueryError(f"{atom.name} has no meaning on a history, in: {atom.text}")
        e, a = atom.arguments[:2]
        blank = Blank()
        value = Variable("?value~")
        pattern = Pattern(atom.source, (e, a, value, blank, blank), atom.text)
        inner = Select(dict(select.bound), dict(select.types))
        self._patterns.pattern(pattern, inner)
        if count == 2:
            if atom.binding is not None:
                raise QueryError(f"missing? binds nothing, in: {atom.text}")
            select.conditions.append(f"NOT EXISTS ({inner.sql(['1'], distinct=False)})")
            return
        attribute = self._patterns.attribute_of(pattern)
        if attribute is not None and attribute.many:
            raise QueryError(f"get-else needs an attribute of one value, in: {atom.text}")
        default = atom.arguments[2]
        if isinstance(default, Constant):
            otherwise = self._patterns.value(default, attribute, pattern)
        else:
            otherwise = self._operand(default, select, atom)
        found = inner.sql([inner.bound[value.name]], distinct=False)
        self._statement.meet(select, _only(atom), f"coalesce(({found} LIMIT 1), {otherwise})")

    def _ground(self, atom: Expression, select: Select) -> None:
        """`[(ground value) binding]`, with a vector for every binding but a single variable."""
        if len(atom.arguments) != 1 or not isinstance(atom.arguments[0], Constant) or atom.binding is None:
            raise QueryError(f"expected [(ground value) binding], in: {atom.text}")
        binding = atom.binding
        rows = _layout(atom.arguments[0].value, binding, atom.text)
        if binding.shape in (Shape.SCALAR, Shape.TUPLE):
            for term, value in zip(binding.terms, rows[0], strict=True):
                parameter = _Named(self._patterns.encoder(term), value)
                self._statement.meet(select, term, self._statement.parameter(parameter))
            return
        if not rows:
            select.conditions.append("0")
        alias = self._statement.alias("g")
        width = len(binding.terms)
        lines = [
            "SELECT "
            + ", ".join(f"{self._statement.constant(Constant(v))} AS c{n}" for n, v in enumerate(row))
            for row in rows or [("",) * width]
        ]
        select.tables.append(f"({' UNION ALL '.join(lines)}) AS {alias}")
        for column, term in enumerate(binding.terms):
            self._statement.meet(select, term, f"{alias}.c{column}")


@dataclass(frozen=True, slots=True)
class _Named:
    """A parameter that is a constant, read like an input: it may name an entity."""

    encoder: Callable[[Run, Any], Stored | None]
    value: Any

    def __call__(self, run: Run) -> Stored | None:
        return self.encoder(run, self.value)


def _only(atom: Expression) -> Term:
    if atom.binding is None or atom.binding.shape is not Shape.SCALAR:
        raise QueryError(f"{atom.name} gives one value: bind it to one variable, in: {atom.text}")
    return atom.binding.terms[0]


def _layout(value: Any, binding: Binding, text: str) -> list[tuple[Any, ...]]:
    """The rows that `value` holds for a binding."""
    width = len(binding.terms)
    if binding.shape is Shape.SCALAR:
        return [(value,)]
    rows: list[tuple[Any, ...]] | None = None
    if isinstance(value, list | tuple | set | frozenset):
        if binding.shape is Shape.COLLECTION:
            return [(item,) for item in value]
        rows = [tuple(value)] if binding.shape is Shape.TUPLE else [tuple(row) for row in value]
    if rows is None or any(len(row) != width for row in rows):
        raise QueryError(f"{value!r} does not have the form of {binding_text(binding)}, in: {text}")
    return rows
