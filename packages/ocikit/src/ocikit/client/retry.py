"""Failures that may be gone at the next try, and when that is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from ocikit.errors import RegistryError

ATTEMPTS = 5
PASSING = frozenset({408, 429, 500, 502, 503, 504})

_LONGEST_PAUSE = 60.0  # seconds

T = TypeVar("T")


class PassingError(Exception):
    """A failure that may be gone at the next try."""

    def __init__(self, error: RegistryError, retry_after: str | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after


def repeated(attempt: Callable[[], T]) -> T:
    """What `attempt` returns, which is called again after a pause when it fails in passing."""
    for number in range(1, ATTEMPTS):
        try:
            return attempt()
        except PassingError as error:
            wait(number, error.retry_after)
    try:
        return attempt()
    except PassingError as error:
        raise error.error from error


def wait(attempt: int, retry_after: str | None = None) -> None:
    """Until the next try: what the registry asks for, up to a minute, or doubling with jitter."""
    seconds = None if retry_after is None else _seconds(retry_after)
    if seconds is None:
        seconds = 0.1 * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311  spread, not secrecy
    time.sleep(min(max(seconds, 0.0), _LONGEST_PAUSE))


def _seconds(retry_after: str) -> float | None:
    """RFC 9110 section 10.2.3: a number of seconds, or a date."""
    if retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None
