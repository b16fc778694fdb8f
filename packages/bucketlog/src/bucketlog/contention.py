"""How writers that race for the end of the log take turns without knowing of each other."""

from __future__ import annotations

import random
import time
from typing import Final

__all__ = ["Contention"]

_SMOOTHING: Final = 0.2
_LONGEST: Final = 1.0  # seconds; a store this slow spreads its writers by itself
_SPREAD: Final = 4  # round trips over which the losers of one race try again


class Contention:
    """The pauses of one writer, in round trips to the store.

    Somebody wins every race, so the log always moves on; what is left is that nobody waits for long. Who lost
    tries again after a random pause that gets shorter the more often it has lost, and who has won a race that
    was one gives way before the next.
    """

    def __init__(self) -> None:
        self._round_trip = 0.001
        self._contended = False
        self._won = 0.0

    def give_way(self) -> None:
        """Pause before a first try, if the last commit met other writers."""
        if self._contended:
            pause = random.uniform(0.5, 1.5) * self._round_trip  # noqa: S311 -- jitter
            time.sleep(max(0.0, self._won + pause - time.monotonic()))

    def won(self, attempt: int, seconds: float) -> None:
        """Take in a try that won, after so many that lost, and how long its write took."""
        self._contended = attempt > 0
        self._won = time.monotonic()
        self._measure(seconds)

    def lost(self, attempt: int, seconds: float) -> None:
        """Pause after a try that lost; it was number `attempt`, from 0."""
        self._measure(seconds)
        time.sleep(random.uniform(0, self._round_trip * max(0.5, _SPREAD - attempt)))  # noqa: S311 -- jitter

    def _measure(self, seconds: float) -> None:
        self._round_trip += _SMOOTHING * (min(seconds, _LONGEST) - self._round_trip)
