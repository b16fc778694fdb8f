"""homeport: from a moved tag to the new answer, rollouts under load, starts, steps of the load, a storm of
kills, edge, certificates, control plane.

The peers are HAProxy by itself in front of the same instance, the app as a bare process, and podman.
Everything else is held against its goal alone.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.port import haproxy
from bench.port.acme import issuance
from bench.port.cold import cold_start, frozen
from bench.port.fleet import control_plane
from bench.port.harbour import Harbour, Images, until
from bench.port.load import Load, Outcome, require_wrk
from bench.port.step import step
from bench.port.storm import storm
from bench.row import Row
from homeport.layout import Layout

__all__ = ["run"]

_NAME: Final = "answer"
_ROLLOUTS: Final = 20
_ROLLBACKS: Final = 5
_KILLS: Final = 210
_LOAD: Final = 90  # seconds
_PADDING: Final = 60_000_000  # bytes: with the base, 77 MB travel
_APP: Final = Path(__file__).parent / "app.py"


def run() -> list[Row]:
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="bench-port-") as name:
        folder = Path(name)
        images = Images.build(folder / "images")
        with Harbour.start(folder / "port") as harbour:
            arn = harbour.create(_NAME, images.version("first"))
            rows = [
                *_edge(folder, harbour),
                *_moved(harbour, images, arn),
                *_rollouts(harbour, images, arn),
                *_zero(harbour, images),
                *cold_start(folder / "cold", harbour, images, _NAME, _digest(harbour)),
                *frozen(harbour, images),
                *step(harbour, images),
            ]
        return [
            *rows,
            *issuance(folder / "acme", images),
            *_faults(folder / "storm", images),
            *control_plane(folder / "fleet"),
        ]


def _edge(folder: Path, harbour: Harbour) -> list[Row]:
    """In turn, five times each: the machine may be busier at one time than at another."""
    host = f"{_NAME}.localhost"
    pid = int((Layout(harbour.data).run / "haproxy.pid").read_text().split()[0])
    with (
        haproxy.start(folder / "same", harbour, keep=False) as same,
        haproxy.start(folder / "kept", harbour, keep=True) as kept,
    ):
        proxies = {"ours": (harbour.addresses.https_port, pid), "same": same, "kept": kept}
        seen: dict[str, list[Outcome]] = {name: [] for name in proxies}
        cpu: dict[str, list[float]] = {name: [] for name in proxies}  # seconds a request
        for _ in range(5):
            for name, (port, master) in proxies.items():
                before = haproxy.cpu(master)
                outcome = Load(_url(port), host, 4).outcome()
                seen[name].append(outcome)
                cpu[name].append((haproxy.cpu(master) - before) / outcome.requests)
    rate = {name: statistics.median(one.rate for one in some) for name, some in seen.items()}
    late = {name: statistics.median(one.p99 for one in some) * 1e3 for name, some in seen.items()}
    cost = {name: statistics.median(some) * 1e6 for name, some in cpu.items()}
    peer, other = "HAProxy, same settings", "HAProxy, kept connections"
    return [
        Row("port", "edge, warm", rate["ours"], "requests/s", rate["same"], peer, rate["same"] * 0.95),
        Row("port", "edge, warm", rate["ours"], "requests/s", rate["kept"], other),
        Row("port", "edge, warm: p99", late["ours"], "ms", late["same"], peer, late["same"] * 1.05),
        Row("port", "edge, warm: CPU a request", cost["ours"], "us", cost["same"], peer, cost["same"] * 1.05),
        Row("port", "edge, warm: failed", sum(one.failed for one in seen["ours"]), "", goal=0),
    ]


def _url(port: int) -> str:
    return f"https://127.0.0.1:{port}/"


def _moved(harbour: Harbour, images: Images, arn: str) -> list[Row]:
    """The seconds from the push's end, which moves the tag, to the first new answer."""
    seconds: dict[int, list[float]] = {0: [], _PADDING: []}
    for padding, times in ((0, 5), (_PADDING, 3)):
        for turn in range(times):
            name = f"moved-{padding}-{turn}"
            image = images.version(name, padding=padding)
            harbour.push(_NAME, image, "next")  # the blobs are there: what is measured is the tag alone
            harbour.push(_NAME, image)
            started = time.monotonic()
            until(lambda name=name: harbour.answer(_NAME) == name)  # type: ignore[misc]
            seconds[padding].append(time.monotonic() - started)
            harbour.settle(arn)
    small, large = (statistics.median(some) for some in seconds.values())
    return [
        Row("port", "tag moved to new answer, small image", small, "s", goal=2),
        Row("port", "tag moved to new answer, 77 MB", large, "s", goal=5),
    ]


