"""Writers on a store that fails, as models: what they were told is what happened, in an order that exists."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.chaos.faults import FaultyStore, Rates
from bench.chaos.history import Operation
from bench.chaos.journal import Journal, read_journal
from bench.chaos.judge import judge, keys_of, relaxed
from bench.chaos.nursery import connect as open_connection
from bench.chaos.workload import SCHEMA, Client, log_of, read_all
from obstore.exceptions import AlreadyExistsError, GenericError
from obstore.store import MemoryStore

import bucketlog
from bucketlog.directory import DirectoryStore


def _history(
    folder: Path, inner: Any, rates: Rates, *, seed: int, writers: int = 4, operations: int = 30
) -> tuple[list[Operation], list[tuple[int, str]], Counter[str]]:
    """What writers did at once, each over a connection and faults of its own, what the log then holds, and
    how many faults there were.
    """
    with bucketlog.connect(inner) as conn:
        conn.transact(SCHEMA)
    stores = [FaultyStore(inner, rates, seed * 100 + n) for n in range(writers)]

    with ExitStack() as stack:
        conns = [stack.enter_context(open_connection(store)) for store in stores]

        def write(number: int) -> None:
            with Journal(folder / str(number)) as journal:
                client = Client(conns[number], journal, f"w{number}", number, seed * 100 + number)
                for _ in range(operations):
                    client.act()

        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(write, range(writers)))
    for store in stores:
        store.settle()
    history = [operation for n in range(writers) for operation in read_journal(folder / str(n))]
    with Journal(folder / "final") as journal, bucketlog.connect(inner) as conn:
        read_all(conn, keys_of(history), journal)
        log = log_of(conn)
    assert len(history) == writers * operations
    return [*history, *read_journal(folder / "final")], log, sum((s.injected for s in stores), Counter())


@pytest.mark.parametrize("seed", range(2))
def test_writers_on_a_sound_store_are_strictly_serializable(tmp_path: Path, seed: int) -> None:
    history, log, faults = _history(tmp_path, MemoryStore(), Rates(), seed=seed)
    assert judge(history, log) == []
    assert not faults
    assert {operation.outcome for operation in history} == {"ok"}


@pytest.mark.parametrize("seed", range(4))
def test_writers_on_a_store_with_every_fault_are_strictly_serializable(tmp_path: Path, seed: int) -> None:
    rates = replace(Rates.of_all(0.06, delay=0.03), late=0.25)  # which writes alone have, and they are few
    history, log, faults = _history(tmp_path, MemoryStore(), rates, seed=seed)
    assert judge(history, log) == []
    assert set(faults) == {"lost_request", "lost_answer", "late", "slow", "torn"}


@pytest.mark.parametrize("seed", range(2))
def test_when_most_requests_fail_nothing_is_lost_and_nothing_doubled(tmp_path: Path, seed: int) -> None:
    rates = Rates(lost_request=0.2, lost_answer=0.25, late=0.2, torn=0.1, delay=0.02)
    history, log, _ = _history(tmp_path, MemoryStore(), rates, seed=seed, writers=3, operations=10)
    assert judge(history, log) == []


def test_commits_that_nobody_was_told_of_are_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a second attempt, a fault leaves unknown what the reading back does not settle."""
    monkeypatch.setattr("bucketlog.store._ATTEMPTS", 1)
    rates = Rates(lost_request=0.1, lost_answer=0.3, late=0.1, torn=0.3, delay=0.02)
    history, log, _ = _history(tmp_path, MemoryStore(), rates, seed=1, writers=2, operations=150)
    assert judge(history, log) == []
    happened = {name for _, name in log}
    unknown = [operation for operation in history if operation.outcome == "unknown"]
    assert {operation.name in happened for operation in unknown} == {True, False}


@pytest.mark.parametrize("seed", range(3))
def test_stale_reads_make_reads_stale_and_nothing_else(tmp_path: Path, seed: int) -> None:
    """S3 has none, a cache before it may: whoever writes finds out, whoever reads is late by no more."""
    rates = replace(Rates.of_all(0.03, delay=0.03), stale=0.4, staleness=0.05)
    history, log, faults = _history(tmp_path, MemoryStore(), rates, seed=seed)
    assert judge(relaxed(history, rates.staleness), log) == []
    assert faults["stale"]


