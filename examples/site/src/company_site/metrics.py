"""What the site counts, in Prometheus' text format at `/metrics`, for those who show METRICS_TOKEN.

Counting is a few dictionaries. The library that writes the format is imported when it is asked for the first
time: a start should be quick. Each instance counts for itself, as Prometheus expects. No label holds anything
that a visitor chose: an address is counted under the pattern of its route.
"""

from __future__ import annotations

import hmac
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from company_site.version import __version__

if TYPE_CHECKING:
    from prometheus_client import Metric

    from bucketlog import Stats

# Upper bounds in seconds: warm pages take single milliseconds, images and storage up to seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_PATHS = 2048  # whose route is remembered


@dataclass
class _Durations:
    """A histogram: how many requests fell under each bound or above them all, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        bounds, so_far, pairs = [*map(str, BUCKETS), "+Inf"], 0, []
        for bound, count in zip(bounds, self.counts, strict=True):
            so_far += count
            pairs.append((bound, float(so_far)))
        return pairs


class Metrics:
    """The counters of one instance, used from one event loop."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()  # by method, route and status
        self.durations: dict[str, _Durations] = {}  # by route
        self.logins: Counter[str] = Counter()  # by outcome
        self.limited: Counter[str] = Counter()  # by the limit that refused
        self.in_flight = 0
        self.database: Stats | None = None  # as of the last time that somebody asked

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests[method if method in _METHODS else _OTHER, route, status] += 1
        self.durations.setdefault(route, _Durations()).add(seconds)

    def render(self) -> bytes:
        """The text format, version 0.0.4."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # noqa: PLC0415

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Collector(self))
        return generate_latest(registry)


class _Collector:
    """The counters as the library's families; it is a `prometheus_client.registry.Collector`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import (  # noqa: PLC0415
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        def counted(
            name: str, text: str, labels: Sequence[str], found: Iterable[tuple[Sequence[str], float]]
        ) -> Metric:
            family = CounterMetricFamily(name, text, labels=labels)
            for values, count in found:
                family.add_metric(values, count)
            return family

        metrics = self._metrics
        build = GaugeMetricFamily("site_build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield counted(
            "site_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            [((method, route, str(status)), n) for (method, route, status), n in metrics.requests.items()],
        )
        durations = HistogramMetricFamily(
            "site_request_seconds", "How long requests took, to the last byte.", labels=["route"]
        )
        for route, times in metrics.durations.items():
            durations.add_metric([route], times.cumulated(), times.total)
        yield durations
        in_flight = GaugeMetricFamily("site_requests_in_flight", "Requests that are being answered.")
        in_flight.add_metric([], metrics.in_flight)
        yield in_flight
        by_name = (
            ("site_logins", "Attempts to sign in that ended, by how.", "outcome", metrics.logins),
            ("site_refused", "Requests that came too often, by the limit.", "limit", metrics.limited),
        )
        for name, text, label, counter in by_name:
            yield counted(name, text, [label], [((key,), n) for key, n in counter.items()])
        if metrics.database is not None:
            asked = metrics.database.requests.counts
            yield counted(
                "site_database_requests",
                "Requests to the database's bucket.",
                ["kind"],
                [((kind,), n) for kind, n in asked.items()],
            )
            basis = GaugeMetricFamily("site_database_t", "The last transaction that this instance knows.")
            basis.add_metric([], metrics.database.t)
            yield basis


class RequestMetrics:
    """ASGI middleware: counts each request under the pattern of its route, and says which that was in the
    scope, for the log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Sequence[Route]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._pattern = lru_cache(_PATHS)(self._match)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        route = scope["route_pattern"] = self._pattern(scope["path"])

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight += 1
        try:
            await self._app(scope, receive, send_counted)
        finally:
            self._metrics.in_flight -= 1
            self._metrics.observe(scope["method"], route, status, time.perf_counter() - started)

    def _match(self, path: str) -> str:
        # Asked here and not after the routing, so that what a cache answers before it is counted too.
        return next((route.path for route in self._routes if route.path_regex.match(path)), _OTHER)


def is_authorised(header: str, token: str) -> bool:
    """Whether an Authorization header shows the token (RFC 6750)."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
