"""How many instances there should be, decided from readings of the load alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.edge import Load
from homeport.model import Scaling
from homeport.scaling import Scaler, bounded, needed

GLANCE = 0.2  # seconds between readings

scalings = st.builds(
    lambda limit, low, more, to_zero, idle: Scaling(limit, low, low + more, to_zero, idle),
    st.integers(1, 200),
    st.integers(1, 25),
    st.integers(0, 24),
    st.booleans(),
    st.floats(0.5, 60),
)
readings = st.lists(st.tuples(st.integers(0, 3000), st.booleans()), min_size=1, max_size=60)


def sizes(scaling: Scaling, loads: list[tuple[int, bool]]) -> list[int]:
    """The decision after each reading: requests in flight, and whether there were shorter ones before."""
    scaler = Scaler()
    decided: list[int] = []
    requests = 0
    for index, (in_flight, more) in enumerate(loads):
        requests += more
        size = decided[-1] if decided else scaling.min_size
        scaler.observe(index * GLANCE, Load(in_flight, requests), size, scaling)
        decided.append(scaler.size(index * GLANCE, scaling))
    return decided


@given(scalings, readings)
def test_the_size_is_within_the_bounds_and_zero_only_where_asked_for(
    scaling: Scaling, loads: list[tuple[int, bool]]
) -> None:
    allowed = {*range(scaling.min_size, scaling.max_size + 1), *([0] if scaling.to_zero else [])}
    assert set(sizes(scaling, loads)) <= allowed


@given(scalings, readings)
def test_nothing_that_was_needed_within_the_window_is_taken_away(
    scaling: Scaling, loads: list[tuple[int, bool]]
) -> None:
    decided = sizes(scaling, loads)
    window = int(scaling.idle_after / GLANCE)
    for index, size in enumerate(decided):
        if index and size < decided[index - 1]:
            since = range(index - window + 1, index + 1)
            kept = (min(bounded(needed(loads[at][0], scaling), scaling), decided[at - 1]) for at in since)
            assert index >= window
            assert max(kept) <= size


@given(scalings, readings)
def test_a_service_is_not_at_zero_while_or_soon_after_somebody_asks(
    scaling: Scaling, loads: list[tuple[int, bool]]
) -> None:
    for index, size in enumerate(sizes(scaling, loads)):
        if size == 0:
            window = loads[max(index - int(scaling.idle_after / GLANCE) + 1, 0) : index + 1]
            assert not any(in_flight or more for in_flight, more in window)


@given(scalings, st.integers(0, 3000), st.integers(0, 3000))
def test_a_step_of_the_load_is_met_within_a_second(scaling: Scaling, before: int, after: int) -> None:
    loads = [(before, before > 0)] * 10 + [(after, True)] * 5
    size = sizes(scaling, loads)[-1]
    assert size * scaling.max_concurrency >= min(after, scaling.max_size * scaling.max_concurrency)


@pytest.mark.parametrize(
    ("in_flight", "limit", "count"),
    [(0, 100, 0), (1, 100, 1), (70, 100, 1), (71, 100, 2), (700, 100, 10), (1, 1, 1), (5, 1, 5), (3, 2, 2)],
)
def test_an_instance_is_filled_to_seventy_per_cent_before_there_is_another(
    in_flight: int, limit: int, count: int
) -> None:
    assert needed(in_flight, Scaling(max_concurrency=limit)) == count


@given(scalings, readings)
def test_a_service_is_idle_when_nothing_was_needed_within_the_window(
    scaling: Scaling, loads: list[tuple[int, bool]]
) -> None:
    scaler = Scaler()
    requests = 0
    window = int(scaling.idle_after / GLANCE)
    for index, (in_flight, more) in enumerate(loads):
        requests += more
        scaler.observe(index * GLANCE, Load(in_flight, requests), scaling.min_size, scaling)
        if scaler.idle(index * GLANCE, scaling):
            assert not any(busy or more for busy, more in loads[max(index - window + 1, 0) : index + 1])


def test_a_service_at_zero_that_nobody_asks_stays_there_when_it_is_first_looked_at() -> None:
    assert sizes(Scaling(to_zero=True), [(0, False)] * 3) == [0, 0, 0]


def test_a_load_that_goes_takes_its_instances_with_it_after_the_window() -> None:
    scaling = Scaling(max_concurrency=10, max_size=5, idle_after=2.0)
    decided = sizes(scaling, [(35, True)] * 5 + [(0, False)] * 15)
    assert decided[4] == 5
    assert decided[5 : 5 + 8] == [5] * 8
    assert decided[-1] == 1
