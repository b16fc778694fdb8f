"""One service: its operations one after the other, its instance watched, replaced and drained.

The order that loses no request (measured, see the README): start the new instance, wait until it is healthy,
add it at the edge, write down that it serves, take the old one out of rotation, wait until its last request
is answered, only then stop it.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from signal import SIGKILL, Signals
from typing import Any

from homeport.command import off_loop
from homeport.edge import Edge, Route, Server
from homeport.errors import DeploymentError, HomeportError
from homeport.health import UnhealthyError, until_healthy, until_unhealthy
from homeport.images import Images
from homeport.instance import Instance, Instances
from homeport.logs import Log, Logbook, Tail
from homeport.model import Operation, OperationStatus, OperationType, Service, ServiceSpec, ServiceStatus
from homeport.network import Network
from homeport.process import Process
from homeport.state import State
from ocikit import OcikitError

_DRAIN = 30.0  # seconds that a drained instance has for its last requests
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL
_POLL = 0.05  # seconds between questions for the requests in flight
_BACKOFF = 1.0  # seconds before the second restart in a row, doubled each time
_BACKOFF_MOST = 60.0
_PAUSE = 5.0  # seconds before an operation that could not be recorded is tried again
_STEADY = 60.0  # seconds after which a death is the first in a row again
_LAST_LINES = 20
_RELEASES = 6  # digests that a service keeps: what serves, and what it may go back to
_EVENTS = "events"  # the stream of a service's own log
_NAMES = {
    OperationType.DELETE_SERVICE: "Deletion",
    OperationType.PAUSE_SERVICE: "Pausing",
    OperationType.RESUME_SERVICE: "Resuming",
}  # what is none of these is a deployment


@dataclass(slots=True)
class Machine:
    """What the runners of one homeport share."""

    state: State
    network: Network
    images: Images
    instances: Instances
    edge: Edge
    logbook: Logbook
    environment: Callable[[Service], Mapping[str, str]]
    closing: bool = False  # the port stops: no request is to come
    addresses: set[str] = field(default_factory=set)  # promised to instances
    pulling: asyncio.Lock = field(
        default_factory=asyncio.Lock
    )  # between naming an image and removing the unnamed

    def tail(self, instance: Instance) -> Tail:
        log = self.logbook.log(instance.service_id, "application")
        return Tail(self.instances.log(instance.id), log, instance.id)

    async def wind_down(self, instance: str, process: Process, *, deleted: bool = False) -> None:
        """Wait, at most 30 s, until an instance out of rotation has answered everything; then stop it.

        One of a deleted service need not wait for requests that may yet come.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DRAIN
        # Twice none: a request that had just chosen the instance may not have been counted yet.
        idle = 0
        while idle < 2 and process.alive and loop.time() < deadline:
            try:
                idle = 0 if await self.edge.busy(instance, closing=deleted or self.closing) else idle + 1
            except HomeportError:
                break  # no edge, no requests
            await asyncio.sleep(_POLL)
        await process.stop(_GRACE)


@dataclass(slots=True, eq=False)
class Running:
    """An instance with its process and the tail of its output."""

    instance: Instance
    process: Process
    tail: Tail
    since: float  # of the event loop's clock


