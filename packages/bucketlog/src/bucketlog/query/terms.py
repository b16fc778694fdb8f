"""Reading the smallest parts of a query: terms, bindings and names, from forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bucketlog.edn import Keyword, List, Symbol
from bucketlog.forms import Places, show, wrong
from bucketlog.query.syntax import (
    BLANK,
    Argument,
    Binding,
    Constant,
    Quote,
    Shape,
    Source,
    Term,
    Variable,
)

__all__ = [
    "argument",
    "binding",
    "is_callee",
    "is_name",
    "is_source",
    "is_variable",
    "quote",
    "term",
    "variable",
    "variables",
]


def quote(form: Any, places: Places) -> Quote:
    """The form, and where it stands."""
    return Quote(show(form), places.get(id(form), ""))


def is_variable(form: Any) -> bool:
    """`?x`."""
    return isinstance(form, Symbol) and form.startswith("?") and len(form) > 1


def is_source(form: Any) -> bool:
    """`$` or `$name`."""
    return isinstance(form, Symbol) and form.startswith("$")


def is_name(form: Any) -> bool:
    """A word at the head of a call: a symbol in EDN, a plain string in Python data."""
    if not isinstance(form, str) or isinstance(form, Keyword) or not form:
        return False
    return not is_variable(form) and not is_source(form) and form not in {"_", "%", ".", "..."}


def is_callee(form: Any) -> bool:
    """What can stand at the head of a function call."""
    return is_name(form) or is_variable(form) or callable(form)


def variable(form: Any, where: str) -> Variable:
    """A variable; `where` is for the error."""
    if not is_variable(form):
        raise wrong(form, f"{where}: expected a variable such as ?x")
    return Variable(str(form))


def variables(form: tuple[Any, ...], whole: Any) -> tuple[Variable, ...]:
    """`[?a ?b]`, or `[[?required] ?b]`: the planner finds by itself what has to be bound first."""
    flat = (*form[0], *form[1:]) if form and isinstance(form[0], tuple) else form
    if not flat:
        raise wrong(whole, "at least one variable has to join the clauses with the rest")
    if not all(map(is_variable, flat)):
        raise wrong(whole, "the variables that join: expected variables such as ?x")
    return tuple(Variable(str(item)) for item in flat)


def term(form: Any, whole: Any) -> Term:
    """A place of a pattern, or an argument of a rule."""
    found = argument(form, whole)
    if form is None or isinstance(form, Mapping) or isinstance(found, Source):
        raise wrong(whole, f"{show(form)} cannot be a term")
    return found


def argument(form: Any, whole: Any) -> Argument:
    """An argument of a function: any value may be written."""
    if is_variable(form):
        return Variable(str(form))
    if is_source(form):
        return Source(str(form))
    if form == Symbol("_") and isinstance(form, Symbol):
        return BLANK
    if isinstance(form, Symbol):
        raise wrong(whole, f"{form} is neither a variable (?{form}) nor a value")
    if isinstance(form, List) and form and (is_variable(form[0]) or isinstance(form[0], Symbol)):
        raise wrong(whole, f"calls do not nest: bind {show(form)} to a variable first")
    return Constant(form)


def binding(form: Any) -> Binding:
    """`?x`, `_`, `[?x ...]`, `[?x ?y]` or `[[?x ?y]]`, and these inside of each other."""
    if not isinstance(form, tuple):
        return Binding(Shape.SCALAR, (_target(form, form),))
    if len(form) == 2 and form[1] == Symbol("..."):
        inner = _part(form[0], form)
        if isinstance(inner, Binding) and inner.shape is Shape.TUPLE:
            return Binding(Shape.RELATION, inner.terms)
        return Binding(Shape.COLLECTION, (inner,))
    if len(form) == 1 and isinstance(form[0], tuple) and form[0]:
        inner = _part(form[0], form)
        if isinstance(inner, Binding) and inner.shape is Shape.TUPLE:
            return Binding(Shape.RELATION, inner.terms)
    if not form:
        raise wrong(form, _BINDINGS)
    return Binding(Shape.TUPLE, tuple(_part(item, form) for item in form))


_BINDINGS = "a binding is ?x, [?x ...], [?x ?y] or [[?x ?y]]"


def _part(form: Any, whole: Any) -> Term | Binding:
    return binding(form) if isinstance(form, tuple) else _target(form, whole)


def _target(form: Any, whole: Any) -> Term:
    if is_variable(form):
        return Variable(str(form))
    if form == Symbol("_") and isinstance(form, Symbol):
        return BLANK
    raise wrong(whole, _BINDINGS)
