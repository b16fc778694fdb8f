"""Predicates and function clauses, as conditions and columns of a SELECT.

What SQL can compute as well it computes, when the types of the operands are known or can be told by a look at
them (`typeof`); the rest is called in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from bucketlog.errors import QueryError
from bucketlog.query.binding import rows_of
from bucketlog.query.call import CallPlan, Convert, spread, tested, tested_by_python, valued
from bucketlog.query.callables import MAX_ARGUMENTS, MAX_COLUMNS
from bucketlog.query.comparison import comparable
from bucketlog.query.functions import INTEGERS, NUMBERS, TEXTS, Function, Operation, find_function
from bucketlog.query.inputs import Run
from bucketlog.query.library import LIBRARY
from bucketlog.query.parser import parse_inner_query
from bucketlog.query.search import search
from bucketlog.query.statement import Select, Statement
from bucketlog.query.syntax import (
    Argument,
    Binding,
    Blank,
    Constant,
    Expression,
    Pattern,
    Shape,
    Source,
    Term,
    Variable,
)
from bucketlog.schema import Attribute
from bucketlog.value import Stored, ValueType

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


_Method = Callable[["Expressions", Expression, Select], None]


class Expressions:
    """Compiles the expressions of one statement."""

    def __init__(self, statement: Statement, databases: Mapping[str, Database], patterns: Patterns) -> None:
        self._statement = statement
        self._databases = databases
        self._patterns = patterns

    def add(self, atom: Expression, select: Select) -> None:
        """Add an expression whose arguments are bound: a condition, or what it binds."""
        special = _SPECIAL.get(atom.name) if atom.function is None else None
        if special is not None:
            special(self, atom, select)
        elif atom.function is not None:
            self._call(atom, atom.function, select)
        else:
            self._known(atom, select)

    # Functions by name

    def _known(self, atom: Expression, select: Select) -> None:
        function = find_function(atom.name)
        if function is None:
            raise QueryError(
                f"{atom.name} is neither a predicate nor a function; there are "
                f"{', '.join([*_SPECIAL, *LIBRARY])}, in: {atom.text}"
            )
        if not function.accepts(len(atom.arguments)):
            raise QueryError(f"{atom.name} does not take {len(atom.arguments)} arguments, in: {atom.text}")
        operands = self._operands(atom, select) if function.operation else None
        if operands is None or (atom.binding is not None and atom.binding.shape is not Shape.SCALAR):
            self._call(atom, function.call, select)
        else:
            self._compute(atom, function, operands, select)

    def _operands(self, atom: Expression, select: Select) -> list[tuple[str, ValueType | None]] | None:
        """SQL and type of every argument; `None` when one is not for SQL."""
        operands: list[tuple[str, ValueType | None]] = []
        for argument in atom.arguments:
            if isinstance(argument, Variable):
                operands.append((select.bound[argument.name], select.types.get(argument.name)))
            elif isinstance(argument, Constant) and isinstance(argument.value, _STORABLE):
                operands.append((self._statement.constant(argument), _type_of(argument.value)))
            elif isinstance(argument, Blank):
                raise QueryError(f"_ cannot be an argument, in: {atom.text}")
            else:
                return None
        return operands

    def _compute(
        self,
        atom: Expression,
        function: Function,
        operands: Sequence[tuple[str, ValueType | None]],
        select: Select,
    ) -> None:
        """The call in SQL, or in Python for operands that turn out not to suit SQL."""
        operation = function.operation
        assert operation is not None  # noqa: S101 -- asked for before
        takes = operation.takes
        if takes is not None and any(kind is not None and kind not in takes for _, kind in operands):
            self._call(atom, function.call, select)
            return
        guard = _guard([text for text, kind in operands if kind is None], takes)
        if operation.compares is not None:
            ready = comparable(self._statement, operation.compares, operands)
            if ready is None:
                self._call(atom, function.call, select)
                return
            operands, guard = ready
        sql = operation.write([text for text, _ in operands])
        if atom.binding is None:
            condition = sql if operation.predicate else f"({sql} IS NOT NULL AND {sql} <> x'0100')"
            if guard:
                call = self._called(atom, function.call, select, tested)
                condition = f"CASE WHEN {guard} THEN {condition} ELSE {call} END"
            select.conditions.append(condition)
            return
        value = f"iif({sql}, x'0101', x'0100')" if operation.predicate else sql
        if guard:
            call = self._called(atom, function.call, select, valued)
            value = f"CASE WHEN {guard} THEN {value} ELSE {call} END"
        self._bind(atom, value, select, _result_type(operation, operands), certain=not guard)

    def _bind(
        self, atom: Expression, sql: str, select: Select, kind: ValueType | None, *, certain: bool
    ) -> None:
        """Let a computed value be what the expression binds; where there is none, there is no row."""
        (term,) = atom.binding.terms if atom.binding else ()
        if not certain or len(sql) > _LONG:
            select.stage(self._statement, ("value", sql))
            sql = select.bound.pop("value")
        if not certain or kind is None:
            select.conditions.append(f"{sql} IS NOT NULL")
        if not isinstance(term, Binding):
            self._statement.meet(select, term, sql, kind)

    # Calls in Python

    def _call(self, atom: Expression, function: Variable | Callable[..., Any], select: Select) -> None:
        binding = atom.binding
        if binding is None:
            test = tested if find_function(atom.name) and atom.function is None else tested_by_python
            select.conditions.append(self._called(atom, function, select, test))
        elif binding.shape is Shape.SCALAR:
            self._bind(atom, self._called(atom, function, select, valued), select, None, certain=False)
        else:
            self._rows(atom, function, binding, select)

    def _rows(
        self, atom: Expression, function: Variable | Callable[..., Any], binding: Binding, select: Select
    ) -> None:
        """The table of the rows that a function gives."""
        leaves = tuple(binding.leaves())
        parameter, operands = self._parts(atom, function, select, spread(binding))
        if len(operands) > MAX_ARGUMENTS or len(leaves) > MAX_COLUMNS:
            raise QueryError(
                f"{atom.name} gives rows: it takes at most {MAX_ARGUMENTS} variables and binds at most "
                f"{MAX_COLUMNS}, in: {atom.text}"
            )
        alias = self._statement.alias("f")
        select.tables.append(f"bucketlog_each({', '.join([parameter, *operands])}) AS {alias}")
        for column, term in enumerate(leaves):
            if isinstance(term, Variable):
                select.conditions.append(f"{alias}.c{column} IS NOT NULL")
                self._statement.meet(select, term, f"{alias}.c{column}")

    def _called(
        self, atom: Expression, function: Variable | Callable[..., Any], select: Select, convert: Convert
    ) -> str:
        parameter, operands = self._parts(atom, function, select, convert)
        return f"bucketlog_call({', '.join([parameter, *operands])})"

    def _parts(
        self, atom: Expression, function: Variable | Callable[..., Any], select: Select, convert: Convert
    ) -> tuple[str, list[str]]:
        """The parameter that is the callable, and the SQL of the arguments that vary."""
        operands = []
        arguments: tuple[Argument, ...] = atom.arguments
        if isinstance(function, Variable):
            operands.append(select.bound[function.name])
        for argument in arguments:
            if isinstance(argument, Variable):
                operands.append(select.bound[argument.name])
            elif isinstance(argument, Blank):
                raise QueryError(f"_ cannot be an argument, in: {atom.text}")
        known = None if isinstance(function, Variable) else function
        plan = CallPlan(atom, known, arguments, convert)
        return self._statement.parameter(plan), operands

    # Lookups in a database

    def _missing(self, atom: Expression, select: Select) -> None:
        """`(missing? $ ?e attribute)`."""
        inner, _, _ = self._looked_up(atom, select, "missing? $ ?e :attribute", 2)
        if atom.binding is not None:
            raise QueryError(f"missing? binds nothing, in: {atom.text}")
        select.conditions.append(f"NOT EXISTS ({inner.sql(['1'], distinct=False)})")

    def _get_else(self, atom: Expression, select: Select) -> None:
        """`(get-else $ ?e attribute default)`."""
        inner, pattern, attribute = self._looked_up(atom, select, "get-else $ ?e :attribute default", 3)
        default = atom.arguments[2]
        if isinstance(default, Constant):
            if default.value is None:
                raise QueryError(f"get-else needs a default that is a value, in: {atom.text}")
            otherwise = self._patterns.value(default, attribute, pattern)
        elif isinstance(default, Variable):
            otherwise = select.bound[default.name]
        else:
            raise QueryError(f"get-else needs a default, in: {atom.text}")
        found = inner.sql([inner.bound[_VALUE.name]], distinct=False)
        self._statement.meet(select, _only(atom), f"coalesce(({found} LIMIT 1), {otherwise})")

    def _looked_up(
        self, atom: Expression, select: Select, form: str, count: int, place: int = 1
    ) -> tuple[Select, Pattern, Attribute | None]:
        """The SELECT of an attribute's value; `place` is where among the arguments the attribute stands."""
        if len(atom.arguments) < count or (len(atom.arguments) > count and form != _GET_SOME):
            raise QueryError(f"expected [({form}) …], in: {atom.text}")
        database = self._databases.get(atom.source)
        if database is None or database.is_history:
            raise QueryError(f"{atom.name} needs a database that is no history, in: {atom.text}")
        e, a = atom.arguments[0], atom.arguments[place]
        if isinstance(e, Source) or isinstance(a, Source | Blank):
            raise QueryError(f"expected [({form}) …], in: {atom.text}")
        reverse = isinstance(a, Constant) and isinstance(a.value, str) and "/_" in a.value
        if reverse and isinstance(a, Constant):
            a = Constant(a.value.replace("/_", "/", 1))
        pattern = Pattern(atom.source, (e, a, _VALUE, Blank(), Blank()), atom.text)
        if reverse:
            pattern = Pattern(atom.source, (_VALUE, a, e, Blank(), Blank()), atom.text)
        inner = Select(dict(select.bound), dict(select.types))
        self._patterns.pattern(pattern, inner)
        attribute = self._patterns.attribute_of(pattern)
        if atom.name != "missing?" and (reverse or (attribute is not None and attribute.many)):
            raise QueryError(f"{atom.name} needs an attribute of one value, in: {atom.text}")
        return inner, pattern, attribute

    def _get_some(self, atom: Expression, select: Select) -> None:
        """`(get-some $ ?e attribute…)`: attribute and value of the first that the entity has."""
        attributes, values = [], []
        for place in range(1, max(2, len(atom.arguments))):
            inner, _, attribute = self._looked_up(atom, select, _GET_SOME, 2, place)
            if attribute is None:
                raise QueryError(f"get-some needs attributes by name, in: {atom.text}")
            attributes.append(f"({inner.sql([str(attribute.id)], distinct=False)} LIMIT 1)")
            values.append(f"({inner.sql([inner.bound[_VALUE.name]], distinct=False)} LIMIT 1)")
        binding = atom.binding
        if binding is None or binding.shape is not Shape.TUPLE or len(binding.terms) != 2:
            raise QueryError(f"get-some gives an attribute and a value: bind [?a ?v], in: {atom.text}")
        select.stage(self._statement, ("a", _first_of(attributes)), ("v", _first_of(values)))
        found = [select.bound.pop(name) for name in ("a", "v")]
        select.conditions.append(f"{found[0]} IS NOT NULL")
        for term, sql, kind in zip(binding.terms, found, (ValueType.REF, None), strict=True):
            if isinstance(term, Binding):
                raise QueryError(f"get-some gives an attribute and a value: bind [?a ?v], in: {atom.text}")
            self._statement.meet(select, term, sql, kind)

    # Queries in queries

    def _query(self, atom: Expression, select: Select) -> None:
        """`(q query input…)`."""
        if not atom.arguments:
            raise QueryError(f"expected [(q query input…) binding], in: {atom.text}")
        from bucketlog.query.engine import run  # noqa: PLC0415 -- which compiles by way of this module

        query = atom.arguments[0]
        if not isinstance(query, Constant):
            self._call(atom, lambda text, *inputs: run(text, inputs), select)
            return
        parsed = parse_inner_query(query.value)
        atom = replace(atom, arguments=atom.arguments[1:])
        self._call(atom, lambda *inputs: run(parsed, inputs), select)

    def _search(self, atom: Expression, select: Select) -> None:
        """`(fulltext $ attribute words)`: rows of entity, text, transaction, score, or the first of these."""
        binding = atom.binding
        if binding is None or binding.shape is not Shape.RELATION or len(atom.arguments) != 3:
            raise QueryError(
                f"expected [(fulltext $ :attribute words) [[?e ?text ?tx ?score]]], in: {atom.text}"
            )
        width = len(binding.terms)
        self._call(atom, lambda *arguments: [row[:width] for row in search(*arguments)], select)

    # Constants

    def _ground(self, atom: Expression, select: Select) -> None:
        """`[(ground value) binding]`: a value, or with another binding than a variable the rows in it."""
        if len(atom.arguments) != 1 or atom.binding is None:
            raise QueryError(f"expected [(ground value) binding], in: {atom.text}")
        argument = atom.arguments[0]
        if not isinstance(argument, Constant):
            self._call(atom, _identity, select)
            return
        try:
            rows = list(rows_of(atom.binding, argument.value))
        except ValueError as error:
            raise QueryError(f"{error}, in: {atom.text}") from None
        leaves = tuple(atom.binding.leaves())
        encoders = [self._patterns.encoder(term) for term in leaves]
        if len(rows) == 1:
            for term, encoder, value in zip(leaves, encoders, rows[0], strict=True):
                self._statement.meet(select, term, self._statement.parameter(_named(encoder, value)))
            return
        if not rows:
            select.conditions.append("0")
        alias = self._statement.alias("g")
        lines = (
            ", ".join(
                self._statement.parameter(_named(encoder, value))
                for encoder, value in zip(encoders, row, strict=True)
            )
            for row in rows or [(None,) * len(leaves)]
        )
        select.tables.append(f"(VALUES {', '.join(f'({line})' for line in lines)}) AS {alias}")
        for column, term in enumerate(leaves, 1):
            self._statement.meet(select, term, f"{alias}.column{column}")


