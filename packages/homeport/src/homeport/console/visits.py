"""Who is logged in: a visit begins with the root key and ends by itself. Kept in memory alone."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

LIFE: Final = 12 * 3600  # seconds
_MOST: Final = 50  # visits at a time; of more the oldest ends
_TRIES: Final = 10  # wrong keys of one network in _WINDOW seconds; then it has to wait
_ALL_TRIES: Final = 1000  # of all together; then everybody has to wait
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
    """So many wrong keys have come that whoever asks is not let in for a moment."""


@dataclass
class Visits:
    """`is_root` says whether an access key is the owner's."""

    is_root: Callable[[str, str], bool]
    clock: Callable[[], float] = time.monotonic
    _open: dict[str, Visit] = field(default_factory=dict)
    _wrong: deque[tuple[float, str]] = field(default_factory=deque)  # when, from which network

    def begin(self, access_key: str, secret: str, address: str) -> Visit | None:
        """None for a wrong key. Raises TooManyTriesError."""
        now, network = self.clock(), _network(address)
        while self._wrong and self._wrong[0][0] <= now - _WINDOW:
            self._wrong.popleft()
        tries = sum(one == network for _, one in self._wrong)
        if tries >= _TRIES or len(self._wrong) >= _ALL_TRIES:
            raise TooManyTriesError
        if not self.is_root(access_key, secret):
            self._wrong.append((now, network))
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


def _network(address: str) -> str:
    """What one client has: an address of IPv4, a /64 of IPv6; what is no address stands for itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))
