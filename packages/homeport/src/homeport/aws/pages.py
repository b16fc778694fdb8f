"""Lists in pages: NextToken is where the next page begins, in a form that nobody should look into."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from homeport.aws.errors import ApiError

T = TypeVar("T")


def page(items: Sequence[T], token: str | None, size: int, *, code: str) -> tuple[Sequence[T], str | None]:
    """The page that `token` names, and the token of the next; ApiError with `code` if it is not ours."""
    start = 0
    if token is not None:
        try:
            start = int(base64.b64decode(token.encode(), b"-_", validate=True).decode())
        except (binascii.Error, ValueError):
            start = -1
        if start < 0:
            raise ApiError(code, "NextToken is not one that was given out here")
    end = start + size
    following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(items) else None
    return items[start:end], following
