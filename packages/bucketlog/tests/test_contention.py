"""Writers that race: pauses that depend on how often one has lost, and nobody who loses for ever."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from bucketlog.contention import Contention


class _Clock:
    """The time that the module sees, and what was slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """A clock that moves when somebody sleeps."""
    clock = _Clock()
    monkeypatch.setattr("bucketlog.contention.time", clock)
    return clock


def test_a_writer_alone_never_waits(clock: _Clock) -> None:
    contention = Contention()
    for _ in range(10):
        contention.give_way()
        contention.won(0, 0.02)
    assert sum(clock.slept) == 0


def _measured(round_trip: float) -> Contention:
    contention = Contention()
    for _ in range(100):
        contention.won(0, round_trip)
    return contention


def _commit_on_and_on(contention: Contention, clock: _Clock, commits: int) -> tuple[list[int], list[float]]:
    """How many commits went by between gaps, and how long these were, of a writer that meets nobody."""
    rows, gaps = [0], []
    for _ in range(commits):
        clock.slept.clear()
        contention.give_way()
        if clock.slept:
            gaps.append(sum(clock.slept))
            rows.append(0)
        rows[-1] += 1
        clock.now += 0.1
        contention.won(0, 0.1)
    return rows[1:-1], gaps


def test_a_writer_that_never_stops_leaves_a_gap_now_and_then(clock: _Clock) -> None:
    rows, gaps = _commit_on_and_on(_measured(0.1), clock, 10_000)
    assert set(rows) == {64}
    usual = [gap for gap in gaps if gap <= 0.4]
    assert min(usual) >= 0.3
    assert all(2.4 <= gap <= 3.2 for gap in gaps if gap not in usual)
    assert len(gaps) > len(usual) > len(gaps) / 2
    assert sum(gaps) < 0.15 * 10_000 * 0.1


def test_whoever_met_others_leaves_a_gap_at_once_and_ever_fewer_when_nobody_uses_them(clock: _Clock) -> None:
    contention = _measured(0.1)
    contention.won(3, 0.1)
    assert _commit_on_and_on(contention, clock, 400)[0][:8] == [2, 4, 8, 16, 32, 64, 64, 64]
    contention.won(1, 0.1)
    assert _commit_on_and_on(contention, clock, 10)[0] == [2, 4]


def test_time_that_has_passed_by_itself_is_a_gap(clock: _Clock) -> None:
    contention = _measured(0.1)
    clock.now += 0.5
    for _ in range(300):
        contention.give_way()
        clock.now += 0.1
        contention.won(1, 0.1)
        clock.now += 0.5
    assert clock.slept == []


def test_who_has_lost_more_often_tries_again_sooner(clock: _Clock) -> None:
    contention = _measured(0.1)
    longest = []
    for attempt in (0, 2, 4, 6, 200):
        clock.slept.clear()
        for _ in range(300):
            contention.lost(attempt, 0.2)
        longest.append(max(clock.slept))
    assert longest == sorted(longest, reverse=True)
    assert 0.25 < longest[0] <= 0.3
    assert longest[3:] == [0, 0]


def test_a_store_that_hangs_does_not_make_pauses_endless(clock: _Clock) -> None:
    contention = Contention()
    for _ in range(100):
        contention.lost(0, 3600)
    assert max(clock.slept) <= 4


class _Writers:
    """Writers that race for one log, in simulated time: each has a latency, give or take a fifth."""

    def __init__(self, latencies: list[float], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.random = Random(seed)  # noqa: S311 -- a simulation
        self.latencies = latencies
        self.count = count = len(latencies)
        self.won: list[int] = [0] * count
        self.most_lost = 0
        self.elapsed = 0.0
        self._pause = 0.0
        self._now = 0.0
        monkeypatch.setattr("bucketlog.contention.time", self)
        monkeypatch.setattr("bucketlog.contention.random", self.random)

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._pause += seconds

    def _paused(self, call: Callable[..., None], *arguments: Any) -> float:
        self._pause = 0.0
        call(*arguments)
        return self._pause

    def run(self, commits: int) -> None:
        """Go on until so many commits were made."""
        end = 0  # of the log
        contentions = [Contention() for _ in range(self.count)]
        known = [0] * self.count  # the end of the log that each knows
        lost = [0] * self.count
        events = [
            (self.random.random() * self.latencies[writer], writer, "begin") for writer in range(self.count)
        ]
        heapq.heapify(events)
        while end < commits:
            self._now, writer, what = heapq.heappop(events)
            there, back = (self.latencies[writer] * self.random.uniform(0.4, 0.6) for _ in range(2))
            wait = there
            following = "arrive"
            if what == "begin":
                wait += self._paused(contentions[writer].give_way)
            elif what == "read":  # the entry that won
                known[writer] += 1
                wait += back + self._paused(contentions[writer].lost, lost[writer] - 1, 2 * (there + back))
                following = "walk 4"
            elif what.startswith("walk"):  # the entries after it, so many at once
                ahead = int(what.removeprefix("walk "))
                found = min(ahead, end - known[writer])
                known[writer] += found
                wait += back
                following = "walk 24" if found == ahead else "arrive"
            elif known[writer] == end:
                end += 1
                known[writer] = end
                self.won[writer] += 1
                self.elapsed = self._now
                self._now += back
                contentions[writer].won(lost[writer], there + back)
                lost[writer] = 0
                wait, following = 0.0, "begin"
            else:
                lost[writer] += 1
                self.most_lost = max(self.most_lost, lost[writer])
                wait, following = back + there, "read"
            heapq.heappush(events, (self._now + wait, writer, following))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "losses"), [(2, 40), (4, 40), (16, 90)])
def test_nobody_loses_for_ever_however_many_write(
    count: int, losses: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = _Writers([0.05] * count, seed, monkeypatch)
    writers.run(4000)
    assert writers.most_lost <= losses
    assert min(writers.won) > 4000 / count * 0.75
    assert max(writers.won) < 4000 / count * 1.25


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("distance", [2, 4, 8])
def test_a_writer_far_from_the_store_gets_its_turn_beside_near_ones(
    seed: int, distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = _Writers([0.01, 0.01 * distance], seed, monkeypatch)
    writers.run(4000)
    assert writers.most_lost <= 150
    assert writers.won[1] >= 4
