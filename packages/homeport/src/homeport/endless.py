"""Work that goes on for as long as homeport does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

__all__ = ["kept_up"]

_log: Final = logging.getLogger("homeport")
_PAUSE: Final = 1.0  # seconds


async def kept_up(work: Callable[[], Coroutine[Any, Any, None]], *, pause: float = _PAUSE) -> None:
    """Do `work`, and begin it anew where it fails, after `pause` seconds, until it ends or is cancelled.

    One look at the load that fails must not be the last one. Each failure is told.
    """
    while True:
        try:
            return await work()
        except Exception:  # noqa: BLE001 -- told, and tried again
            _log.exception("%s failed; it begins anew", getattr(work, "__qualname__", work))
        await asyncio.sleep(pause)
