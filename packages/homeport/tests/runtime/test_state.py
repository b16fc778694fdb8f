"""What is kept outlives the process, and the version of homeport that wrote it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bucketlog
from homeport.model import (
    Operation,
    OperationStatus,
    OperationType,
    Scaling,
    Service,
    ServiceSpec,
    ServiceStatus,
)
from homeport.state import State

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def service(spec: ServiceSpec) -> Service:
    return Service("arn:web", "1" * 32, spec, ServiceStatus.PAUSED, "web.localhost", NOW, NOW, "sha256:1")


def test_a_service_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = ServiceSpec("web", "web:latest", scaling=Scaling(max_concurrency=3, max_size=7, to_zero=True))
    with bucketlog.connect(f"file://{tmp_path}") as database:
        state = State(database)
        state.load()
        asyncio.run(state.save(service(spec)))
        again = State(database)
        again.load()
        assert again.services == {"arn:web": service(spec)}


def test_operations_keep_their_order_when_the_clock_goes_back_between_them(tmp_path: Path) -> None:
    times = [NOW, NOW - timedelta(days=400), NOW + timedelta(days=1), NOW - timedelta(seconds=1)]
    operations = [
        Operation(
            str(number),
            "arn:web",
            OperationType.START_DEPLOYMENT,
            OperationStatus.SUCCEEDED,
            *(at, at, at),
            digest=f"sha256:{number}",
        )
        for number, at in enumerate(times)
    ]
    with bucketlog.connect(f"file://{tmp_path}") as database:
        state = State(database)
        state.load()
        asyncio.run(state.save(service(ServiceSpec("web", "web:latest"))))
        for operation in operations:
            asyncio.run(state.save(replace(operation, status=OperationStatus.IN_PROGRESS)))
        for operation in reversed(operations):
            asyncio.run(state.save(operation))
        again = State(database)
        again.load()
        assert list(again.operations["arn:web"].values()) == operations


def test_a_record_from_before_scaling_has_the_defaults(tmp_path: Path) -> None:
    with bucketlog.connect(f"file://{tmp_path}") as database:
        state = State(database)
        state.load()
        asyncio.run(state.save(service(ServiceSpec("web", "web:latest"))))
        (text,) = database.db().q("[:find [?s ...] :where [_ :service/spec ?s]]")
        old = {name: value for name, value in json.loads(text).items() if name != "scaling"}
        database.transact([{":service/arn": "arn:web", ":service/spec": json.dumps(old)}])
        again = State(database)
        again.load()
        assert again.services["arn:web"].spec == ServiceSpec("web", "web:latest")
