"""What survives: homeport killed at any moment, the edge killed, an instance killed, everything gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

# What starts has 20 seconds: the machine may have other things to do.
HTTP = {"protocol": "HTTP", "path": "/healthz", "interval": 1, "timeout": 5, "unhealthy_threshold": 20}


def masters(harbour: Any) -> list[int]:
    """HAProxy's master process, by the harbour's own files on its command line."""
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid,user,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(pid) for pid, user, args in rows if str(harbour.layout.edge) in args and user == "root"]


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def test_homeport_killed_and_started_again_takes_over_what_runs_without_losing_a_request(
    harbour: Any, make_image: Any, traffic: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    instances, edge = harbour.containers(), masters(harbour)
    with traffic(harbour) as seen:
        harbour.kill()
        assert harbour.served() == "one"
        harbour.get("/say?text=said+meanwhile")
        harbour.start()
        assert harbour.containers() == instances
        assert masters(harbour) == edge
        assert harbour.service(arn)["status"] == "RUNNING"
        harbour.push(make_image(VERSION="two"))
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
        assert harbour.served() == "two"
    assert seen.bad == {}
    assert harbour.output(arn).count("said meanwhile") == 1
    assert harbour.output(arn).count("version one starts, mode None") == 1


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.15, 0.3, 0.5])
def test_homeport_killed_in_a_deployment_finishes_it_at_the_next_start(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any, moment: float
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    with traffic(harbour) as seen:
        harbour.push(make_image(VERSION="two", START_DELAY="0.1"))
        time.sleep(moment)
        harbour.kill()
        harbour.start()
        assert harbour.ended(arn)["status"] == "SUCCEEDED"
        assert harbour.served() == "two"
        eventually(lambda: len(harbour.containers()) == 1)
        eventually(lambda: len(list(harbour.layout.instances.iterdir())) == 1)
    assert seen.bad == {}


def test_a_push_that_homeport_was_killed_over_is_deployed_at_the_next_start(
    harbour: Any, make_image: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create()
    harbour.store(make_image(VERSION="two"))
    harbour.kill()
    harbour.start()
    assert harbour.ended(arn)["type"] == "START_DEPLOYMENT"
    assert harbour.served() == "two"


def test_after_a_reboot_every_service_starts_again(harbour: Any, make_image: Any, eventually: Any) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    harbour.get("/say?text=last+words")
    harbour.kill()
    for pid in (*harbour.containers().values(), *masters(harbour)):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not harbour.containers())
    harbour.start()
    eventually(lambda: harbour.served() == "one")
    assert harbour.service(arn)["status"] == "RUNNING"
    assert "last words" in harbour.output(arn)


def test_instances_whose_records_are_lost_are_killed_and_replaced(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    harbour.create()
    (pid,) = harbour.containers().values()
    (master,) = masters(harbour)
    harbour.kill()
    os.kill(master, signal.SIGKILL)
    shutil.rmtree(harbour.layout.run)
    harbour.start()
    eventually(lambda: harbour.served() == "one")
    eventually(lambda: not Path(f"/proc/{pid}/root/app.py").exists())


def test_after_a_clean_stop_nothing_runs_and_a_start_brings_all_back(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create()
    harbour.stop()
    assert harbour.remains() == []
    harbour.start()
    eventually(lambda: harbour.served() == "one")
    assert [one["type"] for one in harbour.tell("operations", arn=arn)] == ["CREATE_SERVICE"]


def test_a_killed_instance_is_replaced_and_one_that_dies_again_not_at_once(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create()
    for _ in range(2):
        before = harbour.containers()
        died = time.monotonic()
        os.kill(*before.values(), signal.SIGKILL)
        eventually(
            lambda before=before: harbour.served() == "one" and harbour.containers() not in ({}, before)
        )
    assert time.monotonic() - died >= 1, "the second in a row waits"
    assert any("the instance was ended by SIGKILL" in event for event in harbour.events(arn))
    assert harbour.service(arn)["status"] == "RUNNING"


def test_an_instance_that_falls_ill_is_replaced_while_it_still_serves(
    harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health={**HTTP, "unhealthy_threshold": 10})
    before = harbour.containers()
    with traffic(harbour) as seen:
        harbour.get("/sicken")
        eventually(lambda: harbour.containers().keys() & before.keys() == set())
    assert seen.bad == {}
    assert any("unhealthy: GET /healthz answered 500" in event for event in harbour.events(arn))


@pytest.mark.parametrize("whole", [False, True], ids=["worker", "master"])
def test_a_killed_edge_comes_back_with_all_services(
    harbour: Any, make_image: Any, eventually: Any, whole: bool
) -> None:
    harbour.store(make_image(VERSION="one"))
    harbour.create("web")
    harbour.create("other")
    (master,) = masters(harbour)
    eventually(lambda: len(children(master)) == 1)  # the one from before the last reload has ended
    os.kill(master if whole else children(master)[0], signal.SIGKILL)
    eventually(lambda: masters(harbour) not in ([], [master]))
    eventually(lambda: harbour.served("web") == "one" and harbour.served("other") == "one")


@pytest.mark.parametrize("alive", [True, False])
def test_an_edge_whose_number_was_not_written_is_found_and_one_that_died_so_is_replaced(
    harbour: Any, make_image: Any, eventually: Any, alive: bool
) -> None:
    harbour.store(make_image(VERSION="one"))
    harbour.create()
    before = masters(harbour)
    harbour.kill()
    (harbour.layout.run / "haproxy.pid").write_text("")
    if not alive:
        os.kill(*before, signal.SIGKILL)
    harbour.start()
    eventually(lambda: harbour.served() == "one")
    assert (masters(harbour) == before) is alive
    assert len(masters(harbour)) == 1


def test_a_second_homeport_on_the_same_directory_is_refused(harbour: Any) -> None:
    first = harbour.process
    try:
        with pytest.raises(AssertionError, match="another homeport runs on"):
            harbour.start()
        harbour._wait()
    finally:
        harbour.process = first


def test_a_full_disk_stops_no_service_and_what_failed_for_it_works_when_there_is_room(
    small_harbour: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    harbour = small_harbour
    harbour.store(make_image(VERSION="two"), "next")
    harbour.store(make_image(VERSION="one"))
    arn = harbour.create(health=HTTP)
    before = harbour.containers()
    filler = harbour.data / "filler"
    with traffic(harbour) as seen:
        fill(filler)
        spec = {"name": "web", "image": "127.0.0.1:5000/web:next", "cpu": 512, "memory": 128, "health": HTTP}
        with pytest.raises(AssertionError):
            harbour.tell("update_service", arn=arn, spec=spec)
        harbour.get("/say?text=into+a+full+disk")
        harbour.kill()
        harbour.start()
        assert harbour.containers() == before
        assert harbour.service(arn)["status"] == "RUNNING"
    assert seen.bad == {}
    # What dies is started as soon as there is room: what it leaves is none, for that is taken, too.

    def is_down() -> bool:
        fill(filler)
        for process in harbour.containers().values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return harbour.served() is None

    eventually(is_down)
    filler.unlink()
    eventually(lambda: harbour.served() == "one")
    harbour.tell("update_service", arn=arn, spec=spec)
    assert harbour.ended(arn)["status"] == "SUCCEEDED"
    assert harbour.served() == "two"


def fill(path: Path) -> None:
    """Take all the room there is on a disk, beside what was taken before."""
    with path.open("ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
