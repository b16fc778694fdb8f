"""How fresh a read is: looks at the log's tail, shared and bounded."""

import asyncio
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from bucketlog import StoreError
from company_site import database
from company_site.database import STALENESS, Data


@dataclass(eq=False)
class Log:
    """Stands for a connection; its `sync` can be held up or made to fail."""

    t: int = 0
    known: int = 0
    looks: int = 0
    failure: Exception | None = None
    open: threading.Event = field(default_factory=threading.Event)
    looking: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def db(self) -> "Value":
        return Value(self.known)

    def sync(self) -> "Value":
        self.looks += 1
        seen = self.t
        self.looking.set()
        assert self.open.wait(600)
        if self.failure:
            raise self.failure
        self.known = max(self.known, seen)
        return self.db()


@dataclass(frozen=True)
class Value:
    basis_t: int


def data_of(log: Log) -> Data:
    connection: Any = log
    return Data(connection)


def test_the_newest_value_has_what_was_committed_before_the_call():
    log = Log()

    async def read() -> None:
        data = data_of(log)
        for t in range(1, 4):
            log.t = t
            assert (await data.newest()).basis_t == t

    asyncio.run(read())


def test_a_look_that_is_under_way_is_not_new_enough_and_the_next_one_is_shared():
    log = Log()

    async def read() -> None:
        data = data_of(log)
        log.open.clear()
        first = asyncio.create_task(data.newest())
        await asyncio.to_thread(log.looking.wait, 60)
        log.t = 7  # committed by somebody after the first look has passed
        later = [asyncio.create_task(data.newest()) for _ in range(50)]
        await asyncio.sleep(0.01)
        log.open.set()
        assert (await first).basis_t == 0
        assert {(await one).basis_t for one in later} == {7}
        assert log.looks == 2

    asyncio.run(read())


@dataclass
class Clock:
    """Stands for the module `time`: it moves by our hand alone."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(database, "time", made)
    return made


def test_visitors_share_one_look_in_a_while(clock, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 600)
    log = Log()

    async def read() -> None:
        data = data_of(log)
        await data.recent()
        log.t = 1
        for _ in range(100):
            assert (await data.recent()).basis_t == 0
        assert log.looks == 1
        clock.now += STALENESS
        # The next ones still get what is known, at once, and one look for all of them begins.
        values = await asyncio.gather(*(data.recent() for _ in range(20)))
        assert {value.basis_t for value in values} == {0}
        assert (await data.newest()).basis_t == 1
        assert log.looks in (2, 3)

    asyncio.run(read())


def test_without_the_store_visitors_get_the_last_value_and_users_an_error():
    log = Log(t=3, known=3, failure=StoreError("the bucket is away"))

    async def read() -> None:
        data = data_of(log)
        assert (await data.recent()).basis_t == 3
        with pytest.raises(StoreError):
            await data.newest()
        log.failure = None
        assert (await data.newest()).basis_t == 3

    asyncio.run(read())


def test_a_store_that_hangs_holds_up_visitors_for_a_moment_only(clock, monkeypatch):
    log = Log(known=2)

    async def read() -> None:
        data = data_of(log)
        log.open.clear()
        monkeypatch.setattr(database, "PATIENCE", 0.1)
        began = time.monotonic()
        values = await asyncio.gather(*(data.recent() for _ in range(10)))
        assert time.monotonic() - began >= 0.1
        assert {value.basis_t for value in values} == {2}
        # Whoever comes when the time of that look is over does not wait at all.
        monkeypatch.setattr(database, "PATIENCE", 600)
        clock.now += 600
        async with asyncio.timeout(60):
            for _ in range(10):
                assert (await data.recent()).basis_t == 2
        assert log.looks == 1
        log.open.set()

    asyncio.run(read())


def test_each_new_value_is_prepared_before_it_is_given_and_a_failure_of_that_fails_nobody():
    log = Log()
    prepared = []

    def prepare(value: Any) -> None:
        prepared.append(value.basis_t)
        if value.basis_t == 2:
            raise StoreError("the bucket is away")

    async def read() -> None:
        connection: Any = log
        data = Data(connection, prepare)
        for t in range(1, 4):
            log.t = t
            assert (await data.newest()).basis_t == t
        assert prepared == [1, 2, 3]

    asyncio.run(read())


def test_what_is_derived_is_computed_once_a_value():
    data = data_of(Log())
    computed = []

    def compute(value: Any) -> int:
        computed.append(value.basis_t)
        return value.basis_t * 10

    values: list[Any] = [Value(1), Value(1), Value(2), Value(2)]
    assert [data.derive(value, compute) for value in values] == [10, 10, 20, 20]
    assert computed == [1, 2]
