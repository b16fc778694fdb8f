"""What nobody needs leaves the registry by itself, and what a release is made of stays."""

import asyncio
import logging
from datetime import timedelta

from obstore.store import MemoryStore

from homeport.upkeep import tidy
from ocikit.registry import create_app

SOON = timedelta(milliseconds=5)


def run_for_a_while(registry, seconds: float = 0.2) -> None:
    async def main() -> None:
        task = asyncio.create_task(tidy(registry, every=SOON, grace=timedelta(0)))
        await asyncio.sleep(seconds)
        assert not task.done()
        task.cancel()

    asyncio.run(main())


def test_the_registry_is_tidied_again_and_again():
    registry = create_app(MemoryStore(), authorize=lambda *_: None)
    calls = []
    collect = registry.collect_garbage

    async def counted(grace):
        calls.append(grace)
        return await collect(grace)

    registry.collect_garbage = counted
    run_for_a_while(registry)
    assert len(calls) > 2
    assert set(calls) == {timedelta(0)}


def test_a_failure_is_told_and_tried_again(caplog):
    registry = create_app(MemoryStore(), authorize=lambda *_: None)
    calls = []

    async def failing(grace):
        calls.append(grace)
        raise OSError("no space left")

    registry.collect_garbage = failing
    with caplog.at_level(logging.ERROR, "homeport"):
        run_for_a_while(registry)
    assert len(calls) > 1
    assert "no space left" in caplog.text
