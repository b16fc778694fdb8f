"""The instances of one service: as many as its load needs, each watched, replaced and drained.

The order that loses no request (measured, see the README): start the new instances, wait until they are
healthy, add them at the edge, write down that they serve, take the old ones out of rotation, wait until their
last request is answered, only then stop them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from signal import SIGKILL

from homeport.admission import Admission
from homeport.edge import Load
from homeport.errors import HomeportError, UnavailableError
from homeport.health import until_unhealthy, until_well
from homeport.machine import Machine, Running, first_of
from homeport.model import Service, ServiceSpec
from homeport.scaling import Scaler

_BACKOFF = 1.0  # seconds before the second restart in a row, doubled each time
_BACKOFF_MOST = 60.0
_PAUSE = 5.0  # seconds before what failed without a reason of the service's own is tried again
_STEADY = 60.0  # seconds after which a death is the first in a row again


class Fleet:
    """Keeps a service's instances from `begin` to `end`; while it is `active`, as many as are needed."""

    def __init__(
        self, machine: Machine, arn: str, members: Iterable[Running], say: Callable[[str], None]
    ) -> None:
        self._machine = machine
        self._arn = arn
        self._id = self.service.id
        self._say = say
        self.members: dict[str, Running] = {}  # in rotation, by instance
        self.active = False
        self.recording = asyncio.Lock()  # of changes to the service's record
        self._scaler = Scaler()
        self._size = 0
        self._resting: asyncio.Task[None] | None = None  # they are about to be frozen
        self._sleepless = False
        self._waking: set[asyncio.Task[None]] = set()
        self._launches: set[asyncio.Task[None]] = set()  # that the fleet has begun by itself
        self._starting: set[Running] = set()
        self._retiring: dict[asyncio.Task[None], Running] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._swap = asyncio.Lock()  # of the members
        self._deaths = 0  # in a row
        self._not_before = 0.0  # the next start
        self._gone = False  # no request is to come
        self._supervisor: asyncio.Task[None] | None = None
        for running in members:
            spec = self.service.deployed or running.instance.spec
            running.limit = running.granted = spec.scaling.max_concurrency
            self.members[running.instance.id] = running
        self._admission = Admission(machine.edge, self._id, self.members)

    @property
    def service(self) -> Service:
        return self._machine.state.services[self._arn]

    @property
    def host(self) -> str:
        return self.service.url.partition(":")[0]

    def begin(self, *, active: bool) -> None:
        self.active = active
        self._scaler.note(_time(), len(self.members))
        self._decide()
        for running in self.members.values():
            self._watches[running.instance.id] = asyncio.create_task(self._watch(running))
        self._supervisor = asyncio.create_task(self._supervise())

    async def end(self) -> None:
        """Drain and stop all instances; they stay written down, and start again with the next homeport."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self.active = False
        await self._settle()
        async with self._swap:
            for running in list(self.members.values()):
                await self._leave(running)
        await self.retired()

    async def leave(self) -> None:
        """Look after the instances no more; they run on, and the edge asks them, for the next homeport."""
        tasks = [*self._retiring, *self._watches.values(), *self._waking]
        tasks += [one for one in (self._supervisor, self._resting) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.active = False
        await self._settle()

    async def awake(self) -> None:
        """See to it that no instance stands still, and that none will."""
        self._sleepless = True
        if self._resting is not None:
            await asyncio.wait([self._resting])
        self._wake()
        if self._waking:
            await asyncio.wait(list(self._waking))

    async def close(self, *, drain: bool) -> None:
        """Stop all instances after their last request, and start none until it is opened again."""
        self.active = False
        await self._settle()
        async with self._swap:
            self._gone = True
            state = self._machine.state
            await state.save(ended=list(state.serving.get(self._id, {}).values()))
            if not drain:
                await self._machine.edge.unroute(self._id)
            for running in list(self.members.values()):
                await self._leave(running)
        await self.retired()

    async def retired(self) -> None:
        """Wait until what has been taken out of rotation is gone."""
        if self._retiring:
            await asyncio.wait(list(self._retiring))

    def digests(self) -> set[str]:
        """The images of all instances there are."""
        return {running.instance.digest for running in self._all()}

    def pump(self) -> None:
        """Take over what the instances have written since."""
        for running in self._all():
            with suppress(OSError):  # a full disk stops the log, not the service
                running.tail.pump()

    async def inspect(self) -> None:
        """See to it that the instances keep to their limits."""
        for running in list(self.members.values()):
            if not running.resting and (said := await self._machine.inspect(running)) is not None:
                self._tell(running, said)

    def _tell(self, running: Running, said: str) -> None:
        """In the service's log, and in the instance's own where that is read."""
        self._say(f"Instance {running.instance.id}: {said}")
        with suppress(OSError):
            running.tail.note(f"[homeport: {said}]")

    def _all(self) -> list[Running]:
        return [*self.members.values(), *self._starting, *self._retiring.values()]

    # Size

    def observe(self, load: Load) -> None:
        """Take a reading of the load."""
        deployed = self.service.deployed
        if self.active and deployed is not None:
            self._scaler.observe(_time(), load, len(self.members), deployed.scaling)
            self._decide()
            if (
                deployed.scaling.freeze
                and not self._sleepless
                and self._scaler.idle(_time(), deployed.scaling)
            ):
                self._rest()

    def size_under(self, spec: ServiceSpec) -> int:
        """How many instances a new version begins with: as many as are needed now, and one at least."""
        return max(self._scaler.size(_time(), spec.scaling), 1)

    def _decide(self) -> None:
        deployed = self.service.deployed
        size = 0 if deployed is None else self._scaler.size(_time(), deployed.scaling)
        if size != self._size:
            self._size = size
            self._changed.set()

    # What the activator asks for

    async def acquire(self) -> Running:
        """An instance with room for one more request, started if there is none."""
        name = self.service.spec.name
        if not self.active or self._machine.closing:
            raise UnavailableError(f"The service {name} is not running.")
        self._wake()
        if (running := await self._admission.take()) is not None:
            return running
        if not self.members and self._failing:
            raise UnavailableError(f"The service {name} does not start.")
        self._scaler.note(_time(), 1)
        self._decide()
        return await self._admission.wait()

    def release(self, running: Running) -> None:
        self._admission.release(running)

    # Standing still while nobody asks

    def _rest(self) -> None:
        """Freeze all instances, in the background, unless there is something to do."""
        if self._resting is None and all(not one.resting for one in self.members.values()):
            self._resting = asyncio.create_task(self._freeze())

            def ended(_: asyncio.Task[None]) -> None:
                self._resting = None

            self._resting.add_done_callback(ended)

    async def _freeze(self) -> None:
        """The edge sends all that comes to the activator first: so none is asked while it stands still."""
        async with self._swap:
            members = list(self.members.values())
            settled = len(members) == self._size and not self._launches and not self._starting
            if not self.active or not settled or any(one.trouble for one in members):
                return
            for running in members:
                running.resting = True
            try:
                for running in members:
                    await self._admission.grant(running)
                busy = [one for one in members if await self._machine.edge.busy(one.instance.id)]
            except HomeportError:
                busy = members
            # From here to the last of them nothing else runs. Who came meanwhile has woken them.
            if busy or not all(one.resting and not one.held for one in members):
                self._wake()
                return
            for running in members:
                if not self._machine.instances.freeze(running.instance.id):
                    self._wake()
                    return

    def _wake(self) -> None:
        """Let all that stand still go on: at once, and a moment later at the edge too."""
        woken = [running for running in self.members.values() if running.resting]
        if not woken:
            return
        for running in woken:
            self._thaw(running)
        self._scaler.note(_time(), 1)
        task = asyncio.create_task(self._admission.grant_all(woken))
        self._waking.add(task)
        task.add_done_callback(self._waking.discard)

    def _thaw(self, running: Running) -> None:
        if running.resting:
            self._machine.instances.thaw(running.instance.id)
            running.resting = False

    @property
    def _failing(self) -> bool:
        return _time() < self._not_before

    # Releases

    async def bring_up(self, digest: str, spec: ServiceSpec) -> list[Running]:
        """As many healthy instances of a version as are needed, not yet known to the edge.

        Raises DeploymentError, and then leaves nothing behind.
        """
        new: list[Running] = []
        try:
            while (missing := self.size_under(spec) - len(new)) > 0:
                starts = [asyncio.create_task(self._start(digest, spec)) for _ in range(missing)]
                new += await _all_of(starts, self.retire)
        except BaseException:
            for running in new:
                self.retire(running)
            raise
        return new

    async def switch(self, new: list[Running], digest: str, spec: ServiceSpec) -> None:
        """Let a new version's instances serve, written down as what is deployed, and the old ones no more."""
        state = self._machine.state
        async with self._swap:
            old = list(self.members.values())
            try:
                for running in new:
                    self._enlist(running)
                    await self._open(running)
                async with self.recording:
                    await state.save(
                        replace(self.service, digest=digest, deployed=spec),
                        serving=[running.instance for running in new],
                        ended=list(state.serving.get(self._id, {}).values()),
                    )
            except BaseException:
                for running in new:
                    await self._leave(running)
                raise
            self._deaths, self._not_before = 0, 0.0
            self._gone = False
            self.active = True
            self._scaler.note(_time(), len(new))
            self._decide()
            for running in old:
                await self._leave(running)
        self._changed.set()

    async def adjust(self, digest: str, spec: ServiceSpec) -> None:
        """Take over how the service is to scale; its instances stay as they are."""
        async with self._swap:
            async with self.recording:
                await self._machine.state.save(replace(self.service, digest=digest, deployed=spec))
            if not spec.scaling.freeze:
                self._wake()
            for running in self.members.values():
                running.limit = spec.scaling.max_concurrency
                await self._admission.grant(running)
        self._decide()

    # Instances

    async def _start(self, digest: str, spec: ServiceSpec) -> Running:
        """A new healthy instance. Raises DeploymentError and leaves nothing behind."""
        running = await self._machine.start(self.service, digest, spec)
        self._starting.add(running)
        try:
            await self._machine.until_healthy(running, self.service.url, self._say)
        except BaseException:
            self._starting.discard(running)
            running.process.send(SIGKILL)
            await running.process.wait()
            await self._remove(running)
            raise
        return running

    async def _supervise(self) -> None:
        """Start what should serve and does not; replace what is ill; take away what is not needed."""
        state = self._machine.state
        while True:
            self._changed.clear()
            pause: float | None = None
            try:
                recorded = state.serving.get(self._id, {}).values()
                await state.save(ended=[one for one in recorded if one.id not in self.members])
                pause = await self._reconcile()
            except Exception as error:  # noqa: BLE001 - whatever it is, the service is watched on
                self._say(f"Keeping the instances failed, again in {_PAUSE:.0f} s: {error}")
                pause = _PAUSE
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _reconcile(self) -> float | None:
        """One step towards what should be; returns the seconds after which to look again, if any."""
        async with self._swap:
            for running in [one for one in self.members.values() if not one.process.alive]:
                await self._bury(running)
        if not self.active:
            return None
        well = [running for running in self.members.values() if running.trouble is None]
        missing = self._size - len(well) - len(self._launches)
        if missing > 0:
            if (wait := self._not_before - _time()) > 0:
                return wait
            for _ in range(missing):
                self._launch()
        elif len(well) >= self._size:
            ill = [running for running in self.members.values() if running.trouble is not None]
            async with self._swap:
                for running in (*ill, *well[self._size :]):
                    if running.instance.id in self.members:
                        await self._dismiss(running)
        return None

    def _launch(self) -> None:
        service = self.service
        if service.digest is None or service.deployed is None:
            return
        task = asyncio.create_task(self._add_one(service.digest, service.deployed))
        self._launches.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._launches.discard(task)
            self._changed.set()

        task.add_done_callback(ended)

    async def _add_one(self, digest: str, spec: ServiceSpec) -> None:
        """One more instance of what serves, if it still does once it is up."""
        try:
            running = await self._start(digest, spec)
        except Exception as error:  # noqa: BLE001 - whatever it is, the service is watched on
            self._count_death()
            self._say(f"Starting an instance failed: {error}")
            if not self.members and self._failing:
                self._admission.refuse(f"The service {self.service.spec.name} does not start.")
            return
        try:
            async with self._swap:
                self._starting.discard(running)
                now = self.service
                if not self.active or (now.digest, now.deployed) != (digest, spec):
                    self.retire(running)
                    return
                await self._join(running)
        except Exception as error:  # noqa: BLE001 - likewise
            self._not_before = _time() + _PAUSE
            self._say(f"Instance {running.instance.id} cannot serve: {error}")
            return
        self._say(f"Instance {running.instance.id} serves")

    async def _join(self, running: Running) -> None:
        self._enlist(running)
        try:
            await self._open(running)
            await self._machine.state.save(serving=[running.instance])
        except BaseException:
            await self._leave(running)
            raise

    async def _open(self, running: Running) -> None:
        """Into rotation. The requests that are waiting for it come first."""
        self._admission.admit()
        running.granted = max(running.limit - running.held, 0)
        await self._machine.edge.add(self._id, self.host, running.instance.id, running.server)
        await self._admission.grant(running)

    async def _bury(self, dead: Running) -> None:
        """A dead instance takes no more requests."""
        with suppress(OSError):
            dead.tail.finish()
        self._tell(dead, self._machine.explain(dead))
        if dead.trouble is None:
            self._count_death(_time() - dead.since)
        await self._dismiss(dead)

    async def _dismiss(self, running: Running) -> None:
        await self._machine.state.save(ended=[running.instance])
        await self._leave(running)

    def _count_death(self, lived: float = 0) -> None:
        self._deaths = 1 if lived > _STEADY else self._deaths + 1
        if self._deaths > 1:
            self._not_before = _time() + min(_BACKOFF * 2 ** (self._deaths - 2), _BACKOFF_MOST)

    def _enlist(self, running: Running) -> None:
        self._starting.discard(running)
        self.members[running.instance.id] = running
        self._watches[running.instance.id] = asyncio.create_task(self._watch(running))

    async def _watch(self, running: Running) -> None:
        """Until the instance has ended: note when it falls ill, and when it is well again."""
        subject = (*running.address, running.instance.spec.health, self.service.url)
        while True:
            ill = asyncio.create_task(until_unhealthy(*subject, lambda: running.resting))
            await first_of(ill, running.process.wait())
            if not running.process.alive:
                break
            running.trouble = f"unhealthy: {ill.result()}"
            self._say(f"Instance {running.instance.id}: {running.trouble}")
            self._count_death(_time() - running.since)
            self._changed.set()
            await first_of(until_well(*subject), running.process.wait())
            if not running.process.alive:
                break
            running.trouble = None
        self._changed.set()

    async def _leave(self, running: Running) -> None:
        """Out of rotation, and away once its last request is answered."""
        self.members.pop(running.instance.id, None)
        self._thaw(running)
        if (watch := self._watches.pop(running.instance.id, None)) is not None:
            watch.cancel()
        with suppress(HomeportError):  # an edge that is down comes back without it
            await self._machine.edge.drain(self._id, running.instance.id)
        self.retire(running)

    def retire(self, running: Running) -> None:
        """Let an instance finish its requests, stop it, and remove it; in the background."""
        self._starting.discard(running)
        task = asyncio.create_task(self._retire(running))
        self._retiring[task] = running
        task.add_done_callback(self._retiring.pop)

    async def _retire(self, running: Running) -> None:
        name = running.instance.id
        patience = self.service.spec.entrance.timeout
        await self._machine.wind_down(
            name, running.process, running=running, gone=self._gone, patience=patience
        )
        with suppress(HomeportError):
            await self._machine.edge.remove(self._id, name)
        await self._remove(running)

    async def _remove(self, running: Running) -> None:
        try:
            await self._machine.remove(running)
        except HomeportError as error:
            self._say(f"Instance {running.instance.id} cannot be removed: {error}")

    async def _settle(self) -> None:
        """End the starts that the fleet has begun, and send away who waits for them."""
        for task in self._launches:
            task.cancel()
        await asyncio.gather(*self._launches, return_exceptions=True)
        self._admission.refuse(f"The service {self.service.spec.name} is not running.")


async def _all_of(starts: list[asyncio.Task[Running]], undo: Callable[[Running], None]) -> list[Running]:
    """All of them or, where one fails, none."""
    try:
        return list(await asyncio.gather(*starts))
    except BaseException:
        for task in starts:
            task.cancel()
        for done in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(done, Running):
                undo(done)
        raise


def _time() -> float:
    return asyncio.get_running_loop().time()
