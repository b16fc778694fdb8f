"""Forms: what queries and pull patterns are before they are parsed, from EDN text or from Python data.

In Python data, strings that begin with `?` or `:` are variables and keywords, `_`, `*`, `%`, `.`, `...`,
`$` and `$name` are what they are in EDN, other strings are strings; lists are vectors, tuples are lists in
parentheses (a call may be written as either), callables stand for themselves. Values belong into inputs,
where no string is taken for anything else.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from bucketlog import edn
from bucketlog.cache import Cache
from bucketlog.edn import Keyword, List, Symbol, Vector
from bucketlog.errors import EdnError, QueryError

__all__ = ["Places", "name_of", "parse_once", "show", "wrong"]

_SYMBOLS: Final = re.compile(r"\?.+|\$\S*|_|\*|%|\.|\.\.\.")
_MAX_DEPTH: Final = 100

Places = Mapping[int, str]
"""Where the forms of a text stand, by their `id`; empty for data."""

_Record = TypeVar("_Record")


def parse_once(
    source: Any, what: str, cache: Cache[_Record], parse: Callable[[Any, Places], _Record]
) -> _Record:
    """The record that `parse` makes of text or data, one for each text and for equal data.

    Raises `QueryError` with the part that is wrong, and for text its line and column.
    """
    key = source if type(source) is str else ("data", _identity(source, 0))
    record = cache.get(key)
    if record is None:
        form, places = _read(source, what) if isinstance(source, str) else (_normal_form(source), {})
        with _placing(places):
            record = parse(form, places)
        cache[key] = record
    return record


def _read(text: str, what: str) -> tuple[Any, Places]:
    try:
        return edn.loads_with_places(text)
    except EdnError as error:
        raise QueryError(f"the {what} cannot be read: {error}") from error


def _identity(form: Any, depth: int) -> str:
    """Text that differs for data that differ; unlike their hash it tells 1 from true and from 1.0."""
    if depth > _MAX_DEPTH:
        raise QueryError(f"the query is nested more than {_MAX_DEPTH} deep")
    if isinstance(form, Symbol):
        return f"symbol {form}"
    if isinstance(form, str):
        return repr(form)
    if isinstance(form, Mapping):
        items = (f"{_identity(k, depth + 1)}:{_identity(v, depth + 1)}" for k, v in form.items())
        return f"{{{','.join(items)}}}"
    if isinstance(form, list | tuple):
        return f"[{','.join([_identity(item, depth + 1) for item in form])}]"
    if form is None or isinstance(form, int | float | bytes | datetime | uuid.UUID | Decimal):
        return repr(form)
    # What is parsed keeps other objects alive as long as it is remembered, so no two have one address.
    return f"<{id(form)}>"


def _normal_form(form: Any, depth: int = 0) -> Any:  # noqa: PLR0911 -- one return a type
    """Python data as the EDN forms that they stand for."""
    if depth > _MAX_DEPTH:
        raise QueryError(f"the query is nested more than {_MAX_DEPTH} deep")
    if isinstance(form, Keyword | Symbol):
        return form
    if isinstance(form, str):
        if form.startswith(":"):
            try:
                return Keyword(form)
            except ValueError:
                return form
        return Symbol(form) if _SYMBOLS.fullmatch(form) else form
    if isinstance(form, Mapping):
        return {_normal_form(key, depth + 1): _normal_form(value, depth + 1) for key, value in form.items()}
    if isinstance(form, list | tuple):
        kind = Vector if isinstance(form, list | Vector) else List
        return kind(_normal_form(item, depth + 1) for item in form)
    return form


class _FormError(QueryError):
    """An error in one form, until its place is known."""

    def __init__(self, message: str, form: Any) -> None:
        super().__init__(message)
        self.form = form


@contextmanager
def _placing(places: Places) -> Iterator[None]:
    try:
        yield
    except _FormError as error:
        place = places.get(id(error.form))
        raise QueryError(f"{error} ({place})" if place else str(error)) from None


def show(form: Any) -> str:
    """A form as text, for messages."""
    if isinstance(form, Mapping):
        return "{" + ", ".join(f"{show(key)} {show(value)}" for key, value in form.items()) + "}"
    if isinstance(form, List):
        return "(" + " ".join(map(show, form)) + ")"
    if isinstance(form, list | tuple):
        return "[" + " ".join(map(show, form)) + "]"
    if callable(form):
        return name_of(form)
    try:
        return edn.dumps(form)
    except EdnError:
        return repr(form)


def name_of(function: Callable[..., Any]) -> str:
    """What to call a callable in messages."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


def wrong(form: Any, why: str) -> QueryError:
    """The error that says what is wrong, with the form it is wrong in."""
    return _FormError(f"{why}, in: {show(form)}", form)
