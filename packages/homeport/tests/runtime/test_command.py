"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

from homeport.command import off_loop

_ASKING: ContextVar[str] = ContextVar("asking")


def test_what_keeps_other_threads_busy_does_not_hold_up_our_own_work() -> None:
    """As many reads of the object store at a time as an instance likes."""

    async def work() -> str:
        _ASKING.set("us")
        free = threading.Event()
        busy = [asyncio.create_task(asyncio.to_thread(free.wait)) for _ in range(64)]
        ours = asyncio.create_task(off_loop(_ASKING.get))
        done, _ = await asyncio.wait([ours], timeout=30)
        free.set()
        await asyncio.gather(*busy)
        return await ours if done else "it had to wait"

    assert asyncio.run(work()) == "us"
