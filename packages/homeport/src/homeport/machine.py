"""What the services of one homeport share, and an instance as long as it runs."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL, Signals
from typing import Any

from homeport.command import off_loop
from homeport.edge import Edge, Server
from homeport.errors import DeploymentError, HomeportError
from homeport.health import UnhealthyError, until_healthy
from homeport.images import Images
from homeport.instance import Instance, Instances
from homeport.instance_role import VARIABLE, InstanceRoles, RoleEndpoint
from homeport.listeners import Listeners
from homeport.logs import Logbook, Tail
from homeport.model import Service, ServiceSpec
from homeport.network import Network
from homeport.origins import Origins
from homeport.process import Process
from homeport.state import State
from homeport.vault import Vault

_DRAIN = 120.0  # seconds that a drained instance has for its last requests: as long as one may take
_CLOSE = 30.0  # and where nothing takes its place, so that somebody waits for the end
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL
_POLL = 0.05  # seconds between questions for the requests in flight
_LAST_LINES = 20
_DISK = 3 << 10  # MiB that an instance may write, as App Runner has it
_STARTS = 4  # instances that are started at a time


@dataclass(slots=True, eq=False)
class Running:
    """An instance with its process and the tail of its output."""

    instance: Instance
    process: Process
    tail: Tail
    since: float  # of the event loop's clock
    limit: int = 1  # requests that it answers at a time
    held: int = 0  # of these, how many the activator passes to it
    granted: int = 0  # and how many the edge may
    trouble: str | None = None  # why it is to be replaced
    oom_kills: int = 0  # processes of it that ended so, told already
    oom_seen: int = 0  # and at the last look
    endpoint: RoleEndpoint | None = None  # of its role's credentials
    overdrawn: str | None = None  # what it took too much of, and was ended for
    resting: bool = False  # not to be asked, and frozen unless it is just about to be

    @property
    def address(self) -> tuple[str, int]:
        return self.instance.address, self.instance.spec.port

    @property
    def server(self) -> Server:
        return Server(*self.address, self.granted)


@dataclass(slots=True)
class Machine:
    """What the services of one homeport share."""

    activator: Callable[[str], Path]  # the socket of a service's
    state: State
    network: Network
    images: Images
    instances: Instances
    edge: Edge
    logbook: Logbook
    vault: Vault
    origins: Origins
    environment: Callable[[Service], Mapping[str, str]]
    listeners: Listeners
    roles: InstanceRoles | None = None
    closing: bool = False  # the port stops: no request is to come
    addresses: set[str] = field(default_factory=set)  # promised to instances
    # Between naming an image and removing the unnamed.
    pulling: asyncio.Lock = field(default_factory=asyncio.Lock)
    starts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STARTS))

    def tail(self, instance: Instance) -> Tail:
        log = self.logbook.log(instance.service_id, "application")
        return Tail(self.instances.log(instance.id), log, instance.id)

    async def start(self, service: Service, digest: str, spec: ServiceSpec) -> Running:
        """A new instance, which may still be far from healthy. Leaves nothing behind when it fails."""
        async with self.starts:
            values = await off_loop(self.vault.resolve, spec.secrets)
            image = await off_loop(self.images.pull, spec.image, digest)
            address = self.network.free_address(self.addresses)
            self.addresses.add(address)
            instance = Instance(secrets.token_hex(6), service.id, digest, spec, address)
            variables = self._variables(service, instance)
            made: list[socket.socket] = []
            listening = None if self._path(instance) is None else made.append
            try:
                pid = await off_loop(self.instances.start, instance, image, variables, values, listening)
                now = asyncio.get_running_loop().time()
                limit = spec.scaling.max_concurrency
                running = Running(instance, Process(pid), self.tail(instance), now, limit)
                running.endpoint = await self.endpoint(instance, *made)
            except BaseException:
                for listener in made:
                    listener.close()
                await off_loop(self.instances.remove, instance.id)
                self.addresses.discard(address)
                raise
            return running

    async def endpoint(
        self, instance: Instance, listener: socket.socket | None = None
    ) -> RoleEndpoint | None:
        """Answer an instance of a service with a role. Raises NetworkError."""
        roles, path = self.roles, self._path(instance)
        if roles is None or path is None:
            return None
        if listener is None:
            listener = await off_loop(self.instances.listen, instance.id)
        return await RoleEndpoint.open(listener, path, partial(roles.issue, instance))

    def _path(self, instance: Instance) -> str | None:
        if self.roles is None or instance.spec.role is None:
            return None
        return self.roles.path(instance)

    def _variables(self, service: Service, instance: Instance) -> dict[str, str]:
        given = dict(self.environment(service))
        if (path := self._path(instance)) is not None:
            # A key that is there is taken before any role.
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                given.pop(name, None)
            given[VARIABLE] = path
        spec = instance.spec
        return {**given, **spec.environment, "PORT": str(spec.port)}

    async def until_healthy(self, running: Running, host: str, say: Callable[[str], None]) -> None:
        """Raises DeploymentError with the reason, after saying the last lines of the instance's log."""
        instance = running.instance
        healthy = asyncio.create_task(until_healthy(*running.address, instance.spec.health, host))
        await first_of(healthy, running.process.wait())
        reason = None
        if not running.process.alive:
            reason = self.explain(running)
        elif isinstance(error := healthy.exception(), UnhealthyError):
            reason = f"the instance is {error}"
        if reason is not None:
            running.tail.finish()
            say("The last lines of the instance's log:")
            log = self.logbook.log(instance.service_id, "application")
            for line in log.tail(instance.id, _LAST_LINES) or ["(none)"]:
                say(f"  {line}")
            raise DeploymentError(reason)

    async def remove(self, running: Running) -> None:
        """Take away all that is left of an instance that has ended."""
        with suppress(OSError):
            running.tail.finish()
        running.process.close()
        if running.endpoint is not None:
            running.endpoint.close()
        try:
            await off_loop(self.instances.remove, running.instance.id)
        finally:
            self.addresses.discard(running.instance.address)

    def explain(self, running: Running) -> str:
        """Why an instance that ended did so."""
        if running.overdrawn is not None:
            return f"the instance {running.overdrawn} and was killed"
        if self.instances.oom_kills(running.instance.id) > running.oom_kills:
            return (
                f"the instance used more than its {running.instance.spec.memory} MiB of memory and was killed"
            )
        code = running.process.exit_code
        if code is None:
            return "the instance ended"
        if code < 0:
            return f"the instance was ended by {Signals(-code).name}"
        return f"the instance exited with code {code}"

    async def inspect(self, running: Running) -> str | None:
        """Whether it keeps to its limits, beyond what the kernel sees to; returns what is to be said of it.

        A process that the kernel has killed need not be the first one, whose end is the instance's. It is
        told of at the second look, as the end of the first is told otherwise.
        """
        name, spec = running.instance.id, running.instance.spec
        kills, seen = self.instances.oom_kills(name), running.oom_seen
        running.oom_seen = kills
        if await off_loop(self.instances.written, name) > _DISK << 20:
            running.overdrawn = f"wrote more than {_DISK} MiB to its disk"
            running.process.send(SIGKILL)
        elif running.oom_kills < kills == seen and running.process.alive:
            running.oom_kills = kills
            return f"a process of it used more than its {spec.memory} MiB of memory and was killed"
        return None

    async def wind_down(
        self,
        name: str,
        process: Process,
        *,
        running: Running | None = None,
        gone: bool = False,
        patience: float = 0,
    ) -> None:
        """Wait until an instance out of rotation has answered everything; then stop it.

        It has 2 minutes, or `patience` where that is more, the seconds that its service lets a request take.
        One of a service that is `gone` has half a minute, and need not wait for requests that may yet come.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        # Twice none: a request that had just chosen the instance may not have been counted yet.
        idle = 0
        while idle < 2 and process.alive:
            closing = gone or self.closing
            if loop.time() - since > (_CLOSE if closing else max(_DRAIN, patience)):
                break
            try:
                busy = await self.edge.busy(name, closing=closing)
            except HomeportError:
                break  # no edge, no requests
            idle = 0 if busy or (running is not None and running.held) else idle + 1
            await asyncio.sleep(_POLL)
        await process.stop(_GRACE)


async def first_of(*work: asyncio.Task[Any] | Coroutine[Any, Any, Any]) -> None:
    """Until the first of these is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
