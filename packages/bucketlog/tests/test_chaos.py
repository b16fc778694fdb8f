"""Many processes that write at once, die and meet faults: what was acknowledged is there, once, in order."""

from __future__ import annotations

from pathlib import Path

from bench.chaos import FAULTS
from bench.chaos.storm import Storm, weather


def _storm(url: str, folder: Path, transactions: int) -> Storm:
    return weather(url, folder, processes=16, transactions=transactions, pause=0.25, rates=FAULTS, seed=1)


def _is_as_it_should_be(storm: Storm) -> bool:
    assert storm.findings() == []
    return storm.kills > 3 and {"lost_request", "lost_answer", "late"} < set(storm.faults)


def test_processes_that_are_killed_lose_and_double_nothing_in_a_directory(tmp_path: Path) -> None:
    storm = _storm(f"file://{tmp_path}/store", tmp_path, 600)
    assert _is_as_it_should_be(storm)
    assert len(storm.log) >= 600


def test_processes_that_are_killed_lose_and_double_nothing_on_s3(tmp_path: Path, s3_location: str) -> None:
    storm = _storm(s3_location, tmp_path, 300)
    assert _is_as_it_should_be(storm)
    assert len(storm.log) >= 300
