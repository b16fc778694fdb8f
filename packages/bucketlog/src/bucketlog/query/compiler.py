"""From a query to one SQL statement, and what has to be done before it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bucketlog.errors import QueryError
from bucketlog.query.binding import single_row
from bucketlog.query.conjunction import Conjunctions
from bucketlog.query.distinct import can_repeat
from bucketlog.query.expand import Conjunction, Expander, Relation
from bucketlog.query.expressions import Expressions
from bucketlog.query.find import Column, result, wanted
from bucketlog.query.inputs import InputEncoder, Parameter, Roles, Run, ScalarInput, Table, input_rows
from bucketlog.query.patterns import Datoms, attribute_of
from bucketlog.query.recursion.plan import Direct, Recursions, Step
from bucketlog.query.sources import Sources
from bucketlog.query.statement import Select, Statement, Traced, common_types
from bucketlog.query.syntax import Binding, Pattern, Query, RuleSet, Shape, Term, Variable
from bucketlog.schema import Attribute
from bucketlog.value import Stored

if TYPE_CHECKING:
    from bucketlog.database import Database

__all__ = ["Compiled", "compile_query"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement, and how to fill its parameters and read its rows."""

    sql: str
    parameters: Mapping[str, Parameter]
    tables: tuple[Table, ...]
    steps: tuple[Step, ...]
    """What is done before the statement is run, when its tables are filled."""
    direct: Direct | None
    """What gives the rows in place of the statement."""
    columns: tuple[Column, ...]
    traces: tuple[tuple[Traced, ...], ...] = ()
    """How each of the SELECTs has grown whose union the statement is, when it is compiled to be explained."""


def compile_query(
    query: Query,
    rules: RuleSet,
    databases: Mapping[str, Database],
    collections: frozenset[str] = frozenset(),
    *,
    heads: frozenset[str] = frozenset(),
    nesting: int = 0,
    traced: bool = False,
) -> Compiled:
    """Compile for databases of these kinds and schemas; their basis is filled in at each run.

    The datoms are those of the first database's connection; `collections` are sources that are no databases;
    `heads` are the databases that show the newest state of that connection's image; `nesting` is how many
    queries are running that this one is asked in; `traced` plans tell how they came about.
    """
    return _Compiler(query, rules, databases, collections, heads=heads, nesting=nesting).compile(
        traced=traced
    )


class _Compiler:
    def __init__(
        self,
        query: Query,
        rules: RuleSet,
        databases: Mapping[str, Database],
        collections: frozenset[str],
        *,
        heads: frozenset[str],
        nesting: int,
    ) -> None:
        self._query = query
        self._databases = databases
        self._expander = Expander(rules)
        known = partial(attribute_of, databases=databases, collections=collections)
        self._roles = Roles(self._expander, known, collections)
        self._statement = statement = Statement()
        self._sources = Sources(statement, databases, collections, self._encoder, nesting)
        self._datoms = Datoms(statement, databases, self._sources, self._encoder, heads)
        self._recursions = Recursions(
            statement,
            self._expander,
            self._datoms,
            extend=self._extend,
            repeats=self._repeats,
            nesting=nesting,
        )
        self._conjunctions = Conjunctions(
            statement,
            sources=self._sources,
            datoms=self._datoms,
            expressions=Expressions(statement, databases, self._datoms),
            recursions=self._recursions,
        )
        self._fixed: dict[str, str] = {}  # scalar inputs: variable to parameter

    def compile(self, *, traced: bool) -> Compiled:
        query = self._query
        conjunctions = self._expander.expand(query.clauses)
        for conjunction in conjunctions:
            self._roles.learn(conjunction)
        inputs = self._inputs()
        names = wanted(query)
        conjunctions = tuple((*inputs, *conjunction) for conjunction in conjunctions)
        selects = [
            self._extend(Select(dict(self._fixed), {}, trace=[] if traced else None), conjunction)
            for conjunction in conjunctions
        ]
        for name in names:
            if not all(name in select.bound for select in selects):
                raise QueryError(f"{name} is in :find or :with, but nothing binds it")
        distinct = len(selects) == 1 and self._repeats(conjunctions[0], names)
        inner = " UNION ".join(
            select.sql([f"{select.bound[name]} AS c{n}" for n, name in enumerate(names)], distinct=distinct)
            for select in selects
        )
        sql, columns = result(query, inner, common_types(selects), self._statement, self._fixed)
        direct = None
        if sql == inner and len(selects) == 1 and not traced:
            direct = self._recursions.direct(selects[0], names)
        return Compiled(
            sql,
            self._statement.parameters,
            tuple(self._sources.tables),
            tuple(self._recursions.steps),
            direct,
            columns,
            tuple(tuple(select.trace) for select in selects if select.trace is not None),
        )

    def _extend(self, select: Select, atoms: Conjunction) -> Select:
        return self._conjunctions.extend(select, atoms)

    def _repeats(self, atoms: Conjunction, names: Iterable[str]) -> bool:
        return can_repeat(atoms, {*names, *self._fixed}, self._shown)

    def _shown(self, pattern: Pattern) -> tuple[Attribute | None, bool] | None:
        """The attribute of a pattern over datoms, and whether it shows a history."""
        if pattern.source in self._sources.collections:
            return None
        return self._datoms.attribute_of(pattern), self._databases[pattern.source].is_history

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
                rows = input_rows(position, binding, [self._encoder(term) for term in leaves])
                relations.append(Relation(self._sources.add(len(leaves), rows), leaves))
        return tuple(relations)

    def _scalars(self, position: int, binding: Binding, path: tuple[int, ...]) -> None:
        for place, term in enumerate(binding.terms):
            inner = path if binding.shape is Shape.SCALAR else (*path, place)
            if isinstance(term, Binding):
                self._scalars(position, term, inner)
            elif isinstance(term, Variable):
                parameter = ScalarInput(position, inner, self._encoder(term))
                self._fixed[term.name] = self._statement.parameter(parameter)

    def _encoder(self, term: Term) -> Callable[[Run, Any], Stored | None]:
        """How a value for a term is read."""
        name = term.name if isinstance(term, Variable) else "_"
        roles = self._roles
        return InputEncoder(name, roles.of(name), roles.source_of(name), roles.exact(name))
