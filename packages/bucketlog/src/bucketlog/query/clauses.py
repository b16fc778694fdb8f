"""Reading the clauses of `:where` and of rules, from forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bucketlog.edn import List, Symbol
from bucketlog.errors import QueryError
from bucketlog.forms import Places, name_of, wrong
from bucketlog.query.syntax import (
    BLANK,
    DEFAULT_SOURCE,
    Argument,
    Clause,
    Disjunction,
    Expression,
    Negation,
    Pattern,
    Quote,
    Rule,
    RuleCall,
    RuleSet,
    Source,
    Term,
    Variable,
)
from bucketlog.query.terms import (
    argument,
    binding,
    is_callee,
    is_name,
    is_source,
    is_variable,
    quote,
    term,
    variables,
)

__all__ = ["LOOKUPS", "parse_clause", "parse_rule_set", "sources_of"]

LOOKUPS: Final = frozenset({"get-else", "get-some", "missing?"})
"""The functions that read a source, which they take first."""

_MAX_DEPTH: Final = 100
_MAX_WIDTH: Final = 10
_CONNECTIVES: Final = frozenset({"and", "not", "not-join", "or", "or-join"})


def parse_clause(form: Any, places: Places) -> Clause:
    """One clause; raises `QueryError` with the part that is wrong."""
    return _Reader(places).clause(form, DEFAULT_SOURCE, 0)


def parse_rule_set(form: Any, places: Places) -> RuleSet:
    """Rules, `[[(name ?x …) clause …] …]`."""
    if not isinstance(form, tuple):
        raise wrong(form, "rules are a vector of [(name ?x …) clause …]")
    rules: dict[str, tuple[Rule, ...]] = {}
    for item in form:
        rule = _rule(item, places)
        others = rules.get(rule.name, ())
        if others and len(others[0].parameters) != len(rule.parameters):
            raise wrong(item, f"rule {rule.name} is defined with different numbers of parameters")
        rules[rule.name] = (*others, rule)
    return RuleSet(rules)


def _rule(form: Any, places: Places) -> Rule:
    if not isinstance(form, tuple) or len(form) < 2 or not isinstance(form[0], tuple) or not form[0]:
        raise wrong(form, "a rule is [(name ?x …) clause …]")
    name, *parameters = form[0]
    if not is_name(name) or name in _CONNECTIVES or not parameters:
        raise wrong(form, "the head of a rule is its name and at least one variable")
    head = variables(tuple(parameters), form)
    if len(set(head)) != len(head):
        raise wrong(form, "the parameters of a rule are different variables")
    clauses = tuple(parse_clause(item, places) for item in form[1:])
    return Rule(str(name), head, clauses, quote(form, places))


class _Reader:
    """Reads clauses; `source` is the source of those that name none."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def clause(self, form: Any, source: str, depth: int) -> Clause:
        if depth > _MAX_DEPTH:
            raise QueryError(f"clauses are nested more than {_MAX_DEPTH} deep")
        if not isinstance(form, tuple) or not form:
            raise wrong(form, "a clause is a vector or a list")
        head = form[0]
        if is_source(head) and len(form) > 1 and _is_call(form):
            return self._call(form[1:], str(head), form, depth)
        if is_name(head):
            return self._call(form, source, form, depth)
        if isinstance(head, tuple) and head and is_callee(head[0]):
            return self._expression(form, source)
        return self._pattern(form, source)

    def _call(self, form: tuple[Any, ...], source: str, whole: Any, depth: int) -> Clause:
        text = quote(whole, self._places)
        name, rest = str(form[0]), form[1:]
        if name == "and":
            return Disjunction(None, (self._clauses(rest, whole, source, depth),), text)
        if name == "not":
            return Negation(None, self._clauses(rest, whole, source, depth), text)
        if name == "or":
            return _or(self._branches(rest, whole, source, depth), text)
        if name in {"not-join", "or-join"}:
            if not rest or not isinstance(rest[0], tuple):
                raise wrong(whole, f"{name} begins with a vector of variables")
            join = variables(rest[0], whole)
            if name == "not-join":
                return Negation(join, self._clauses(rest[1:], whole, source, depth), text)
            return Disjunction(join, self._branches(rest[1:], whole, source, depth), text)
        return RuleCall(name, source, tuple(term(item, whole) for item in rest), text)

    def _clauses(self, forms: tuple[Any, ...], whole: Any, source: str, depth: int) -> tuple[Clause, ...]:
        if not forms:
            raise wrong(whole, "at least one clause is needed")
        return tuple(self.clause(item, source, depth + 1) for item in forms)

    def _branches(
        self, forms: tuple[Any, ...], whole: Any, source: str, depth: int
    ) -> tuple[tuple[Clause, ...], ...]:
        branches = []
        for clause in self._clauses(forms, whole, source, depth):
            conjunction = (
                isinstance(clause, Disjunction) and clause.join is None and len(clause.branches) == 1
            )
            branches.append(
                clause.branches[0] if conjunction and isinstance(clause, Disjunction) else (clause,)
            )
        return tuple(branches)

    def _expression(self, form: tuple[Any, ...], source: str) -> Expression:
        head, *rest = form[0]
        if len(form) > 2:
            raise wrong(form, "an expression clause is [(predicate …)] or [(function …) binding]")
        arguments: tuple[Argument, ...] = tuple(argument(item, form) for item in rest)
        function = None
        if is_variable(head):
            function = Variable(str(head))
        elif not isinstance(head, str):
            function = head
        name = str(head) if isinstance(head, str) else name_of(head)
        if name in LOOKUPS and arguments and isinstance(arguments[0], Source):
            source, arguments = arguments[0].name, arguments[1:]
        elif source != DEFAULT_SOURCE:
            arguments = tuple(
                Source(source) if item == Source(DEFAULT_SOURCE) else item for item in arguments
            )
        bound = binding(form[1]) if len(form) == 2 else None
        return Expression(name, source, arguments, bound, quote(form, self._places), function)

    def _pattern(self, form: tuple[Any, ...], source: str) -> Pattern:
        items = form
        if is_source(form[0]):
            source, items = str(form[0]), form[1:]
        if not 1 <= len(items) <= _MAX_WIDTH:
            raise wrong(form, "a pattern has one to five places [e a v tx added], of a collection up to ten")
        blanks: list[Term] = [BLANK] * (5 - len(items))
        return Pattern(source, (*(term(item, form) for item in items), *blanks), quote(form, self._places))


