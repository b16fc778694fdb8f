"""The port: every service of one data directory, from the call that asks for it to the instance that serves
it.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import socket
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import bucketlog
from homeport import access, place
from homeport.access import AccessLog
from homeport.authority import Authority
from homeport.certificates import Issuer
from homeport.command import off_loop
from homeport.configuration import CONSOLE
from homeport.edge import Binding, Edge, Route
from homeport.endless import kept_up
from homeport.errors import DirectoryBusyError, HomeportError, ImageError
from homeport.images import Images
from homeport.ingress import Ingress
from homeport.instance import Instances
from homeport.instance_role import InstanceRoles
from homeport.layout import Layout
from homeport.listeners import Listeners
from homeport.logs import Cursor, Logbook
from homeport.machine import Machine, Running
from homeport.metrics import Usage
from homeport.model import (
    CustomDomain,
    LogKind,
    LogLine,
    NoSuchReleaseError,
    NoSuchServiceError,
    Operation,
    OperationStatus,
    OperationType,
    Service,
    ServiceBusyError,
    ServiceExistsError,
    ServiceSpec,
    ServiceStatus,
)
from homeport.network import Network
from homeport.origins import Origins
from homeport.process import Process, adopt_orphans
from homeport.redirects import Redirect
from homeport.runner import Runner
from homeport.state import State
from homeport.traffic import Traffic
from homeport.vault import Vault
from ocikit.registry import Storage

_PUMP = 0.2  # seconds between looks for new log lines
_GLANCE = 0.2  # seconds between readings of the load
_INSPECTION = 5.0  # seconds between looks at what instances have taken
_UPKEEP = 600.0  # seconds between clean-ups

# The states in which a service takes an operation; where none is named it has to be RUNNING.
_ALLOWED = {
    OperationType.DELETE_SERVICE: (
        ServiceStatus.RUNNING,
        ServiceStatus.PAUSED,
        ServiceStatus.CREATE_FAILED,
        ServiceStatus.DELETE_FAILED,
    ),
    OperationType.RESUME_SERVICE: (ServiceStatus.PAUSED,),
}


class Port:
    """homeport's `Controller`: between `start` and `stop` it runs what its data directory says should run.

    A process that is killed instead of stopped leaves instances and edge running; the next `start` on the
    same directory takes them over, finishes or undoes what was half done, and removes what belongs to
    nothing.
    """

    def __init__(
        self,
        data: Path,
        *,
        database: bucketlog.Connection,
        images: Storage,
        registry_hosts: Collection[str],
        https_port: int,
        http_port: int,
        s3_port: int,
        environment: Callable[[Service], Mapping[str, str]],
        address: str = "127.0.0.1",
        domain: str = "localhost",
        issuer: Issuer | None = None,
        console: str | None = None,
        listeners: Listeners | None = None,
        roles: InstanceRoles | None = None,
    ) -> None:
        """The edge listens on `address`; services are called `NAME.domain`; `issuer` has certificates for
        names that are not local; at the host `console` it passes on what comes to `console_listener`;
        `listeners` may hold what a predecessor of this process has left; `roles` gives instances the
        credentials of the roles that their services name.
        """
        self._listeners = listeners or Listeners()
        self._roles = roles
        self._layout = layout = Layout(data.resolve())
        self._https_port = https_port
        self._binding = Binding(address, http_port, https_port)
        self._domain = domain
        self._issuer = issuer
        self._console = console
        self._database = database
        self._state = State(database)
        self._network = Network(layout, s3_port)
        self._instances = Instances(layout, self._network)
        self._images = Images(layout, images, registry_hosts)
        self._logbook = Logbook(layout.logs)
        self._origins = Origins(database)
        self._environment = environment
        self._runners: dict[str, Runner] = {}  # by ARN
        self._tasks: list[asyncio.Task[None]] = []
        self._calls = asyncio.Lock()  # one change of the services at a time
        self._directory_lock: IO[str] | None = None

    def console_listener(self) -> socket.socket:
        """Where the edge sends what is asked of the console's host; known after `start`."""
        listener = self._listeners.unix(path := self._layout.activator(CONSOLE))
        path.chmod(0o600)
        shutil.chown(path, "nobody")
        listener.listen()
        return listener

    @property
    def bridge_address(self) -> str:
        """Where instances reach the object store; known after `start`."""
        return self._network.bridge_address

    async def start(self) -> None:
        """Take over what runs, start what should run, clean up the rest.

        Returns when the edge serves what was taken over; what has to be started anew follows by itself.
        Raises DirectoryBusyError when another process has the directory, and HomeportError when the machine
        refuses.
        """
        self._layout.create()
        self._directory_lock = _locked(self._layout.lock)
        adopt_orphans()
        await off_loop(self._state.load)
        for arn, service in self._state.services.items():
            self._state.services[arn] = replace(service, url=self._url(service.spec.name))
        recorded = {one.id: one for group in self._state.serving.values() for one in group.values()}
        await off_loop(
            self._network.open, {name: (one.address, one.spec.host_ports) for name, one in recorded.items()}
        )
        await self._fit_out()
        orphans = await self._adopt()
        await self._open_edge()
        for runner in self._runners.values():
            await runner.begin()
        endless = (
            self._edge.supervise,
            self.ingress.run,
            self._pump,
            self._scale,
            self._inspect,
            self._upkeep,
        )
        self._tasks = [asyncio.create_task(kept_up(work)) for work in endless]
        self._tasks.append(asyncio.create_task(self._remove_orphans(orphans)))
        await self._catch_up()

    async def _fit_out(self) -> None:
        """Make what can be made only in a directory that is ours: edge, ingress, machine, access log."""
        layout = self._layout
        authority = await off_loop(Authority, layout.data)
        self._edge = Edge(layout, authority, self._binding)
        self.ingress = Ingress(
            self._database,
            layout,
            authority,
            self._edge,
            self._issuer,
            domain=self._domain,
            console=self._console,
            services=lambda: {service.arn: service for service in self.services()},
            say=self._say,
        )
        await off_loop(self.ingress.load)
        self._machine = Machine(
            layout.activator,
            self._state,
            self._network,
            self._images,
            self._instances,
            self._edge,
            self._logbook,
            Vault(layout.secrets),
            self._origins,
            self._environment,
            self._listeners,
            self._roles,
        )
        self._access = AccessLog(layout.access_log, self._accessed)
        self._access.open()

    async def _open_edge(self) -> None:
        """Raises HomeportError, after the clean-up where nothing needs the network."""
        try:
            await self._edge.start(self._routes(), self.ingress.names())
        except HomeportError:
            if not await off_loop(self._instances.running):
                await off_loop(self._network.close)
                await off_loop(shutil.rmtree, self._layout.run, ignore_errors=True)
            raise

    async def stop(self) -> None:
        """Drain and stop everything: instances, edge, network. The services stay recorded and start again."""
        self._machine.closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(runner.end() for runner in self._runners.values()))
        await self._edge.stop()
        self._access.close()
        for instance in await off_loop(self._instances.known):
            await off_loop(self._instances.remove, instance)
        await off_loop(self._instances.remove_cgroups)
        await off_loop(self._network.close)
        await off_loop(shutil.rmtree, self._layout.run, ignore_errors=True)
        self._listeners.close_all()
        if self._directory_lock is not None:
            self._directory_lock.close()

    async def leave(self) -> None:
        """Let everything run on for the next `start`, and look after it no more. Requests that are held, or
        passed on by an activator, are answered first.
        """
        await asyncio.gather(*(runner.leave() for runner in self._runners.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._access.close()
        if self._directory_lock is not None:
            self._directory_lock.close()

    # Calls

    async def create_service(self, spec: ServiceSpec) -> tuple[Service, Operation]:
        """Raises ServiceExistsError; names differ by more than case, for they are host names."""
        async with self._calls:
            for other in self._state.services.values():
                if other.deleted_at is None and other.spec.name.lower() == spec.name.lower():
                    raise ServiceExistsError(f"a service named {other.spec.name} is there already")
            now = datetime.now(UTC)
            identity = uuid.uuid4().hex
            service = Service(
                arn=place.arn("apprunner", f"service/{spec.name}/{identity}"),
                id=identity,
                spec=spec,
                status=ServiceStatus.OPERATION_IN_PROGRESS,
                url=self._url(spec.name),
                created_at=now,
                updated_at=now,
            )
            operation = _operation(service.arn, OperationType.CREATE_SERVICE)
            await self._state.save(service, operation)
            await self.ingress.refresh(service)
            runner = self._runners[service.arn] = Runner(self._machine, service.arn)
            await runner.begin()
            return service, operation

    async def update_service(self, arn: str, spec: ServiceSpec) -> tuple[Service, Operation]:
        """Raises NoSuchServiceError, and ServiceBusyError for a service that is not RUNNING."""
        async with self._calls:
            begun = await self._begin(arn, OperationType.UPDATE_SERVICE, spec=spec)
            await self.ingress.refresh(begun[0])
            return begun

    async def delete_service(self, arn: str) -> tuple[Service, Operation]:
        """Raises NoSuchServiceError, and ServiceBusyError while another operation is under way."""
        async with self._calls:
            return await self._begin(arn, OperationType.DELETE_SERVICE)

    async def start_deployment(self, arn: str) -> Operation:
        """Raises NoSuchServiceError, and ServiceBusyError for a service that is not RUNNING."""
        async with self._calls:
            return (await self._begin(arn, OperationType.START_DEPLOYMENT))[1]

    async def pause_service(self, arn: str) -> tuple[Service, Operation]:
        """Raises NoSuchServiceError, and ServiceBusyError for a service that is not RUNNING."""
        async with self._calls:
            return await self._begin(arn, OperationType.PAUSE_SERVICE)

    async def resume_service(self, arn: str) -> tuple[Service, Operation]:
        """Raises NoSuchServiceError, and ServiceBusyError for a service that is not PAUSED."""
        async with self._calls:
            return await self._begin(arn, OperationType.RESUME_SERVICE, digest=self.service(arn).digest)

    async def rollback(self, arn: str, digest: str) -> tuple[Service, Operation]:
        """Raises NoSuchServiceError, NoSuchReleaseError, and ServiceBusyError for a service that is not
        RUNNING.
        """
        async with self._calls:
            if digest not in (releases := self.releases(arn)):
                known = ", ".join(releases) or "none"
                raise NoSuchReleaseError(f"{digest} is none of the service's releases: {known}")
            return await self._begin(arn, OperationType.START_DEPLOYMENT, digest=digest)

    async def image_pushed(self, repository: str, tag: str, digest: str) -> None:
        """Deploy every service that watches the tag: at once, or after what is under way; never the same
        twice.
        """
        async with self._calls:
            for runner in list(self._runners.values()):
                if await self._watches(runner.service, repository, tag):
                    await runner.push(digest)

    async def associate_domain(self, arn: str, name: str, *, www: bool = True) -> CustomDomain:
        return await self.ingress.associate(self.service(arn), name, www=www)

    async def disassociate_domain(self, arn: str, name: str) -> CustomDomain:
        return await self.ingress.disassociate(self.service(arn), name)

    def custom_domains(self, arn: str) -> list[CustomDomain]:
        return self.ingress.custom_domains(self.service(arn))

    def service(self, arn: str) -> Service:
        try:
            return self._state.services[arn]
        except KeyError:
            raise NoSuchServiceError(f"there is no service {arn}") from None

    def services(self) -> list[Service]:
        """All that are not deleted, oldest first."""
        found = [service for service in self._state.services.values() if service.deleted_at is None]
        return sorted(found, key=lambda service: service.created_at)

    def operations(self, arn: str) -> list[Operation]:
        self.service(arn)
        return list(self._state.operations[arn].values())[::-1]

    def releases(self, arn: str) -> list[str]:
        self.service(arn)
        runner = self._runners.get(arn)
        return [] if runner is None else runner.releases()

    def digests(self) -> set[str]:
        return {digest for runner in self._runners.values() for digest in runner.digests()}

    def logs(self, arn: str, kind: LogKind, *, since: int = 0, limit: int = 10_000) -> list[LogLine]:
        service = self.service(arn)
        if kind == "application" and (runner := self._runners.get(arn)) is not None:
            runner.pump()
        return self._logbook.log(service.id, kind).read(since, limit)

    def _accessed(self, service: str, lines: list[str]) -> None:
        """Into the access log of the service with this id."""
        if any(known.id == service for known in self._state.services.values()):
            with suppress(OSError):  # a full disk stops the log, not the service
                self._logbook.log(service, "access").write(access.STREAM, ((line, 0) for line in lines))

    # What is seen from outside

    def follow(
        self, arn: str, kind: LogKind, since: Cursor | None = None, most: int = 500
    ) -> tuple[list[LogLine], Cursor]:
        """What a log says after `since`, and where to go on; without it, its end."""
        service = self.service(arn)
        if kind == "application" and (runner := self._runners.get(arn)) is not None:
            runner.pump()
        return self._logbook.log(service.id, kind).follow(since, most)

    async def traffic(self) -> Traffic:
        """What has come to each service, by its id."""
        return await self.ingress.look()

    async def usage(self) -> dict[str, Usage]:
        """What each service's instances use, by its id."""
        members = {runner.service.id: list(runner.route().servers) for runner in self._runners.values()}

        def measure() -> dict[str, Usage]:
            used = {}
            for service, names in members.items():
                memory, cpu = zip(*map(self._instances.usage, names), strict=True) if names else ((), ())
                used[service] = Usage(len(names), sum(memory), sum(cpu))
            return used

        return await off_loop(measure)

    def certificates(self) -> dict[str, datetime]:
        """When the certificate of each name ends that is not a service's own at `localhost`."""
        return self.ingress.expiries()

    def redirects(self) -> list[Redirect]:
        """Oldest first."""
        return self.ingress.redirects()

    async def hits(self) -> dict[str, int]:
        """How often each redirect has answered, by its source."""
        hits = await self.ingress.hits()
        return {str(one.source): hits.get(one.id, 0) for one in self.ingress.redirects()}

    async def _begin(
        self,
        arn: str,
        kind: OperationType,
        *,
        spec: ServiceSpec | None = None,
        digest: str | None = None,
    ) -> tuple[Service, Operation]:
        service = self.service(arn)
        runner = self._runners.get(arn)
        allowed = _ALLOWED.get(kind, (ServiceStatus.RUNNING,))
        if runner is None or service.status not in allowed or runner.unended():
            raise ServiceBusyError(f"the service {service.spec.name} is in state {service.status}")
        operation = _operation(arn, kind, digest)
        service = replace(
            service,
            spec=spec or service.spec,
            status=ServiceStatus.OPERATION_IN_PROGRESS,
            updated_at=operation.started_at,
        )
        await self._state.save(service, operation)
        runner.wake()
        return service, operation

    async def _watches(self, service: Service, repository: str, tag: str) -> bool:
        """Whether a push to this tag is the service's to deploy."""
        reference = self._images.own(service.spec.image) if _deploys_by_itself(service) else None
        if reference is None or reference.digest is not None or reference.repository != repository:
            return False
        if service.spec.track is None:
            return (reference.tag or "latest") == tag
        with suppress(ImageError):
            return tag == await off_loop(self._images.followed, service.spec.image, service.spec.track)
        return False

    def _say(self, service: Service, text: str) -> None:
        with suppress(OSError):
            self._logbook.log(service.id, "service").write("events", [(text, 0)])

    def _url(self, name: str) -> str:
        host = f"{name.lower()}.{self._domain}"
        return host if self._https_port == 443 else f"{host}:{self._https_port}"

    # After a crash

    def _routes(self) -> dict[str, Route]:
        """Of the services that have come up once, also where their instance is gone: the name stays known."""
        served = [runner for runner in self._runners.values() if runner.service.deployed is not None]
        return {runner.service.id: runner.route() for runner in served}

    async def _adopt(self) -> dict[str, int]:
        """Make the runners, each with its instance if that lives; returns what else was left: ids, process
        ids.

        A process id of 0 is no process: only remains.
        """
        pids = await off_loop(self._instances.running)
        for name in pids:
            self._instances.thaw(name)
        known = await off_loop(self._instances.known)
        adopted = set()
        for arn, service in self._state.services.items():
            if service.deleted_at is not None:
                continue
            members = []
            for instance in self._state.serving.get(service.id, {}).values():
                tail = self._machine.tail(instance)
                try:
                    process = Process(pids[instance.id])
                except (ProcessLookupError, KeyError):
                    tail.finish()
                    await off_loop(self._network.detach, instance.id)
                    continue
                running = Running(instance, process, tail, asyncio.get_running_loop().time())
                with suppress(HomeportError):  # it runs on, as long as it needs no new credentials
                    running.endpoint = await self._machine.endpoint(instance)
                running.oom_kills = self._instances.oom_kills(instance.id)
                members.append(running)
                adopted.add(instance.id)
                self._machine.addresses.add(instance.address)
            self._runners[arn] = Runner(self._machine, arn, members)
        return {instance: pids.get(instance, 0) for instance in known - adopted}

    async def _remove_orphans(self, orphans: Mapping[str, int]) -> None:
        """Stop and remove what an earlier process left; an old instance may still be answering its last
        requests.
        """

        async def remove(instance: str, pid: int) -> None:
            if pid:
                with suppress(ProcessLookupError):
                    process = Process(pid)
                    await self._machine.wind_down(instance, process)
                    process.close()
            with suppress(HomeportError):  # the next start tries again
                await off_loop(self._instances.remove, instance)

        await asyncio.gather(*(remove(instance, pid) for instance, pid in orphans.items()))

    async def _catch_up(self) -> None:
        """Deploy a push whose notice was lost as a process was killed between storing and telling."""
        async with self._calls:
            for runner in list(self._runners.values()):
                service = runner.service
                with suppress(HomeportError):  # the tag is gone
                    reference = self._images.own(service.spec.image)
                    if reference is None or reference.digest is not None or not _deploys_by_itself(service):
                        continue
                    tried = {operation.digest for operation in self._state.operations[service.arn].values()}
                    digest = await off_loop(self._images.resolve, service.spec.image, service.spec.track)
                    if digest not in tried:
                        await runner.push(digest)

    # As long as it runs

    async def _pump(self) -> None:
        while True:
            for runner in list(self._runners.values()):
                runner.pump()
            await asyncio.sleep(_PUMP)

    async def _inspect(self) -> None:
        """Look after what instances take that the kernel sets no limit to."""
        while True:
            await asyncio.sleep(_INSPECTION)
            for runner in list(self._runners.values()):
                await runner.inspect()

    async def _scale(self) -> None:
        """Tell each service what it has to do."""
        while True:
            with suppress(HomeportError):  # no edge, no requests
                loads = await self._edge.loads()
                for runner in list(self._runners.values()):
                    if (load := loads.get(runner.service.id)) is not None:
                        runner.observe(load)
            await asyncio.sleep(_GLANCE)

    async def _upkeep(self) -> None:
        """Remove images that nothing uses, have the others on the disk, renew certificates."""
        while True:
            with suppress(HomeportError, OSError):  # the next round tries again
                async with self._machine.pulling:
                    await off_loop(self._images.keep, self.digests())
                await off_loop(self._images.settle)
                await self._edge.renew()
            await asyncio.sleep(_UPKEEP)


def _deploys_by_itself(service: Service) -> bool:
    return service.spec.auto_deploy and service.status in (
        ServiceStatus.RUNNING,
        ServiceStatus.OPERATION_IN_PROGRESS,
    )


def _operation(arn: str, kind: OperationType, digest: str | None = None) -> Operation:
    now = datetime.now(UTC)
    return Operation(str(uuid.uuid4()), arn, kind, OperationStatus.IN_PROGRESS, now, now, digest=digest)


def _locked(path: Path) -> IO[str]:
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise DirectoryBusyError(f"another homeport runs on {path.parent}: stop it first") from None
    return file
