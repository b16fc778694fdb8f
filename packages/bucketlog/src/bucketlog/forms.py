"""Forms: what queries and pull patterns are before they are parsed, from EDN text or from Python data.

In Python data, strings that begin with `?` or `:` are variables and keywords, `_`, `*`, `%`, `.`, `...`, `$`
and `$name` are what they are in EDN, other strings are strings; lists and tuples are the same. Values belong
into inputs, where no string is taken for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from bucketlog import edn
from bucketlog.edn import Keyword, List, Symbol, Vector
from bucketlog.errors import EdnError, QueryError

__all__ = ["normal_form", "read_form", "show", "wrong"]

_SYMBOLS: Final = re.compile(r"\?.+|\$\w*|_|\*|%|\.|\.\.\.")
_MAX_DEPTH: Final = 100


def read_form(text: str, what: str) -> Any:
    """The form that `text` holds; raises `QueryError`, with `what` it should have been."""
    try:
        return edn.loads(text)
    except EdnError as error:
        raise QueryError(f"the {what} cannot be read: {error}") from error


def normal_form(form: Any, depth: int = 0) -> Any:  # noqa: PLR0911 -- one return a type
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
        return {normal_form(key, depth + 1): normal_form(value, depth + 1) for key, value in form.items()}
    if isinstance(form, list | tuple):
        kind = List if isinstance(form, List) else Vector
        return kind(normal_form(item, depth + 1) for item in form)
    return form


def show(form: Any) -> str:
    """A form as text, for messages."""
    try:
        return edn.dumps(form)
    except EdnError:
        return repr(form)


def wrong(form: Any, why: str) -> QueryError:
    """The error that says what is wrong, with the form it is wrong in."""
    return QueryError(f"{why}, in: {show(form)}")
