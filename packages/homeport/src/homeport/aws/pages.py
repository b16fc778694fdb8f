"""Lists in pages. A token names the last entry that was shown, in a form that nobody should look into, so
what is made or removed between two pages makes no other entry come twice or never.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

from homeport.aws.errors import ApiError

T = TypeVar("T")

_MARK = "after "  # begins what a token says


def page(
    items: Iterable[T],
    token: str | None,
    size: int,
    *,
    key: Callable[[T], str],
    code: str,
    descending: bool = False,
) -> tuple[list[T], str | None]:
    """The page that `token` names, ordered by `key`, which no two have the same, and the token of the next.

    Raises ApiError with `code` for a token that was not given out here.
    """
    ordered = sorted(items, key=key, reverse=descending)
    if token is not None:
        last = _read(token, code)
        ordered = [one for one in ordered if (key(one) < last if descending else key(one) > last)]
    shown = ordered[:size]
    return shown, _write(key(shown[-1])) if len(shown) < len(ordered) else None


def _write(last: str) -> str:
    return base64.urlsafe_b64encode(f"{_MARK}{last}".encode()).decode()


def _read(token: str, code: str) -> str:
    try:
        said = base64.b64decode(token.encode(), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        said = ""
    if not said.startswith(_MARK):
        raise ApiError(code, "NextToken is not one that was given out here")
    return said.removeprefix(_MARK)
