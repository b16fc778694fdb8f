"""Threads that commit at the same time: one leads for all, and the lead is never lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, StoreError
from bucketlog.image import Image

_NAMES = "[:find [?n ...] :where [_ :user/name ?n]]"


class _SlowStore:
    """A store whose writes take a while, as those of a bucket do."""

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self.seconds = 0.0
        self.began = threading.Event()
        self.puts = 0

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        if path.startswith("log/"):
            self.puts += 1
            self.began.set()
            time.sleep(self.seconds)
        return self._inner.put(path, file, mode=mode or "overwrite")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def store() -> _SlowStore:
    return _SlowStore()


@pytest.fixture
def conn(store: _SlowStore, schema: str) -> Iterator[Connection]:
    with bucketlog.connect(store) as conn:
        conn.transact(schema)
        yield conn


def _run(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_wait_share_the_next_object(conn: Connection, store: _SlowStore) -> None:
    store.seconds, store.puts = 0.02, 0
    _run(32, lambda number: [conn.transact([{":user/name": f"{number}-{n}"}]) for n in range(5)] and None)
    assert len(conn.db().q(_NAMES)) == 160
    assert store.puts < 40


def test_the_lead_goes_on_while_the_worker_commits_too(conn: Connection, store: _SlowStore) -> None:
    store.seconds = 0.001

    def work(number: int) -> None:
        for n in range(20):
            if (number + n) % 2:
                conn.transact([{":user/name": f"{number}-{n}"}])
            else:
                conn.transact_async([{":user/name": f"{number}-{n}"}])

    _run(8, work)
    conn.transact_async([]).result(timeout=30)
    assert len(conn.db().q(_NAMES)) == 160


def test_a_leader_that_fails_leaves_the_others_their_answers(conn: Connection, store: _SlowStore) -> None:
    """A transaction function that ends its thread, of the thread that leads."""
    store.seconds = 0.2
    store.began.clear()

    def end(_: Any) -> Any:
        raise KeyboardInterrupt

    answers: dict[str, Any] = {}

    def commit(name: str, data: Any) -> None:
        try:
            answers[name] = conn.transact(data).t
        except KeyboardInterrupt:
            answers[name] = "interrupted"
        except bucketlog.StoreError as error:
            answers[name] = error

    first = threading.Thread(target=commit, args=("first", [{":user/name": "first"}]))
    first.start()
    assert store.began.wait(10)
    others = [
        threading.Thread(target=commit, args=("end", [end])),
        threading.Thread(target=commit, args=("late", [{":user/name": "late"}])),
    ]
    for thread in others:
        thread.start()
    for thread in [first, *others]:
        thread.join(timeout=30)
    assert len(answers) == 3
    assert conn.transact([{":user/name": "after"}]).t > 0
    assert {"first", "after"} <= set(conn.db().q(_NAMES))


class _AlarmError(Exception):
    pass


def test_a_thread_that_gives_up_waiting_does_not_keep_the_lead(conn: Connection, store: _SlowStore) -> None:
    """Python's signal handlers raise in the main thread, which waits here for another's commit."""
    store.seconds = 0.5
    store.began.clear()
    leader = threading.Thread(target=lambda: conn.transact([{":user/name": "leader"}]))
    leader.start()
    assert store.began.wait(10)

    def raise_alarm(*_: Any) -> None:
        raise _AlarmError

    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(_AlarmError):
            conn.transact([{":user/name": "given up"}])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    leader.join(timeout=30)
    store.seconds = 0.0
    conn.transact([{":user/name": "next"}])
    assert sorted(conn.db().q(_NAMES)) == ["given up", "leader", "next"]


def test_what_fails_halfway_into_the_image_leaves_nothing_there(
    conn: Connection, store: _SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when pages that are needed cannot be fetched: the group fails, and the log and the image agree."""
    conn.transact([{":user/name": "before"}])
    apply = Image.apply
    failures = [True]

    def failing(image: Image, *arguments: Any) -> bool:
        result = apply(image, *arguments)
        if failures:
            failures.pop()
            raise StoreError("the network is away")
        return result

    monkeypatch.setattr(Image, "apply", failing)
    with pytest.raises(StoreError, match="the network is away"):
        conn.transact([{":user/name": "lost", ":user/age": 1}])
    conn.transact([{":user/name": "after"}])
    with bucketlog.connect(store) as other:
        for db in (conn.db(), other.db()):
            assert sorted(db.q(_NAMES)) == ["after", "before"]
            assert db.q("[:find ?a :where [_ :user/age ?a]]") == []
