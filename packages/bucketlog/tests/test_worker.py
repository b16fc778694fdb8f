"""A worker: whatever is asked for is done after it was asked for, once for all who asked meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bucketlog.worker import Worker

_SECONDS = 60.0


class _Job:
    """Work that can be held up, and that counts how often it is done and by which threads."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.threads: list[threading.Thread] = []
        self.error: BaseException | None = None

    def __call__(self) -> None:
        self.threads.append(threading.current_thread())
        self.began.release()
        assert self.go_on.wait(_SECONDS)
        if self.error:
            error, self.error = self.error, None
            raise error


@pytest.fixture
def job() -> _Job:
    """Some work."""
    return _Job()


def test_without_work_there_is_no_thread(job: _Job) -> None:
    worker = Worker(job, "tests")
    worker.close()
    worker.close()
    assert job.threads == []


def test_close_does_what_is_pending_and_ends_the_thread(job: _Job) -> None:
    worker = Worker(job, "tests")
    worker.wake()
    worker.close()
    assert [thread.name for thread in job.threads] == ["tests"]
    assert not job.threads[0].is_alive()


def test_many_calls_during_one_piece_of_work_are_one_more(job: _Job) -> None:
    worker = Worker(job, "tests")
    job.go_on.clear()
    worker.wake()
    assert job.began.acquire(timeout=_SECONDS)
    for _ in range(100):
        worker.wake()
    job.go_on.set()
    worker.close()
    assert len(job.threads) == 2
    assert len(set(job.threads)) == 1


def test_work_follows_every_call_whoever_makes_it() -> None:
    asked = 0
    seen: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        seen.append(asked)

    worker = Worker(work, "tests")

    def ask(_: int) -> None:
        nonlocal asked
        with lock:
            asked += 1
        worker.wake()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(500)))
    worker.close()
    assert seen[-1] == 500


def test_work_may_ask_for_more_work() -> None:
    left = [5]
    done = threading.Event()

    def work() -> None:
        left[0] -= 1
        if left[0]:
            worker.wake()
        else:
            done.set()

    worker = Worker(work, "tests")
    worker.wake()
    assert done.wait(_SECONDS)
    worker.close()
    assert left == [0]


def test_work_may_close_the_worker() -> None:
    done = threading.Event()

    def work() -> None:
        worker.close()
        done.set()

    worker = Worker(work, "tests")
    worker.wake()
    assert done.wait(_SECONDS)


def test_a_call_after_the_end_is_still_answered(job: _Job) -> None:
    worker = Worker(job, "tests")
    worker.wake()
    worker.close()
    worker.wake()
    worker.close()
    assert len(job.threads) == 2


@pytest.fixture
def escaped(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """The kinds of exceptions that ended threads."""
    kinds: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: kinds.append(args.exc_type))
    return kinds


def test_after_work_that_raised_the_next_call_is_answered(
    job: _Job, escaped: list[type[BaseException]]
) -> None:
    worker = Worker(job, "tests")
    job.error = SystemExit()
    job.go_on.clear()
    worker.wake()
    assert job.began.acquire(timeout=_SECONDS)
    worker.wake()  # before it raises
    job.go_on.set()
    assert job.began.acquire(timeout=_SECONDS)
    worker.wake()  # after it has
    worker.close()
    for thread in job.threads:
        thread.join(_SECONDS)
    assert escaped == [SystemExit]
    assert len(job.threads) in {2, 3}
    assert not any(thread.is_alive() for thread in job.threads)
