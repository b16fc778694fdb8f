"""A storm of SIGKILLs over services at work: to homeport, to its edge's two processes, to instances.

Whoever is killed by the storm is what systemd or the kernel would have killed; homeport is started again as
systemd would. Meanwhile clients ask, and deployments, updates and rollbacks go on. In the end every service
must serve, every operation have ended, and nothing be on the machine that does not belong to an instance.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bench.port.harbour import Harbour, until
from homeport.cgroup import Cgroup
from homeport.layout import Layout
from homeport.runtime import Runtimes

__all__ = ["Toll", "storm"]

_AFTERMATH: Final = 300.0  # seconds; an instance that died often is not started again at once
_VICTIMS: Final = {"homeport": 3, "edge": 2, "worker": 2, "instance": 4}  # how often, to one another
_ENDED: Final = ("SUCCEEDED", "FAILED", "ROLLBACK_SUCCEEDED", "ROLLBACK_FAILED")


@dataclass(slots=True)
class Toll:
    """What the storm has done, and what it has left behind: the last three are empty where all is well."""

    kills: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)  # by service, `failed` for those that were none
    operations: Counter[str] = field(default_factory=Counter)  # by how they ended
    ended: int = 0  # how often homeport has ended by itself, of which none is right
    seconds: float = 0.0  # from the last kill until all was well
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)


def storm(harbour: Harbour, arns: dict[str, str], kills: int, seed: int) -> Toll:
    """`arns` by name are running services, each with two releases at least. The last kill is homeport's."""
    toll = Toll()
    choose = random.Random(seed)  # noqa: S311
    names = list(_VICTIMS)
    with _asked(harbour, list(arns), toll):
        while (count := toll.kills.total()) < kills:
            victim = choose.choices(names, list(_VICTIMS.values()))[0] if count < kills - 1 else "homeport"
            _keep(harbour, toll)
            if choose.random() < 0.5:
                _order(harbour, choose, arns)
            time.sleep(choose.uniform(0, 0.5))
            toll.kills[victim] += _kill(harbour, victim, choose)
        started = time.monotonic()
        while not _well(harbour, arns, toll) and time.monotonic() < started + _AFTERMATH:
            _keep(harbour, toll)
            time.sleep(0.1)
        toll.seconds = time.monotonic() - started
    return toll


def _keep(harbour: Harbour, toll: Toll) -> None:
    """As systemd does: start again what has ended by itself."""
    if harbour.process.poll() is not None:
        toll.ended += 1
        harbour.again()


def _kill(harbour: Harbour, victim: str, choose: random.Random) -> int:
    """Returns how many it has killed: there may be none just now."""
    layout = Layout(harbour.data)
    if victim == "homeport":
        harbour.kill()
        time.sleep(choose.uniform(0, 0.3))
        harbour.again()
        # Half of the time it is let come up: else nothing but beginnings would be killed.
        if choose.random() < 0.5:
            with suppress(RuntimeError):
                until(lambda: _answers(harbour), 20)
        return 1
    pids = list(Runtimes(layout).pids().values()) if victim == "instance" else _edge(layout)[victim]
    if not pids:
        return 0
    with suppress(ProcessLookupError):
        os.kill(choose.choice(pids), signal.SIGKILL)
        return 1
    return 0


def _answers(harbour: Harbour) -> bool:
    """Whether homeport has come up."""
    connection = HTTPConnection(harbour.addresses.registry, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _edge(layout: Layout) -> dict[str, list[int]]:
    """HAProxy's processes, by its configuration's file on their command lines."""
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid=,user=,args="], capture_output=True, text=True, check=True
    )
    found: dict[str, list[int]] = {"edge": [], "worker": []}
    for line in listed.stdout.splitlines():
        pid, user, command = line.split(None, 2)
        if (
            command.startswith("haproxy ")
            and str(layout.edge / "haproxy.cfg") in command
            and " -c " not in command
        ):
            found["edge" if user == "root" else "worker"].append(int(pid))
    return found


