"""From a query to one SQL statement.

Every conjunction becomes a SELECT over one row of `datom` a pattern. The order of the joins is ours (CROSS
JOIN in SQLite keeps it): at each step the atom that is expected to give the fewest rows, by what is bound
already, by the schema and by how many datoms an attribute has. Which index serves a pattern is then SQLite's
choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bucketlog.edn import Keyword
from bucketlog.errors import QueryError
from bucketlog.image import OPEN, live
from bucketlog.query.alternatives import Disjunctions, can_bind
from bucketlog.query.binding import single_row
from bucketlog.query.expand import (
    Alternatives,
    Atom,
    Conjunction,
    Expander,
    NotExists,
    Recursion,
    Relation,
    expression_inputs,
    variables,
)
from bucketlog.query.expressions import Expressions
from bucketlog.query.find import Column, result, wanted
from bucketlog.query.inputs import (
    InputEncoder,
    Parameter,
    Roles,
    Run,
    ScalarInput,
    Table,
    input_rows,
)
from bucketlog.query.sources import Sources
from bucketlog.query.statement import Select, Statement, common_types, fixed
from bucketlog.query.syntax import (
    Argument,
    Binding,
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
from bucketlog.value import Stored, ValueType, encode_as

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Compiled", "compile_query"]

_TRUE: Final = "x'0101'"
_FALSE: Final = "x'0100'"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement, and how to fill its parameters and read its rows."""

    sql: str
    parameters: Mapping[str, Parameter]
    tables: tuple[Table, ...]
    columns: tuple[Column, ...]


def compile_query(
    query: Query,
    rules: RuleSet,
    databases: Mapping[str, Database],
    collections: frozenset[str] = frozenset(),
    nesting: int = 0,
) -> Compiled:
    """Compile for databases of these kinds and schemas; their basis is filled in at each run.

    The datoms are those of the first database's connection; `collections` are sources that are no databases;
    `nesting` is how many queries are running that this one is asked in.
    """
    return _Compiler(query, rules, databases, collections, nesting).compile()


