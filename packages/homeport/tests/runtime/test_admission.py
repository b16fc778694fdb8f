"""No instance answers more requests at a time than its limit, whether edge or activator sends them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from homeport.admission import Admission
from homeport.edge import Edge
from homeport.machine import Running


@dataclass
class Instance:
    id: str


@dataclass
class Living:
    alive: bool = True


@dataclass
class Proxy:
    """The edge as far as it counts: it takes a request while an instance has fewer than it was last told."""

    told: dict[str, int] = field(default_factory=dict)
    flying: dict[str, int] = field(default_factory=dict)

    async def limit(self, _service: str, name: str, limit: int) -> None:
        await asyncio.sleep(0)
        self.told[name] = limit

    async def in_flight(self, name: str) -> int:
        await asyncio.sleep(0)
        return self.flying[name]


@dataclass
class Held:
    """A request at the activator: it has a place once that was given, and keeps it until it is answered."""

    task: asyncio.Task[Running]

    @property
    def place(self) -> Running | None:
        return self.task.result() if self.task.done() and not self.task.cancelled() else None


steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "answer", "give up", "edge", "edge answers", "wait"]), st.integers(0, 9)
    ),
    max_size=40,
)


@given(limits=st.lists(st.integers(1, 3), min_size=1, max_size=3), steps=steps)
def test_whatever_comes_no_instance_has_more_than_its_limit(
    limits: list[int], steps: list[tuple[str, int]]
) -> None:
    asyncio.run(_play(limits, steps))


async def _play(limits: list[int], steps: list[tuple[str, int]]) -> None:
    proxy = Proxy()
    members = {}
    for number, limit in enumerate(limits):
        name = str(number)
        instance = cast("Any", Instance(name))
        members[name] = Running(instance, cast("Any", Living()), cast("Any", None), 0.0, limit, granted=limit)
        proxy.told[name], proxy.flying[name] = limit, 0
    admission = Admission(cast("Edge", proxy), "web", members)
    held: list[Held] = []

    async def ask() -> Running:
        return await admission.take() or await admission.wait()

    for step, number in steps:
        name = str(number % len(limits))
        placed = [one for one in held if one.place is not None]
        match step:
            case "ask":
                held.append(Held(asyncio.create_task(ask())))
            case "answer" if placed:
                one = placed[number % len(placed)]
                held.remove(one)
                admission.release(cast("Running", one.place))
            case "give up" if held and held[number % len(held)].place is None:
                one = held.pop(number % len(held))
                one.task.cancel()
                await asyncio.gather(one.task, return_exceptions=True)
            case "edge" if proxy.flying[name] < proxy.told[name]:
                proxy.flying[name] += 1
            case "edge answers" if proxy.flying[name]:
                proxy.flying[name] -= 1
            case "wait":
                await asyncio.sleep(0)
        _check(members, proxy, held)
    # All are answered in the end: nobody waits for a place that there is.
    for name in proxy.flying:
        proxy.flying[name] = 0
    while held:
        await asyncio.sleep(0.001)
        for one in [one for one in held if one.place is not None]:
            held.remove(one)
            admission.release(cast("Running", one.place))
        _check(members, proxy, held)
    for _ in range(10):  # what has been begun
        await asyncio.sleep(0)
    assert proxy.told == {name: one.limit for name, one in members.items()}


def _check(members: dict[str, Running], proxy: Proxy, held: list[Held]) -> None:
    for name, running in members.items():
        passing = sum(one.place is running for one in held)
        assert passing + proxy.flying[name] <= running.limit
