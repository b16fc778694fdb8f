"""How often wrong keys are tried before the console does not listen any more, and to whom."""

from __future__ import annotations

import pytest
from packages.homeport.tests.api.conftest import Clock

from homeport.console.visits import TooManyTriesError, Visits

KEY = ("root", "right")


@pytest.fixture
def visits(clock: Clock) -> Visits:
    return Visits(lambda *key: key == KEY, clock)


def guess(visits: Visits, address: str, times: int = 10) -> None:
    for _ in range(times):
        assert visits.begin("root", "wrong", address) is None


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_who_guesses_waits_a_minute_and_nobody_else_does(
    visits: Visits, clock: Clock, address: str, same: str
) -> None:
    guess(visits, address)
    with pytest.raises(TooManyTriesError):
        visits.begin(*KEY, same)
    for other in ("192.0.2.2", "2001:db8:0:1::1"):
        assert visits.begin(*KEY, other) is not None
    clock.now += 60
    assert visits.begin(*KEY, same) is not None


def test_guesses_from_everywhere_together_close_it_and_what_is_kept_of_them_is_bounded(
    visits: Visits, clock: Clock
) -> None:
    for number in range(100):
        guess(visits, f"198.51.100.{number}")
    for _ in range(20):
        with pytest.raises(TooManyTriesError):
            visits.begin(*KEY, "192.0.2.1")
    assert len(visits._wrong) == 1000
    clock.now += 60
    assert visits.begin(*KEY, "192.0.2.1") is not None
