"""What is asked of a component in a month."""

from __future__ import annotations

from dataclasses import dataclass

HOURS = 730.0  # of a month, as AWS counts
DAYS = HOURS / 24
REQUESTS_PER_VIEW = 5  # the page and what it loads, which a cache in front of the app can answer
_BUSY = 0.5  # how much of an instance's time is planned for: the rest is for peaks


@dataclass(frozen=True, slots=True)
class Usage:
    """A month: page views, how they fall, and what is kept. One view is one request that the app works on."""

    cpu: int  # of an instance, in 1/1024 of a vCPU
    memory: int  # of an instance, in MiB
    views: float = 30_000
    active_hours: float = 8.0  # a day, in which anybody at all asks: crawlers and probes count
    storage_gb: float = 1.0  # data and uploads
    writes: float = 300
    page_kb: float = 50.0  # sent for one view
    request_ms: float = 60.0  # that one view keeps an instance busy
    shared_by: int = 1  # services that share a load balancer, where one can be shared

    @property
    def vcpu(self) -> float:
        return self.cpu / 1024

    @property
    def out_gb(self) -> float:
        """Sent to visitors, in 10^9 bytes."""
        return self.views * self.page_kb / 1e6

    @property
    def active(self) -> float:
        """Hours in the month in which anybody asks."""
        return self.active_hours * DAYS

    @property
    def busy_seconds(self) -> float:
        """That instances work."""
        return self.views * self.request_ms / 1000

    @property
    def instances(self) -> int:
        """How many it takes in the hours in which anybody asks, so that each is busy half of the time."""
        if self.active == 0:
            return 1
        return max(1, -int(-self.busy_seconds // (self.active * 3600 * _BUSY)))
