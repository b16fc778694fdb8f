"""What a homeport does by itself from time to time: it removes what the registry holds for nobody."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Final

from ocikit.registry import RegistryApp

__all__ = ["tidy"]

_log: Final = logging.getLogger("homeport")
_EVERY: Final = timedelta(hours=6)
_GRACE: Final = timedelta(days=1)  # for pushes that take their time; releases are named by their manifests


async def tidy(registry: RegistryApp, *, every: timedelta = _EVERY, grace: timedelta = _GRACE) -> None:
    """Collect the registry's garbage again and again, until cancelled; a failure is told, and tried again."""
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            found = await registry.collect_garbage(grace)
        except Exception:  # noqa: BLE001 -- told, and tried again later
            _log.exception("the registry's garbage was not collected")
            continue
        if found.blobs:
            _log.info(
                "%d blobs of the registry that nothing named are gone: %d bytes", found.blobs, found.bytes
            )
