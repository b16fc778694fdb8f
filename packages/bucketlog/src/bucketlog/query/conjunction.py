"""Conjunctions: the order in which their atoms join a SELECT.

What only filters or computes goes in as soon as its variables are bound. Among the rest the atom comes next
that is expected to give the fewest rows, by what is bound already, by the schema and by how many datoms an
attribute has; CROSS JOIN in SQLite keeps that order. Which index serves a pattern is then SQLite's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bucketlog.errors import QueryError
from bucketlog.query.alternatives import Disjunctions, can_bind
from bucketlog.query.expand import (
    Alternatives,
    Atom,
    Conjunction,
    Derived,
    NotExists,
    Recursion,
    Relation,
    expression_inputs,
    variables,
)
from bucketlog.query.expressions import Expressions
from bucketlog.query.patterns import Datoms
from bucketlog.query.sources import Sources
from bucketlog.query.statement import Select, Statement
from bucketlog.query.syntax import Argument, Constant, Expression, Pattern, Term, Variable

if TYPE_CHECKING:
    from bucketlog.query.recursion.plan import Recursions

__all__ = ["Conjunctions"]

_UNKNOWN: Final = 100.0  # rows, where nothing is known about how many there are


class Conjunctions:
    """Compiles the conjunctions of one statement."""

    def __init__(
        self,
        statement: Statement,
        *,
        sources: Sources,
        datoms: Datoms,
        expressions: Expressions,
        recursions: Recursions,
    ) -> None:
        self._sources = sources
        self._datoms = datoms
        self._expressions = expressions
        self._recursions = recursions
        self._disjunctions = Disjunctions(statement, self._inside)

    def extend(self, select: Select, atoms: Conjunction) -> Select:
        """Add all atoms of a conjunction; raises `QueryError` when something is never bound."""
        pending = list(atoms)
        visible = set(select.bound) | {variable.name for variable in variables(atoms, negated=False)}
        while pending:
            ready = [atom for atom in pending if self._is_ready(atom, select, visible)]
            if ready:
                for atom in ready:
                    self._filter(atom, select, visible)
                    pending.remove(atom)
                    select.record(_text(atom), None)
                continue
            joins = [atom for atom in pending if _can_join(atom, select)]
            if not joins:
                raise next(
                    _unbound(atom, select)
                    for atom in pending
                    if isinstance(atom, Expression | NotExists | Alternatives)
                )
            costs = [self._cost(atom, select) for atom in joins]
            least = min(costs)
            atom = joins[costs.index(least)]
            self._join(atom, select)
            select.rows *= least
            pending.remove(atom)
            select.record(_text(atom), select.rows)
        return select

    @staticmethod
    def _is_ready(atom: Atom, select: Select, visible: set[str]) -> bool:
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

    def _cost(self, atom: Atom, select: Select) -> float:
        """About how many rows each row so far will be joined with."""
        match atom:
            case Pattern():
                return self._pattern_cost(atom, select)
            case Recursion():
                return self._recursions.cost(atom, select)
            case Alternatives():
                return 100.0 if any(_is_bound(term, select) for term in atom.terms) else 1000.0
            case Derived():
                return 5.0 if any(_is_bound(term, select) for term in atom.terms) else 1000.0
        return 10.0

    def _pattern_cost(self, pattern: Pattern, select: Select) -> float:
        size = self._datoms.size(pattern)
        if size is None:
            return _UNKNOWN
        e, a, v = pattern.places[:3]
        attribute = self._datoms.attribute_of(pattern) if isinstance(a, Constant) else None
        if _is_bound(e, select):
            return min(size + 1.0, (3.0 if attribute.many else 1.0) if attribute else 10.0)
        if _is_bound(v, select):
            return 1.0 if attribute and attribute.unique else max(2.0, size / 20)
        return size + 1.0

    def _inside(self, select: Select, atoms: Conjunction) -> Select:
        """`extend` for a SELECT that sees what is bound around it."""
        select.alone = False
        return self.extend(select, atoms)

    def _filter(self, atom: Atom, select: Select, visible: set[str]) -> None:
        if isinstance(atom, NotExists):
            outer = {name: sql for name, sql in select.bound.items() if name in visible}
            for branch in atom.branches:
                inner = self._inside(Select(dict(outer), dict(select.types)), branch)
                select.conditions.append(f"NOT EXISTS ({inner.sql(['1'], distinct=False)})")
        elif isinstance(atom, Alternatives):
            self._disjunctions.filter(atom, select)
        elif isinstance(atom, Expression):
            self._expressions.add(atom, select)

    def _join(self, atom: Atom, select: Select) -> None:
        match atom:
            case Pattern():
                self._datoms.pattern(atom, select)
            case Recursion():
                self._recursions.join(atom, select)
            case Alternatives():
                self._disjunctions.join(atom, select)
            case Derived():
                self._recursions.join_derived(atom, select)
            case Relation():
                self._sources.join(select, atom.table, atom.terms)


def _text(atom: Atom) -> str:
    """What a step is called in a plan."""
    if isinstance(atom, Relation | Derived):
        return (
            f"input [[{' '.join(term.name if isinstance(term, Variable) else '_' for term in atom.terms)}]]"
        )
    return atom.text.text


def _is_bound(term: Term, select: Select) -> bool:
    return isinstance(term, Constant) or (isinstance(term, Variable) and term.name in select.bound)


def _can_join(atom: Atom, select: Select) -> bool:
    if isinstance(atom, Alternatives):
        return all(can_bind(branch, set(select.bound)) for branch in atom.branches)
    return not isinstance(atom, Expression | NotExists)


def _unbound(atom: Expression | NotExists | Alternatives, select: Select) -> QueryError:
    terms: Sequence[Argument] = ()
    if isinstance(atom, Expression):
        terms = expression_inputs(atom)
    elif isinstance(atom, NotExists):
        terms = atom.join or ()
    else:
        terms = atom.terms
    names = sorted({term.name for term in terms if isinstance(term, Variable)} - set(select.bound))
    return QueryError(f"nothing binds {', '.join(names) or 'its variables'}, in: {atom.text}")
