"""Several instances a service: as many as its load needs, none of them with more than its limit."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

# What starts has 20 seconds: the machine may have other things to do.
HTTP = {"protocol": "HTTP", "path": "/healthz", "interval": 1, "timeout": 5, "unhealthy_threshold": 20}


@pytest.fixture
def harbour(cleared_harbour: Any) -> Any:
    return cleared_harbour


def answering(seen: Any) -> set[str]:
    """Which instances have answered `/work`."""
    return {body.split()[0] for status, body in seen.answers if status == 200}


def frozen(harbour: Any) -> set[str]:
    """The instances that stand still, by the kernel's word."""
    found = set()
    for name in harbour.containers():
        group = f"{harbour.layout.key}/{name}"
        for path in (f"freezer/{group}/freezer.state", f"{group}/cgroup.freeze"):
            with suppress(FileNotFoundError):
                if (Path("/sys/fs/cgroup") / path).read_text().strip() in ("FROZEN", "1"):
                    found.add(name)
    return found


def connections(harbour: Any) -> dict[str, int]:
    """How many each instance has been given, by the kernel's word: also while it stands still."""
    found = {}
    for name, pid in harbour.containers().items():
        lines = [line.split() for line in Path(f"/proc/{pid}/net/snmp").read_text().splitlines()]
        names, values = (line for line in lines if line[0] == "Tcp:")
        found[name] = int(values[names.index("PassiveOpens")])
    return found


def crowd(seen: Any) -> int:
    """The most requests that one of them had at a time."""
    return max(int(body.split()[1]) for status, body in seen.answers if status == 200)


def test_a_version_comes_up_with_as_many_instances_as_the_one_before_and_no_request_is_lost(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP, scaling={"min_size": 3})
    first = harbour.containers().keys()
    assert len(first) == 3
    with traffic(harbour, clients=4, path="/work?seconds=0.01") as seen:
        eventually(lambda: len(answering(seen)) == 3)
        for instances, version in ((6, "two"), (9, "three")):
            harbour.push(make_image(VERSION=version))
            assert harbour.ended(arn)["status"] == "SUCCEEDED"
            assert harbour.served() == version
            eventually(lambda count=instances: len(answering(seen)) == count)
        eventually(lambda: len(harbour.containers()) == 3)
    assert seen.bad == {}
    assert not first & harbour.containers().keys()


def test_one_of_a_new_versions_instances_that_fails_takes_the_others_with_it(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP, scaling={"min_size": 2})
    before = harbour.containers()
    with traffic(harbour) as seen:
        harbour.push(make_image(VERSION="two", MODE="exits"))
        assert harbour.ended(arn)["status"] == "ROLLBACK_SUCCEEDED"
    assert seen.bad == {}
    assert {body for _, body in seen.answers} == {"one"}
    eventually(lambda: harbour.containers() == before)


