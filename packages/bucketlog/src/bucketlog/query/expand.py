"""From clauses to a union of flat conjunctions: `or` is distributed, rules are written out.

Variables that belong to a rule or to `or-join` only get names of their own. Rules that recurse stay as
`Recursion`, which the compiler turns into common table expressions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bucketlog.errors import QueryError
from bucketlog.query.syntax import (
    DEFAULT_SOURCE,
    Binding,
    Blank,
    Clause,
    Constant,
    Disjunction,
    Expression,
    Negation,
    Pattern,
    Rule,
    RuleCall,
    RuleSet,
    Shape,
    Term,
    Variable,
)

__all__ = ["Atom", "Conjunction", "Expander", "NotExists", "Recursion", "Relation", "variables"]

_MAX_BRANCHES: Final = 512
_MAX_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class NotExists:
    """No row of any branch; `join` are the terms that must be bound outside, `None` for all that are."""

    join: tuple[Term, ...] | None
    branches: tuple[Conjunction, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Recursion:
    """A call of a rule that recurses."""

    name: str
    arguments: tuple[Term, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Relation:
    """An input of several rows: `slot` is its position among these."""

    slot: int
    terms: tuple[Term, ...]
    text: str


Atom = Pattern | Expression | NotExists | Recursion | Relation
Conjunction = tuple[Atom, ...]


class _Scope:
    """What the variables of some clauses mean outside of them; the outermost scope changes nothing."""

    def __init__(self, expander: Expander, known: dict[str, Term] | None) -> None:
        self._expander = expander
        self._known = known

    def term(self, term: Term) -> Term:
        if self._known is None or not isinstance(term, Variable):
            return term
        if term.name not in self._known:
            self._known[term.name] = self._expander.fresh(term.name)
        return self._known[term.name]

    def terms(self, terms: Iterable[Term]) -> tuple[Term, ...]:
        return tuple(self.term(term) for term in terms)


class Expander:
    """Expands the clauses of one query with its rules."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules.definitions
        self._numbers = itertools.count(1)
        self._reachable = {name: self._reach(name) for name in self._rules}

    def fresh(self, name: str) -> Variable:
        """A variable that nothing else is named like."""
        return Variable(f"{name}~{next(self._numbers)}")

    def expand(self, clauses: Iterable[Clause]) -> tuple[Conjunction, ...]:
        """The conjunctions whose union the clauses are; raises `QueryError`."""
        return self._conjunctions(tuple(clauses), _Scope(self, None), 0)

    def family(self, name: str) -> tuple[str, ...]:
        """The rules that call each other in a circle with `name`, itself included, in a fixed order."""
        return tuple(sorted(other for other in self._reachable[name] if name in self._reachable[other]))

    def arity(self, name: str) -> int:
        """The number of parameters of a rule."""
        return len(self._rules[name][0].parameters)

    def definitions(self, name: str, parameters: tuple[Term, ...]) -> Iterator[tuple[Rule, Conjunction]]:
        """The conjunctions of every definition of a rule, with `parameters` for its own."""
        for rule in self._rules[name]:
            own: dict[str, Term] = {
                variable.name: term for variable, term in zip(rule.parameters, parameters, strict=True)
            }
            for conjunction in self._conjunctions(rule.clauses, _Scope(self, own), 0):
                yield rule, conjunction

    def _reach(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        pending = [name]
        while pending:
            for rule in self._rules.get(pending.pop(), ()):
                calls = set(_calls(rule.clauses)) - found
                found |= calls
                pending += calls
        return frozenset(found)

    def _conjunctions(
        self, clauses: tuple[Clause, ...], scope: _Scope, depth: int
    ) -> tuple[Conjunction, ...]:
        if depth > _MAX_DEPTH:
            raise QueryError(
                f"rules or clauses are nested more than {_MAX_DEPTH} deep, in: {clauses[0].text}"
            )
        result: tuple[Conjunction, ...] = ((),)
        for clause in clauses:
            alternatives = self._alternatives(clause, scope, depth)
            if len(result) * len(alternatives) > _MAX_BRANCHES:
                raise QueryError(f"more than {_MAX_BRANCHES} combinations of alternatives, in: {clause.text}")
            result = tuple(done + more for done in result for more in alternatives)
        return result

    def _alternatives(self, clause: Clause, scope: _Scope, depth: int) -> tuple[Conjunction, ...]:
        match clause:
            case Pattern():
                e, a, v, tx, added = scope.terms(clause.places)
                return ((replace(clause, places=(e, a, v, tx, added)),),)
            case Expression():
                binding = clause.binding
                if binding is not None:
                    binding = Binding(binding.shape, scope.terms(binding.terms))
                return ((replace(clause, arguments=scope.terms(clause.arguments), binding=binding),),)
            case Negation():
                join = None
                if clause.join is not None:
                    join = scope.terms(clause.join)
                    scope = self._inner(clause.join, join)
                return (
                    (NotExists(join, self._conjunctions(clause.clauses, scope, depth + 1), clause.text),),
                )
            case Disjunction():
                return self._disjunction(clause, scope, depth)
            case RuleCall():
                return self._call(clause, scope, depth)

    def _inner(self, join: tuple[Variable, ...], outside: tuple[Term, ...]) -> _Scope:
        known: dict[str, Term] = {variable.name: term for variable, term in zip(join, outside, strict=True)}
        return _Scope(self, known)

    def _disjunction(self, clause: Disjunction, scope: _Scope, depth: int) -> tuple[Conjunction, ...]:
        result: tuple[Conjunction, ...] = ()
        for branch in clause.branches:
            inner = scope
            if clause.join is not None:
                inner = self._inner(clause.join, scope.terms(clause.join))
            result += self._conjunctions(branch, inner, depth + 1)
        return result

    def _call(self, clause: RuleCall, scope: _Scope, depth: int) -> tuple[Conjunction, ...]:
        rules = self._rules.get(clause.name)
        if rules is None:
            raise QueryError(f"{clause.name} is no rule of the query's rules (% in :in), in: {clause.text}")
        if len(rules[0].parameters) != len(clause.arguments):
            raise QueryError(
                f"rule {clause.name} takes {len(rules[0].parameters)} arguments, in: {clause.text}"
            )
        arguments = tuple(
            self.fresh("_") if isinstance(term, Blank) else term for term in scope.terms(clause.arguments)
        )
        if clause.name in self._reachable[clause.name]:
            return (self._recursion(clause, arguments),)
        result: tuple[Conjunction, ...] = ()
        for rule in rules:
            inner = self._inner(rule.parameters, arguments)
            result += self._conjunctions(rule.clauses, inner, depth + 1)
        return result

    def _recursion(self, clause: RuleCall, arguments: tuple[Term, ...]) -> Conjunction:
        """The call, with its constants bound to variables before, where what they name is found out."""
        atoms: list[Atom] = []
        terms: list[Term] = []
        for term in arguments:
            if isinstance(term, Constant):
                variable = self.fresh("?constant")
                binding = Binding(Shape.SCALAR, (variable,))
                atoms.append(Expression("ground", DEFAULT_SOURCE, (term,), binding, clause.text))
                terms.append(variable)
            else:
                terms.append(term)
        return (*atoms, Recursion(clause.name, tuple(terms), clause.text))


def _calls(clauses: Iterable[Clause]) -> Iterator[str]:
    for clause in clauses:
        if isinstance(clause, RuleCall):
            yield clause.name
        elif isinstance(clause, Negation):
            yield from _calls(clause.clauses)
        elif isinstance(clause, Disjunction):
            for branch in clause.branches:
                yield from _calls(branch)


def variables(atoms: Iterable[Atom], *, negated: bool) -> Iterator[Variable]:
    """The variables of `atoms`, with those inside of negations only if asked for."""
    for atom in atoms:
        terms: Iterable[Term] = ()
        match atom:
            case Pattern():
                terms = atom.places
            case Expression():
                terms = atom.arguments + (atom.binding.terms if atom.binding else ())
            case Recursion():
                terms = atom.arguments
            case Relation():
                terms = atom.terms
            case NotExists() if negated:
                for branch in atom.branches:
                    yield from variables(branch, negated=True)
        for term in terms:
            if isinstance(term, Variable):
                yield term
