"""From a query to one SQL statement.

Every conjunction becomes a SELECT over one row of `datom` a pattern. The order of the joins is ours (CROSS
JOIN in SQLite keeps it): at each step the atom that is expected to give the fewest rows, by what is bound
already, by the schema and by how many datoms an attribute has. Which index serves a pattern is then SQLite's
choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bucketlog.edn import Keyword
from bucketlog.errors import QueryError
from bucketlog.image import OPEN, live
from bucketlog.query.expand import Atom, Conjunction, Expander, NotExists, Recursion, Relation, variables
from bucketlog.query.functions import AGGREGATES, FUNCTIONS, PREDICATES
from bucketlog.query.inputs import (
    InputEncoder,
    Parameter,
    RelationInput,
    Roles,
    Run,
    ScalarInput,
    binding_text,
    encode_value,
)
from bucketlog.query.syntax import (
    Aggregate,
    Binding,
    Blank,
    Constant,
    Expression,
    Pattern,
    Query,
    RuleSet,
    Shape,
    Term,
    Variable,
)
from bucketlog.schema import TX_BASE, Attribute
from bucketlog.value import PLAIN_TYPES, Stored, encode_as

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Column", "Compiled", "compile_query"]

_TRUE: Final = "x'0101'"
_FALSE: Final = "x'0100'"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the result: `plain` ones need no decoding."""

    plain: bool


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement, and how to fill its parameters and read its rows."""

    sql: str
    parameters: Mapping[str, Parameter]
    relations: tuple[RelationInput, ...]
    columns: tuple[Column, ...]


@dataclass(slots=True)
class _Select:
    """A SELECT that grows: tables, conditions, and the SQL of every variable bound so far."""

    bound: dict[str, str]
    plain: set[str]
    tables: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def sql(self, columns: Sequence[str], *, distinct: bool) -> str:
        parts = ["SELECT DISTINCT" if distinct else "SELECT", ", ".join(columns)]
        if self.tables:
            parts.append("FROM " + " CROSS JOIN ".join(self.tables))
        if self.conditions:
            parts.append("WHERE " + " AND ".join(self.conditions))
        return " ".join(parts)


def compile_query(query: Query, rules: RuleSet, databases: Mapping[str, Database]) -> Compiled:
    """Compile for databases of these kinds and schemas; their basis is filled in at each run."""
    return _Compiler(query, rules, databases).compile()


class _Compiler:
    def __init__(self, query: Query, rules: RuleSet, databases: Mapping[str, Database]) -> None:
        self._query = query
        self._databases = databases
        self._expander = Expander(rules)
        self._roles = Roles(self._expander, self._attribute_of)
        self._parameters: dict[str, Parameter] = {}
        self._basis: dict[str, tuple[str, str]] = {}
        self._aliases = 0
        self._tables: dict[tuple[Any, ...], str] = {}  # common table expressions by what they hold
        self._definitions: list[str] = []
        self._fixed: dict[str, str] = {}  # scalar inputs: variable to parameter

    def compile(self) -> Compiled:
        query = self._query
        conjunctions = self._expander.expand(query.clauses)
        for conjunction in conjunctions:
            self._roles.learn(conjunction)
        relations = self._inputs()
        atoms = tuple(
            Relation(slot, terms, relation.text) for slot, (relation, terms) in enumerate(relations)
        )
        wanted = self._wanted()
        selects = [
            self._conjunction((*atoms, *conjunction), self._fixed, set()) for conjunction in conjunctions
        ]
        for name in wanted:
            if not all(name in select.bound for select in selects):
                raise QueryError(f"{name} is in :find or :with, but nothing binds it")
        plain = {name for name in wanted if all(name in select.plain for select in selects)}
        inner = " UNION ".join(
            select.sql(
                [f"{select.bound[name]} AS c{n}" for n, name in enumerate(wanted)], distinct=len(selects) == 1
            )
            for select in selects
        )
        sql, columns = self._outer(inner, wanted, plain)
        if self._definitions:
            sql = "WITH RECURSIVE " + ", ".join(self._definitions) + " " + sql
        return Compiled(sql, self._parameters, tuple(relation for relation, _ in relations), columns)

    # The result

    def _wanted(self) -> list[str]:
        """The variables of :find and :with, each once."""
        elements = self._query.find.elements
        names = [
            element.name if isinstance(element, Variable) else element.variable.name for element in elements
        ]
        return list(dict.fromkeys(names + [variable.name for variable in self._query.extra]))

    def _outer(self, inner: str, wanted: list[str], plain: set[str]) -> tuple[str, tuple[Column, ...]]:
        """The statement around the distinct rows of :find and :with together, on which aggregates work."""
        elements = self._query.find.elements
        expressions, groups, columns = [], [], []
        for element in elements:
            name = element.name if isinstance(element, Variable) else element.variable.name
            column = f"c{wanted.index(name)}"
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
        if not has_aggregates and expressions == [f"c{n}" for n in range(len(wanted))]:
            return inner, tuple(columns)
        # Without groups an aggregate of no rows is no row, as in Datomic, hence GROUP BY NULL.
        tail = f" GROUP BY {', '.join(groups) or 'NULL'}" if has_aggregates else ""
        return f"SELECT {', '.join(expressions)} FROM ({inner}){tail}", tuple(columns)  # noqa: S608 -- our own parts

    # Inputs

    def _inputs(self) -> list[tuple[RelationInput, tuple[Term, ...]]]:
        relations = []
        for position, item in enumerate(self._query.inputs):
            binding = item.binding
            if binding is None:
                continue
            encoders = tuple(self._encoder(term) for term in binding.terms)
            text = binding_text(binding)
            if binding.shape in (Shape.COLLECTION, Shape.RELATION):
                relations.append((RelationInput(position, binding.shape, encoders, text), binding.terms))
                continue
            for place, (term, encoder) in enumerate(zip(binding.terms, encoders, strict=True)):
                if isinstance(term, Variable):
                    whole = binding.shape is Shape.SCALAR
                    parameter = ScalarInput(position, None if whole else place, encoder)
                    self._fixed[term.name] = self._parameter(parameter)
        return relations

    def _encoder(self, term: Term) -> Callable[[Run, Any], Stored | None]:
        name = term.name if isinstance(term, Variable) else "_"
        return InputEncoder(name, self._roles.of(name), self._roles.source_of(name))

    # Conjunctions

    def _conjunction(self, atoms: Conjunction, outer: Mapping[str, str], plain: set[str]) -> _Select:
        select = _Select(dict(outer), set(plain))
        pending = list(atoms)
        visible = set(outer) | {variable.name for variable in variables(atoms, negated=False)}
        while pending:
            ready = [atom for atom in pending if self._is_ready(atom, select, visible)]
            if ready:
                for atom in ready:
                    self._filter(atom, select, visible)
                    pending.remove(atom)
                continue
            joins = [atom for atom in pending if isinstance(atom, Pattern | Recursion | Relation)]
            if not joins:
                raise self._unbound(pending[0], select)
            atom = min(joins, key=lambda atom: self._cost(atom, select))
            self._join(atom, select)
            pending.remove(atom)
        return select

    def _unbound(self, atom: Atom, select: _Select) -> QueryError:
        terms: Sequence[Term] = ()
        if isinstance(atom, Expression):
            terms = atom.arguments
        elif isinstance(atom, NotExists):
            terms = atom.join or ()
        names = sorted({term.name for term in terms if isinstance(term, Variable)} - set(select.bound))
        return QueryError(f"nothing binds {', '.join(names) or 'its variables'}, in: {atom.text}")

    def _is_ready(self, atom: Atom, select: _Select, visible: set[str]) -> bool:
        """Whether an atom that only filters or computes has all it needs."""
        match atom:
            case Expression():
                return all(term.name in select.bound for term in atom.arguments if isinstance(term, Variable))
            case NotExists(join=None):
                inside = {
                    variable.name for branch in atom.branches for variable in variables(branch, negated=True)
                }
                return inside & visible <= set(select.bound)
            case NotExists():
                return all(
                    term.name in select.bound for term in atom.join or () if isinstance(term, Variable)
                )
        return False

    def _cost(self, atom: Atom, select: _Select) -> float:
        """About how many rows each row so far will be joined with."""
        if isinstance(atom, Relation):
            return 10.0
        if isinstance(atom, Recursion):
            return 100.0 if any(self._is_bound(term, select) for term in atom.arguments) else 1000.0
        if not isinstance(atom, Pattern):
            return 0.0
        e, a, v = atom.places[:3]
        attribute = self._attribute_of(atom) if isinstance(a, Constant) else None
        image = self._databases[atom.source].image
        size = image.size(attribute.id if attribute else None) + 1.0
        if self._is_bound(e, select):
            return min(size, (3.0 if attribute.many else 1.0) if attribute else 10.0)
        if self._is_bound(v, select):
            return 1.0 if attribute and attribute.unique else max(2.0, size / 20)
        return size

    @staticmethod
    def _is_bound(term: Term, select: _Select) -> bool:
        return isinstance(term, Constant) or (isinstance(term, Variable) and term.name in select.bound)

    def _filter(self, atom: Atom, select: _Select, visible: set[str]) -> None:
        if isinstance(atom, NotExists):
            outer = {name: sql for name, sql in select.bound.items() if name in visible}
            for branch in atom.branches:
                inner = self._conjunction(branch, outer, select.plain)
                select.conditions.append(f"NOT EXISTS ({inner.sql(['1'], distinct=False)})")
        elif isinstance(atom, Expression):
            self._expression(atom, select)

    def _join(self, atom: Atom, select: _Select) -> None:
        if isinstance(atom, Pattern):
            self._pattern(atom, select)
        elif isinstance(atom, Recursion):
            self._recursion(atom, select)
        elif isinstance(atom, Relation):
            alias = self._alias("i")
            select.tables.append(f"temp.input{len(atom.terms)} AS {alias}")
            select.conditions.append(f"{alias}.slot = {atom.slot}")
            for column, term in enumerate(atom.terms):
                self._meet(select, term, f"{alias}.c{column}", plain=False)

    def _meet(self, select: _Select, term: Term, sql: str, *, plain: bool) -> None:
        """Let the value of `sql` be `term`: bind a new variable, or demand equality."""
        if isinstance(term, Blank):
            return
        if isinstance(term, Constant):
            select.conditions.append(f"{sql} = {self._constant(term)}")
        elif term.name in select.bound:
            select.conditions.append(f"{sql} = {select.bound[term.name]}")
        else:
            select.bound[term.name] = sql
            if plain:
                select.plain.add(term.name)

    def _alias(self, prefix: str) -> str:
        self._aliases += 1
        return f"{prefix}{self._aliases}"

    def _parameter(self, value: Parameter) -> str:
        name = f"p{len(self._parameters)}"
        self._parameters[name] = value
        return f":{name}"

    def _constant(self, term: Constant) -> str:
        value = encode_value(term.value, "a constant")
        return self._parameter(_fixed(value))

    # Patterns

    def _attribute_of(self, pattern: Pattern) -> Attribute | None:
        """The attribute of a pattern that names one."""
        if pattern.source not in self._databases:
            raise QueryError(f"{pattern.source} is not in :in, in: {pattern.text}")
        place = pattern.places[1]
        if not isinstance(place, Constant):
            return None
        name = place.value
        attribute = (
            self._databases[pattern.source].schema.attribute(name) if isinstance(name, str | int) else None
        )
        if attribute is None:
            raise QueryError(f"{name!r} is not an attribute of the database, in: {pattern.text}")
        return attribute

    def _pattern(self, pattern: Pattern, select: _Select) -> None:
        e, a, v, tx, added = pattern.places
        attribute = self._attribute_of(pattern)
        alias = self._alias("d")
        select.tables.append(f"datom AS {alias}")
        if isinstance(e, Constant):
            select.conditions.append(f"{alias}.e = {self._entity(e, pattern)}")
        else:
            self._meet(select, e, f"{alias}.e", plain=True)
        if attribute is not None:
            select.conditions.append(f"{alias}.a = {attribute.id}")
        else:
            self._meet(select, a, f"{alias}.a", plain=True)
        if isinstance(v, Constant):
            select.conditions.append(f"{alias}.v = {self._value(v, attribute, pattern)}")
        else:
            self._meet(select, v, f"{alias}.v", plain=attribute is not None and attribute.type in PLAIN_TYPES)
        when, sign = self._interval(pattern, alias, select)
        if isinstance(tx, Constant):
            if not isinstance(tx.value, int):
                raise QueryError(f"{tx.value!r} is no transaction, in: {pattern.text}")
            select.conditions.append(f"{when} = {tx.value % TX_BASE}")
        else:
            self._meet(select, tx, f"({when} + {TX_BASE})", plain=True)
        self._meet(select, added, sign, plain=False)

    def _interval(self, pattern: Pattern, alias: str, select: _Select) -> tuple[str, str]:
        """Restrict a row to what the database shows; gives SQL for its transaction, and its being added."""
        database = self._databases[pattern.source]
        t, since = self._basis_of(pattern.source)
        if database.is_history:
            # A row is two datoms, an addition and a retraction; both are found through the row's own indexes.
            sign = self._alias("h")
            select.tables.append(f"(SELECT {_TRUE} AS sign UNION ALL SELECT {_FALSE}) AS {sign}")
            when = f"iif({sign}.sign = {_TRUE}, {alias}.added, nullif({alias}.retracted, {OPEN}))"
            select.conditions += [f"{when} <= {t}", f"{when} > {since}"]
            return when, f"{sign}.sign"
        select.conditions.append(live(f"{alias}.", t))
        if database.since_t >= 0:
            select.conditions.append(f"{alias}.added > {since}")
        return f"{alias}.added", _TRUE

    def _basis_of(self, source: str) -> tuple[str, str]:
        if source not in self._basis:
            self._basis[source] = (
                self._parameter(lambda run: run.databases[source].basis_t),
                self._parameter(lambda run: run.databases[source].since_t),
            )
        return self._basis[source]

    def _entity(self, term: Constant, pattern: Pattern) -> str:
        value, source = term.value, pattern.source
        if isinstance(value, bool) or not isinstance(value, int | Keyword | tuple):
            raise QueryError(f"{value!r} names no entity, in: {pattern.text}")
        if isinstance(value, int):
            return str(value)
        return self._parameter(lambda run: run.databases[source].entid(value))

    def _value(self, term: Constant, attribute: Attribute | None, pattern: Pattern) -> str:
        value = term.value
        if attribute is None:
            return self._constant(term)
        if attribute.is_ref:
            return self._entity(term, pattern)
        try:
            stored = encode_as(attribute.type, value)
        except ValueError as error:
            raise QueryError(
                f"{value!r} can be no value of {attribute.ident} ({attribute.type.value}): {error}, "
                f"in: {pattern.text}"
            ) from None
        return self._parameter(_fixed(stored))

    # Predicates and functions

    def _operand(self, term: Term, select: _Select, atom: Expression) -> str:
        if isinstance(term, Variable):
            return select.bound[term.name]
        if isinstance(term, Constant):
            return self._constant(term)
        raise QueryError(f"_ cannot be an argument, in: {atom.text}")

    def _expression(self, atom: Expression, select: _Select) -> None:
        if atom.name in {"get-else", "missing?"}:
            self._lookup(atom, select)
        elif atom.name == "ground":
            self._ground(atom, select)
        elif atom.binding is None:
            select.conditions.append(self._operation(atom, select, PREDICATES, "predicate"))
        else:
            sql = self._operation(atom, select, FUNCTIONS, "function")
            select.conditions.append(f"{sql} IS NOT NULL")
            self._meet(select, _only(atom), sql, plain=False)

    def _operation(self, atom: Expression, select: _Select, known: Mapping[str, Any], kind: str) -> str:
        operation = known.get(atom.name)
        if operation is None:
            raise QueryError(f"{atom.name} is no {kind}; there are {', '.join(known)}, in: {atom.text}")
        if not operation.accepts(len(atom.arguments)):
            raise QueryError(f"{atom.name} does not take {len(atom.arguments)} arguments, in: {atom.text}")
        return str(operation.write([self._operand(term, select, atom) for term in atom.arguments]))

    def _lookup(self, atom: Expression, select: _Select) -> None:
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
        inner = _Select(dict(select.bound), set())
        self._pattern(pattern, inner)
        if count == 2:
            if atom.binding is not None:
                raise QueryError(f"missing? binds nothing, in: {atom.text}")
            select.conditions.append(f"NOT EXISTS ({inner.sql(['1'], distinct=False)})")
            return
        attribute = self._attribute_of(pattern)
        if attribute is not None and attribute.many:
            raise QueryError(f"get-else needs an attribute of one value, in: {atom.text}")
        default = atom.arguments[2]
        if isinstance(default, Constant):
            otherwise = self._value(default, attribute, pattern)
        else:
            otherwise = self._operand(default, select, atom)
        found = inner.sql([inner.bound[value.name]], distinct=False)
        self._meet(select, _only(atom), f"coalesce(({found} LIMIT 1), {otherwise})", plain=False)

    def _ground(self, atom: Expression, select: _Select) -> None:
        """`[(ground value) binding]`, with a vector for every binding but a single variable."""
        if len(atom.arguments) != 1 or not isinstance(atom.arguments[0], Constant) or atom.binding is None:
            raise QueryError(f"expected [(ground value) binding], in: {atom.text}")
        binding = atom.binding
        rows = _layout(atom.arguments[0].value, binding, atom.text)
        if binding.shape in (Shape.SCALAR, Shape.TUPLE):
            for term, value in zip(binding.terms, rows[0], strict=True):
                parameter = _Named(self._encoder(term), value)
                self._meet(select, term, self._parameter(parameter), plain=False)
            return
        if not rows:
            select.conditions.append("0")
        alias = self._alias("g")
        width = len(binding.terms)
        lines = [
            "SELECT " + ", ".join(f"{self._constant(Constant(v))} AS c{n}" for n, v in enumerate(row))
            for row in rows or [("",) * width]
        ]
        select.tables.append(f"({' UNION ALL '.join(lines)}) AS {alias}")
        for column, term in enumerate(binding.terms):
            self._meet(select, term, f"{alias}.c{column}", plain=False)

    # Recursive rules

    def _recursion(self, atom: Recursion, select: _Select) -> None:
        table, tag = self._table_of(atom)
        alias = self._alias("r")
        select.tables.append(f"{table} AS {alias}")
        select.conditions.append(f"{alias}.tag = {tag}")
        for column, term in enumerate(atom.arguments):
            self._meet(select, term, f"{alias}.c{column}", plain=False)

    def _table_of(self, atom: Recursion) -> tuple[str, int]:
        """The table of a rule and of those it is mutually recursive with, and the tag of its rows there."""
        family = self._expander.family(atom.name)
        if family not in self._tables:
            self._tables[family] = table = self._alias("rule")
            self._define(table, family)
        return self._tables[family], family.index(atom.name)

    def _define(self, table: str, family: tuple[str, ...]) -> None:
        definitions = [
            (tag, rule, conjunction, parameters)
            for tag, name in enumerate(family)
            for parameters in [
                tuple(self._expander.fresh(f"?{n}") for n in range(self._expander.arity(name)))
            ]
            for rule, conjunction in self._expander.definitions(name, parameters)
        ]
        width = max(len(parameters) for *_, parameters in definitions)
        base: list[str] = []
        recursive: list[str] = []
        for tag, rule, conjunction, parameters in definitions:
            calls = _family_calls(conjunction, family)
            if calls > 1:
                raise QueryError(
                    f"a rule that calls itself (or its circle) more than once, or inside of a negation, is "
                    f"not supported, in: {rule.text}"
                )
            select = self._conjunction(conjunction, {}, set())
            for parameter, own in zip(parameters, rule.parameters, strict=True):
                if parameter.name not in select.bound:
                    raise QueryError(f"nothing in the rule binds {own.name}, in: {rule.text}")
            columns = [str(tag), *(select.bound[parameter.name] for parameter in parameters)]
            columns += ["NULL"] * (width - len(parameters))
            (recursive if calls else base).append(select.sql(columns, distinct=False))
        if not base:
            raise QueryError(f"rule {family[0]} only ever calls itself: one definition must not")
        names = ", ".join(["tag", *(f"c{n}" for n in range(width))])
        self._definitions.append(f"{table} ({names}) AS ({' UNION '.join(base + recursive)})")


def _family_calls(atoms: Conjunction, family: tuple[str, ...]) -> int:
    """Calls of the family; one inside of a negation counts as too many."""
    count = 0
    for atom in atoms:
        if isinstance(atom, Recursion) and atom.name in family:
            count += 1
        elif isinstance(atom, NotExists) and any(_family_calls(branch, family) for branch in atom.branches):
            count += 2
    return count


def _fixed(stored: Stored) -> Parameter:
    return lambda _: stored


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
