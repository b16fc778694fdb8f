"""Work that goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from homeport.endless import kept_up


def test_what_fails_is_told_and_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[int] = []

    async def look() -> None:
        turns.append(len(turns))
        if len(turns) < 3:
            raise IndexError("a worker that has ended")

    with caplog.at_level(logging.ERROR, "homeport"):
        asyncio.run(kept_up(look, pause=0))
    assert turns == [0, 1, 2]
    assert caplog.text.count("look failed; it begins anew") == 2
    assert "a worker that has ended" in caplog.text


def test_it_is_cancelled_as_any_other() -> None:
    async def main() -> None:
        task = asyncio.create_task(kept_up(asyncio.Event().wait, pause=0))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
