"""Disjunctions that are not distributed: conditions joined by OR, or a UNION beside the other rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bucketlog.errors import QueryError
from bucketlog.query.expand import (
    Alternatives,
    Conjunction,
    NotExists,
    expression_inputs,
    variables,
)
from bucketlog.query.statement import Select, Statement, common_types
from bucketlog.query.syntax import Expression, Variable

__all__ = ["Disjunctions", "can_bind"]

_MAX_TERMS: Final = 400  # SQLite takes 500 SELECTs in a UNION

_Extend = Callable[[Select, Conjunction], Select]
"""Adds a conjunction to a SELECT."""


class Disjunctions:
    """Compiles the `Alternatives` of one statement."""

    def __init__(self, statement: Statement, extend: _Extend) -> None:
        self._statement = statement
        self._extend = extend

    def filter(self, atom: Alternatives, select: Select) -> None:
        """Demand that a branch holds, when all that the branches share is bound."""
        shared = {variable.name for variable in atom.terms}
        outer = {name: sql for name, sql in select.bound.items() if name in shared or sql.startswith(":")}
        inner = (Select(dict(outer), dict(select.types)) for _ in atom.branches)
        options = map(self._extend, inner, atom.branches)
        select.conditions.append(_any_of([_exists(option) for option in options]))

    def join(self, atom: Alternatives, select: Select) -> None:
        """Join a SELECT with the rows of the branches."""
        inputs = {name: sql for name, sql in select.bound.items() if sql.startswith(":")}
        if not all(can_bind(branch, set(inputs)) for branch in atom.branches):
            self._join_dependent(atom, select)
            return
        terms = [variable for variable in atom.terms if variable.name not in inputs]
        branches = [self._branch(atom, branch, Select(dict(inputs), {})) for branch in atom.branches]
        alias = self._statement.alias("u")
        select.tables.append(f"({_union([_row(branch, terms) for branch in branches])}) AS {alias}")
        types = common_types(branches)
        for n, term in enumerate(terms):
            self._statement.meet(select, term, f"{alias}.x{n}", types.get(term.name))

    def _join_dependent(self, atom: Alternatives, select: Select) -> None:
        """The same where branches need what is bound so far, of which they begin with a copy each."""
        local = [Variable(name) for name, sql in select.bound.items() if not sql.startswith(":")]
        terms = list(dict.fromkeys([*local, *atom.terms]))
        terms = [term for term in terms if not select.bound.get(term.name, "").startswith(":")]
        alias, base = self._statement.alias("u"), self._statement.alias("t")
        before = select.bound | {term.name: f"{base}.x{n}" for n, term in enumerate(local)}
        branches = [
            self._branch(atom, branch, Select(dict(before), dict(select.types), [base]))
            for branch in atom.branches
        ]
        head = f"WITH {base} AS MATERIALIZED ({_row(select, local)})"
        select.tables = [f"({head} {_union([_row(branch, terms) for branch in branches])}) AS {alias}"]
        select.conditions = []
        select.bound.update((term.name, f"{alias}.x{n}") for n, term in enumerate(terms))
        select.types.update(common_types(branches))

    def _branch(self, atom: Alternatives, branch: Conjunction, select: Select) -> Select:
        self._extend(select, branch)
        for variable in atom.terms:
            if variable.name not in select.bound:
                raise QueryError(f"nothing binds {variable.name} in a branch of: {atom.text}")
        return select


def _row(select: Select, terms: Sequence[Variable]) -> str:
    columns = [f"{select.bound[term.name]} AS x{n}" for n, term in enumerate(terms)]
    return select.sql(columns or ["1"], distinct=False)


def can_bind(atoms: Conjunction, bound: set[str]) -> bool:
    """Whether all of `atoms` can be computed in some order when so much is bound before."""
    known = set(bound)
    pending = list(atoms)
    visible = known | {variable.name for variable in variables(atoms, negated=False)}
    while pending:
        ready = [atom for atom in pending if _needs(atom, visible) <= known and _branches_can(atom, known)]
        if not ready:
            return False
        for atom in ready:
            pending.remove(atom)
            known |= {variable.name for variable in variables([atom], negated=False)}
    return True


def _needs(atom: object, visible: set[str]) -> set[str]:
    """What has to be bound before an atom can be computed."""
    match atom:
        case Expression():
            return {term.name for term in expression_inputs(atom) if isinstance(term, Variable)}
        case NotExists(join=None):
            return visible & {v.name for branch in atom.branches for v in variables(branch, negated=True)}
        case NotExists():
            return {term.name for term in atom.join or () if isinstance(term, Variable)}
    return set()


def _branches_can(atom: object, known: set[str]) -> bool:
    return not isinstance(atom, Alternatives) or all(can_bind(branch, known) for branch in atom.branches)


def _exists(select: Select) -> str:
    """The condition that a SELECT has a row."""
    if not select.tables:
        return f"({' AND '.join(select.conditions) or '1'})"
    return f"EXISTS ({select.sql(['1'], distinct=False)})"


def _any_of(conditions: Sequence[str]) -> str:
    """OR, as a tree that is no deeper than SQLite allows."""
    if len(conditions) <= 8:
        return f"({' OR '.join(conditions)})"
    middle = len(conditions) // 2
    return f"({_any_of(conditions[:middle])} OR {_any_of(conditions[middle:])})"


def _union(selects: Sequence[str]) -> str:
    if len(selects) <= _MAX_TERMS:
        return " UNION ".join(selects)
    parts = (selects[start : start + _MAX_TERMS] for start in range(0, len(selects), _MAX_TERMS))
    return " UNION ".join(f"SELECT * FROM ({' UNION '.join(part)})" for part in parts)  # noqa: S608 -- our own
