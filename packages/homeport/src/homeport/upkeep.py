"""What a homeport does by itself from time to time: images expire by their repositories' policies, and what
the registry holds for nobody goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from ocikit.registry import RegistryApp

__all__ = ["tidy"]

_log: Final = logging.getLogger("homeport")
_EVERY: Final = timedelta(hours=6)
_GRACE: Final = timedelta(days=1)  # for pushes that take their time; releases are named by their manifests


async def tidy(
    registry: RegistryApp,
    expire: Callable[[], Awaitable[int]],
    *,
    every: timedelta = _EVERY,
    grace: timedelta = _GRACE,
) -> None:
    """Let images expire and collect the registry's garbage again and again, until cancelled.

    A failure is told, and tried again.
    """
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            await expire()
            found = await registry.collect_garbage(grace)
        except Exception:  # noqa: BLE001 -- told, and tried again later
            _log.exception("the registry was not tidied")
            continue
        if found.blobs:
            _log.info(
                "%d blobs of the registry that nothing named are gone: %d bytes", found.blobs, found.bytes
            )
