"""What nobody needs leaves the registry by itself, and what a release is made of stays."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from obstore.store import MemoryStore

from homeport.upkeep import tidy
from ocikit.registry import Collected, create_app

SOON = timedelta(milliseconds=5)


async def nothing_expires() -> int:
    return 0


def run_until(enough: Callable[[], bool], registry, expire=nothing_expires) -> None:
    async def main() -> None:
        task = asyncio.create_task(tidy(registry, expire, every=SOON, grace=timedelta(0)))
        async with asyncio.timeout(60):
            while not enough():  # noqa: ASYNC110 -- what the registry has been asked for
                await asyncio.sleep(0.005)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_the_registry_is_tidied_again_and_again():
    registry = create_app(MemoryStore(), authorize=lambda *_: None)
    calls = []
    collect = registry.collect_garbage

    async def counted(grace):
        calls.append(grace)
        return await collect(grace)

    registry.collect_garbage = counted
    run_until(lambda: len(calls) > 2, registry)
    assert set(calls) == {timedelta(0)}


def test_a_failure_is_told_and_tried_again(caplog):
    registry = create_app(MemoryStore(), authorize=lambda *_: None)
    calls = []

    async def failing(grace):
        calls.append(grace)
        raise OSError("no space left")

    registry.collect_garbage = failing
    with caplog.at_level(logging.ERROR, "homeport"):
        run_until(lambda: len(calls) > 1, registry)
    assert "no space left" in caplog.text


def test_what_expires_goes_first_and_its_failure_is_told(caplog):
    registry = create_app(MemoryStore(), authorize=lambda *_: None)
    calls = []

    async def expire():
        calls.append("expire")
        if len(calls) == 1:
            raise OSError("no space left")
        return 1

    async def collected(_grace):
        calls.append("collect")
        return Collected(0, 0, 0)

    registry.collect_garbage = collected
    with caplog.at_level(logging.ERROR, "homeport"):
        run_until(lambda: len(calls) >= 5, registry, expire)
    assert calls[:5] == ["expire", "expire", "collect", "expire", "collect"]
    assert "no space left" in caplog.text
