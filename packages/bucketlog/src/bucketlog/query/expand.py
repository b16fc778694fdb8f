"""From clauses to a union of flat conjunctions: `or` is distributed, rules are written out.

Where that would make too many conjunctions, a disjunction stays one as `Alternatives`. Variables that belong
to a rule or to `or-join` only get names of their own. Rules that recurse stay as `Recursion`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bucketlog.errors import QueryError
from bucketlog.query.syntax import (
    DEFAULT_SOURCE,
    Argument,
    Binding,
    Blank,
    Clause,
    Constant,
    Disjunction,
    Expression,
    Negation,
    Pattern,
    Quote,
    Rule,
    RuleCall,
    RuleSet,
    Shape,
    Source,
    Term,
    Variable,
)

__all__ = [
    "Alternatives",
    "Atom",
    "Conjunction",
    "Derived",
    "Expander",
    "NotExists",
    "Recursion",
    "Relation",
    "expression_inputs",
    "variables",
]

_MAX_DISTRIBUTED: Final = 16  # conjunctions that a query may become before disjunctions stay what they are
_MAX_BRANCHES: Final = 512
_MAX_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class NotExists:
    """No row of any branch; `join` are the terms that must be bound outside, `None` for all that are."""

    join: tuple[Term, ...] | None
    branches: tuple[Conjunction, ...]
    text: Quote


@dataclass(frozen=True, slots=True)
class Recursion:
    """A call of a rule that recurses."""

    name: str
    source: str
    arguments: tuple[Term, ...]
    text: Quote


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows beside the datoms."""

    table: str
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The rows of any branch; `terms` is what branches share with the atoms around."""

    terms: tuple[Variable, ...]
    branches: tuple[Conjunction, ...]
    text: Quote


@dataclass(frozen=True, slots=True)
class Derived:
    """Rows of a rule that recurses, as far as they are known while it is being evaluated."""

    table: str
    terms: tuple[Term, ...]
    condition: str
    """On the rows, a format of their `alias` and `table`."""


Atom = Pattern | Expression | NotExists | Recursion | Relation | Alternatives | Derived
Conjunction = tuple[Atom, ...]


class _Scope:
    """What the variables and `$` of some clauses mean outside; the outermost scope changes nothing."""

    def __init__(
        self, expander: Expander, known: dict[str, Term] | None, default: str = DEFAULT_SOURCE
    ) -> None:
        self._expander = expander
        self._known = known
        self.default = default

    def source(self, name: str) -> str:
        return self.default if name == DEFAULT_SOURCE else name

    def argument(self, argument: Argument) -> Argument:
        if isinstance(argument, Source):
            return Source(self.source(argument.name))
        return self.term(argument)

    def binding(self, binding: Binding) -> Binding:
        terms = (
            self.binding(term) if isinstance(term, Binding) else self.term(term) for term in binding.terms
        )
        return Binding(binding.shape, tuple(terms))

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
        return self._conjunctions(tuple(clauses), _Scope(self, None), 0, top=True)

    def family(self, name: str) -> tuple[str, ...]:
        """The rules that call each other in a circle with `name`, itself included, in a fixed order."""
        return tuple(sorted(other for other in self._reachable[name] if name in self._reachable[other]))

    def arity(self, name: str) -> int:
        """The number of parameters of a rule."""
        return len(self._rules[name][0].parameters)

    def definitions(
        self, name: str, parameters: tuple[Term, ...], source: str = DEFAULT_SOURCE
    ) -> Iterator[tuple[Rule, Conjunction]]:
        """The conjunctions of every definition of a rule, with `parameters` for its own, `source` for `$`."""
        for rule in self._rules[name]:
            own: dict[str, Term] = {
                variable.name: term for variable, term in zip(rule.parameters, parameters, strict=True)
            }
            for conjunction in self._conjunctions(rule.clauses, _Scope(self, own, source), 0):
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
        self, clauses: tuple[Clause, ...], scope: _Scope, depth: int, *, top: bool = False
    ) -> tuple[Conjunction, ...]:
        if depth > _MAX_DEPTH:
            raise QueryError(
                f"rules or clauses are nested more than {_MAX_DEPTH} deep, in: {clauses[0].text}"
            )
        result: tuple[Conjunction, ...] = ((),)
        for clause in clauses:
            alternatives = self._alternatives(clause, scope, depth)
            if top and len(alternatives) > 1:
                many = len(result) * len(alternatives) > _MAX_DISTRIBUTED
                if many or all(map(_only_tests, alternatives)):
                    alternatives = ((self._kept(clause, alternatives, scope),),)
            if len(result) * len(alternatives) > _MAX_BRANCHES:
                raise QueryError(f"more than {_MAX_BRANCHES} combinations of alternatives, in: {clause.text}")
            result = tuple(done + more for done in result for more in alternatives)
        return result

    @staticmethod
    def _kept(clause: Clause, branches: tuple[Conjunction, ...], scope: _Scope) -> Alternatives:
        """A disjunction, or the call of a rule, that is not distributed."""
        terms: Iterable[Argument] = ()
        match clause:
            case RuleCall():
                terms = scope.terms(clause.arguments)
            case Disjunction(join=None):
                shared = [set(variables(branch, negated=False)) for branch in branches]
                terms = shared[0].intersection(*shared)
            case Disjunction(join=join):
                terms = scope.terms(join or ())
        own = {term.name: term for term in terms if isinstance(term, Variable)}
        return Alternatives(tuple(own[name] for name in sorted(own)), branches, clause.text)

    def _alternatives(self, clause: Clause, scope: _Scope, depth: int) -> tuple[Conjunction, ...]:
        match clause:
            case Pattern():
                places = scope.terms(clause.places)
                return ((replace(clause, source=scope.source(clause.source), places=places),),)
            case Expression():
                return ((self._expression(clause, scope),),)
            case Negation():
                join = None
                if clause.join is not None:
                    join = scope.terms(clause.join)
                    scope = self._inner(clause.join, join, scope.default)
                return (
                    (NotExists(join, self._conjunctions(clause.clauses, scope, depth + 1), clause.text),),
                )
            case Disjunction():
                return self._disjunction(clause, scope, depth)
            case RuleCall():
                return self._call(clause, scope, depth)

    @staticmethod
    def _expression(clause: Expression, scope: _Scope) -> Expression:
        function = clause.function
        if isinstance(function, Variable):
            outside = scope.term(function)
            function = outside if isinstance(outside, Variable) else getattr(outside, "value", None)
            if not isinstance(function, Variable) and not callable(function):
                raise QueryError(f"{clause.name} is no function, in: {clause.text}")
        return replace(
            clause,
            source=scope.source(clause.source),
            arguments=tuple(map(scope.argument, clause.arguments)),
            binding=scope.binding(clause.binding) if clause.binding else None,
            function=function,
        )

    def _inner(self, join: tuple[Variable, ...], outside: tuple[Term, ...], default: str) -> _Scope:
        known: dict[str, Term] = {variable.name: term for variable, term in zip(join, outside, strict=True)}
        return _Scope(self, known, default)

    def _disjunction(self, clause: Disjunction, scope: _Scope, depth: int) -> tuple[Conjunction, ...]:
        result: tuple[Conjunction, ...] = ()
        for branch in clause.branches:
            inner = scope
            if clause.join is not None:
                inner = self._inner(clause.join, scope.terms(clause.join), scope.default)
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
            return (self._recursion(clause, arguments, scope.source(clause.source)),)
        result: tuple[Conjunction, ...] = ()
        for rule in rules:
            inner = self._inner(rule.parameters, arguments, scope.source(clause.source))
            result += self._conjunctions(rule.clauses, inner, depth + 1)
        return result

    def _recursion(self, clause: RuleCall, arguments: tuple[Term, ...], source: str) -> Conjunction:
        """The call, with its constants bound to variables before, where what they name is found out."""
        atoms: list[Atom] = []
        terms: list[Term] = []
        for term in arguments:
            if isinstance(term, Constant):
                variable = self.fresh("?constant")
                binding = Binding(Shape.SCALAR, (variable,))
                atoms.append(Expression("ground", source, (term,), binding, clause.text))
                terms.append(variable)
            else:
                terms.append(term)
        return (*atoms, Recursion(clause.name, source, tuple(terms), clause.text))


def _only_tests(atoms: Conjunction) -> bool:
    """Whether a conjunction binds nothing and reads nothing."""
    return all(isinstance(atom, Expression) and atom.binding is None for atom in atoms)


def _calls(clauses: Iterable[Clause]) -> Iterator[str]:
    for clause in clauses:
        if isinstance(clause, RuleCall):
            yield clause.name
        elif isinstance(clause, Negation):
            yield from _calls(clause.clauses)
        elif isinstance(clause, Disjunction):
            for branch in clause.branches:
                yield from _calls(branch)


def expression_inputs(atom: Expression) -> tuple[Argument, ...]:
    """What has to be bound before an expression can be computed."""
    return (atom.function, *atom.arguments) if isinstance(atom.function, Variable) else atom.arguments


def variables(atoms: Iterable[Atom], *, negated: bool) -> Iterator[Variable]:
    """The variables of `atoms`, with those inside of negations only if asked for."""
    for atom in atoms:
        terms: Iterable[Argument] = ()
        match atom:
            case Pattern():
                terms = atom.places
            case Expression():
                terms = expression_inputs(atom) + (tuple(atom.binding.leaves()) if atom.binding else ())
            case Recursion():
                terms = atom.arguments
            case Relation() | Alternatives() | Derived():
                terms = atom.terms
            case NotExists() if negated:
                for branch in atom.branches:
                    yield from variables(branch, negated=True)
        for term in terms:
            if isinstance(term, Variable):
                yield term
