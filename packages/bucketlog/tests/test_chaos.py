"""Many processes that write at once, die and meet faults: what was acknowledged is there, once, in order."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from bench.chaos import FAULTS
from bench.chaos.faults import Rates
from bench.chaos.proxy import FaultProxy
from bench.chaos.storm import Storm, weather

# Of each there is one at the least, however few writes meet others and are repeated.
_FAULTS = replace(FAULTS, lost_request=0.05, lost_answer=0.05, late=0.05)


def _storm(url: str, folder: Path, transactions: int) -> Storm:
    apart = transactions // 20
    return weather(url, folder, processes=16, transactions=transactions, apart=apart, rates=_FAULTS, seed=1)


def _is_as_it_should_be(storm: Storm) -> bool:
    assert storm.findings() == []
    return storm.kills > 12 and {"lost_request", "lost_answer", "late"} < set(storm.faults)


def test_processes_that_are_killed_lose_and_double_nothing_in_a_directory(tmp_path: Path) -> None:
    storm = _storm(f"file://{tmp_path}/store", tmp_path, 600)
    assert _is_as_it_should_be(storm)
    assert len(storm.log) >= 600


def test_processes_that_are_killed_lose_and_double_nothing_on_s3(tmp_path: Path, s3_location: str) -> None:
    storm = _storm(s3_location, tmp_path, 200)
    assert _is_as_it_should_be(storm)
    assert len(storm.log) >= 200


def test_what_fails_on_the_wire_is_settled_through_the_clients_own_retries(
    tmp_path: Path, s3_location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = Rates.of_all(0.04, reads=0.3, delay=0.3)
    with FaultProxy(os.environ["AWS_ENDPOINT_URL"], rates, 1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        storm = weather(s3_location, tmp_path, processes=4, transactions=150, apart=30, rates=Rates(), seed=1)
    assert storm.findings() == []
    assert storm.kills
    assert sum(proxy.injected.values()) > 20


def test_a_process_that_ends_by_itself_ends_the_storm(tmp_path: Path) -> None:
    (tmp_path / "faults").mkdir()  # where they would note theirs
    with pytest.raises(RuntimeError, match="IsADirectoryError"):
        _storm(f"file://{tmp_path}/store", tmp_path, 600)
