"""The edge: an HAProxy of homeport's own that carries the traffic, and the words to steer it.

It is a process in its own session (master and worker) that outlives homeport. Its configuration file is
always written from what should be, so that a start, a reload and a restart after a crash give the same;
instances come and go by the runtime API without a reload, services come and go by a reload that hands the
listening sockets over and lets the old worker finish its requests. HAProxy 2.6 management guide, sections 9.3
(runtime API) and 9.4 (master CLI).

No instance gets more requests at a time than its limit; what is more waits in the service's queue. While no
instance of a service takes requests, its one server is homeport's activator, on a socket of its own, which
holds them; switching between the two takes the queue along.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from homeport.authority import Authority, write
from homeport.command import off_loop, run
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
from homeport.errors import CommandError, EdgeError
from homeport.hosts import is_local
from homeport.layout import Layout
from homeport.process import Process

__all__ = ["Binding", "Edge", "Load", "Names", "Route", "Server"]

_ANSWER = 5.0  # seconds that HAProxy may take to answer a command
_RELOAD = 30.0  # seconds until the new worker must be there
_STOP = 10.0  # seconds that HAProxy may take to end when it has nothing left to do
_RELEASE = 2.0  # seconds within which what has been ended lets go of its ports
_POLL = 0.01
_PING = 2.0  # seconds between the supervisor's questions
_SILENT = 3  # unanswered questions that make HAProxy dead
_BACKENDS = "show stat -1 2 -1"  # management guide, 9.3: every proxy's line that is a backend's
_LISTED = 1.0  # seconds for which the workers, who seldom change, need not be asked for again
_NONE = Load()


class Edge:
    """HAProxy, from `start` to `stop`; when homeport is killed in between, it runs on for the next one."""

    def __init__(self, layout: Layout, authority: Authority, binding: Binding) -> None:
        self._layout = layout
        self._authority = authority
        self._binding = binding
        self._master_socket = layout.run / "master.sock"
        self._routes: dict[str, Route] = {}
        self._names = Names()
        self._master: Process | None = None
        # Requests, by worker and service; None where those of the past have still to be told from new ones.
        self._counted: dict[tuple[int, str], int] | None = {}
        self._loads: dict[str, Load] = {}
        self._lately: list[int] = []  # the workers, as they were when they were last asked for
        self._listed = 0.0  # when that was
        self._changes = True  # whether there are others since, by our doing
        self._seen: set[int] = set()  # workers; a master that is killed leaves its worker to us to reap
        self._lock = asyncio.Lock()  # one change at a time, file and process together

    async def start(self, routes: dict[str, Route], names: Names) -> None:
        """Serve `routes` and `names`; a HAProxy that an earlier process left is taken over without a gap."""
        async with self._lock:
            self._routes = routes
            self._names = names
            self._master = self._running()
            try:
                await off_loop(self._write)
            except OSError:
                if self._master is None:
                    raise
                # A full disk: what runs goes on by the files that it has.
            if self._master is not None:
                self._counted = None
                with suppress(EdgeError):
                    await self._reload()
                    return
                await self._kill()
            await self._launch()

    async def stop(self) -> None:
        async with self._lock:
            await self._kill()

    async def supervise(self) -> None:
        """Start HAProxy again whenever it dies or falls silent. Ends only by cancellation."""
        while True:
            async with self._lock:
                if not await self._well():
                    await self._kill()
                    with suppress(EdgeError, OSError):  # the next round tries again
                        await off_loop(self._write)
                        await self._launch()
            self._reap()
            master = self._master
            if master is None:
                await asyncio.sleep(_PING)
            else:
                await master.wait(_PING)

    async def renew(self) -> None:
        """Replace the certificates that are near their end."""
        async with self._lock:
            if await off_loop(self._write):
                await self._reload()

    async def rename(self, names: Names) -> None:
        """Answer for these names instead of those before; what their certificates are is read anew."""
        async with self._changed():
            self._names = names
            await off_loop(self._write)
            await self._reload()

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
                await self._reload()
                return
            answer = await self._tell(
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
                await self._tell(f"set maxconn server {service}/{name} {limit}")
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
            now = asyncio.get_running_loop().time()
            if now - self._listed > _LISTED or self._changes:
                self._lately, self._listed, self._changes = await self._workers(), now, False
            for worker in self._lately:
                with suppress(EdgeError):
                    answer = await self._ask(f"@!{worker} {_BACKENDS}")
                    if answer.startswith("#"):  # else it has ended, and the master says so
                        answers[worker] = answer
        return answers

    async def in_flight(self, name: str) -> int:
        """Requests that an instance is answering now."""
        async with self._lock:
            answers = [await self._ask(f"@!{worker} show servers conn") for worker in await self._workers()]
        return sum(_in_use(answer, name) or 0 for answer in answers)

    async def busy(self, server: str, *, closing: bool = False) -> bool:
        """Whether a drained instance has requests under way.

        Or may get more: a worker from before a reload sends it what comes on the idle connections that it
        still holds, for as long as the keep-alive lasts. With `closing`, when it may end, those do not count.
        """
        async with self._lock:
            for index, worker in enumerate(await self._workers()):
                with suppress(EdgeError):  # an old worker may end between the two questions: it then has none
                    used = _in_use(await self._ask(f"@!{worker} show servers conn"), server)
                    if used or (used is not None and index > 0 and not closing):
                        return True
        return False

    async def remove(self, service: str, server: str) -> None:
        """Forget a drained instance."""
        async with self._changed():
            if self._forget(service, server):
                await off_loop(self._write)
            name = f"{service}/{server}"
            await self._tell(f"set server {name} state maint")
            for _ in range(100):
                answer = await self._tell(f"del server {name}")
                # It may be unknown: a reload in between has left it out already.
                if "still has" not in answer:
                    return
                await asyncio.sleep(_POLL)

    async def unroute(self, service: str) -> None:
        """Answer for a service no more. Requests under way are finished."""
        async with self._changed():
            if self._routes.pop(service, None) is not None:
                await off_loop(self._write)
                await self._reload()

    @asynccontextmanager
    async def _changed(self) -> AsyncIterator[None]:
        """A change that finds HAProxy dead starts it again, from what should be: that is the change done."""
        async with self._lock:
            try:
                yield
            except EdgeError:
                if await self._well():
                    raise
                await self._kill()
                await off_loop(self._write)
                await self._launch()

    async def _open(self, service: str, name: str, limit: int, *, waiting: bool) -> None:
        """An instance takes requests, also those that wait; with `waiting` the activator has them.

        By way of `drain`: a server that is ready at once grabs the queue without regard to the requests
        that it is given at the same moment, and has twice its limit. Setting its limit makes it look at the
        queue with regard to them.
        """
        for state in ("drain", "ready"):
            await self._tell(f"set server {service}/{name} state {state}")
        await self._tell(f"set maxconn server {service}/{name} {limit}")
        if waiting:
            await self._tell(f"set server {service}/{ACTIVATOR} state maint")

    async def _shut(self, service: str, name: str) -> None:
        """An instance takes no new requests; where it was the last one, the activator does."""
        route = self._routes.get(service)
        if route is not None and not route.open:
            await self._tell(f"set server {service}/{ACTIVATOR} state ready")
        await self._tell(f"set server {service}/{name} state maint")

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
        write(self._file, file.encode(), mode=0o600, lasting=False)
        return new

    @property
    def _file(self) -> Path:
        return self._layout.edge / "haproxy.cfg"

    @property
    def _pid_file(self) -> Path:
        return self._layout.run / "haproxy.pid"

    def _running(self) -> Process | None:
        """The HAProxy that an earlier process started, by the number in its file.

        A kill may have left the file empty: then it is looked for among all processes there are.
        """
        return self._noted() or next((one for pid in masters(self._file) if (one := self._at(pid))), None)

    def _noted(self) -> Process | None:
        with suppress(OSError, ValueError, IndexError):
            return self._at(int(self._pid_file.read_text().split()[0]))
        return None

    def _at(self, pid: int) -> Process | None:
        """The process of a number, if it is a HAProxy of ours."""
        with suppress(OSError):
            process = Process(pid)
            if process.alive and _serves(pid, self._file):
                return process
            process.close()
        return None

    async def _launch(self) -> None:
        self._changes = True
        self._layout.create()
        self._master_socket.unlink(missing_ok=True)
        self._pid_file.unlink(missing_ok=True)
        await self._wait_for_ports()
        try:
            await off_loop(
                run, "haproxy", "-W", "-D", "-S", f"{self._master_socket},mode,600",
                "-p", self._pid_file, "-f", self._file,
            )  # fmt: skip
        except CommandError as error:
            raise EdgeError(str(error)) from error
        try:
            async with asyncio.timeout(_RELOAD):
                while (master := self._noted()) is None or not await self._workers_or_none():
                    if master is not None:
                        master.close()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise EdgeError(f"HAProxy does not answer {_RELOAD:.0f} s after its start") from None
        self._master = master

    async def _wait_for_ports(self) -> None:
        """Raises EdgeError where somebody else listens. HAProxy would share the port with another one of the
        same user (SO_REUSEPORT), and each would get some of the other's requests.
        """
        deadline = asyncio.get_running_loop().time() + _RELEASE
        for port in (self._binding.http_port, self._binding.https_port):
            while _taken(self._binding.address, port):
                if asyncio.get_running_loop().time() > deadline:
                    where = f"{self._binding.address}:{port}"
                    raise EdgeError(f"{where} cannot be listened on: {os.strerror(errno.EADDRINUSE)}")
                await asyncio.sleep(_POLL)

    async def _reload(self) -> None:
        """Returns when no connection comes to the old worker any more.

        Raises EdgeError when the new configuration is refused; the old worker then goes on.
        """
        self._changes = True
        try:
            await off_loop(run, "haproxy", "-c", "-q", "-f", self._file)
        except CommandError as error:
            raise EdgeError(str(error)) from error
        before = await self._workers()
        with suppress(EdgeError):  # the master executes itself anew: the answer may never come
            await self._ask("reload")
        try:
            async with asyncio.timeout(_RELOAD):
                while not {*await self._workers_or_none()} - {*before}:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise EdgeError(f"HAProxy has no new worker {_RELOAD:.0f} s after a reload") from None
        with suppress(EdgeError, TimeoutError):  # one that has ended, or does nothing at all
            async with asyncio.timeout(_RELOAD):
                while before and await self._takes(before[0]):  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(_POLL)

    async def _takes(self, worker: int) -> bool:
        """Whether a worker still takes connections."""
        return "Stopping: 0" in await self._ask(f"@!{worker} show info")

    async def _kill(self) -> None:
        """End master and workers, at once: nothing may listen on when a new one starts."""
        master = self._master or self._running()  # a start that was interrupted has not noted it yet
        if master is not None:
            await master.stop(_STOP)
            master.close()
        self._master = None
        self._reap()

    def _reap(self) -> None:
        for pid in list(self._seen):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not Path(f"/proc/{pid}").exists():
                self._seen.discard(pid)

    async def _well(self) -> bool:
        if self._master is None or not self._master.alive:
            return False
        for _ in range(_SILENT):
            if await self._workers_or_none():
                return True
        return not self._master.alive

    async def _workers_or_none(self) -> list[int]:
        try:
            return await self._workers()
        except EdgeError:
            return []

    async def _workers(self) -> list[int]:
        """Process ids, the current worker's first."""
        pids = []
        for line in (await self._ask("show proc")).splitlines():
            words = line.split()
            if len(words) > 1 and words[0].isdigit() and words[1] == "worker":
                pids.append(int(words[0]))
        self._seen.update(pids)
        return pids

    async def _tell(self, command: str) -> str:
        """A command to the current worker; returns what it says. An old worker's routes cannot be changed."""
        workers = await self._workers()
        if not workers:
            raise EdgeError("HAProxy has no worker")
        return (await self._ask(f"@!{workers[0]} {command}")).strip()

    async def _ask(self, line: str) -> str:
        try:
            async with asyncio.timeout(_ANSWER):
                reader, writer = await asyncio.open_unix_connection(str(self._master_socket))
                try:
                    writer.write(line.encode() + b"\n")
                    writer.write_eof()  # the master closes only then
                    return (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
        except TimeoutError:
            raise EdgeError(f"HAProxy did not answer {line!r} within {_ANSWER:.0f} s") from None
        except OSError as error:
            raise EdgeError(f"HAProxy does not answer on {self._master_socket}: {error}") from None


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


def masters(file: Path) -> list[int]:
    """The process ids of HAProxy's masters that serve a configuration file, by their command lines."""
    serving = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    serving = [pid for pid in serving if _serves(pid, file)]
    found = []
    for pid in serving:
        with suppress(OSError):
            # After the name, which may have anything in it: the state, and the parent (proc(5), stat).
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if parent not in serving:
                found.append(pid)
    return found


def _serves(pid: int, file: Path) -> bool:
    """Whether that is a HAProxy of the file, and not one that only checks it."""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return os.fsencode(file) in command and b"-c" not in command
    return False


def _taken(address: str, port: int) -> bool:
    """Whether somebody listens there, whoever may share it."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections do not count
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE  # HAProxy has words for all else
    return False
