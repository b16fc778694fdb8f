"""How often somebody may try something, counted in bounded memory.

Each limit is a token bucket (a burst, refilled evenly) for each address and for each account. What is counted
is counted by an instance on its own: with N of them an address may try N times as often, which is still few.
What must hold over all of them is decided in the commit instead, such as how many sessions an account may
have. An instance that starts from zero forgets, and so gives back one burst.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request

from company_site.errors import SiteError

CAPACITY = 10_000  # callers that a limit remembers: about 2 MB


class TooOftenError(SiteError):
    """The caller has to wait for `seconds`."""

    def __init__(self, limit: str, seconds: int) -> None:
        super().__init__(f"{limit}: once more in {seconds} s")
        self.limit = limit
        self.seconds = seconds


class Limit:
    """A caller may do it `burst` times at once, and `burst` times in each `period` seconds.

    Of more than `CAPACITY` callers those are forgotten who did nothing for the longest time.
    """

    def __init__(
        self, name: str, burst: int, period: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._burst = burst
        self._rate = burst / period
        self._clock = clock
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when

    def take(self, caller: str) -> None:
        """Count one try. Raises TooOftenError, which counts nothing."""
        now = self._clock()
        left, since = self._callers.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - since) * self._rate)
        allowed = left >= 1
        self._callers[caller] = (left - 1 if allowed else left, now)
        if len(self._callers) > CAPACITY:
            self._callers.popitem(last=False)
        if not allowed:
            raise TooOftenError(self.name, math.ceil((1 - left) / self._rate))

    def __len__(self) -> int:
        return len(self._callers)


@dataclass(frozen=True)
class Limits:
    """Those of the site. An address stands for a household or an office, so its limits are wider."""

    proxies: int
    login_by_address: Limit = field(default_factory=lambda: Limit("login by address", 100, 300))
    login_by_account: Limit = field(default_factory=lambda: Limit("login by account", 30, 300))
    search_by_address: Limit = field(default_factory=lambda: Limit("search by address", 240, 60))
    upload_by_address: Limit = field(default_factory=lambda: Limit("upload by address", 300, 600))
    upload_by_account: Limit = field(default_factory=lambda: Limit("upload by account", 120, 600))

    def login(self, request: Request) -> None:
        """Count a step of a login before anybody is known. Raises TooOftenError."""
        self.login_by_address.take(address(request, self.proxies))

    def search(self, request: Request) -> None:
        """Count a search. Raises TooOftenError."""
        self.search_by_address.take(address(request, self.proxies))

    def upload(self, request: Request, user_id: str) -> None:
        """Count an upload of a member. Raises TooOftenError."""
        self.upload_by_account.take(user_id)
        self.upload_by_address.take(address(request, self.proxies))


def address(request: Request, proxies: int) -> str:
    """Who is counted as one: an IPv4 address, or an IPv6 network of 64 bits, which one subscriber has.

    Each proxy appends to X-Forwarded-For whom it was asked by. So only the last `proxies` entries are known
    to be true: what stands before them is whatever the visitor sent.
    """
    seen = [part.strip() for part in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
    chain = [part for part in seen if part] or [request.client.host if request.client else "unknown"]
    given = chain[max(0, len(chain) - proxies)]
    try:
        parsed = ipaddress.ip_address(given)
    except ValueError:
        return given[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