def _rollouts(harbour: Harbour, images: Images, arn: str) -> list[Row]:
    """Releases and returns to earlier ones, one after the other while the load goes on."""
    apprunner = harbour.client("apprunner")
    load = Load(_url(harbour.addresses.https_port), f"{_NAME}.localhost", _LOAD)
    back = []
    for turn in range(_ROLLOUTS):
        harbour.push(_NAME, images.version(f"rollout-{turn}"))
        until(lambda turn=turn: harbour.answer(_NAME) == f"rollout-{turn}")  # type: ignore[misc]
        harbour.settle(arn)
    for turn in range(_ROLLBACKS):
        wanted = f"rollout-{_ROLLOUTS - 2 + turn % 2}"
        started = time.monotonic()
        apprunner.tag_resource(ResourceArn=arn, Tags=[{"Key": "homeport:rollback", "Value": "previous"}])
        until(lambda wanted=wanted: harbour.answer(_NAME) == wanted)  # type: ignore[misc]
        back.append(time.monotonic() - started)
        harbour.settle(arn)
    if load.over:
        raise RuntimeError(f"{_LOAD} seconds of load were over before the last rollout")
    outcome = load.outcome()
    case = f"{_ROLLOUTS} rollouts, {_ROLLBACKS} rollbacks"
    return [
        Row("port", f"{case}: requests failed", outcome.failed, "", goal=0),
        Row("port", f"{case}: requests", outcome.requests / _LOAD, "requests/s", goal=1000),
        Row("port", f"{case}: requests in all", outcome.requests, ""),
        Row("port", "rollback to its answer, under load", statistics.median(back), "s", goal=1),
    ]


def _zero(harbour: Harbour, images: Images) -> list[Row]:
    """The first request to a service of which no instance runs, beside the app as a bare process."""
    tags = {"homeport:scale-to-zero": "true", "homeport:idle-seconds": "1"}
    harbour.create("zero", images.version("zero"), tags)
    held, bare = [], []
    for _ in range(5):
        until(lambda: _instances(harbour) == 1)  # the other service's
        started = time.monotonic()
        answer = harbour.answer("zero")
        held.append(time.monotonic() - started)
        if answer != "zero":
            raise RuntimeError(f"a service at zero answered {answer!r}")
        bare.append(_bare())
    peer = statistics.median(bare)
    return [
        Row("port", "first request at zero", statistics.median(held), "s", peer, "bare process", peer + 0.15)
    ]


def _digest(harbour: Harbour) -> str:
    """Of what `latest` names."""
    image = {"repositoryName": _NAME, "imageIds": [{"imageTag": "latest"}]}
    return str(harbour.client("ecr").describe_images(**image)["imageDetails"][0]["imageDigest"])


def _faults(folder: Path, images: Images) -> list[Row]:
    """Services of each kind under a storm of kills."""
    idle = {"homeport:idle-seconds": "1"}
    services = {
        "warm": {},
        "zero": {"homeport:scale-to-zero": "true", **idle},
        "cold": {"homeport:freeze": "true", **idle},
    }
    with Harbour.start(folder) as harbour:
        arns = {}
        for name, tags in services.items():
            arns[name] = harbour.create(name, images.version(f"storm-{name}"), tags)
            harbour.push(name, images.version(f"storm-{name}-again"))
            harbour.settle(arns[name])
        toll = storm(harbour, arns, _KILLS, seed=_KILLS)
    case = f"{toll.kills.total()} SIGKILLs"
    return [
        Row("port", f"{case}: homeport ended by itself", toll.ended, "", goal=0),
        Row("port", f"{case}: services lost", len(toll.lost), "", goal=0),
        Row("port", f"{case}: operations stuck", len(toll.stuck), "", goal=0),
        Row("port", f"{case}: resources leaked", len(toll.leaked), "", goal=0),
        Row("port", f"{case}: all well again after the last", toll.seconds, "s"),
    ]


def _instances(harbour: Harbour) -> int:
    return sum(1 for _ in (harbour.data / "instances").iterdir())


def _bare() -> float:
    """Seconds from the start of a process to its first answer."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-S", "-I", _APP], env={**os.environ, "PORT": str(port)}
    ) as process:
        try:
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: bare\r\n\r\n")
                        connection.recv(100)
                        return time.monotonic() - started
                except ConnectionRefusedError:
                    time.sleep(0.002)
        finally:
            process.terminate()
