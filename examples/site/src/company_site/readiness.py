"""Whether the site could serve and write now: do its buckets answer?"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping

from company_site.database import Data
from company_site.uploads.store import ImageStore

TIMEOUT = 5.0  # seconds that a bucket has to answer
AGE = 1.0  # seconds that an answer is good for, so that it costs little to be asked often
_log = logging.getLogger(__name__)


class Readiness:
    """Asks the buckets; those who ask at the same moment share an answer."""

    def __init__(self, data: Data, images: ImageStore) -> None:
        self._data = data
        self._images = images
        self._running: asyncio.Task[Mapping[str, str]] | None = None
        self._asked = float("-inf")

    async def checks(self) -> Mapping[str, str]:
        """By the name of the part `ok`, or `unavailable`."""
        if self._running is None or (self._running.done() and time.monotonic() - self._asked > AGE):
            self._asked = time.monotonic()
            self._running = asyncio.create_task(self._check())
        return await asyncio.shield(self._running)

    async def _check(self) -> Mapping[str, str]:
        states = await asyncio.gather(
            _state("database", self._data.newest()), _state("uploads", self._images.check())
        )
        return dict(zip(("database", "uploads"), states, strict=True))


async def _state(part: str, check: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(check, TIMEOUT)
    except Exception as error:  # noqa: BLE001 - whatever a store raises, it is not ready
        _log.warning("not ready", exc_info=error, extra={"fields": {"part": part}})
        return "unavailable"
    return "ok"