def _order(harbour: Harbour, choose: random.Random, arns: dict[str, str]) -> None:
    """Ask for something that takes a while; homeport may be down, or the service be busy."""
    arn = choose.choice(list(arns.values()))
    variables = {"TURN": str(choose.random())}
    image = {
        "ImageIdentifier": f"{harbour.addresses.registry}/{arn.split('/')[1]}:latest",
        "ImageRepositoryType": "ECR",
        "ImageConfiguration": {"Port": "8080", "RuntimeEnvironmentVariables": variables},
    }
    orders: list[Callable[[Any], Any]] = [
        lambda apprunner: apprunner.start_deployment(ServiceArn=arn),
        lambda apprunner: apprunner.update_service(
            ServiceArn=arn, SourceConfiguration={"ImageRepository": image}
        ),
        lambda apprunner: apprunner.tag_resource(
            ResourceArn=arn, Tags=[{"Key": "homeport:rollback", "Value": "previous"}]
        ),
    ]
    with suppress(BotoCoreError, ClientError), _apprunner(harbour, patience=1) as apprunner:
        choose.choice(orders)(apprunner)


@contextmanager
def _asked(harbour: Harbour, names: list[str], toll: Toll) -> Iterator[None]:
    """A client for each service as long as the block runs."""
    over = threading.Event()

    def ask(name: str) -> None:
        while not over.wait(0.02):
            try:
                status, _ = harbour.ask(name)
                toll.answers[name if status == 200 else "failed"] += 1
            except (OSError, HTTPException):
                toll.answers["failed"] += 1

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _well(harbour: Harbour, arns: dict[str, str], toll: Toll) -> bool:
    """Whether nothing is amiss; what is stands in the toll."""
    toll.lost, toll.stuck, toll.leaked = [], [], []
    toll.operations.clear()
    try:
        with _apprunner(harbour) as apprunner:
            for name, arn in arns.items():
                status = apprunner.describe_service(ServiceArn=arn)["Service"]["Status"]
                if status != "RUNNING":
                    toll.lost.append(f"{name} is {status}")
                for one in _operations(apprunner, arn):
                    toll.operations[one["Status"]] += 1
                    if one["Status"] not in _ENDED:
                        toll.stuck.append(f"{name}: {one['Type']} is {one['Status']}")
    except (BotoCoreError, ClientError) as error:
        toll.lost.append(f"homeport: {error}")
        return False
    for name in arns:
        try:
            status, text = harbour.ask(name)
            if status != 200:
                toll.lost.append(f"{name}: {status} {text.strip()}")
        except (OSError, HTTPException) as error:
            toll.lost.append(f"{name}: {error!r}")
    toll.leaked = leaks(Layout(harbour.data))
    return not (toll.lost or toll.stuck or toll.leaked)


def _operations(apprunner: Any, arn: str) -> Iterator[dict[str, Any]]:
    page: dict[str, Any] = {}
    while True:
        page = apprunner.list_operations(ServiceArn=arn, **page)
        yield from page["OperationSummaryList"]
        if not page.get("NextToken"):
            return
        page = {"NextToken": page["NextToken"]}


def leaks(layout: Layout) -> list[str]:
    """What is on the machine of instances that are none."""
    living = set(Runtimes(layout).pids())
    prefix = f"{layout.key}-"
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    kinds = {
        "container": Runtimes(layout).names(),
        "folder": [path.name for path in layout.instances.iterdir()],
        "namespace": [
            path.name.removeprefix(prefix)
            for path in Path("/run/netns").iterdir()
            if path.name.startswith(prefix)
        ],
        "cgroup": [
            path.name
            for top in Cgroup(f"/{layout.key}").directories()
            for path in top.iterdir()
            if path.is_dir()
        ],
        "mount": [
            line.split()[1].removeprefix(f"{layout.instances}/").split("/")[0]
            for line in mounts
            if line.split()[1].startswith(f"{layout.instances}/")
        ],
    }
    found = [f"{kind} {name}" for kind, names in kinds.items() for name in sorted({*names} - living)]
    links = [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(f"{layout.key}v")]
    if len(links) != len(living):
        found.append(f"{len(links)} links of {len(living)} instances")
    if len(masters := _edge(layout)["edge"]) != 1:
        found.append(f"{len(masters)} edges")
    return found


@contextmanager
def _apprunner(harbour: Harbour, patience: float = 10) -> Iterator[Any]:
    client = harbour.client(
        "apprunner",
        config=Config(connect_timeout=2, read_timeout=patience, retries={"total_max_attempts": 1}),
    )
    try:
        yield client
    finally:
        client.close()