_GET_SOME: Final = "get-some $ ?e :attribute …"
_VALUE: Final = Variable("?value~")
_LONG: Final = 400  # characters of SQL; longer computations are done once, before they are used
_STORABLE: Final = (str, int, float, Decimal)

_SPECIAL: Final[dict[str, _Method]] = {
    "get-else": Expressions._get_else,
    "get-some": Expressions._get_some,
    "missing?": Expressions._missing,
    "ground": Expressions._ground,
    "q": Expressions._query,
    "fulltext": Expressions._search,
}


_TYPES_OF: Final[dict[type, ValueType]] = {
    str: ValueType.STRING,
    int: ValueType.LONG,
    float: ValueType.DOUBLE,
    Decimal: ValueType.BIGDEC,
}


def _identity(value: Any) -> Any:
    return value


def _named(encoder: Callable[[Run, Any], Stored | None], value: Any) -> Callable[[Run], Stored | None]:
    """A parameter that is a constant, read like an input: it may name an entity."""
    return lambda run: encoder(run, value)


def _type_of(value: Any) -> ValueType | None:
    return _TYPES_OF.get(type(value))


def _guard(operands: Sequence[str], takes: frozenset[ValueType] | None) -> str:
    """The condition that operands of unknown type have types that the SQL is for; nothing if all do."""
    known = {INTEGERS: "= 'integer'", NUMBERS: "IN ('integer', 'real')", TEXTS: "= 'text'"}
    return " AND ".join(f"typeof({sql}) {known[takes]}" for sql in operands) if takes else ""


def _result_type(operation: Operation, operands: Sequence[tuple[str, ValueType | None]]) -> ValueType | None:
    """The type of the value in SQL, if it is certain and there is always one."""
    if operation.predicate:
        return ValueType.BOOLEAN
    kinds = {kind for _, kind in operands}
    if operation.partial or operation.takes is None:
        return None
    if kinds <= TEXTS:
        return ValueType.STRING
    if kinds <= INTEGERS:
        return ValueType.LONG
    return ValueType.DOUBLE if kinds <= NUMBERS else None


def _first_of(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"coalesce({', '.join(options)})"


def _only(atom: Expression) -> Term:
    if atom.binding is not None and atom.binding.shape is Shape.SCALAR:
        (term,) = atom.binding.terms
        if not isinstance(term, Binding):
            return term
    raise QueryError(f"{atom.name} gives one value: bind it to one variable, in: {atom.text}")
