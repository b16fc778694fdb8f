"""What a homeport does by itself from time to time: images expire by their repositories' policies, what the
registry holds for nobody goes, and a backup is brought up to date.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from ocikit.registry import RegistryApp

__all__ = ["keep_backup", "look_after", "tidy"]

_log: Final = logging.getLogger("homeport")
_EVERY: Final = timedelta(hours=6)
_GRACE: Final = timedelta(days=1)  # for pushes that take their time; releases are named by their manifests


async def look_after(
    data: Path, registry: RegistryApp, expire: Callable[[], Awaitable[int]], backup: str | None
) -> None:
    """All of it, until cancelled; a backup only where its place is named."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tidy(registry, expire))
        if backup is not None:
            tasks.create_task(keep_backup(data, backup))


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


async def keep_backup(data: Path, target: str, *, every: timedelta = timedelta(days=1)) -> None:
    """Back `data` up to `target` and verify it, at once and then again and again, until cancelled.

    A process of its own does it, so that what reads and compares much holds nothing up. A failure is told,
    and tried again.
    """
    while True:
        command = (sys.executable, "-m", "homeport", "backup", target, "--verify", "--data", str(data))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        if process.returncode == 0:
            _log.info("backed up to %s: %s", target, last)
        else:
            _log.error("not backed up to %s: %s", target, last)
        await asyncio.sleep(every.total_seconds())
