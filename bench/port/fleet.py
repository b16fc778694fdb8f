"""The control plane with many services: how long AWS's client waits, and what homeport takes while idle."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import bucketlog
from bench.port.harbour import Harbour
from bench.port.process import seconds_of_cpu
from bench.row import Row
from homeport import place
from homeport.model import Operation, OperationStatus, OperationType, Service, ServiceSpec, ServiceStatus
from homeport.state import State

__all__ = ["control_plane"]

_SERVICES: Final = 200
_DEPLOYMENTS: Final = 5  # of each
_IDLE: Final = 10.0  # seconds


def control_plane(folder: Path) -> list[Row]:
    """Rows of a homeport that has 200 paused services with 1,000 deployments behind it."""
    folder.mkdir()
    arns = _history(folder / "port")
    with Harbour.start(folder / "port") as harbour:
        apprunner = harbour.client("apprunner")
        listed = _median(lambda: apprunner.list_services(MaxResults=20), 20)
        described = _median(lambda: apprunner.describe_service(ServiceArn=arns[7]), 20)
        operations = _median(lambda: apprunner.list_operations(ServiceArn=arns[7]), 20)
        time.sleep(2.0)
        before = seconds_of_cpu(harbour.process.pid)
        time.sleep(_IDLE)
        share = (seconds_of_cpu(harbour.process.pid) - before) / _IDLE
        memory = _resident(harbour.process.pid)
    case = f"{_SERVICES} services, {_SERVICES * _DEPLOYMENTS} deployments"
    return [
        Row("port", f"{case}: list 20", listed * 1e3, "ms", goal=20),
        Row("port", f"{case}: describe", described * 1e3, "ms", goal=20),
        Row("port", f"{case}: list operations", operations * 1e3, "ms", goal=20),
        Row("port", f"{case}: idle", share * 100, "% CPU", goal=1),
        Row("port", f"{case}: resident", memory / (1 << 20), "MiB", goal=150),
    ]


def _history(data: Path) -> list[str]:
    """Written as homeport writes it; returns the ARNs."""
    data.mkdir()
    start = datetime.now(UTC) - timedelta(days=30)
    arns = []

    async def write(state: State) -> None:
        for number in range(_SERVICES):
            identity = f"{number:032x}"
            spec = ServiceSpec(name=f"service-{number}", image=f"registry.localhost/service-{number}:latest")
            digest = f"sha256:{number:064x}"
            arn = place.arn("apprunner", f"service/{spec.name}/{identity}")
            arns.append(arn)
            service = Service(
                *(arn, identity, spec, ServiceStatus.PAUSED, f"{spec.name}.localhost", start, start),
                digest=digest,
                deployed=spec,
            )
            operations = []
            for turn in range(_DEPLOYMENTS):
                at = start + timedelta(hours=turn)
                kind = OperationType.START_DEPLOYMENT if turn else OperationType.CREATE_SERVICE
                one = f"{number:08x}-{turn:04x}-4000-8000-000000000000"
                operations.append(Operation(one, arn, kind, OperationStatus.SUCCEEDED, at, at, at, digest))
            await state.save(service, *operations)

    with bucketlog.connect(f"file://{data / 'state'}") as database:
        state = State(database)
        state.load()
        asyncio.run(write(state))
    return arns


def _median(call: Callable[[], object], times: int) -> float:
    call()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"process {pid} has no memory")