class _Compiler:
    def __init__(
        self,
        query: Query,
        rules: RuleSet,
        databases: Mapping[str, Database],
        collections: frozenset[str],
        nesting: int,
    ) -> None:
        self._query = query
        self._databases = databases
        self._expander = Expander(rules)
        self._roles = Roles(self._expander, self.attribute_of, collections)
        self._statement = Statement()
        self._expressions = Expressions(self._statement, databases, self)
        self._disjunctions = Disjunctions(self._statement, self._extend)
        self._sources = Sources(self._statement, databases, collections, self.encoder, nesting)
        self._basis: dict[str, tuple[str, str]] = {}
        self._tables: dict[tuple[Any, ...], str] = {}  # common table expressions by what they hold
        self._definitions: list[str] = []
        self._fixed: dict[str, str] = {}  # scalar inputs: variable to parameter

    def compile(self) -> Compiled:
        query = self._query
        conjunctions = self._expander.expand(query.clauses)
        for conjunction in conjunctions:
            self._roles.learn(conjunction)
        atoms = self._inputs()
        names = wanted(query)
        selects = [self._conjunction((*atoms, *conjunction), self._fixed, {}) for conjunction in conjunctions]
        for name in names:
            if not all(name in select.bound for select in selects):
                raise QueryError(f"{name} is in :find or :with, but nothing binds it")
        types = common_types(selects)
        inner = " UNION ".join(
            select.sql(
                [f"{select.bound[name]} AS c{n}" for n, name in enumerate(names)], distinct=len(selects) == 1
            )
            for select in selects
        )
        sql, columns = result(query, inner, types, self._statement, self._fixed)
        if self._definitions:
            sql = "WITH RECURSIVE " + ", ".join(self._definitions) + " " + sql
        return Compiled(sql, self._statement.parameters, tuple(self._sources.tables), columns)

    # Inputs

    def _inputs(self) -> tuple[Relation, ...]:
        """Bind the variables of inputs that have one row, and give the tables of the others."""
        relations = []
        for position, item in enumerate(self._query.inputs):
            binding = item.binding
            if binding is None:
                continue
            if single_row(binding):
                self._scalars(position, binding, ())
            else:
                leaves = tuple(binding.leaves())
                rows = input_rows(position, binding, [self.encoder(term) for term in leaves])
                relations.append(Relation(self._sources.add(len(leaves), rows), leaves))
        return tuple(relations)

    def _scalars(self, position: int, binding: Binding, path: tuple[int, ...]) -> None:
        for place, term in enumerate(binding.terms):
            inner = path if binding.shape is Shape.SCALAR else (*path, place)
            if isinstance(term, Binding):
                self._scalars(position, term, inner)
            elif isinstance(term, Variable):
                parameter = ScalarInput(position, inner, self.encoder(term))
                self._fixed[term.name] = self._statement.parameter(parameter)

    def encoder(self, term: Term) -> Callable[[Run, Any], Stored | None]:
        """How a value for a term is read."""
        name = term.name if isinstance(term, Variable) else "_"
        return InputEncoder(name, self._roles.of(name), self._roles.source_of(name))

    # Conjunctions

    def _conjunction(
        self, atoms: Conjunction, outer: Mapping[str, str], types: Mapping[str, ValueType]
    ) -> Select:
        return self._extend(Select(dict(outer), dict(types)), atoms)

    def _extend(self, select: Select, atoms: Conjunction) -> Select:
        pending = list(atoms)
        visible = set(select.bound) | {variable.name for variable in variables(atoms, negated=False)}
        while pending:
            ready = [atom for atom in pending if self._is_ready(atom, select, visible)]
            if ready:
                for atom in ready:
                    self._filter(atom, select, visible)
                    pending.remove(atom)
                continue
            joins = [
                atom
                for atom in pending
                if isinstance(atom, Pattern | Recursion | Relation)
                or (isinstance(atom, Alternatives) and self._can_join(atom, select))
            ]
            if not joins:
                raise next(
                    self._unbound(atom, select)
                    for atom in pending
                    if isinstance(atom, Expression | NotExists | Alternatives)
                )
            atom = min(joins, key=lambda atom: self._cost(atom, select))
            self._join(atom, select)
            pending.remove(atom)
        return select

    @staticmethod
    def _unbound(atom: Expression | NotExists | Alternatives, select: Select) -> QueryError:
        terms: Sequence[Argument] = ()
        if isinstance(atom, Expression):
            terms = expression_inputs(atom)
        elif isinstance(atom, NotExists):
            terms = atom.join or ()
        elif isinstance(atom, Alternatives):
            terms = atom.terms
        names = sorted({term.name for term in terms if isinstance(term, Variable)} - set(select.bound))
        return QueryError(f"nothing binds {', '.join(names) or 'its variables'}, in: {atom.text}")

    def _is_ready(self, atom: Atom, select: Select, visible: set[str]) -> bool:
        """Whether an atom that only filters or computes has all it needs."""
        match atom:
            case Expression():
                return all(
                    term.name in select.bound
                    for term in expression_inputs(atom)
                    if isinstance(term, Variable)
                )
            case NotExists(join=None):
                inside = {
                    variable.name for branch in atom.branches for variable in variables(branch, negated=True)
                }
                return inside & visible <= set(select.bound)
            case NotExists():
                return all(
                    term.name in select.bound for term in atom.join or () if isinstance(term, Variable)
                )
            case Alternatives():
                return all(term.name in select.bound for term in atom.terms)
        return False

    @staticmethod
    def _can_join(atom: Alternatives, select: Select) -> bool:
        return all(can_bind(branch, set(select.bound)) for branch in atom.branches)

    def _cost(self, atom: Atom, select: Select) -> float:
        """About how many rows each row so far will be joined with."""
        if isinstance(atom, Relation):
            return 10.0
        if isinstance(atom, Recursion | Alternatives):
            terms = atom.arguments if isinstance(atom, Recursion) else atom.terms
            return 100.0 if any(self._is_bound(term, select) for term in terms) else 1000.0
        if not isinstance(atom, Pattern) or atom.source in self._sources.collections:
            return 100.0
        e, a, v = atom.places[:3]
        attribute = self.attribute_of(atom) if isinstance(a, Constant) else None
        image = self._databases[atom.source].image
        size = image.size(attribute.id if attribute else None) + 1.0
        if self._is_bound(e, select):
            return min(size, (3.0 if attribute.many else 1.0) if attribute else 10.0)
        if self._is_bound(v, select):
            return 1.0 if attribute and attribute.unique else max(2.0, size / 20)
        return size

    @staticmethod
    def _is_bound(term: Term, select: Select) -> bool:
        return isinstance(term, Constant) or (isinstance(term, Variable) and term.name in select.bound)

    def _filter(self, atom: Atom, select: Select, visible: set[str]) -> None:
        if isinstance(atom, NotExists):
            outer = {name: sql for name, sql in select.bound.items() if name in visible}
            for branch in atom.branches:
                inner = self._conjunction(branch, outer, select.types)
                select.conditions.append(f"NOT EXISTS ({inner.sql(['1'], distinct=False)})")
        elif isinstance(atom, Alternatives):
            self._disjunctions.filter(atom, select)
        elif isinstance(atom, Expression):
            self._expressions.add(atom, select)

    def _join(self, atom: Atom, select: Select) -> None:
        if isinstance(atom, Pattern):
            self.pattern(atom, select)
        elif isinstance(atom, Recursion):
            self._recursion(atom, select)
        elif isinstance(atom, Alternatives):
            self._disjunctions.join(atom, select)
        elif isinstance(atom, Relation):
            self._sources.join(select, atom.table, atom.terms)

    # Patterns

    def attribute_of(self, pattern: Pattern) -> Attribute | None:
        """The attribute of a pattern that names one."""
        if pattern.source in self._sources.collections:
            return None
        if pattern.source not in self._databases:
            raise QueryError(f"{pattern.source} is not in :in, in: {pattern.text}")
        if len(pattern.places) > 5:
            raise QueryError(f"a pattern has one to five places [e a v tx added], in: {pattern.text}")
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

    def pattern(self, pattern: Pattern, select: Select) -> None:
        """Join a SELECT with the datoms of a pattern."""
        if pattern.source in self._sources.collections or pattern.source in self._sources.foreign:
            self._sources.join_pattern(pattern, select)
            return
        e, a, v, tx, added = pattern.places
        attribute = self.attribute_of(pattern)
        alias = self._statement.alias("d")
        select.tables.append(f"datom AS {alias}")
        if isinstance(e, Constant):
            select.conditions.append(f"{alias}.e = {self._entity(e, pattern)}")
        else:
            self._statement.meet(select, e, f"{alias}.e", ValueType.REF)
        if attribute is not None:
            select.conditions.append(f"{alias}.a = {attribute.id}")
        else:
            self._statement.meet(select, a, f"{alias}.a", ValueType.REF)
        if isinstance(v, Constant):
            select.conditions.append(f"{alias}.v = {self.value(v, attribute, pattern)}")
        else:
            self._statement.meet(select, v, f"{alias}.v", attribute.type if attribute else None)
        when, sign = self._interval(pattern, alias, select)
        if isinstance(tx, Constant):
            if not isinstance(tx.value, int):
                raise QueryError(f"{tx.value!r} is no transaction, in: {pattern.text}")
            select.conditions.append(f"{when} = {tx.value % TX_BASE}")
        else:
            self._statement.meet(select, tx, f"({when} + {TX_BASE})", ValueType.REF)
        self._statement.meet(select, added, sign)

    def _interval(self, pattern: Pattern, alias: str, select: Select) -> tuple[str, str]:
        """Restrict a row to what the database shows; gives SQL for its transaction, and its being added."""
        database = self._databases[pattern.source]
        t, since = self._basis_of(pattern.source)
        if database.is_history:
            # A row is two datoms, an addition and a retraction; both are found through the row's own indexes.
            sign = self._statement.alias("h")
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
                self._statement.parameter(lambda run: run.databases[source].basis_t),
                self._statement.parameter(lambda run: run.databases[source].since_t),
            )
        return self._basis[source]

    def _entity(self, term: Constant, pattern: Pattern) -> str:
        value, source = term.value, pattern.source
        if isinstance(value, bool) or not isinstance(value, int | Keyword | tuple):
            raise QueryError(f"{value!r} names no entity, in: {pattern.text}")
        if isinstance(value, int):
            return str(value)
        return self._statement.parameter(lambda run: run.databases[source].entid(value))

    def value(self, term: Constant, attribute: Attribute | None, pattern: Pattern) -> str:
        """The SQL of a constant at the place of a value."""
        value = term.value
        if attribute is None:
            return self._statement.constant(term)
        if attribute.is_ref:
            return self._entity(term, pattern)
        try:
            stored = encode_as(attribute.type, value)
        except ValueError as error:
            raise QueryError(
                f"{value!r} can be no value of {attribute.ident} ({attribute.type.value}): {error}, "
                f"in: {pattern.text}"
            ) from None
        return self._statement.parameter(fixed(stored))

    # Recursive rules

    def _recursion(self, atom: Recursion, select: Select) -> None:
        table, tag = self._table_of(atom)
        alias = self._statement.alias("r")
        select.tables.append(f"{table} AS {alias}")
        select.conditions.append(f"{alias}.tag = {tag}")
        for column, term in enumerate(atom.arguments):
            self._statement.meet(select, term, f"{alias}.c{column}")

    def _table_of(self, atom: Recursion) -> tuple[str, int]:
        """The table of a rule and of those it is mutually recursive with, and the tag of its rows there."""
        family = self._expander.family(atom.name)
        key = (family, atom.source)
        if key not in self._tables:
            self._tables[key] = table = self._statement.alias("rule")
            self._define(table, family, atom.source)
        return self._tables[key], family.index(atom.name)

    def _define(self, table: str, family: tuple[str, ...], source: str) -> None:
        definitions = [
            (tag, rule, conjunction, parameters)
            for tag, name in enumerate(family)
            for parameters in [
                tuple(self._expander.fresh(f"?{n}") for n in range(self._expander.arity(name)))
            ]
            for rule, conjunction in self._expander.definitions(name, parameters, source)
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
            select = self._conjunction(conjunction, {}, {})
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
        elif isinstance(atom, NotExists | Alternatives) and any(
            _family_calls(branch, family) for branch in atom.branches
        ):
            count += 2
    return count
