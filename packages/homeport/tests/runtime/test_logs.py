"""Logs: lines with times, nothing lost or doubled over a crash, bounded on disk."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.logs import Cursor, Log, Tail


def messages(log: Log) -> list[str]:
    return [line.message for line in log.read(0, 10_000)]


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@settings(max_examples=50, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=40), max_size=12),
    crashes=st.sets(st.integers(0, 11)),
    cut=st.booleans(),
)
def test_every_line_arrives_once_however_it_is_written_and_whenever_the_reader_crashes(
    chunks: list[bytes], crashes: set[int], cut: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, path = Path(directory) / "output", Path(directory) / "application.log"
        source.touch()
        log = Log(path)
        tail = Tail(source, log, "i1")
        for index, chunk in enumerate(chunks):
            write(source, chunk)
            tail.pump()
            if index in crashes:
                if cut and path.exists():
                    write(path, b"17000")  # a record that was being written
                log = Log(path)
                tail = Tail(source, log, "i1")
        tail.finish()
        whole = b"".join(chunks)
        expected = whole.split(b"\n")
        if whole.endswith(b"\n") or not whole:
            expected.pop()
        assert messages(log) == [line.rstrip(b"\r").decode(errors="replace") for line in expected]


def test_a_log_has_two_segments_at_most_and_keeps_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeport.logs._SEGMENT", 1000)
    log = Log(tmp_path / "a.log")
    for number in range(200):
        log.write("i1", [(f"line {number}", 0)])
    found = messages(log)
    assert found[-1] == "line 199"
    assert 20 < len(found) < 100
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000


def test_reading_starts_at_a_time_and_keeps_the_newest_of_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "a.log")
    for second in range(10):
        monkeypatch.setattr(time, "time", lambda second=second: 1000.0 + second)
        log.write("i1", [(f"{second}", 0)])
    assert [line.message for line in log.read(1_004_000, 100)] == ["4", "5", "6", "7", "8", "9"]
    assert [line.message for line in log.read(0, 3)] == ["7", "8", "9"]
    assert log.read(0, 3)[0].timestamp == 1_007_000


def test_times_never_go_back_even_when_the_clock_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "a.log")
    monkeypatch.setattr(time, "time", lambda: 2000.0)
    log.write("i1", [("before", 0)])
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    Log(tmp_path / "a.log").write("i1", [("after", 0)])
    assert [line.timestamp for line in log.read(0, 10)] == [2_000_000, 2_000_000]


def test_what_has_been_read_takes_no_room_and_the_writer_goes_on_undisturbed(tmp_path: Path) -> None:
    source = tmp_path / "output"
    log = Log(tmp_path / "a.log")
    tail = Tail(source, log, "i1")
    with source.open("ab", buffering=0) as writer:
        for number in range(1000):
            writer.write(b"%d %s\n" % (number, b"x" * 1000))
            if number % 100 == 99:
                tail.pump()
        tail.finish()
    assert [int(message.split()[0]) for message in messages(log)] == list(range(1000))
    assert source.stat().st_size > 1_000_000
    assert source.stat().st_blocks * 512 < 100_000


def test_an_instance_that_cuts_its_own_output_is_read_from_the_start_again(tmp_path: Path) -> None:
    source = tmp_path / "output"
    log = Log(tmp_path / "a.log")
    tail = Tail(source, log, "i1")
    write(source, b"a long first line\n")
    tail.pump()
    os.truncate(source, 0)
    write(source, b"second\n")
    tail.pump()
    assert messages(log) == ["a long first line", "second"]


def test_of_a_flood_only_the_newest_is_taken_over_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeport.logs._BACKLOG", 100)
    source = tmp_path / "output"
    log = Log(tmp_path / "a.log")
    write(source, b"x" * 1000 + b"\n" + b"y" * 49 + b"\n")
    Tail(source, log, "i1").finish()
    assert messages(log) == ["[951 bytes of output skipped]", "x" * 49, "y" * 49]


def test_of_lines_that_are_almost_nothing_only_so_many_are_taken_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mebibyte of line ends would take a second, in which nothing else is looked after."""
    monkeypatch.setattr("homeport.logs._LINES", 10)
    monkeypatch.setattr("homeport.logs._LAST", 25)
    source, log = tmp_path / "output", Log(tmp_path / "application.log")
    tail = Tail(source, log, "i1")
    write(source, b"".join(b"%03d\n" % number for number in range(100)))
    tail.pump()
    tail.pump()
    assert messages(log) == [f"{number:03}" for number in range(20)]
    tail.finish()
    left = [f"{number:03}" for number in range(76, 100)]
    assert messages(log)[20:] == ["[224 bytes of output skipped]", *left]
    Tail(source, log, "i1").finish()
    assert messages(log)[-1] == "099"


def test_an_endless_line_is_broken(tmp_path: Path) -> None:
    source = tmp_path / "output"
    log = Log(tmp_path / "a.log")
    write(source, b"x" * 200_000)
    Tail(source, log, "i1").finish()
    assert [len(message) for message in messages(log)] == [65536, 65536, 65536, 3392]


def test_the_last_lines_are_those_of_the_stream_that_is_asked_for(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.log")
    for number in range(5):
        log.write("old", [(f"old {number}", 0)])
        log.write("new", [(f"new {number}", 0)])
    assert log.tail("new", 2) == ["new 3", "new 4"]


@pytest.mark.parametrize("segment", [400, 1 << 20])
def test_whoever_follows_a_log_sees_each_line_once_whatever_is_put_aside_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment: int
) -> None:
    monkeypatch.setattr("homeport.logs._SEGMENT", segment)
    log = Log(tmp_path / "application.log")
    assert log.follow(None)[0] == []
    log.write("i1", [(f"before {number}", 0) for number in range(3)])
    lines, cursor = log.follow(None)
    assert [line.message for line in lines] == ["before 0", "before 1", "before 2"]
    seen: list[str] = []
    for number in range(60):
        log.write("i1", [(f"line {number}", 0)])
        if number % 4 == 3:
            lines, cursor = log.follow(Cursor.parse(str(cursor)))
            seen += [line.message for line in lines]
    assert seen == [f"line {number}" for number in range(60)]
    assert log.follow(cursor)[0] == []


def test_the_end_of_a_long_log_is_read_and_no_more_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeport.logs._GLANCE", 300)
    log = Log(tmp_path / "application.log")
    log.write("i1", [(f"line {number}", 0) for number in range(100)])
    lines, cursor = log.follow(None)
    assert 5 < len(lines) < 20
    assert [line.message for line in lines] == [f"line {number}" for number in range(100 - len(lines), 100)]
    assert [line.message for line in log.follow(None, most=2)[0]] == ["line 98", "line 99"]
    log.write("i1", [("more", 0)])
    assert [line.message for line in log.follow(cursor)[0]] == ["more"]


@pytest.mark.parametrize("text", ["", "1", "-1", "1-", "a-1", "1-²", "1--1"])
def test_what_is_no_place_in_a_log_is_none(text: str) -> None:
    assert Cursor.parse(text) is None
