"""How writers that race for the end of the log take turns without knowing of each other."""

from __future__ import annotations

import random
import time
from typing import Final

__all__ = ["Contention"]

_SMOOTHING: Final = 0.2
_LONGEST: Final = 1.0  # seconds; a store this slow spreads its writers by itself
_GAP: Final = (3.0, 4.0)
"""Round trips that a writer leaves to others: one that has just lost needs three to read who won, to read
what came after that, and to write."""
_LONG: Final = 8  # times as long as others is one gap in so many, for writers that are further from the store
_MOST_IN_A_ROW: Final = 64
_SPREAD: Final = 3.0  # round trips over which the losers of one race try again


class Contention:
    """The pauses of one writer, in round trips to the store.

    Somebody wins every race, so the log always moves on; but whoever won the last one knows its outcome first
    and would win the next ones too, for as long as it has something to write. So nobody commits more than so
    many times in a row without leaving a gap: once after having met others, twice as often after each gap
    that nobody used. Who lost tries again after a random pause that gets shorter the more often it has lost.
    """

    def __init__(self) -> None:
        self._round_trip = 0.001
        self._allowed = _MOST_IN_A_ROW
        self._in_a_row = 0
        self._won = 0.0

    def give_way(self) -> None:
        """Leave a gap before a first try, if it is time for one."""
        since = time.monotonic() - self._won
        gap = random.uniform(*_GAP) * self._round_trip  # noqa: S311 -- jitter
        if since >= gap:
            self._in_a_row = 0  # there was one
        elif self._in_a_row >= self._allowed:
            if random.randrange(_LONG) == 0:  # noqa: S311
                gap *= _LONG
            time.sleep(gap - since)
            self._in_a_row = 0
            self._allowed = min(_MOST_IN_A_ROW, 2 * self._allowed)

    def won(self, attempt: int, seconds: float) -> None:
        """Take in a try that won, after so many that lost, and how long its write took."""
        if attempt:
            self._allowed = 1
            self._in_a_row = 0
        self._in_a_row += 1
        self._won = time.monotonic()
        self._measure(seconds)

    def lost(self, attempt: int, seconds: float) -> None:
        """Pause after a try that lost, in two round trips; it was number `attempt`, from 0."""
        self._measure(seconds / 2)
        time.sleep(random.uniform(0, self._round_trip * max(0.0, _SPREAD - attempt / 2)))  # noqa: S311

    def _measure(self, seconds: float) -> None:
        self._round_trip += _SMOOTHING * (min(seconds, _LONGEST) - self._round_trip)