class Runner:
    """Runs one service from `begin` to `end`. Its `current` instance is the one that serves, if one lives."""

    def __init__(self, machine: Machine, arn: str, current: Running | None) -> None:
        self._machine = machine
        self._arn = arn
        self._id = self.service.id
        self._current = current
        self._starting: set[Running] = set()
        self._retiring: dict[asyncio.Task[None], Running] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()  # there may be an operation to do
        self._changed = asyncio.Event()  # of the current instance
        self._swap = asyncio.Lock()  # of what serves
        self._queue = asyncio.Lock()  # of what waits
        self._events: Log = machine.logbook.log(self._id, "service")

    @property
    def service(self) -> Service:
        return self._machine.state.services[self._arn]

    @property
    def host(self) -> str:
        return self.service.url.partition(":")[0]

    def route(self) -> Route:
        """Where the edge should send the service's requests now."""
        running = self._current
        servers = {}
        if running is not None:
            servers[running.instance.id] = _server(running.instance)
        return Route(self.host, servers)

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(self._operate()), asyncio.create_task(self._supervise())]

    def wake(self) -> None:
        """An operation has been recorded."""
        self._wake.set()

    async def push(self, digest: str) -> None:
        """Deploy an image: at once, or after what is under way; one that waits already makes room for it.

        Nothing happens where it serves already, or is being deployed.
        """
        async with self._queue:
            service = self.service
            unended = self.unended()
            now = _now()
            if unended and unended[-1].status == OperationStatus.PENDING:
                operation = replace(unended[-1], digest=digest, updated_at=now)
            elif (unended[-1] if unended else service).digest == digest:
                return
            else:
                kind, status = OperationType.START_DEPLOYMENT, OperationStatus.PENDING
                operation = Operation(str(uuid.uuid4()), self._arn, kind, status, now, now, digest=digest)
            service = replace(service, status=ServiceStatus.OPERATION_IN_PROGRESS, updated_at=now)
            await self._machine.state.save(service, operation)
        self.wake()

    def unended(self) -> list[Operation]:
        """Operations that are under way or wait, oldest first."""
        operations = self._machine.state.operations[self._arn].values()
        return [operation for operation in operations if not operation.status.ended]

    def releases(self) -> list[str]:
        """The digests that have served, newest first, each once."""
        ended = reversed(self._machine.state.operations[self._arn].values())
        succeeded = (one.digest for one in ended if one.status == OperationStatus.SUCCEEDED)
        found = dict.fromkeys(digest for digest in (self.service.digest, *succeeded) if digest is not None)
        return list(found)[:_RELEASES]

    def digests(self) -> set[str]:
        """The images that may not be removed now."""
        running = [self._current, *self._starting, *self._retiring.values()]
        digests = {one.instance.digest for one in running if one is not None}
        digests |= {operation.digest for operation in self.unended() if operation.digest is not None}
        if self.service.deleted_at is None:
            digests.update(self.releases())
        return digests

    def pump(self) -> None:
        """Take over what the instances have written since."""
        for running in (self._current, *self._starting, *self._retiring.values()):
            if running is not None:
                with suppress(OSError):  # a full disk stops the log, not the service
                    running.tail.pump()

    def retire(self, running: Running) -> None:
        """Let an instance finish its requests, stop it, and remove it; in the background."""
        task = asyncio.create_task(self._retire(running))
        self._retiring[task] = running
        task.add_done_callback(self._retiring.pop)

    async def end(self) -> None:
        """Stop operations and watching (what is under way goes on at the next start), then drain and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._current is not None:
            with suppress(HomeportError):  # an edge that is gone sends no requests
                await self._machine.edge.drain(self._id, self._current.instance.id)
            self.retire(self._current)
            self._current = None
        if self._retiring:
            await asyncio.wait(list(self._retiring))

    # Operations

    async def _operate(self) -> None:
        while True:
            self._wake.clear()
            if not self.unended():
                await self._wake.wait()
                continue
            try:
                await self._perform()
            except Exception as error:  # noqa: BLE001 - nothing can be recorded (a full disk, say): try again
                self._say(f"The operation cannot be recorded, again in {_PAUSE:.0f} s: {error!r}")
                await asyncio.sleep(_PAUSE)

    async def _perform(self) -> None:
        """The oldest operation that has not ended."""
        async with self._queue:
            operation = self.unended()[0]
            queued = operation.status == OperationStatus.PENDING
            if queued:
                operation = replace(operation, status=OperationStatus.IN_PROGRESS, updated_at=_now())
                await self._machine.state.save(operation)
        try:
            if operation.type == OperationType.DELETE_SERVICE:
                await self._delete(operation)
            elif operation.type == OperationType.PAUSE_SERVICE:
                await self._pause(operation)
            elif queued and operation.digest == self.service.digest:
                await self._succeed(operation)  # pushed twice: it serves already
            else:
                await self._deploy(operation)
        except (HomeportError, OcikitError, OSError) as error:
            await self._fail(operation, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not leave the operation open for ever
            await self._fail(operation, f"internal error: {error!r}")

    async def _deploy(self, operation: Operation) -> None:
        machine = self._machine
        service = self.service
        self._say(f"{_NAMES.get(operation.type, 'Deployment')} started")
        digest = operation.digest
        if digest is None:
            digest = await off_loop(machine.images.resolve, service.spec.image)
        operation = replace(operation, digest=digest, updated_at=_now())
        async with machine.pulling:
            await machine.state.save(operation)
        new = await self._bring_up(digest, service.spec)
        async with self._swap:
            old = self._current
            try:
                await machine.edge.add(self._id, self.host, new.instance.id, _server(new.instance))
                async with self._queue:
                    await machine.state.save(
                        replace(self.service, digest=digest, deployed=service.spec),
                        serving=new.instance,
                        ended=machine.state.serving.get(self._id),
                    )
            except BaseException:
                with suppress(HomeportError):
                    await machine.edge.drain(self._id, new.instance.id)
                self.retire(new)
                raise
            finally:
                self._starting.discard(new)
            self._set_current(new)
            if old is not None:
                await self._leave(old)
        self._say("Successfully routed incoming traffic to the new version")
        await self._succeed(operation)

    async def _succeed(self, operation: Operation) -> None:
        now = _now()
        done = replace(operation, status=OperationStatus.SUCCEEDED, updated_at=now, ended_at=now)
        await self._finish(done, ServiceStatus.RUNNING)

    async def _fail(self, operation: Operation, reason: str) -> None:
        """What served goes on serving; the service's configuration is again the one that serves."""
        self._say(f"{_NAMES.get(operation.type, 'Deployment')} failed: {reason}")
        now = _now()
        status = OperationStatus.FAILED
        service_status = ServiceStatus.RUNNING
        changes = {}
        if operation.type == OperationType.DELETE_SERVICE:
            service_status = ServiceStatus.DELETE_FAILED
        elif operation.type == OperationType.RESUME_SERVICE:
            service_status = ServiceStatus.PAUSED
        elif self.service.deployed is None:
            service_status = ServiceStatus.CREATE_FAILED
        elif operation.type != OperationType.PAUSE_SERVICE:
            status = OperationStatus.ROLLBACK_SUCCEEDED
            changes = {"spec": self.service.deployed}
            self._say("The version that served before goes on serving")
        recorded = self._machine.state.operations[self._arn][operation.id]
        done = replace(recorded, status=status, reason=reason, updated_at=now, ended_at=now)
        await self._finish(done, service_status, **changes)

    async def _finish(self, operation: Operation, status: ServiceStatus, **changes: Any) -> None:
        """Record how an operation ended; with another one waiting the service stays in progress."""
        async with self._queue:
            if waiting := [other for other in self.unended() if other.id != operation.id]:
                status = ServiceStatus.OPERATION_IN_PROGRESS
            service = replace(self.service, status=status, updated_at=operation.updated_at, **changes)
            await self._machine.state.save(operation, service)
        if not waiting:
            self._say(f"Service status is set to {status}")

    async def _pause(self, operation: Operation) -> None:
        """Stop what serves, after its last requests; the edge answers 503 from the first moment on."""
        machine = self._machine
        self._say(f"{_NAMES[operation.type]} started")
        async with self._swap:
            await machine.state.save(ended=machine.state.serving.get(self._id))
            if self._current is not None:
                await self._leave(self._current)
                self._set_current(None)
        if self._retiring:
            await asyncio.wait(list(self._retiring))
        now = _now()
        done = replace(operation, status=OperationStatus.SUCCEEDED, updated_at=now, ended_at=now)
        await self._finish(done, ServiceStatus.PAUSED)

    async def _delete(self, operation: Operation) -> None:
        machine = self._machine
        self._say(f"{_NAMES[operation.type]} started")
        async with self._swap:
            await machine.state.save(ended=machine.state.serving.get(self._id))
            await machine.edge.unroute(self._id)
            if self._current is not None:
                self.retire(self._current)
                self._set_current(None)
        if self._retiring:
            await asyncio.wait(list(self._retiring))
        now = _now()
        done = replace(operation, status=OperationStatus.SUCCEEDED, updated_at=now, ended_at=now)
        await self._finish(done, ServiceStatus.DELETED, deleted_at=now)

    # Instances

    async def _bring_up(self, digest: str, spec: ServiceSpec) -> Running:
        """A new healthy instance, not yet known to the edge. Raises DeploymentError and leaves nothing
        behind.
        """
        machine = self._machine
        image = await off_loop(machine.images.pull, spec.image, digest)
        self._say(f"Successfully pulled image {spec.image} ({digest})")
        self._say("Provisioning instances")
        address = machine.network.free_address(machine.addresses)
        machine.addresses.add(address)
        instance = Instance(secrets.token_hex(6), self._id, digest, spec, address)
        variables = {**machine.environment(self.service), **spec.environment, "PORT": str(spec.port)}
        try:
            pid = await off_loop(machine.instances.start, instance, image, variables)
            running = Running(
                instance, Process(pid), machine.tail(instance), asyncio.get_running_loop().time()
            )
        except BaseException:
            await off_loop(machine.instances.remove, instance.id)
            machine.addresses.discard(address)
            raise
        self._starting.add(running)
        try:
            await self._until_healthy(running)
        except BaseException:
            self._starting.discard(running)
            running.process.send(SIGKILL)
            await running.process.wait()
            await self._remove(running)
            raise
        return running

    async def _until_healthy(self, running: Running) -> None:
        instance = running.instance
        health = instance.spec.health
        asked = f"port {instance.spec.port}" + (f", path {health.path}" if health.protocol == "HTTP" else "")
        self._say(f"Performing health check on {asked} ({health.protocol})")
        healthy = asyncio.create_task(
            until_healthy(instance.address, instance.spec.port, health, self.service.url)
        )
        await _first(healthy, running.process.wait())
        reason = None
        if not running.process.alive:
            reason = self._explain(running)
        elif isinstance(error := healthy.exception(), UnhealthyError):
            reason = f"the instance is {error}"
        if reason is not None:
            running.tail.finish()
            self._say("The last lines of the instance's log:")
            log = self._machine.logbook.log(self._id, "application")
            for line in log.tail(instance.id, _LAST_LINES) or ["(none)"]:
                self._say(f"  {line}")
            raise DeploymentError(reason)

    async def _supervise(self) -> None:
        """Start what should serve and does not; replace what is ill."""
        deaths = 0
        while True:
            self._changed.clear()
            serving = self._machine.state.serving.get(self._id)
            current = self._current
            if current is not None:
                reason = await self._watch(current)
                if reason is None or self._current is not current:
                    continue
                lived = asyncio.get_running_loop().time() - current.since
                deaths = 1 if lived > _STEADY else deaths + 1
                self._say(f"Instance {current.instance.id}: {reason}")
                if not current.process.alive:
                    await self._bury(current)
                    serving = current.instance
            if serving is None:
                await self._changed.wait()
                continue
            if deaths > 1:
                delay = min(_BACKOFF * 2 ** (deaths - 2), _BACKOFF_MOST)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), delay)
                if self._changed.is_set():
                    continue
            try:
                await self._replace(serving)
            except Exception as error:  # noqa: BLE001 - whatever it is, the service is watched on
                deaths += 1
                self._say(f"Starting an instance failed: {error}")

    async def _watch(self, running: Running) -> str | None:
        """Until the instance dies or is ill (what happened is returned), or is no longer the current one."""
        instance = running.instance
        ill = asyncio.create_task(
            until_unhealthy(instance.address, instance.spec.port, instance.spec.health, self.service.url)
        )
        await _first(ill, running.process.wait(), self._changed.wait())
        if not running.process.alive:
            return self._explain(running)
        if ill.done() and not ill.cancelled():
            return f"unhealthy: {ill.result()}"
        return None

    async def _replace(self, serving: Instance) -> None:
        """Bring up the same release once more, unless something else serves by then."""
        machine = self._machine
        new = await self._bring_up(serving.digest, serving.spec)
        async with self._swap:
            self._starting.discard(new)
            recorded = machine.state.serving.get(self._id)
            if recorded is None or recorded.id != serving.id:
                self.retire(new)
                return
            old = self._current
            try:
                await machine.edge.add(self._id, self.host, new.instance.id, _server(new.instance))
                await machine.state.save(serving=new.instance, ended=recorded)
            except BaseException:
                with suppress(HomeportError):
                    await machine.edge.drain(self._id, new.instance.id)
                self.retire(new)
                raise
            self._set_current(new)
            if old is not None:
                await self._leave(old)
        self._say(f"Instance {new.instance.id} serves")

    async def _bury(self, dead: Running) -> None:
        """A dead instance takes no more requests; what serves is still written down, for it is to be
        replaced.
        """
        async with self._swap:
            if self._current is dead:
                self._current = None
                await self._leave(dead)

    async def _leave(self, old: Running) -> None:
        with suppress(HomeportError):  # an edge that is down comes back without it
            await self._machine.edge.drain(self._id, old.instance.id)
        self.retire(old)

    async def _retire(self, running: Running) -> None:
        name = running.instance.id
        await self._machine.wind_down(
            name, running.process, deleted=self.service.id not in self._machine.state.serving
        )
        with suppress(HomeportError):
            await self._machine.edge.remove(self._id, name)
        await self._remove(running)

    async def _remove(self, running: Running) -> None:
        with suppress(OSError):
            running.tail.finish()
        running.process.close()
        try:
            await off_loop(self._machine.instances.remove, running.instance.id)
        except HomeportError as error:
            self._say(f"Instance {running.instance.id} cannot be removed: {error}")
        self._machine.addresses.discard(running.instance.address)

    def _set_current(self, running: Running | None) -> None:
        self._current = running
        self._changed.set()

    def _explain(self, running: Running) -> str:
        if self._machine.instances.oom_killed(running.instance.id):
            return (
                f"the instance used more than its {running.instance.spec.memory} MiB of memory and was killed"
            )
        code = running.process.exit_code
        if code is None:
            return "the instance ended"
        if code < 0:
            return f"the instance was ended by {Signals(-code).name}"
        return f"the instance exited with code {code}"

    def _say(self, text: str) -> None:
        with suppress(OSError):
            self._events.write(_EVENTS, ((line, 0) for line in text.splitlines()))


def _server(instance: Instance) -> Server:
    return Server(instance.address, instance.spec.port, instance.spec.scaling.max_concurrency)


async def _first(*work: asyncio.Task[Any] | Coroutine[Any, Any, Any]) -> None:
    """Until the first of these is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)
