"""Who may pass a request to an instance: the edge, or the activator with those that it holds.

An instance has room for as many requests as its limit says, and each place is either the activator's or the
edge's; so both together never exceed it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress

from homeport.edge import Edge
from homeport.errors import HomeportError, UnavailableError
from homeport.machine import Running

_POLL = 0.02  # seconds between questions whether the edge has left a place


class Admission:
    """The places of one service's instances in rotation, `members`."""

    def __init__(self, edge: Edge, service: str, members: Mapping[str, Running]) -> None:
        self._edge = edge
        self._service = service
        self._members = members
        self._waiting: deque[asyncio.Future[Running]] = deque()
        self._grants: set[asyncio.Task[None]] = set()

    async def take(self) -> Running | None:
        """A place for the activator, if there is any; the edge gives one back if it has them all."""
        living = [running for running in self._members.values() if running.process.alive]
        running = max(living, key=lambda one: (_free(one), one.granted), default=None)
        if running is None or (_free(running) < 1 and running.granted < 1):
            return None
        running.held += 1
        if _free(running) >= 0:
            return running
        try:
            await self.grant(running)
            name = running.instance.id
            while await self._edge.in_flight(name) > running.granted:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(_POLL)
        except BaseException as error:
            self.release(running)
            if isinstance(error, HomeportError):
                raise UnavailableError(str(error)) from error
            raise
        return running

    async def wait(self) -> Running:
        """A place as soon as there is one. Raises UnavailableError when there will be none."""
        place: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.release(place.result())
            raise

    def release(self, running: Running) -> None:
        """Give a place back: to who waits, else to the edge."""
        running.held -= 1
        self.admit()
        if running.instance.id in self._members:
            task = asyncio.create_task(self._grant_quietly(running))
            self._grants.add(task)
            task.add_done_callback(self._grants.discard)

    def admit(self) -> None:
        """Let in those that wait, the first first, as far as there are places that the edge has not."""
        while self._waiting:
            running = max(self._members.values(), key=_free, default=None)
            if running is None or _free(running) < 1:
                return
            place = self._waiting.popleft()
            if not place.done():
                running.held += 1
                place.set_result(running)

    def refuse(self, reason: str) -> None:
        """There is none for those that wait."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(UnavailableError(reason))

    async def grant(self, running: Running) -> None:
        """Let the edge have the places that the activator leaves."""
        room = 0 if running.resting else max(running.limit - running.held, 0)
        if room != running.granted:
            running.granted = room
            await self._edge.limit(self._service, running.instance.id, room)

    async def grant_all(self, members: Iterable[Running]) -> None:
        for running in members:
            await self._grant_quietly(running)

    async def _grant_quietly(self, running: Running) -> None:
        with suppress(HomeportError):  # an edge that is down is told when it comes back
            await self.grant(running)


def _free(running: Running) -> int:
    return running.limit - running.held - running.granted
