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
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()

    def close(self) -> None:
        """Do what is pending, and end the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._pending or self._closed)
                if not self._pending:
                    return
                self._pending = False
            self._work()
