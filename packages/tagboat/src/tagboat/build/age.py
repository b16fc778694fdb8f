"""Bases get old: what is pinned keeps its holes until the pin is moved."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

_STALE: Final = timedelta(days=45)


def tell_age(made: datetime | None, what: str, progress: Callable[[str], None]) -> None:
    """Say so when a base that was made then, if anybody knows, has become old; `what` begins the line."""
    if made is None:
        return
    age = datetime.now(UTC) - made
    if age > _STALE:
        progress(f"{what} {age.days} days old: `tagboat base update`")
