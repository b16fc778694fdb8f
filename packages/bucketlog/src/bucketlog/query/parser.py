"""From EDN text, or the same as Python data, to typed records; nothing after this sees raw forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from bucketlog.cache import Cache
from bucketlog.edn import Keyword, Symbol, Vector
from bucketlog.errors import QueryError
from bucketlog.forms import normal_form, read_form, show, wrong
from bucketlog.pull_parser import parse_pull_form
from bucketlog.query.syntax import (
    BLANK,
    DEFAULT_SOURCE,
    Aggregate,
    Binding,
    Clause,
    Constant,
    Disjunction,
    Expression,
    Find,
    FindElement,
    Input,
    Negation,
    Pattern,
    PullElement,
    Query,
    Rule,
    RuleCall,
    RuleSet,
    Shape,
    Term,
    Variable,
)

__all__ = ["parse_query", "parse_rules"]

_MAX_DEPTH: Final = 100
_Record = TypeVar("_Record")
_SECTIONS: Final = (":find", ":with", ":in", ":where")


_queries: Cache[Query] = Cache(1024)
_rule_sets: Cache[RuleSet] = Cache(256)


def parse_query(query: str | Sequence[Any] | Mapping[Any, Any]) -> Query:
    """The query as a record, one for each text; raises `QueryError` with the part that is wrong."""
    return _cached(query, "query", _queries, _query)


def parse_rules(rules: str | Sequence[Any]) -> RuleSet:
    """The rules as a record, one for each text; raises `QueryError` with the part that is wrong."""
    return _cached(rules, "rules", _rule_sets, _rules)


def _cached(source: Any, what: str, cache: Cache[_Record], parse: Callable[[Any], _Record]) -> _Record:
    # Data is known again by its text, which unlike its hash tells 1 from true.
    form = None if isinstance(source, str) else normal_form(source)
    text = source if isinstance(source, str) else show(form)
    record = cache.get(text)
    if record is None:
        record = parse(read_form(text, what) if form is None else form)
        cache[text] = record
    return record


# Queries


def _query(form: Any) -> Query:
    sections = _sections(form)
    find = sections.get(":find")
    if not find:
        raise wrong(form, "a query needs :find")
    inputs = tuple(_input(item) for item in sections.get(":in", (Symbol(DEFAULT_SOURCE),)))
    sources = {item.source for item in inputs if item.source}
    clauses = tuple(_clause(item) for item in sections.get(":where", ()))
    _check_sources(clauses, sources)
    extra = tuple(_variable(item, "variables in :with") for item in sections.get(":with", ()))
    return Query(_find(find), extra, inputs, clauses)


def _sections(form: Any) -> dict[str, tuple[Any, ...]]:
    sections: dict[str, tuple[Any, ...]] = {}
    if isinstance(form, Mapping):
        for key, value in form.items():
            if key not in _SECTIONS or not isinstance(value, tuple):
                raise wrong({key: value}, f"a query map has vectors under {', '.join(_SECTIONS)}")
            sections[str(key)] = tuple(value)
        return sections
    if not isinstance(form, tuple) or not form or not isinstance(form[0], Keyword):
        raise wrong(form, "a query is a vector that begins with :find, or a map")
    name = ""
    for item in form:
        if isinstance(item, Keyword):
            name = str(item)
            if name not in _SECTIONS or name in sections:
                raise wrong(item, f"a query has each of {', '.join(_SECTIONS)} at most once")
            sections[name] = ()
        else:
            sections[name] = (*sections[name], item)
    return sections


def _check_sources(clauses: tuple[Clause, ...], sources: set[str]) -> None:
    for clause in clauses:
        if isinstance(clause, Pattern | Expression):
            needs = isinstance(clause, Pattern) or clause.name in {"get-else", "missing?"}
            if needs and clause.source not in sources:
                raise QueryError(f"{clause.source} is not in :in, in: {clause.text}")
        elif isinstance(clause, Negation):
            _check_sources(clause.clauses, sources)
        elif isinstance(clause, Disjunction):
            for branch in clause.branches:
                _check_sources(branch, sources)


def _find(forms: tuple[Any, ...]) -> Find:
    if len(forms) == 2 and forms[1] == Symbol("."):
        return Find(Shape.SCALAR, (_find_element(forms[0]),))
    first = forms[0]
    # A vector is a layout, unless it is a call written as a Python list.
    if len(forms) == 1 and isinstance(first, Vector) and first and not _is_name(first[0]):
        if len(first) == 2 and first[1] == Symbol("..."):
            return Find(Shape.COLLECTION, (_find_element(first[0]),))
        return Find(Shape.TUPLE, tuple(_find_element(item) for item in first))
    return Find(Shape.RELATION, tuple(_find_element(item) for item in forms))


def _find_element(form: Any) -> FindElement:
    if _is_variable(form):
        return Variable(str(form))
    if isinstance(form, tuple) and form and _is_name(form[0]):
        if form[0] == "pull":
            source, rest = (
                (str(form[1]), form[2:]) if len(form) == 4 and _is_source(form[1]) else ("$", form[1:])
            )
            if len(rest) != 2:
                raise wrong(form, "pull takes an optional database, a variable and a pattern")
            return PullElement(source, _variable(rest[0], "pull"), parse_pull_form(rest[1]))
        if len(form) != 2:
            raise wrong(form, "an aggregate takes one variable")
        return Aggregate(str(form[0]), _variable(form[1], "an aggregate"))
    raise wrong(form, ":find takes variables, aggregates and pull expressions")


def _input(form: Any) -> Input:
    if _is_source(form):
        return Input(source=str(form))
    if form == Symbol("%"):
        return Input(is_rules=True)
    return Input(binding=_binding(form))


def _binding(form: Any) -> Binding:
    if isinstance(form, tuple) and form:
        if len(form) == 2 and form[1] == Symbol("..."):
            return Binding(Shape.COLLECTION, (_target(form[0], form),))
        if len(form) == 1 and isinstance(form[0], tuple):
            return Binding(Shape.RELATION, tuple(_target(item, form) for item in form[0]))
        return Binding(Shape.TUPLE, tuple(_target(item, form) for item in form))
    return Binding(Shape.SCALAR, (_target(form, form),))


def _target(form: Any, whole: Any) -> Term:
    if _is_variable(form):
        return Variable(str(form))
    if form == Symbol("_"):
        return BLANK
    raise wrong(whole, "a binding is ?x, [?x ...], [?x ?y] or [[?x ?y]]")


# Clauses


def _clause(form: Any, depth: int = 0) -> Clause:
    if depth > _MAX_DEPTH:
        raise QueryError(f"clauses are nested more than {_MAX_DEPTH} deep")
    if not isinstance(form, tuple) or not form:
        raise wrong(form, "a clause is a vector or a list")
    head = form[0]
    if _is_name(head):
        return _call(form, depth)
    if isinstance(head, tuple) and head and _is_name(head[0]):
        return _expression(form)
    return _pattern(form)


def _call(form: tuple[Any, ...], depth: int) -> Clause:
    text = show(form)
    name, rest = str(form[0]), form[1:]
    if name == "and":
        return Disjunction(None, (_clauses(rest, form, depth),), text)
    if name == "not":
        return Negation(None, _clauses(rest, form, depth), text)
    if name == "or":
        return _or(_branches(rest, form, depth), text)
    if name in {"not-join", "or-join"}:
        if not rest or not isinstance(rest[0], tuple):
            raise wrong(form, f"{name} begins with a vector of variables")
        join = _join_variables(rest[0], form)
        if name == "not-join":
            return Negation(join, _clauses(rest[1:], form, depth), text)
        return Disjunction(join, _branches(rest[1:], form, depth), text)
    return RuleCall(name, tuple(_term(item, form) for item in rest), text)


def _or(branches: tuple[tuple[Clause, ...], ...], text: str) -> Disjunction:
    if len({frozenset(_variables(branch)) for branch in branches}) > 1:
        raise QueryError(
            f"the branches of `or` use different variables, so they do not mean the same rows: name the ones "
            f"that matter with or-join, in: {text}"
        )
    return Disjunction(None, branches, text)


def _variables(clauses: tuple[Clause, ...]) -> Iterator[Variable]:
    """The variables that clauses share with what is around them."""
    for clause in clauses:
        terms: tuple[Term, ...] = ()
        match clause:
            case Pattern():
                terms = clause.places
            case Expression():
                terms = clause.arguments + (clause.binding.terms if clause.binding else ())
            case RuleCall():
                terms = clause.arguments
            case Negation():
                terms = clause.join or ()
            case Disjunction(join=None):
                yield from _variables(clause.branches[0])
            case Disjunction():
                terms = clause.join or ()
        yield from (term for term in terms if isinstance(term, Variable))


def _join_variables(form: tuple[Any, ...], whole: Any) -> tuple[Variable, ...]:
    """`[?a ?b]`, or `[[?required] ?b]`: the planner finds by itself what has to be bound first."""
    flat = (*form[0], *form[1:]) if form and isinstance(form[0], tuple) else form
    if not flat:
        raise wrong(whole, "at least one variable has to join the clauses with the rest")
    return tuple(_variable(item, "the variables that join") for item in flat)


def _clauses(forms: tuple[Any, ...], whole: Any, depth: int) -> tuple[Clause, ...]:
    if not forms:
        raise wrong(whole, "at least one clause is needed")
    return tuple(_clause(item, depth + 1) for item in forms)


def _branches(forms: tuple[Any, ...], whole: Any, depth: int) -> tuple[tuple[Clause, ...], ...]:
    branches = []
    for clause in _clauses(forms, whole, depth):
        conjunction = isinstance(clause, Disjunction) and clause.join is None and len(clause.branches) == 1
        branches.append(clause.branches[0] if conjunction and isinstance(clause, Disjunction) else (clause,))
    return tuple(branches)


def _expression(form: tuple[Any, ...]) -> Expression:
    call = form[0]
    if len(form) > 2:
        raise wrong(form, "an expression clause is [(predicate …)] or [(function …) binding]")
    arguments = call[1:]
    source = DEFAULT_SOURCE
    if arguments and _is_source(arguments[0]):
        source, arguments = str(arguments[0]), arguments[1:]
    return Expression(
        str(call[0]),
        source,
        tuple(_term(item, form) for item in arguments),
        _binding(form[1]) if len(form) == 2 else None,
        show(form),
    )


def _pattern(form: tuple[Any, ...]) -> Pattern:
    source, places = (str(form[0]), form[1:]) if _is_source(form[0]) else (DEFAULT_SOURCE, form)
    if not 1 <= len(places) <= 5:
        raise wrong(form, "a pattern has one to five places [e a v tx added]")
    blanks: list[Term] = [BLANK] * (5 - len(places))
    e, a, v, tx, added = [_term(item, form) for item in places] + blanks
    return Pattern(source, (e, a, v, tx, added), show(form))


def _term(form: Any, whole: Any) -> Term:
    if _is_variable(form):
        return Variable(str(form))
    if form == Symbol("_") and isinstance(form, Symbol):
        return BLANK
    if isinstance(form, Symbol):
        raise wrong(whole, f"{form} is neither a variable (?{form}) nor a value")
    if form is None or isinstance(form, Mapping):
        raise wrong(whole, f"{show(form)} cannot be a term")
    return Constant(form)


def _variable(form: Any, where: str) -> Variable:
    if not _is_variable(form):
        raise wrong(form, f"{where}: expected a variable such as ?x")
    return Variable(str(form))


def _is_variable(form: Any) -> bool:
    return isinstance(form, Symbol) and form.startswith("?") and len(form) > 1


def _is_source(form: Any) -> bool:
    return isinstance(form, Symbol) and form.startswith("$")


def _is_name(form: Any) -> bool:
    """A word at the head of a call: a symbol in EDN, a plain string in Python data."""
    if not isinstance(form, str) or isinstance(form, Keyword) or not form:
        return False
    return not _is_variable(form) and not _is_source(form) and form not in {"_", "%", ".", "..."}


# Rules


def _rules(form: Any) -> RuleSet:
    if not isinstance(form, tuple):
        raise wrong(form, "rules are a vector of [(name ?x …) clause …]")
    rules: dict[str, tuple[Rule, ...]] = {}
    for item in form:
        rule = _rule(item)
        others = rules.get(rule.name, ())
        if others and len(others[0].parameters) != len(rule.parameters):
            raise wrong(item, f"rule {rule.name} is defined with different numbers of parameters")
        rules[rule.name] = (*others, rule)
    return RuleSet(rules)


def _rule(form: Any) -> Rule:
    if not isinstance(form, tuple) or len(form) < 2 or not isinstance(form[0], tuple) or not form[0]:
        raise wrong(form, "a rule is [(name ?x …) clause …]")
    name, *parameters = form[0]
    if not _is_name(name) or not parameters:
        raise wrong(form, "the head of a rule is its name and at least one variable")
    variables = _join_variables(tuple(parameters), form)
    if len(set(variables)) != len(variables):
        raise wrong(form, "the parameters of a rule are different variables")
    clauses = tuple(_clause(item) for item in form[1:])
    _check_sources(clauses, {DEFAULT_SOURCE})
    return Rule(str(name), variables, clauses, show(form))
