"""Who is logged in: a visit begins with the root key and ends by itself. Kept in memory alone."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LIFE: Final = 12 * 3600  # seconds
_MOST: Final = 50  # visits at a time; of more the oldest ends
_TRIES: Final = 10  # wrong keys in _WINDOW seconds; then all have to wait
_WINDOW: Final = 60.0


@dataclass(slots=True)
class Visit:
    """One browser's. `token` is its cookie, `form` what each of its forms has to bring along."""

    token: str
    form: str
    ends: float
    note: str | None = None  # to be shown once

    def take_note(self) -> str | None:
        note, self.note = self.note, None
        return note


class TooManyTriesError(Exception):
    """So many wrong keys have come that nobody is let in for a moment."""


@dataclass
class Visits:
    """`is_root` says whether an access key is the owner's."""

    is_root: Callable[[str, str], bool]
    clock: Callable[[], float] = time.monotonic
    _open: dict[str, Visit] = field(default_factory=dict)
    _wrong: deque[float] = field(default_factory=deque)

    def begin(self, access_key: str, secret: str) -> Visit | None:
        """None for a wrong key. Raises TooManyTriesError."""
        now = self.clock()
        while self._wrong and self._wrong[0] <= now - _WINDOW:
            self._wrong.popleft()
        if len(self._wrong) >= _TRIES:
            raise TooManyTriesError
        if not self.is_root(access_key, secret):
            self._wrong.append(now)
            return None
        self._open = {token: one for token, one in self._open.items() if one.ends > now}
        while len(self._open) >= _MOST:
            del self._open[next(iter(self._open))]
        visit = Visit(secrets.token_urlsafe(32), secrets.token_urlsafe(32), now + LIFE)
        self._open[visit.token] = visit
        return visit

    def find(self, token: str) -> Visit | None:
        visit = self._open.get(token)
        if visit is None or not hmac.compare_digest(visit.token, token) or visit.ends <= self.clock():
            return None
        return visit

    def end(self, visit: Visit) -> None:
        self._open.pop(visit.token, None)