class _Lagging:
    """A store that does not find an object when it is first asked for it, although it lists it."""

    def __init__(self, inner: MemoryStore, path: str) -> None:
        self._inner = inner
        self._lacks = {path}

    def get(self, path: str) -> Any:
        if path in self._lacks:
            self._lacks.remove(path)
            raise FileNotFoundError(path)
        return self._inner.get(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("t", [1, 2, 3])
def test_an_entry_that_is_listed_and_not_found_yet_is_waited_for(t: int) -> None:
    inner = MemoryStore()
    with bucketlog.connect(inner) as conn:
        for number in range(3):
            conn.transact([{":db/doc": str(number)}])
    with bucketlog.connect(_Lagging(inner, f"log/{t:016d}")) as conn:
        assert conn.db().basis_t == 3


def test_a_directory_is_as_good(tmp_path: Path) -> None:
    history, log, _ = _history(
        tmp_path, DirectoryStore(tmp_path / "store"), Rates.of_all(0.04, delay=0.03), seed=1
    )
    assert judge(history, log) == []


class _Overwriting:
    """A store that lets who comes too late overwrite.

    It refuses the same bytes: else `connect`, which tries just that, would refuse the store.
    """

    def __init__(self) -> None:
        self._inner = MemoryStore()

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        try:
            return self._inner.put(path, file, mode=mode or "overwrite")
        except AlreadyExistsError:
            if bytes(self._inner.get(path).bytes()) == file:
                raise
        return self._inner.put(path, file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_store_that_overwrites_is_found_out(tmp_path: Path) -> None:
    """The checkers see what it does to a database: they are not content with everything."""
    store = _Overwriting()
    with bucketlog.connect(store) as first, Journal(tmp_path / "journal") as journal:
        first.transact(SCHEMA)
        with bucketlog.connect(store) as second:
            for number, conn in enumerate((first, second)):
                Client(conn, journal, f"w{number}", number, seed=0).act()
    history = list(read_journal(tmp_path / "journal"))
    with bucketlog.connect(store) as conn:
        log = log_of(conn)
    assert "lost" in {finding.kind for finding in judge(history, log)}


# The faults themselves


def _faulty(**rates: float) -> tuple[FaultyStore, MemoryStore]:
    inner = MemoryStore()
    return FaultyStore(inner, Rates(**rates), 0), inner


def _has(store: MemoryStore, path: str) -> bool:
    return path in [item["path"] for batch in store.list() for item in batch]


def test_a_lost_request_does_nothing_and_a_lost_answer_tells_nothing() -> None:
    for fault, happens in (("lost_request", False), ("lost_answer", True)):
        store, inner = _faulty(**{fault: 1.0})
        with pytest.raises(GenericError):
            store.put("a", b"1", mode="create")
        assert _has(inner, "a") == happens
        inner.put("b", b"1")
        with pytest.raises(GenericError):
            store.get("b")
        with pytest.raises(GenericError):
            list(store.list())
        with pytest.raises(GenericError):
            store.delete(["b"])
        assert _has(inner, "b") != happens


def test_a_late_write_arrives_when_it_has_been_given_up_and_obeys_its_condition() -> None:
    store, inner = _faulty(late=1.0, delay=0.05)
    for path in ("a", "b"):
        with pytest.raises(GenericError):
            store.put(path, b"late", mode="create")
    inner.put("b", b"other")
    store.settle()
    assert bytes(inner.get("a").bytes()) == b"late"
    assert bytes(inner.get("b").bytes()) == b"other"


def test_a_torn_object_has_its_size_and_no_bytes() -> None:
    store, inner = _faulty(torn=1.0)
    inner.put("a", b"12345")
    found = store.get("a")
    assert found.meta["size"] == 5
    with pytest.raises(GenericError, match="reset"):
        found.bytes()


def test_a_stale_read_is_of_a_moment_ago() -> None:
    store, inner = _faulty(stale=1.0, staleness=60.0)
    inner.put("a", b"1")
    with pytest.raises(FileNotFoundError):
        store.get("a")
    assert list(store.list()) == [[]]
    fresh, inner = _faulty(stale=1.0, staleness=0.0)
    inner.put("a", b"1")
    assert bytes(fresh.get("a").bytes()) == b"1"


def test_the_same_seed_has_the_same_faults() -> None:
    def outcomes(seed: int) -> list[str]:
        store = FaultyStore(MemoryStore(), Rates.of_all(0.1, delay=0.0), seed)
        told = []
        for number in range(100):
            try:
                store.put(str(number), b"1", mode="create")
                told.append("ok")
            except GenericError:
                told.append("failed")
        store.settle()
        return [*told, str(store.injected)]

    assert outcomes(1) == outcomes(1) != outcomes(2)