def _is_call(form: tuple[Any, ...]) -> bool:
    """Whether `($source name …)` calls a rule or a connective; `[$source "text" …]` is a pattern."""
    name = form[1]
    return is_name(name) and (name in _CONNECTIVES or isinstance(name, Symbol) or isinstance(form, List))


def _or(branches: tuple[tuple[Clause, ...], ...], text: Quote) -> Disjunction:
    every = set().union(*(_variables(branch, negated=False) for branch in branches))
    used = [every.intersection(_variables(branch, negated=True)) for branch in branches]
    if any(names != used[0] for names in used):
        raise QueryError(
            f"the branches of `or` use different variables, so they do not mean the same rows: name the ones "
            f"that matter with or-join, in: {text}"
        )
    return Disjunction(None, branches, text)


def _variables(clauses: tuple[Clause, ...], *, negated: bool) -> Iterator[Variable]:
    """The variables that clauses share with what is around them, or may if they are `negated`."""
    for clause in clauses:
        terms: tuple[Argument, ...] = ()
        match clause:
            case Pattern():
                terms = clause.places
            case Expression():
                terms = clause.arguments + (tuple(clause.binding.leaves()) if clause.binding else ())
                if isinstance(clause.function, Variable):
                    terms = (clause.function, *terms)
            case RuleCall():
                terms = clause.arguments
            case Negation(join=None):
                if negated:
                    yield from _variables(clause.clauses, negated=True)
            case Negation():
                terms = clause.join or ()
            case Disjunction(join=None):
                yield from _variables(clause.branches[0], negated=negated)
            case Disjunction():
                terms = clause.join or ()
        yield from (item for item in terms if isinstance(item, Variable))


def sources_of(clauses: tuple[Clause, ...]) -> Iterator[tuple[str, Quote]]:
    """The sources that clauses read, with what reads them."""
    for clause in clauses:
        match clause:
            case Pattern():
                yield clause.source, clause.text
            case Expression():
                if clause.name in LOOKUPS and clause.function is None:
                    yield clause.source, clause.text
                for item in clause.arguments:
                    if isinstance(item, Source):
                        yield item.name, clause.text
            case RuleCall():
                if clause.source != DEFAULT_SOURCE:
                    yield clause.source, clause.text
            case Negation():
                yield from sources_of(clause.clauses)
            case Disjunction():
                for branch in clause.branches:
                    yield from sources_of(branch)
