"""Running the machine's own programs, and keeping blocking work off the event loop."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from homeport.errors import CommandError

P = ParamSpec("P")
T = TypeVar("T")

_TIMEOUT = 60.0  # seconds


def run(*arguments: str | Path, text: str | None = None, directory: Path | None = None) -> str:
    """Run a program to its end and return its standard output; `text` is its standard input.

    Raises CommandError with what it said on standard error.
    """
    name = Path(arguments[0]).name
    try:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=directory,
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(f"{name} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{name} did not end within {_TIMEOUT:.0f} s: {_shown(arguments)}") from None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
        raise CommandError(f"{_shown(arguments)}: exit code {done.returncode}: {said[-2000:]}")
    return done.stdout


async def off_loop(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread. When cancelled, first let the work end: what it made is then there to
    undo.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _shown(arguments: tuple[str | Path, ...]) -> str:
    return " ".join(str(argument) for argument in arguments)
