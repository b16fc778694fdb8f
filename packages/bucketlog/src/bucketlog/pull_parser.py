"""Pull patterns, from text or data, to typed records.

The grammar is Datomic's: `*`, attributes, `{attribute pattern}` maps, reverse attributes (`:post/_author`),
recursion (`{:person/friend 3}` or `...`), and the options `:as`, `:limit`, `:default` and `:xform`, as
`(:attribute :limit 10)`, `[:attribute :limit 10]`, `(limit :attribute 10)` or `(default :attribute 0)`.
`:xform` takes a callable in patterns that are data, else the name of a function of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bucketlog.cache import Cache
from bucketlog.edn import Keyword, Symbol
from bucketlog.forms import parse_once, show, wrong
from bucketlog.query.functions import find_function
from bucketlog.schema import reversed_name

__all__ = ["UNLIMITED", "AttributePull", "PullPattern", "parse_pull", "parse_pull_form"]

UNLIMITED: Final = -1
"""A recursion depth without bound."""

_MAX_DEPTH: Final = 50


@dataclass(frozen=True, slots=True)
class AttributePull:
    """One attribute of a pattern: `name` is its ident, `key` what it is called in the result."""

    name: str
    reverse: bool
    key: str
    limit: int | None = None
    default: Any = None
    pattern: PullPattern | None = None
    depth: int | None = None
    """Levels of recursion into the pattern that this attribute stands in."""
    xform: Callable[[Any], Any] | None = None
    """Called with the value, or the list of values, if there is one; what it gives stands in the result."""


@dataclass(frozen=True, slots=True)
class PullPattern:
    """What to pull from one entity."""

    attributes: tuple[AttributePull, ...]
    wildcard: bool = False
    id: bool = False
    ids: tuple[AttributePull, ...] = ()
    """`:db/id` with options."""


_patterns: Cache[PullPattern] = Cache(512)


def parse_pull(pattern: str | Sequence[Any]) -> PullPattern:
    """The pattern as a record; raises `QueryError` with the part that is wrong. The same is parsed once."""
    return parse_once(pattern, "pull pattern", _patterns, lambda form, _: parse_pull_form(form))


def parse_pull_form(form: Any, depth: int = 0) -> PullPattern:
    """The pattern of a form."""
    if not isinstance(form, tuple) or not form or depth > _MAX_DEPTH:
        raise wrong(form, f"a pull pattern is a vector of at least one attribute, at most {_MAX_DEPTH} deep")
    attributes: list[AttributePull] = []
    wildcard = has_id = False
    for item in form:
        if item in {"*", ":db/id"} if isinstance(item, str) else False:
            wildcard |= item == "*"
            has_id |= item == ":db/id"
        elif isinstance(item, Mapping):
            attributes += [_nested(key, value, item, depth) for key, value in item.items()]
        else:
            attributes.append(_attribute(item, form))
    ids = tuple(attribute for attribute in attributes if attribute.name == ":db/id")
    return PullPattern(tuple(spec for spec in attributes if spec not in ids), wildcard, has_id, ids)


def _nested(key: Any, value: Any, form: Any, depth: int) -> AttributePull:
    attribute = _attribute(key, form)
    if value == Symbol("...") and isinstance(value, str):
        return replace(attribute, depth=UNLIMITED)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise wrong(form, "the depth of a recursion is at least 1")
        return replace(attribute, depth=value)
    return replace(attribute, pattern=parse_pull_form(value, depth + 1))


def _attribute(form: Any, whole: Any) -> AttributePull:
    if isinstance(form, Keyword):
        return _named(form)
    if isinstance(form, tuple) and len(form) >= 3:
        legacy = isinstance(form[0], str) and form[0] in {"limit", "default"}
        if legacy and isinstance(form[1], Keyword | tuple) and len(form) == 3:
            return _option(_attribute(form[1], whole), Keyword(f":{form[0]}"), form[2], form)
        if isinstance(form[0], Keyword | tuple) and len(form) % 2:
            attribute = _attribute(form[0], whole)
            for option, value in zip(form[1::2], form[2::2], strict=True):
                attribute = _option(attribute, option, value, form)
            return attribute
    raise wrong(whole, f"{show(form)} is no attribute")


def _named(keyword: Keyword) -> AttributePull:
    forward = reversed_name(keyword)
    return AttributePull(forward or str(keyword), forward is not None, str(keyword))


def _option(attribute: AttributePull, option: Any, value: Any, form: Any) -> AttributePull:
    if option == ":as":
        return replace(attribute, key=value if isinstance(value, str) else str(value))
    if option == ":default":
        return replace(attribute, default=value)
    if option == ":limit":
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise wrong(form, "a limit is a number from 1, or nil for none")
        return replace(attribute, limit=value)
    if option == ":xform":
        return replace(attribute, xform=_function(value, form))
    raise wrong(form, "the options of an attribute are :as, :limit, :default and :xform")


def _function(value: Any, form: Any) -> Callable[[Any], Any]:
    function = find_function(value) if isinstance(value, str) else None
    if function is not None and function.accepts(1):
        return function.call
    if callable(value):
        return value  # type: ignore[no-any-return]
    raise wrong(form, f":xform takes a callable or the name of a function of one argument, not {show(value)}")
