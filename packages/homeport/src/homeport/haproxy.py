"""HAProxy as a process: a master and its workers, in a session of their own that outlives homeport.

HAProxy 2.6 management guide, sections 9.3 (runtime API) and 9.4 (master CLI).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

from homeport.command import off_loop, run
from homeport.configuration import Binding
from homeport.errors import CommandError, EdgeError
from homeport.layout import Layout
from homeport.process import Process

__all__ = ["HAProxy"]

_ANSWER = 5.0  # seconds that HAProxy may take to answer a command
_RELOAD = 30.0  # seconds until the new worker must be there
_STOP = 10.0  # seconds that HAProxy may take to end when it has nothing left to do
_RELEASE = 2.0  # seconds within which what has been ended lets go of its ports
_POLL = 0.01
_SILENT = 3  # unanswered questions that make HAProxy dead
_LISTED = 1.0  # seconds for which the workers, who seldom change, need not be asked for again


class HAProxy:
    """The one that serves by the configuration in `file`, which somebody else writes.

    Whoever calls sees to it that `launch`, `reload` and `kill` come one after the other.
    """

    def __init__(self, layout: Layout, binding: Binding) -> None:
        self.file = layout.edge / "haproxy.cfg"
        self._layout = layout
        self._binding = binding
        self._pid_file = layout.run / "haproxy.pid"
        self._master_socket = layout.run / "master.sock"
        self._master: Process | None = None
        self._lately: list[int] = []  # the workers, as they were when they were last asked for
        self._listed = 0.0  # when that was
        self._changes = True  # whether there are others since, by our doing
        self._seen: set[int] = set()  # workers; a master that is killed leaves its worker to us to reap

    # The process

    def take_over(self) -> bool:
        """Whether one runs that an earlier homeport has started; it is ours from now on."""
        self._master = self._running()
        return self._master is not None

    async def launch(self) -> None:
        """Start it. Raises EdgeError when it does not come up."""
        self._changes = True
        self._layout.create()
        self._master_socket.unlink(missing_ok=True)
        self._pid_file.unlink(missing_ok=True)
        await self._wait_for_ports()
        try:
            await off_loop(
                run, "haproxy", "-W", "-D", "-S", f"{self._master_socket},mode,600",
                "-p", self._pid_file, "-f", self.file,
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
        since = asyncio.get_running_loop().time()
        for port in (self._binding.http_port, self._binding.https_port):
            while _taken(self._binding.address, port):
                waited = asyncio.get_running_loop().time() - since
                # A worker of ours ends by itself when its master has been killed, once it has noticed.
                if waited > _RELOAD or (waited > _RELEASE and not await off_loop(_masters, self.file)):
                    where = f"{self._binding.address}:{port}"
                    raise EdgeError(f"{where} cannot be listened on: {os.strerror(errno.EADDRINUSE)}")
                await asyncio.sleep(_POLL)

    async def reload(self) -> None:
        """Returns when no connection comes to the old worker any more.

        Raises EdgeError when the new configuration is refused; the old worker then goes on.
        """
        self._changes = True
        try:
            await off_loop(run, "haproxy", "-c", "-q", "-f", self.file)
        except CommandError as error:
            raise EdgeError(str(error)) from error
        before = await self.workers()
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
        return "Stopping: 0" in await self.ask(worker, "show info")

    async def kill(self) -> None:
        """End master and workers, at once: nothing may listen on when a new one starts."""
        master = self._master or self._running()  # a start that was interrupted has not noted it yet
        if master is not None:
            await master.stop(_STOP)
            master.close()
        self._master = None
        self.reap()

    def reap(self) -> None:
        """Let go of workers that have ended."""
        for pid in list(self._seen):
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not Path(f"/proc/{pid}").exists():
                self._seen.discard(pid)

    async def well(self) -> bool:
        """Whether it runs, and answers."""
        if self._master is None or not self._master.alive:
            return False
        for _ in range(_SILENT):
            if await self._workers_or_none():
                return True
        return not self._master.alive

    async def wait(self, seconds: float) -> None:
        """Until it ends, or for so long."""
        if self._master is None:
            await asyncio.sleep(seconds)
        else:
            await self._master.wait(seconds)

    def _running(self) -> Process | None:
        """The HAProxy that an earlier process started, by the number in its file.

        A kill may have left the file empty: then it is looked for among all processes there are.
        """
        return self._noted() or next((one for pid in _masters(self.file) if (one := self._at(pid))), None)

    def _noted(self) -> Process | None:
        with suppress(OSError, ValueError, IndexError):
            return self._at(int(self._pid_file.read_text().split()[0]))
        return None

    def _at(self, pid: int) -> Process | None:
        """The process of a number, if it is a HAProxy of ours."""
        with suppress(OSError):
            process = Process(pid)
            if process.alive and _serves(pid, self.file):
                return process
            process.close()
        return None

    # What it is asked

    async def lately(self) -> list[int]:
        """As `workers`, but of a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._listed > _LISTED or self._changes:
            self._lately, self._listed, self._changes = await self.workers(), now, False
        return self._lately

    async def workers(self) -> list[int]:
        """Process ids, the current worker's first. Raises EdgeError."""
        pids = []
        for line in (await self._ask("show proc")).splitlines():
            words = line.split()
            if len(words) > 1 and words[0].isdigit() and words[1] == "worker":
                pids.append(int(words[0]))
        self._seen.update(pids)
        return pids

    async def _workers_or_none(self) -> list[int]:
        try:
            return await self.workers()
        except EdgeError:
            return []

    async def tell(self, command: str) -> str:
        """A command to the current worker; returns what it says. An old worker's routes cannot be changed."""
        workers = await self.workers()
        if not workers:
            raise EdgeError("HAProxy has no worker")
        return (await self.ask(workers[0], command)).strip()

    async def ask(self, worker: int, command: str) -> str:
        """A command to this worker; returns what it says. Raises EdgeError."""
        return await self._ask(f"@!{worker} {command}")

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


def _masters(file: Path) -> list[int]:
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
