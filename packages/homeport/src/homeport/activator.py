"""The server of a service that has none: it holds each request until an instance has room for it.

The edge connects here while no instance takes requests. Not a byte is looked at: a connection waits unread,
is joined to an instance's, and carries the request as the edge has written it. As soon as an instance is in
rotation nothing comes here any more.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from homeport.errors import UnavailableError
from homeport.listeners import Listeners

_USER = "nobody"  # whom HAProxy runs as
_BACKLOG = 1024
_PIECE = 64 << 10  # bytes passed on at a time
_CONNECT = 15.0  # seconds; time for the kernel to try three times

_UNAVAILABLE = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 5\r\n"
    "Connection: close\r\nContent-Length: {length}\r\n\r\n{text}"
)


class Place(Protocol):
    """Where a request has been let in."""

    @property
    def address(self) -> tuple[str, int]: ...


P = TypeVar("P", bound=Place)


class Supply(Protocol[P]):
    """Who has instances, or starts them."""

    async def acquire(self) -> P:
        """Room for one request, given back by `release`. Raises UnavailableError."""
        ...

    def release(self, place: P, /) -> None: ...


class Activator:
    """Listens on a socket from `open` to `close`; requests under way are finished beyond that."""

    def __init__(self, path: Path, supply: Supply[Any], listeners: Listeners) -> None:
        self._path = path
        self._supply = supply
        self._listeners = listeners
        self._server: asyncio.Server | None = None
        self._passing = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def open(self) -> None:
        listener = self._listeners.unix(self._path)
        self._path.chmod(0o600)
        shutil.chown(self._path, _USER)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, backlog=_BACKLOG, limit=_PIECE
        )

    def close(self) -> None:
        self._refrain()
        self._listeners.close(self._path)

    async def hand_over(self, seconds: float) -> None:
        """Accept no more, though the socket listens on, until all that were accepted are answered."""
        self._refrain()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._quiet.wait()

    def _refrain(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._passing += 1
        self._quiet.clear()
        try:
            await self._answer(reader, writer)
        finally:
            self._passing -= 1
            if not self._passing:
                self._quiet.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            place = await self._supply.acquire()
        except UnavailableError as error:
            await _refuse(reader, writer, str(error))
            return
        try:
            await _join(reader, writer, place.address)
        finally:
            self._supply.release(place)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: tuple[str, int]) -> None:
    """Both ways until the instance has said everything. An instance that cannot be reached is a 503."""
    try:
        async with asyncio.timeout(_CONNECT):
            theirs, ours = await asyncio.open_connection(*address, limit=_PIECE)
    except (OSError, TimeoutError):
        await _refuse(reader, writer, "The instance does not answer.")
        return
    sending = asyncio.create_task(_pass(reader, ours))
    try:
        await _pass(theirs, writer)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        ours.close()
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # either side may hang up
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> None:
    with suppress(OSError):
        await reader.read(_PIECE)
        writer.write(_UNAVAILABLE.format(length=len(text) + 1, text=text + "\n").encode())
        await writer.drain()
    writer.close()
