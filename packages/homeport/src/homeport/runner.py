"""One service: its operations, one after the other, and the instances that they are about."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from homeport.activator import Activator
from homeport.command import off_loop
from homeport.edge import Load, Route
from homeport.errors import HomeportError
from homeport.fleet import Fleet
from homeport.logs import Log
from homeport.machine import Machine, Running
from homeport.model import Operation, OperationStatus, OperationType, Service, ServiceStatus
from ocikit import OcikitError

_PAUSE = 5.0  # seconds before an operation that could not be recorded is tried again
_HANDOVER = 60.0  # seconds that requests which are held may take to be answered
_RELEASES = 6  # digests that a service keeps: what serves, and what it may go back to
_EVENTS = "events"  # the stream of a service's own log
_NAMES = {
    OperationType.DELETE_SERVICE: "Deletion",
    OperationType.PAUSE_SERVICE: "Pausing",
    OperationType.RESUME_SERVICE: "Resuming",
}  # what is none of these is a deployment


# Operations during which, and after whose failure, no instance is started.
_RESTING = (OperationType.DELETE_SERVICE, OperationType.PAUSE_SERVICE, OperationType.RESUME_SERVICE)


class Runner:
    """Runs one service from `begin` to `end`; `members` are its instances that an earlier process left."""

    def __init__(self, machine: Machine, arn: str, members: Iterable[Running] = ()) -> None:
        self._machine = machine
        self._arn = arn
        self._id = self.service.id
        self._events: Log = machine.logbook.log(self._id, "service")
        self._fleet = Fleet(machine, arn, members, self._say)
        self._queue = self._fleet.recording  # of what waits
        self._activator = Activator(machine.activator(self._id), self._fleet, machine.listeners)
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()  # there may be an operation to do

    @property
    def service(self) -> Service:
        return self._machine.state.services[self._arn]

    def route(self) -> Route:
        """Where the edge should send the service's requests now."""
        members = self._fleet.members.values()
        return Route(self._fleet.host, {running.instance.id: running.server for running in members})

    async def begin(self) -> None:
        await self._activator.open()
        service = self.service
        self._fleet.begin(
            active=service.deployed is not None
            and service.status in (ServiceStatus.RUNNING, ServiceStatus.OPERATION_IN_PROGRESS)
            and not any(operation.type in _RESTING for operation in self.unended())
        )
        self._tasks = [asyncio.create_task(self._operate())]

    def observe(self, load: Load) -> None:
        """What the service has to do, by the edge's word."""
        self._fleet.observe(load)

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
        digests = self._fleet.digests()
        digests |= {operation.digest for operation in self.unended() if operation.digest is not None}
        if self.service.deleted_at is None:
            digests.update(self.releases())
        return digests

    def pump(self) -> None:
        """Take over what the instances have written since."""
        self._fleet.pump()

    async def inspect(self) -> None:
        """See to it that the instances keep to their limits."""
        await self._fleet.inspect()

    async def end(self) -> None:
        """Stop operations and watching (what is under way goes on at the next start), then drain and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._fleet.end()
        self._activator.close()

    async def leave(self) -> None:
        """Answer what is held, and let the instances run on for the next homeport.

        An operation that is under way goes on at its start.
        """
        await self._fleet.awake()
        await self._activator.hand_over(_HANDOVER)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._fleet.leave()

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
        spec = service.spec
        self._say(f"{_NAMES.get(operation.type, 'Deployment')} started")
        digest = operation.digest
        if digest is None:
            digest = await off_loop(machine.images.resolve, spec.image, spec.track)
        await off_loop(machine.origins.require, spec.origin, digest)
        operation = replace(operation, digest=digest, updated_at=_now())
        async with machine.pulling:
            await machine.state.save(operation)
        if operation.type == OperationType.UPDATE_SERVICE and _scaled(service, digest):
            await self._fleet.adjust(digest, spec)
            await self._succeed(operation)
            return
        await off_loop(machine.images.pull, spec.image, digest)
        self._say(f"Successfully pulled image {spec.image} ({digest})")
        self._say("Provisioning instances")
        health = spec.health
        asked = f"port {spec.port}" + (f", path {health.path}" if health.protocol == "HTTP" else "")
        self._say(f"Performing health check on {asked} ({health.protocol})")
        new = await self._fleet.bring_up(digest, spec)
        await self._fleet.switch(new, digest, spec)
        self._say("Successfully routed incoming traffic to the new version")
        await self._succeed(operation)

    async def _succeed(self, operation: Operation) -> None:
        await self._finish(_succeeded(operation), ServiceStatus.RUNNING)

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
            # What it may run at all, and whom the edge lets in, is not taken back with what it could not.
            spec = self.service.spec
            changes = {"spec": replace(self.service.deployed, origin=spec.origin, entrance=spec.entrance)}
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
        self._say(f"{_NAMES[operation.type]} started")
        await self._fleet.close(drain=True)
        await self._finish(_succeeded(operation), ServiceStatus.PAUSED)

    async def _delete(self, operation: Operation) -> None:
        self._say(f"{_NAMES[operation.type]} started")
        await self._fleet.close(drain=False)
        done = _succeeded(operation)
        await self._finish(done, ServiceStatus.DELETED, deleted_at=done.ended_at)
        self._activator.close()

    def _say(self, text: str) -> None:
        with suppress(OSError):
            self._events.write(_EVENTS, ((line, 0) for line in text.splitlines()))


def _scaled(service: Service, digest: str) -> bool:
    """Whether what is to be deployed serves already: at most the name of the image is another, or how many
    instances there are.
    """
    deployed, spec = service.deployed, service.spec
    if deployed is None or service.digest != digest:
        return False
    free = ("image", "scaling", "auto_deploy", "origin", "track", "entrance")
    return replace(deployed, **{name: getattr(spec, name) for name in free}) == spec


def _succeeded(operation: Operation) -> Operation:
    now = _now()
    return replace(operation, status=OperationStatus.SUCCEEDED, updated_at=now, ended_at=now)


def _now() -> datetime:
    return datetime.now(UTC)
