"""From EDN text, or the same as Python data, to typed records; nothing after this sees raw forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bucketlog.cache import Cache
from bucketlog.edn import Keyword, Symbol
from bucketlog.errors import QueryError
from bucketlog.forms import Places, name_of, parse_once, wrong
from bucketlog.pull_parser import parse_pull_form
from bucketlog.query.clauses import parse_clause, parse_rule_set, sources_of
from bucketlog.query.syntax import (
    BLANK,
    DEFAULT_SOURCE,
    Aggregate,
    Binding,
    Find,
    FindElement,
    Input,
    PullElement,
    Query,
    RuleSet,
    Shape,
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
    variable,
)

__all__ = ["parse_inner_query", "parse_query", "parse_rules", "pattern_input"]

_RETURN_MAPS: Final = (":keys", ":strs", ":syms")
_SECTIONS: Final = (":find", *_RETURN_MAPS, ":with", ":in", ":where")

_queries: Cache[Query] = Cache(1024)
_rule_sets: Cache[RuleSet] = Cache(256)


def parse_query(query: str | Sequence[Any] | Mapping[Any, Any]) -> Query:
    """The query as a record, one for each text; raises `QueryError` with the part that is wrong."""
    return parse_once(query, "query", _queries, _query)


def parse_inner_query(query: Any) -> Query:
    """A query that stands in a query, as text or as forms."""
    return parse_query(query) if isinstance(query, str) else _query(query, {})


def parse_rules(rules: str | Sequence[Any]) -> RuleSet:
    """The rules as a record, one for each text; raises `QueryError` with the part that is wrong."""
    return parse_once(rules, "rules", _rule_sets, parse_rule_set)


def _query(form: Any, places: Places) -> Query:
    sections = _sections(form)
    if not sections.get(":find"):
        raise wrong(form, "a query needs :find")
    inputs = tuple(_input(item) for item in sections.get(":in", (Symbol(DEFAULT_SOURCE),)))
    clauses = tuple(parse_clause(item, places) for item in sections.get(":where", ()))
    extra = tuple(variable(item, "variables in :with") for item in sections.get(":with", ()))
    find = _find(sections[":find"], _keys(sections, form), places)
    _check_sources(find, inputs, sources_of(clauses))
    return Query(find, extra, inputs, clauses)


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
            if name not in _SECTIONS:
                raise wrong(item, f"a query has no {name}, but {', '.join(_SECTIONS)}")
            if name in sections:
                raise wrong(item, f"a query has each of {', '.join(_SECTIONS)} at most once")
            sections[name] = ()
        else:
            sections[name] = (*sections[name], item)
    return sections


def _check_sources(find: Find, inputs: tuple[Input, ...], used: Any) -> None:
    known = {item.source for item in inputs if item.source}
    pulls = [element for element in find.elements if isinstance(element, PullElement)]
    for source, text in [*used, *((pull.source, pull.text) for pull in pulls)]:
        if source not in known:
            raise QueryError(f"{source} is not in :in, in: {text}")
    for pull in pulls:
        if isinstance(pull.pattern, str):
            pattern_input(inputs, pull)


# :find


def _find(forms: tuple[Any, ...], keys: tuple[str, ...] | None, places: Places) -> Find:
    shape = Shape.RELATION
    items = forms
    first = forms[0]
    if len(forms) == 2 and forms[1] == Symbol("."):
        shape, items = Shape.SCALAR, forms[:1]
    elif len(forms) == 1 and isinstance(first, tuple) and first and not _is_call(first):
        shape, items = Shape.TUPLE, first
        if len(first) == 2 and first[1] == Symbol("..."):
            shape, items = Shape.COLLECTION, first[:1]
    if keys is not None:
        if shape in {Shape.SCALAR, Shape.COLLECTION}:
            raise wrong(
                forms[0], ":keys, :strs and :syms name the columns of rows, but :find asks for values"
            )
        if len(keys) != len(items):
            raise wrong(forms[0], f"{len(keys)} names for the {len(items)} columns of :find")
    return Find(shape, tuple(_find_element(item, places) for item in items), keys)


def _keys(sections: Mapping[str, tuple[Any, ...]], form: Any) -> tuple[str, ...] | None:
    """The keys of the dictionaries that rows become; keywords for `:keys`."""
    given = [name for name in _RETURN_MAPS if name in sections]
    if not given:
        return None
    names = sections[given[0]]
    if len(given) > 1 or not all(isinstance(name, str) and is_name(name) for name in names):
        raise wrong(form, "a query has one of :keys, :strs and :syms at most, with a name for each column")
    kind: Any = {":keys": lambda name: Keyword(f":{name}"), ":strs": str, ":syms": Symbol}[given[0]]
    try:
        return tuple(kind(name) for name in names)
    except ValueError as error:
        raise wrong(form, f":keys: {error}") from None


def _is_call(form: tuple[Any, ...]) -> bool:
    """Whether a form in `:find` is a call; a vector is a layout, unless it is a call written as a list."""
    return is_name(form[0]) or callable(form[0])


def _find_element(form: Any, places: Places) -> FindElement:
    if is_variable(form):
        return Variable(str(form))
    if not isinstance(form, tuple) or not form or not _is_call(form):
        raise wrong(form, ":find takes variables, aggregates and pull expressions")
    if form[0] == "pull":
        return _pull(form, places)
    return _aggregate(form, places)


def _pull(form: tuple[Any, ...], places: Places) -> PullElement:
    source, rest = DEFAULT_SOURCE, form[1:]
    if len(form) == 4 and is_source(form[1]):
        source, rest = str(form[1]), form[2:]
    if len(rest) != 2:
        raise wrong(form, "pull takes an optional database, a variable and a pattern")
    target, pattern = variable(rest[0], "pull"), rest[1]
    if is_variable(pattern) or is_name(pattern):
        return PullElement(source, target, str(pattern), quote(form, places))
    return PullElement(source, target, parse_pull_form(pattern), quote(form, places))


def _aggregate(form: tuple[Any, ...], places: Places) -> Aggregate:
    head, rest = form[0], form[1:]
    function = head if not isinstance(head, str) else None
    name = name_of(head) if function else str(head)
    if head == "aggregate":
        if not rest or not is_callee(rest[0]) or is_name(rest[0]):
            raise wrong(form, "expected (aggregate ?function ?variable)")
        function = Variable(str(rest[0])) if is_variable(rest[0]) else rest[0]
        name, rest = _called(rest[0]), rest[1:]
    if not rest or not is_variable(rest[-1]):
        raise wrong(form, "an aggregate takes a variable, last")
    arguments: list[Term] = []
    for item in rest[:-1]:
        found = argument(item, form)
        if isinstance(found, Source) or found == BLANK:
            raise wrong(form, "what an aggregate takes before its variable are values and inputs")
        arguments.append(found)
    return Aggregate(name, tuple(arguments), Variable(str(rest[-1])), function, quote(form, places))


def _called(form: Any) -> str:
    """What a function is called."""
    return str(form) if isinstance(form, str) else name_of(form)


# :in


def _input(form: Any) -> Input:
    if is_source(form):
        return Input(source=str(form))
    if form == Symbol("%"):
        return Input(is_rules=True)
    if is_name(form):
        return Input(pattern=str(form))
    return Input(binding=binding(form))


def pattern_input(inputs: Sequence[Input], pull: PullElement) -> int:
    """The position of the input that is the pattern of a pull."""
    scalar = Binding(Shape.SCALAR, (Variable(str(pull.pattern)),))
    for position, item in enumerate(inputs):
        if pull.pattern == item.pattern or item.binding == scalar:
            return position
    raise QueryError(f"the pattern {pull.pattern} is not in :in, in: {pull.text}")
