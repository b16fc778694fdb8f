"""A thread that does a piece of work whenever there is some, and is started by the first."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Worker"]


class Worker:
    """Calls `work` after each `wake`, once for all of those that came during the call before."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._work = work
        self._name = name
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._pending = False
        self._closed = False

    def wake(self) -> None:
        """See to it that `work` is called after now."""
        with self._condition:
            self._pending = True
            if self._thread is None:
                self._start()
            self._condition.notify()

    def close(self) -> None:
        """Do what is pending, and end the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
            thread = self._thread
        while thread is not None and thread is not threading.current_thread():
            thread.join()
            thread = self._thread  # another one, if work raised

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._wait():
                self._work()
        finally:
            # Work that raised ends this thread; another does what has come meanwhile.
            with self._condition:
                self._thread = None
                if self._pending:
                    self._start()

    def _wait(self) -> bool:
        """Wait until there is something to do; whether there is, or the end has come."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or self._closed)
            was_pending, self._pending = self._pending, False
            return was_pending
