"""Recursive rules in a statement: which tables they become, and what fills these before it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, repeat
from operator import itemgetter
from typing import Any, Final, Protocol

from bucketlog.errors import QueryError
from bucketlog.image import Image, Row
from bucketlog.query.expand import Conjunction, Derived, Expander, Recursion
from bucketlog.query.patterns import Datoms
from bucketlog.query.recursion.family import Definition, Edge, Regular, definitions, regular
from bucketlog.query.recursion.fixpoint import EARLIER, KNOWN, NEW, Fixpoint, Member
from bucketlog.query.recursion.walk import FRONTIER, Pairs, Seeds, Walk
from bucketlog.query.statement import Select, Statement
from bucketlog.query.syntax import Pattern, Variable
from bucketlog.value import ValueType

__all__ = ["Direct", "Recursions", "Step"]

# What it costs to join with a rule, in rows for each row so far.
_FROM_VALUE: Final = 10.0  # when it is evaluated from one value on
_FROM_ROWS: Final = 20.0
_PATHS: Final = 4.0  # for each of its edges, when it is evaluated as a whole
_WHOLE: Final = 10_000.0  # when nothing is known
_SPARSE: Final = 4  # rows so far are few when there are so many times more edges

_Types = tuple[ValueType | None, ...]
_UNKNOWN: Final = 1000  # edges, where nothing is known


class Step(Protocol):
    """What is done before the statement is run, while the image is read."""

    def run(self, image: Image, parameters: Mapping[str, Any]) -> None:
        """Fill tables."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A walk whose rows go into a table."""

    walk: Walk
    table: str
    given: int | None
    """The column that has nothing but the value that the call gives for it."""

    def run(self, image: Image, parameters: Mapping[str, Any]) -> None:
        """Fill the table."""
        image.load(self.table, 2, self.walk.rows(image, parameters))


