"""How many instances a service should have, from the requests that it has in flight. Decisions only.

The windows are Knative's in kind: a short one that answers a step within a second, and a long one, the
service's own `idle_after`, within which nothing that was needed is taken away.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from homeport.edge import Load
from homeport.model import Scaling

_QUICK = 0.5  # seconds over which requests in flight are averaged
_FILLED = 0.7  # of its limit, to which an instance is loaded before there is another


def needed(in_flight: float, scaling: Scaling) -> int:
    """How many instances answer so many requests at a time, each with room left; no bounds but the limit."""
    return ceil(in_flight / ceil(scaling.max_concurrency * _FILLED))


def bounded(count: int, scaling: Scaling) -> int:
    """What is allowed of what is needed: none only where that was asked for."""
    if count < 1 and scaling.to_zero:
        return 0
    return max(min(count, scaling.max_size), scaling.min_size, 1)


class Scaler:
    """The memory that the decision needs. Times are seconds of one clock that does not go back."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()  # of requests in flight
        self._peaks: deque[tuple[float, int]] = deque()  # what was needed: each less than the one before
        self._requests = 0

    def note(self, at: float, count: int) -> None:
        """So many instances are needed now, whatever the load says."""
        while self._peaks and self._peaks[-1][1] <= count:
            self._peaks.pop()
        self._peaks.append((at, count))

    def observe(self, at: float, load: Load, size: int, scaling: Scaling) -> None:
        """Take a reading of the load, met by `size` instances."""
        self._samples.append((at, load.in_flight))
        while self._samples[0][0] < at - _QUICK:
            self._samples.popleft()
        mean = sum(count for _, count in self._samples) / len(self._samples)
        # The average adds instances; this moment alone only keeps what there is.
        count = max(needed(mean, scaling), min(needed(load.in_flight, scaling), size))
        if load.in_flight > size * scaling.max_concurrency:  # some wait: no time for averages
            count = max(count, needed(load.in_flight, scaling))
        # Requests too short to be seen in flight need an instance too.
        if load.in_flight or self._requests != load.requests:
            count = max(count, 1)
        self._requests = load.requests
        self.note(at, count)

    def idle(self, at: float, scaling: Scaling) -> bool:
        """Whether none was needed within the last `idle_after` seconds."""
        self._forget(at - scaling.idle_after)
        return not self._peaks or self._peaks[0][1] == 0

    def size(self, at: float, scaling: Scaling) -> int:
        """The decision: the most that was needed within the last `idle_after` seconds, within the bounds."""
        self._forget(at - scaling.idle_after)
        return bounded(self._peaks[0][1] if self._peaks else 0, scaling)

    def _forget(self, before: float) -> None:
        while len(self._peaks) > 1 and self._peaks[0][0] <= before:
            self._peaks.popleft()
