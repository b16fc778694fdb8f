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

    def __init__(self, path: Path, supply: Supply[Any]) -> None:
        self._path = path
        self._supply = supply
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            self._serve, self._path, backlog=_BACKLOG, limit=_PIECE, start_serving=False
        )
        self._path.chmod(0o600)
        shutil.chown(self._path, _USER)
        await server.start_serving()
        self._server = server

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