@dataclass(frozen=True, slots=True)
class Direct:
    """A walk whose rows are those of the query: which of its columns, or parameters, stand where."""

    walk: Walk
    columns: tuple[int | str, ...]
    distinct: bool
    """Whether the columns tell all rows of the walk apart."""

    def rows(self, image: Image, parameters: Mapping[str, Any]) -> list[Row]:
        """The rows of the query, each once."""
        rows = self.walk.rows(image, parameters)
        if self.columns == (0, 1):
            return rows
        sides: list[Iterable[Any]] = []
        for column in self.columns:
            if isinstance(column, int):
                sides.append(map(itemgetter(column), rows))
            else:
                sides.append(repeat(parameters[column], len(rows)))
        found = zip(*sides, strict=True)
        return list(found if self.distinct else dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Family:
    """Rules that call each other in a circle, in one database."""

    rules: tuple[str, ...]
    source: str
    definitions: tuple[Definition, ...]
    graph: Regular | None


@dataclass(frozen=True, slots=True)
class _Table:
    """The table of a rule, and what is certain of the types of its columns."""

    name: str
    types: _Types
    given: int | None = None


@dataclass(slots=True)
class _Growing:
    """The table of a rule that is being evaluated."""

    types: _Types
    searched: set[tuple[int, ...]] = field(default_factory=set)
    """By which columns."""


class Recursions:
    """The recursive rules of one statement."""

    def __init__(
        self,
        statement: Statement,
        expander: Expander,
        datoms: Datoms,
        *,
        extend: Callable[[Select, Conjunction], Select],
        repeats: Callable[[Conjunction, Iterable[str]], bool],
        nesting: int,
    ) -> None:
        """`extend` adds a conjunction to a SELECT; `repeats` says whether the rows of one can be alike in
        some variables; `nesting` tells the tables of running queries apart.
        """
        self._statement = statement
        self._expander = expander
        self._datoms = datoms
        self._extend = extend
        self._repeats = repeats
        self._nesting = nesting
        self._families: dict[tuple[tuple[str, ...], str], _Family] = {}
        self._tables: dict[Any, _Table] = {}
        self._growing: dict[str, _Growing] = {}
        self._numbers = count()
        self.steps: list[Step] = []
        """In their order."""

    def cost(self, atom: Recursion, select: Select) -> float:
        """About how many rows each row of a SELECT will be joined with."""
        names = [term.name for term in atom.arguments if isinstance(term, Variable)]
        bound = [select.bound[name] for name in names if name in select.bound]
        if any(sql.startswith(":") for sql in bound):
            return _FROM_VALUE
        if bound:
            return _FROM_ROWS
        graph = self._family(atom).graph
        return _WHOLE if graph is None else _PATHS * self._size(graph)

    def join(self, atom: Recursion, select: Select) -> None:
        """Join a SELECT with the rows of a rule."""
        table = self._table(atom, select)
        alias = self._statement.alias("r")
        select.tables.append(f"temp.{table.name} AS {alias}")
        for column, (term, kind) in enumerate(zip(atom.arguments, table.types, strict=True)):
            if column != table.given:
                self._statement.meet(select, term, f"{alias}.c{column}", kind)

    def join_derived(self, atom: Derived, select: Select) -> None:
        """Join a SELECT with rows of a rule that is being evaluated."""
        growing = self._growing[atom.table]
        alias = self._statement.alias("r")
        select.tables.append(f"temp.{atom.table} AS {alias}")
        select.conditions.append(atom.condition.format(alias=alias, table=atom.table))
        bound = [isinstance(term, Variable) and term.name in select.bound for term in atom.terms]
        if any(bound) and not bound[0]:
            growing.searched.add(tuple(n for n, is_bound in enumerate(bound) if is_bound))
        for column, (term, kind) in enumerate(zip(atom.terms, growing.types, strict=True)):
            self._statement.meet(select, term, f"{alias}.c{column}", kind)

    def direct(self, select: Select, names: Sequence[str]) -> Direct | None:
        """What gives variables of a SELECT without it, when it is nothing but the rows of a walk.

        The table of the walk is not filled then.
        """
        last = self.steps[-1] if len(self.steps) == 1 else None
        if not isinstance(last, Loaded) or len(select.tables) != 1 or select.conditions:
            return None
        table, _, alias = select.tables[0].partition(" AS ")
        if table != f"temp.{last.table}":
            return None
        places: dict[str, int | str] = {f"{alias}.c{column}": column for column in range(2)}
        columns = tuple(
            places.get(sql, sql.removeprefix(":")) for sql in map(select.bound.__getitem__, names)
        )
        self.steps.clear()
        return Direct(last.walk, columns, {0, 1} - {last.given} <= set(columns))

    def _family(self, atom: Recursion) -> _Family:
        rules = self._expander.family(atom.name)
        key = (rules, atom.source)
        if key not in self._families:
            found = definitions(self._expander, rules, atom.source)
            if all(definition.calls for definition in found):
                raise QueryError(f"rule {rules[0]} only ever calls itself: one definition must not")
            graph = regular(found)
            if graph is not None and not self._stands(graph):
                graph = None
            self._families[key] = _Family(rules, atom.source, found, graph)
        return self._families[key]

    def _table(self, atom: Recursion, select: Select) -> _Table:
        family = self._family(atom)
        if family.graph is None:
            if (family.source, atom.name) not in self._tables:
                self._evaluate(family)
            return self._tables[family.source, atom.name]
        seeds, given = self._seeds(atom, family.graph, select)
        key = (family.source, atom.name, seeds)
        if key not in self._tables:
            walk = self._walk(atom.name, family.graph, seeds)
            name = self._name("walk", 2)
            self.steps.append(Loaded(walk, name, given))
            self._tables[key] = _Table(name, self._walk_types(atom.name, family.graph), given)
        return self._tables[key]

    def _name(self, kind: str, width: int) -> str:
        return f"{kind}{self._nesting}_{next(self._numbers)}_{width}"

    # Walks

    def _seeds(self, atom: Recursion, graph: Regular, select: Select) -> tuple[Seeds | None, int | None]:
        """Where walks begin or end, and the column of that, when it is a value that is given."""
        places = []
        for column in (graph.node, 1 - graph.node):
            term = atom.arguments[column]
            sql = select.bound.get(term.name) if isinstance(term, Variable) else None
            if sql is not None:
                places.append((column, sql))
        for column, sql in places:
            if sql.startswith(":"):
                return Seeds(f"SELECT {sql}", column == graph.node), column
        if select.alone and select.rows * _SPARSE < self._size(graph):
            for column, sql in places:
                return Seeds(select.sql([sql], distinct=True), column == graph.node), None
        return None, None

    def _size(self, graph: Regular) -> int:
        return sum(self._edge_size(edge) for edge in graph.steps)

    def _edge_size(self, edge: Edge) -> int:
        sizes = [self._datoms.size(atom) for atom in edge.atoms if isinstance(atom, Pattern)]
        return min((size for size in sizes if size is not None), default=_UNKNOWN)

    def _stands(self, graph: Regular) -> bool:
        """Whether edges can be read without what they are joined with."""
        try:
            selects = [(edge, self._edge(edge)) for edge in (*graph.own, *graph.steps)]
        except QueryError:
            return False
        return all(end.name in select.bound for edge, select in selects for end in (edge.node, edge.end))

    def _edge(self, edge: Edge, known: Variable | None = None) -> Select:
        """The SELECT of an edge, or of those from or to a frontier, whose variable is `known`."""
        select = Select({}, {}, alone=known is None)
        if known is not None:
            alias = self._statement.alias("f")
            select.tables.append(f"{FRONTIER} AS {alias}")
            select.bound[known.name] = f"{alias}.value"
        return self._extend(select, edge.atoms)

    def _pairs(self, edge: Edge, seeds: Seeds | None) -> Pairs:
        def sql(select: Select) -> str:
            names = [edge.node.name, edge.end.name]
            return select.sql(
                [select.bound[name] for name in names], distinct=self._repeats(edge.atoms, names)
            )

        return Pairs(
            edge.rule,
            edge.to,
            sql(self._edge(edge)),
            sql(self._edge(edge, edge.node)) if seeds and seeds.nodes else "",
            sql(self._edge(edge, edge.end)) if seeds and not seeds.nodes else "",
            partial(self._edge_size, edge),
        )

    def _walk(self, rule: str, graph: Regular, seeds: Seeds | None) -> Walk:
        own = tuple(self._pairs(edge, seeds) for edge in graph.own)
        steps = own if graph.closed else tuple(self._pairs(edge, seeds) for edge in graph.steps)
        return Walk(rule, own, steps, graph.closed, item_first=graph.node == 1, seeds=seeds)

    def _walk_types(self, rule: str, graph: Regular) -> _Types:
        """What is certain of the types of nodes and items, in the order of the parameters."""
        nodes = {
            self._edge(edge).types.get(edge.node.name)
            for edge in (*graph.own, *graph.steps)
            if edge.rule == rule
        }
        items = {self._edge(edge).types.get(edge.end.name) for edge in graph.own}
        kinds = [kinds.pop() if len(kinds) == 1 else None for kinds in (nodes, items)]
        return (kinds[graph.node], kinds[1 - graph.node])

    # Families of any kind

    def _evaluate(self, family: _Family) -> None:
        """Add the tables of all rules of a family, and the step that fills them."""
        tables = {rule: self._name("rule", self._expander.arity(rule)) for rule in family.rules}
        first = [
            self._insert(definition, tables, self._extend(Select({}, {}), definition.atoms))
            for definition in family.definitions
            if not definition.calls
        ]
        types = _types_of(tables.values(), first)
        while True:
            self._growing |= {table: _Growing(kinds) for table, kinds in types.items()}
            again = [
                self._insert(definition, tables, self._round(definition, tables, new))
                for definition in family.definitions
                for new in range(len(definition.calls))
            ]
            found = _types_of(types, first + again)
            if found == types:
                break
            types = found
        members = tuple(
            Member(table, self._expander.arity(rule), tuple(sorted(self._growing[table].searched)))
            for rule, table in tables.items()
        )
        statements = tuple(sql for _, sql, _ in first), tuple(sql for _, sql, _ in again)
        self.steps.append(Fixpoint(members, *statements))
        for rule, table in tables.items():
            self._tables[family.source, rule] = _Table(table, types[table])

    def _round(self, definition: Definition, tables: Mapping[str, str], new: int) -> Select:
        """The SELECT of a definition where the rows of one of its calls are new."""
        conditions = [KNOWN] * new + [NEW] + [EARLIER] * (len(definition.calls) - new - 1)
        calls = [
            Derived(tables[call.name], call.arguments, condition)
            for call, condition in zip(definition.calls, conditions, strict=True)
        ]
        select = Select({}, {}, alone=False)
        self.join_derived(calls[new], select)
        return self._extend(select, (*calls[:new], *calls[new + 1 :], *definition.atoms))

    def _insert(
        self, definition: Definition, tables: Mapping[str, str], select: Select
    ) -> tuple[str, str, _Types]:
        """The table of a definition, the statement that adds to it, and the types of what is added."""
        names = [parameter.name for parameter in definition.parameters]
        for position, name in enumerate(names):
            if name not in select.bound:
                raise QueryError(
                    f"nothing binds parameter {position + 1} of {definition.rule}, in: {definition.text}"
                )
        table = tables[definition.rule]
        sql = select.sql([select.bound[name] for name in names], distinct=False)
        types = tuple(select.types.get(name) for name in names)
        return table, f"INSERT OR IGNORE INTO temp.{table} {sql}", types


def _types_of(tables: Iterable[str], inserted: Sequence[tuple[str, str, _Types]]) -> dict[str, _Types]:
    """What is certain of the types of the columns of tables, by what is inserted there."""
    found = {}
    for table in tables:
        width = int(table.rpartition("_")[2])
        every = [types for other, _, types in inserted if other == table] or [(None,) * width]
        found[table] = tuple(kinds[0] if len(set(kinds)) == 1 else None for kinds in zip(*every, strict=True))
    return found
