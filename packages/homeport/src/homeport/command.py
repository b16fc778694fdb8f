"""Running the machine's own programs, and keeping blocking work off the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from homeport.errors import CommandError

P = ParamSpec("P")
T = TypeVar("T")

_TIMEOUT = 60.0  # seconds

_threads = ThreadPoolExecutor(32, "homeport")  # some wait for one another: one image is pulled at a time


def run(*arguments: str | Path, text: str | None = None, timeout: float = _TIMEOUT) -> str:
    """Run a program to its end and return its standard output; `text` is its standard input, `timeout` the
    seconds that it may take.

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
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(f"{name} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{name} did not end within {timeout:.0f} s: {_shown(arguments)}") from None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or "it said nothing"
        raise CommandError(f"{_shown(arguments)}: exit code {done.returncode}: {said[-2000:]}")
    return done.stdout


def apart(function: Callable[[], T]) -> T:
    """Do it in a thread of its own, which takes what it has become with it: in another namespace (setns(2)),
    or with a working directory that no other thread has (unshare(2)). A program that it runs has that too.
    """
    results: list[T] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            results.append(function())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


async def off_loop(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread. When cancelled, first let the work end: what it made is then there to
    undo.

    The threads are others than those of `asyncio.to_thread`, which instances may keep as busy as they like
    by what they ask of the object store.
    """
    work = partial(copy_context().run, function, *args, **kwargs)
    task = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(_threads, work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _shown(arguments: tuple[str | Path, ...]) -> str:
    return " ".join(str(argument) for argument in arguments)
