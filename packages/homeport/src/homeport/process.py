"""A process that homeport watches though it may be nobody's child of ours: known by a pidfd, never by number
alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import select
import signal
from contextlib import suppress

_PR_SET_CHILD_SUBREAPER = 36
_FILES = 65_536


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind (prctl(2)): containers then tell us their exit
    code.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def open_many_files() -> None:
    """Let this process have 65,536 files open, or as many as the machine lets it: systemd begins with 1,024,
    which instances' connections to the object store may soon take.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Process:
    """Raises ProcessLookupError when there is no such process. `close` gives its descriptor back."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        self._status: int | None = None

    @property
    def alive(self) -> bool:
        look = select.poll()  # which takes any descriptor, as select(2) does not
        look.register(self._descriptor, select.POLLIN)
        return not look.poll(0)

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs, or when it was not our child to ask."""
        if self._status is None and not self.alive:
            with suppress(ChildProcessError):
                _, status = os.waitpid(self.pid, os.WNOHANG)
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self, seconds: float | None = None) -> bool:
        """True when it has ended, False when `seconds` passed first. Reaps it where it is our child."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # A descriptor of its own for each waiter: a loop knows one reader for each.
        descriptor = os.dup(self._descriptor)
        loop.add_reader(descriptor, ended.set)
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        _ = self.exit_code
        return True

    async def stop(self, grace: float) -> bool:
        """SIGTERM, then SIGKILL after `grace` seconds; False when it took the latter."""
        self.send(signal.SIGTERM)
        if await self.wait(grace):
            return True
        self.send(signal.SIGKILL)
        await self.wait()
        return False

    def close(self) -> None:
        os.close(self._descriptor)
