"""Threads that commit at the same time: one leads for all, and the lead is never lost."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, StoreError
from bucketlog.image import Image

_NAMES = "[:find [?n ...] :where [_ :user/name ?n]]"


_SECONDS = 60.0


class _SlowStore:
    """A store whose writes take a while, as those of a bucket do: until what `meanwhile` does is done."""

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self.meanwhile: Callable[[], object] = lambda: None
        self.began = threading.Event()
        self.puts = 0

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        if path.startswith("log/"):
            self.puts += 1
            self.began.set()
            self.meanwhile()
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
        thread.join(_SECONDS)
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_wait_share_the_next_object(
    conn: Connection, store: _SlowStore, queued: Callable[[Connection, int], None]
) -> None:
    for turn in range(5):
        store.puts = 0
        store.began.clear()
        store.meanwhile = lambda: queued(conn, 31) if store.puts == 1 else None
        first = threading.Thread(target=conn.transact, args=([{":user/name": f"first-{turn}"}],))
        first.start()
        assert store.began.wait(_SECONDS)
        _run(31, lambda number, turn=turn: conn.transact([{":user/name": f"{number}-{turn}"}]))
        first.join(_SECONDS)
        assert store.puts == 2
    assert len(conn.db().q(_NAMES)) == 160


def test_the_lead_goes_on_while_the_worker_commits_too(conn: Connection, store: _SlowStore) -> None:
    store.meanwhile = lambda: time.sleep(0.001)

    def work(number: int) -> None:
        for n in range(20):
            if (number + n) % 2:
                conn.transact([{":user/name": f"{number}-{n}"}])
            else:
                conn.transact_async([{":user/name": f"{number}-{n}"}])

    _run(8, work)
    conn.transact_async([]).result(_SECONDS)
    assert len(conn.db().q(_NAMES)) == 160


def test_a_leader_that_fails_leaves_the_others_their_answers(
    conn: Connection, store: _SlowStore, queued: Callable[[Connection, int], None]
) -> None:
    """A transaction function that ends its thread, of the thread that leads."""
    store.began.clear()
    store.meanwhile = lambda: queued(conn, 2)

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
    assert store.began.wait(_SECONDS)
    others = [
        threading.Thread(target=commit, args=("end", [end])),
        threading.Thread(target=commit, args=("late", [{":user/name": "late"}])),
    ]
    for thread in others:
        thread.start()
    for thread in [first, *others]:
        thread.join(_SECONDS)
    assert answers == {"first": 2, "end": "interrupted", "late": "interrupted"}
    store.meanwhile = lambda: None
    assert conn.transact([{":user/name": "after"}]).t == 3
    assert sorted(conn.db().q(_NAMES)) == ["after", "first"]


class _AlarmError(Exception):
    pass


@pytest.fixture
def alarm() -> Iterator[None]:
    """SIGALRM raises in the main thread."""

    def raise_alarm(*_: Any) -> None:
        raise _AlarmError

    before = signal.signal(signal.SIGALRM, raise_alarm)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
def test_a_thread_that_gives_up_waiting_does_not_keep_the_lead(
    conn: Connection, store: _SlowStore, queued: Callable[[Connection, int], None]
) -> None:
    """Python's signal handlers raise in the main thread, which waits here for another's commit."""
    given_up = threading.Event()

    def interrupt() -> None:
        queued(conn, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        assert given_up.wait(_SECONDS)

    store.began.clear()
    store.meanwhile = interrupt
    leader = threading.Thread(target=lambda: conn.transact([{":user/name": "leader"}]))
    leader.start()
    assert store.began.wait(_SECONDS)
    with pytest.raises(_AlarmError):
        conn.transact([{":user/name": "given up"}])
    store.meanwhile = lambda: None
    given_up.set()
    leader.join(_SECONDS)
    conn.transact([{":user/name": "next"}])
    assert sorted(conn.db().q(_NAMES)) == ["given up", "leader", "next"]


def test_a_thread_whose_transaction_is_committed_while_the_lead_is_handed_to_it_hands_it_on(
    conn: Connection, store: _SlowStore, queued: Callable[[Connection, int], None]
) -> None:
    """The worker commits it between the look at what waits and the word to the thread that is to lead."""

    class Waiting(deque[Any]):
        def __iter__(self) -> Iterator[Any]:
            seen = list(super().__iter__())
            if threading.current_thread() is leader and seen:
                conn.transact_async([{":user/name": "worker"}]).result(_SECONDS)
                heir.join(0.2)  # which is the end of it if it does not wait for the word
            return iter(seen)

    def meanwhile() -> None:
        store.meanwhile = lambda: None
        queued(conn, 1)
        while conn._committer._waiting[0].woken is None:
            time.sleep(0.001)
        conn._committer._waiting = Waiting(conn._committer._waiting)

    leader, heir = (
        threading.Thread(target=conn.transact, args=([{":user/name": name}],)) for name in ("leader", "heir")
    )
    store.began.clear()
    store.meanwhile = meanwhile
    leader.start()
    assert store.began.wait(_SECONDS)
    heir.start()
    for thread in (leader, heir):
        thread.join(_SECONDS)
    after = threading.Thread(target=conn.transact, args=([{":user/name": "after"}],))
    after.start()
    after.join(_SECONDS)
    assert sorted(conn.db().q(_NAMES)) == ["after", "heir", "leader", "worker"]


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
