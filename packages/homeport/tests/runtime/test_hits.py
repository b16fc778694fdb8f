"""Counting the answers of redirects over workers that come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from homeport.authority import Authority
from homeport.configuration import Names, Route, Server
from homeport.edge import Edge
from homeport.hits import Hits
from homeport.model import Entrance
from homeport.redirects import Redirect, Source


def test_a_worker_is_counted_once_however_often_it_is_looked_at(tmp_path: Path) -> None:
    hits = Hits(tmp_path / "hits.json")
    assert hits.observe({(1, "a"): 3})
    assert not hits.observe({(1, "a"): 3})
    assert hits.observe({(1, "a"): 4, (2, "a"): 1})
    assert hits.observe({(2, "a"): 2})
    assert hits.of("a") == 6


def test_what_a_worker_had_counted_before_a_restart_is_not_counted_again(tmp_path: Path) -> None:
    first = Hits(tmp_path / "hits.json")
    first.observe({(1, "a"): 3})
    first.save()
    again = Hits(tmp_path / "hits.json")
    again.load()
    again.observe({(1, "a"): 5, (2, "b"): 1})
    assert (again.of("a"), again.of("b")) == (5, 1)


def test_a_damaged_file_is_no_hits_and_what_is_not_kept_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "hits.json"
    path.write_text('{"totals": 1}')
    hits = Hits(path)
    hits.load()
    hits.observe({(1, "a"): 3, (1, "b"): 1})
    hits.keep(["b"])
    assert (hits.of("a"), hits.of("b")) == (0, 1)


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=5))
def test_the_total_is_what_all_workers_have_counted(workers: list[list[int]]) -> None:
    hits = Hits(Path("never-written"))
    for worker, steps in enumerate(workers):
        count = 0
        for step in steps:
            count += step
            hits.observe({(worker, "a"): count})
    assert hits.of("a") == sum(map(sum, workers))


def test_the_load_is_read_while_workers_come_and_go(open_front: Any) -> None:
    front = open_front({"web": Route("web.localhost", {"one": Server("127.0.0.1", 1, 1)})})

    async def read() -> None:
        for turn in range(3):
            redirect = Redirect(Source.parse("old.example"), f"https://new.example/{turn}")
            await front.edge.rename(Names(redirects=[redirect]))
            for _ in range(12):  # the worker from before ends meanwhile
                assert "web" in await front.edge.loads()
                await asyncio.sleep(0.05)

    front.do(read())


def test_what_was_asked_before_an_edge_is_taken_over_is_no_new_load(open_front: Any, eventually: Any) -> None:
    routes = {"web": Route("web.localhost")}
    names = Names(entrances={"web": Entrance(allow=("192.0.2.0/24",))})  # which are others
    front = open_front(routes, names)

    def asked(edge: Edge) -> int:
        async def read() -> int:
            return (await edge.loads())["web"].requests

        return int(front.do(read()))

    for _ in range(2):
        assert front.ask("web.localhost", tls=True).status == 403
    eventually(lambda: asked(front.edge) == 2)
    successor = Edge(front.layout, Authority(front.layout.data), front.binding)
    front.do(successor.start(routes, names))
    assert asked(successor) == 0
    assert front.ask("web.localhost", tls=True).status == 403
    eventually(lambda: asked(successor) == 1)