def test_load_brings_instances_none_has_more_than_its_limit_and_they_go_when_it_is_over(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    arn = harbour.create(scaling={"max_concurrency": 2, "max_size": 4, "idle_after": 1.5})
    with traffic(harbour, clients=12, pause=0, path="/work?seconds=0.05") as seen:
        eventually(lambda: len(answering(seen)) >= 4)
        harbour.push(make_image(VERSION="two"))
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
        eventually(lambda: len(answering(seen)) >= 8)
    assert seen.bad == {}
    assert crowd(seen) == 2
    eventually(lambda: len(harbour.containers()) == 1)
    assert harbour.served() == "two"


def test_a_service_scales_to_zero_and_fifty_requests_at_once_are_held_for_one_start(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(MODE="waits"))
    health = {"unhealthy_threshold": 20}
    arn, operation = harbour.begin(scaling={"to_zero": True, "idle_after": 0.5}, health=health)
    harbour.let_go()
    assert harbour.ended(arn, operation)["status"] == "SUCCEEDED"
    eventually(lambda: harbour.containers() == {})
    assert harbour.service(arn)["status"] == "RUNNING"
    started = len(harbour.output(arn))
    with ThreadPoolExecutor(50) as clients:
        asked = [clients.submit(harbour.get, "/work?seconds=0.01") for _ in range(50)]
        eventually(lambda: harbour.open_requests() == 50)
        harbour.let_go()
        answers = [one.result() for one in asked]
    assert [answer.status for answer in answers] == [200] * 50
    assert len({answer.text.split()[0] for answer in answers}) == 1
    assert harbour.output(arn)[started:].count("version 1 starts, mode waits") == 1
    eventually(lambda: harbour.containers() == {})


def test_more_requests_than_the_limit_wait_at_a_service_that_is_at_zero(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    harbour.create(scaling={"max_concurrency": 1, "max_size": 2, "to_zero": True, "idle_after": 0.5})
    eventually(lambda: harbour.containers() == {})
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda _: harbour.get("/work?seconds=0.1"), range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert {answer.text.split()[1] for answer in answers} == {"1"}


def test_a_deployment_at_zero_proves_the_version_and_goes_back_to_zero(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(scaling={"to_zero": True, "idle_after": 0.5})
    eventually(lambda: harbour.containers() == {})
    harbour.push(make_image(VERSION="never", MODE="exits"))
    assert harbour.ended(arn)["status"] == "ROLLBACK_SUCCEEDED"
    assert harbour.served() == "one"
    harbour.push(make_image(VERSION="two"))
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    eventually(lambda: harbour.containers() == {})
    assert harbour.served() == "two"


def test_instances_that_nobody_asks_stand_still_until_somebody_does(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    scaling = {"min_size": 2, "freeze": True, "idle_after": 0.5}
    arn = harbour.create(health=HTTP, scaling=scaling)
    instances = harbour.containers()
    eventually(lambda: frozen(harbour) == set(instances))
    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(lambda _: harbour.get("/work?seconds=0.01"), range(10)))
    assert [answer.status for answer in answers] == [200] * 10
    assert harbour.containers() == instances
    # A frozen one is not asked for its health, and not taken for ill.
    eventually(lambda: frozen(harbour) == set(instances))
    before = connections(harbour)
    time.sleep(3)
    assert connections(harbour) == before
    assert frozen(harbour) == set(instances)
    assert harbour.containers() == instances
    # It is let go on to be stopped.
    harbour.push(make_image(VERSION="two"))
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    eventually(lambda: len(harbour.containers()) == 2 and not harbour.containers().keys() & instances.keys())
    assert harbour.output(arn).count("stopped well") == 2
    assert harbour.served() == "two"


def test_a_homeport_that_was_killed_over_frozen_instances_lets_them_go_on(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    arn = harbour.create(scaling={"freeze": True, "idle_after": 0.5})
    instances = harbour.containers()
    eventually(lambda: frozen(harbour) == set(instances))
    harbour.kill()
    harbour.start()
    assert harbour.served() == "1"
    assert harbour.containers() == instances
    eventually(lambda: frozen(harbour) == set(instances))
    # Also those that are no longer anybody's.
    harbour.tell("pause_service", arn=arn)
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    assert harbour.containers() == {}


def test_other_numbers_of_instances_take_effect_without_a_new_one_of_what_serves(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    arn = harbour.create()
    before = harbour.containers().keys()
    spec = {"name": "web", "image": "127.0.0.1:5000/web:latest", "cpu": 512, "memory": 128}
    harbour.tell("update_service", arn=arn, spec={**spec, "scaling": {"min_size": 2}})
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    eventually(lambda: len(harbour.containers()) == 2)
    assert before <= harbour.containers().keys()


def test_a_homeport_that_was_killed_takes_all_instances_over_and_replaces_the_dead(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    harbour.create("web", scaling={"min_size": 3})
    harbour.create("sleeper", scaling={"to_zero": True, "idle_after": 0.5})
    paused = harbour.create("paused")
    harbour.tell("pause_service", arn=paused)
    assert harbour.ended(paused)["status"] == "SUCCEEDED"
    eventually(lambda: len(harbour.containers()) == 3)
    before = harbour.containers()
    with traffic(harbour) as seen:
        harbour.kill()
        harbour.start()
        assert harbour.containers() == before
    assert seen.bad == {}
    assert harbour.service(paused)["status"] == "PAUSED"
    assert harbour.get("/", "paused").status == 503
    assert harbour.served("sleeper") == "1"
    eventually(lambda: harbour.containers() == before)
    harbour.kill()
    killed = sorted(before)[:2]
    for name in killed:
        os.kill(before[name], signal.SIGKILL)
    harbour.start()
    eventually(lambda: len(harbour.containers()) == 3 and not harbour.containers().keys() & set(killed))
    eventually(lambda: harbour.served() == "1")
