"""Asking an instance whether it is well, by App Runner's rules: over TCP or HTTP, with thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from homeport.errors import HomeportError
from homeport.model import HealthCheck

_EAGER = 0.05  # seconds between checks while an instance starts, at most
_FIRST = 0.005  # seconds between the first two
_LINE = 4096


class UnhealthyError(HomeportError):
    """The check's answer was no; the message says how it failed."""


async def check(address: str, port: int, health: HealthCheck, host: str) -> None:
    """One check: a connection for TCP, for HTTP a GET of the path answered 2xx or 3xx. Raises UnhealthyError.

    `host` is sent as the Host header, so that frameworks that check it see the service's own name.
    """
    try:
        async with asyncio.timeout(health.timeout):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                if health.protocol == "HTTP":
                    await _get(reader, writer, health.path, host)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise UnhealthyError(f"no answer within {health.timeout} s") from None
    except ConnectionRefusedError:
        raise UnhealthyError(f"nothing listens on port {port}, for others than 127.0.0.1") from None
    except OSError as error:
        raise UnhealthyError(f"the connection failed: {error.strerror or error}") from None


async def until_healthy(address: str, port: int, health: HealthCheck, host: str) -> None:
    """Wait until an instance that starts has passed the check `healthy_threshold` times in a row.

    It is asked every 50 ms, at first more often, so that a quick start is a quick deployment; it has as long
    as App Runner gives it, interval x unhealthy threshold, and then UnhealthyError says how the last check
    failed.
    """
    budget = health.interval * health.unhealthy_threshold
    deadline = asyncio.get_running_loop().time() + budget
    passed = 0
    pause = _FIRST
    while True:
        try:
            await check(address, port, health, host)
            passed += 1
        except UnhealthyError as error:
            passed = 0
            if asyncio.get_running_loop().time() >= deadline:
                raise UnhealthyError(f"not healthy within {budget} s: {error}") from None
        if passed >= health.healthy_threshold:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 2, _EAGER)


async def until_well(address: str, port: int, health: HealthCheck, host: str) -> None:
    """Wait until an instance that was ill has passed the check `healthy_threshold` times in a row."""
    passed = 0
    while passed < health.healthy_threshold:
        await asyncio.sleep(health.interval)
        try:
            await check(address, port, health, host)
            passed += 1
        except UnhealthyError:
            passed = 0


async def until_unhealthy(
    address: str, port: int, health: HealthCheck, host: str, resting: Callable[[], bool] = lambda: False
) -> str:
    """Watch an instance; returns how the last check failed when `unhealthy_threshold` in a row have.

    While it is `resting` it cannot answer, and need not.
    """
    failed = 0
    while True:
        await asyncio.sleep(health.interval)
        if resting():
            failed = 0
            continue
        try:
            await check(address, port, health, host)
            failed = 0
        except UnhealthyError as error:
            if resting():
                continue
            failed += 1
            if failed >= health.unhealthy_threshold:
                return str(error)


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, host: str) -> None:
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: homeport\r\nConnection: close\r\n\r\n".encode()
    )
    await writer.drain()
    try:
        line = (await reader.readuntil(b"\r\n"))[:_LINE].decode("latin-1").strip()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise UnhealthyError("the answer was not HTTP") from None
    words = line.split(" ", 2)
    if not line.startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise UnhealthyError(f"the answer was not HTTP: {line[:80]!r}")
    if not 200 <= int(words[1]) < 400:
        raise UnhealthyError(f"GET {path} answered {words[1]}")
