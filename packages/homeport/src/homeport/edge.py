"""The edge: an HAProxy of homeport's own that carries the traffic, and what it serves.

Its configuration file is always written from what should be, so that a start, a reload and a restart after a
crash give the same; instances come and go by the runtime API without a reload, services come and go by a
reload that hands the listening sockets over and lets the old worker finish its requests.

No instance gets more requests at a time than its limit; what is more waits in the service's queue. While no
instance of a service takes requests, its one server is homeport's activator, on a socket of its own, which
holds them; switching between the two takes the queue along.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from homeport.authority import Authority
from homeport.command import off_loop
from homeport.configuration import (
    ACTIVATOR,
    Binding,
    Load,
    Names,
    Route,
    Server,
    certificate_list,
    configuration,
    maps,
)
from homeport.disk import write
from homeport.errors import EdgeError
from homeport.haproxy import HAProxy
from homeport.hosts import is_local
from homeport.layout import Layout

__all__ = ["Binding", "Edge", "Load", "Names", "Route", "Server"]

_POLL = 0.01
_PING = 2.0  # seconds between the supervisor's questions
_BACKENDS = "show stat -1 2 -1"  # management guide, 9.3: every proxy's line that is a backend's
_NONE = Load()


class Edge:
    """HAProxy, from `start` to `stop`; when homeport is killed in between, it runs on for the next one."""

    def __init__(self, layout: Layout, authority: Authority, binding: Binding) -> None:
        self._layout = layout
        self._authority = authority
        self._binding = binding
        self._haproxy = HAProxy(layout, binding)
        self._routes: dict[str, Route] = {}
        self._names = Names()
        # Requests, by worker and service; None where those of the past have still to be told from new ones.
        self._counted: dict[tuple[int, str], int] | None = {}
        self._loads: dict[str, Load] = {}
        self._lock = asyncio.Lock()  # one change at a time, file and process together

    async def start(self, routes: dict[str, Route], names: Names) -> None:
        """Serve `routes` and `names`; a HAProxy that an earlier process left is taken over without a gap."""
        async with self._lock:
            self._routes = routes
            self._names = names
            runs = self._haproxy.take_over()
            try:
                await off_loop(self._write)
            except OSError:
                if not runs:
                    raise
                # A full disk: what runs goes on by the files that it has.
            if runs:
                self._counted = None
                with suppress(EdgeError):
                    await self._haproxy.reload()
                    return
                await self._haproxy.kill()
            await self._haproxy.launch()

    async def stop(self) -> None:
        async with self._lock:
            await self._haproxy.kill()

    async def supervise(self) -> None:
        """Start HAProxy again whenever it dies or falls silent. Ends only by cancellation."""
        while True:
            async with self._lock:
                if not await self._haproxy.well():
                    await self._haproxy.kill()
                    with suppress(EdgeError, OSError):  # the next round tries again
                        await off_loop(self._write)
                        await self._haproxy.launch()
            self._haproxy.reap()
            await self._haproxy.wait(_PING)

    async def renew(self) -> None:
        """Replace the certificates that are near their end."""
        async with self._lock:
            if await off_loop(self._write):
                await self._haproxy.reload()

    async def rename(self, names: Names) -> None:
        """Answer for these names instead of those before; what their certificates are is read anew."""
        async with self._changed():
            self._names = names
            await off_loop(self._write)
            await self._haproxy.reload()

    async def follow(self, names: Names) -> None:
        """As `rename`, but where these are the names already nothing happens."""
        if names != self._names:
            await self.rename(names)

    async def add(self, service: str, host: str, name: str, server: Server) -> None:
        """Send the service's requests to one more instance."""
        async with self._changed():
            known = service in self._routes
            route = self._routes.setdefault(service, Route(host))
            waiting = not route.open
            route.servers[name] = server
            await off_loop(self._write)
            if not known:
                await self._haproxy.reload()
                return
            answer = await self._haproxy.tell(
                f"add server {service}/{name} {server.address}:{server.port} maxconn {server.limit}"
            )
            if "registered" not in answer:
                raise EdgeError(f"HAProxy refuses the server {service}/{name}: {answer}")
            if server.limit:
                await self._open(service, name, server.limit, waiting=waiting)

    async def limit(self, service: str, name: str, limit: int) -> None:
        """Change how many requests an instance takes at a time. Those that it has beyond that go on."""
        async with self._changed():
            route = self._routes.get(service)
            if route is None or name not in route.servers:
                return
            old, waiting = route.servers[name], not route.open
            route.servers[name] = replace(old, limit=limit)
            if limit and old.limit:
                await self._haproxy.tell(f"set maxconn server {service}/{name} {limit}")
            elif limit:
                await self._open(service, name, limit, waiting=waiting)
            elif old.limit:
                await self._shut(service, name)

    async def drain(self, service: str, name: str) -> None:
        """Send no new request to an instance; those under way go on."""
        async with self._changed():
            if self._forget(service, name):
                await off_loop(self._write)
            await self._shut(service, name)

    async def loads(self) -> dict[str, Load]:
        """What each service has to do, by all workers' word; requests are those since the start."""
        in_flight: Counter[str] = Counter()
        counted: dict[tuple[int, str], int] = {}
        for worker, answer in (await self.statistics()).items():
            for service, now, total in sessions(answer):
                in_flight[service] += now
                counted[worker, service] = total
        known = counted if self._counted is None else self._counted
        more: Counter[str] = Counter()
        for (worker, service), total in counted.items():
            more[service] += total - known.get((worker, service), 0)
        self._counted = counted
        before = self._loads
        self._loads = {
            service: Load(in_flight[service], before.get(service, _NONE).requests + new)
            for service, new in more.items()
        }
        return self._loads

    async def statistics(self) -> dict[int, str]:
        """What each worker answers to `show stat` of the backends, by its process id."""
        answers: dict[int, str] = {}
        async with self._lock:
            for worker in await self._haproxy.lately():
                with suppress(EdgeError):
                    answer = await self._haproxy.ask(worker, _BACKENDS)
                    if answer.startswith("#"):  # else it has ended, and the master says so
                        answers[worker] = answer
        return answers

    async def in_flight(self, name: str) -> int:
        """Requests that an instance is answering now."""
        async with self._lock:
            answers = [
                await self._haproxy.ask(worker, "show servers conn")
                for worker in await self._haproxy.workers()
            ]
        return sum(_in_use(answer, name) or 0 for answer in answers)

    async def busy(self, server: str, *, closing: bool = False) -> bool:
        """Whether a drained instance has requests under way.

        Or may get more: a worker from before a reload sends it what comes on the idle connections that it
        still holds, for as long as the keep-alive lasts. With `closing`, when it may end, those do not count.
        """
        async with self._lock:
            for index, worker in enumerate(await self._haproxy.workers()):
                with suppress(EdgeError):  # an old worker may end between the two questions: it then has none
                    used = _in_use(await self._haproxy.ask(worker, "show servers conn"), server)
                    if used or (used is not None and index > 0 and not closing):
                        return True
        return False

    async def remove(self, service: str, server: str) -> None:
        """Forget a drained instance."""
        async with self._changed():
            if self._forget(service, server):
                await off_loop(self._write)
            name = f"{service}/{server}"
            await self._haproxy.tell(f"set server {name} state maint")
            for _ in range(100):
                answer = await self._haproxy.tell(f"del server {name}")
                # It may be unknown: a reload in between has left it out already.
                if "still has" not in answer:
                    return
                await asyncio.sleep(_POLL)

    async def unroute(self, service: str) -> None:
        """Answer for a service no more. Requests under way are finished."""
        async with self._changed():
            if self._routes.pop(service, None) is not None:
                await off_loop(self._write)
                await self._haproxy.reload()

    @asynccontextmanager
    async def _changed(self) -> AsyncIterator[None]:
        """A change that finds HAProxy dead starts it again, from what should be: that is the change done."""
        async with self._lock:
            try:
                yield
            except EdgeError:
                if await self._haproxy.well():
                    raise
                await self._haproxy.kill()
                await off_loop(self._write)
                await self._haproxy.launch()

    async def _open(self, service: str, name: str, limit: int, *, waiting: bool) -> None:
        """An instance takes requests, also those that wait; with `waiting` the activator has them.

        By way of `drain`: a server that is ready at once grabs the queue without regard to the requests
        that it is given at the same moment, and has twice its limit. Setting its limit makes it look at the
        queue with regard to them.
        """
        for state in ("drain", "ready"):
            await self._haproxy.tell(f"set server {service}/{name} state {state}")
        await self._haproxy.tell(f"set maxconn server {service}/{name} {limit}")
        if waiting:
            await self._haproxy.tell(f"set server {service}/{ACTIVATOR} state maint")

    async def _shut(self, service: str, name: str) -> None:
        """An instance takes no new requests; where it was the last one, the activator does."""
        route = self._routes.get(service)
        if route is not None and not route.open:
            await self._haproxy.tell(f"set server {service}/{ACTIVATOR} state ready")
        await self._haproxy.tell(f"set server {service}/{name} state maint")

    def _forget(self, service: str, server: str) -> bool:
        route = self._routes.get(service)
        return route is not None and route.servers.pop(server, None) is not None

    def _write(self) -> bool:
        """Bring the files in line with the routes; True when a certificate is new."""
        directory = self._layout.edge / "services"
        directory.mkdir(mode=0o700, exist_ok=True)
        new = self._authority.ensure_leaf(self._layout.edge / "default.pem", ["localhost"])
        for service, route in self._routes.items():
            if is_local(route.host):  # of other names `Names` has the certificates
                new |= self._authority.ensure_leaf(directory / f"{service}.pem", [route.host, "localhost"])
        for path in directory.iterdir():
            if path.stem not in self._routes:
                path.unlink()
        # A name may have gone since we were told, and its certificate with it.
        there = [path for path in self._names.certificates if path.exists()]
        names = replace(self._names, certificates=there)
        for name, text in maps(self._routes, names).items():
            write(self._layout.edge / f"{name}.map", text.encode(), mode=0o600, lasting=False)
        certificates = certificate_list(self._layout, self._routes, names)
        write(self._layout.edge / "certificates.list", certificates.encode(), mode=0o600, lasting=False)
        file = configuration(self._layout, self._binding, self._routes, names)
        write(self._haproxy.file, file.encode(), mode=0o600, lasting=False)
        return new


def _in_use(answer: str, server: str) -> int | None:
    """`used_cur` of `show servers conn`, whose first line names the columns; None for an unknown server."""
    lines = [line.lstrip("# ").split() for line in answer.splitlines() if line.strip()]
    if not lines or "used_cur" not in lines[0]:
        return None
    column = lines[0].index("used_cur")
    return next((int(row[column]) for row in lines[1:] if row[0].endswith(f"/{server}")), None)


def sessions(answer: str) -> Iterator[tuple[str, int, int]]:
    """Of `show stat`, each backend's name, its sessions now, the queue's too, and all so far."""
    for line in answer.splitlines():
        if line and not line.startswith("#"):
            row = line.split(",", 8)
            if len(row) == 9:  # a worker may end within its answer
                yield row[0], int(row[4]), int(row[7])
