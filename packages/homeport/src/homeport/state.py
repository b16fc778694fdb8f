"""What homeport must not forget, in bucketlog: services, operations, and which instance serves.

One transaction is one step of a deployment: after a crash the facts say either that the old instance serves
or that the new one does, never neither. The whole state is small and this process its only writer, so it is
read once and held as values; the database is what survives, and where the history is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Any

import bucketlog
from homeport.command import off_loop
from homeport.instance import Instance
from homeport.model import (
    Entrance,
    HealthCheck,
    Operation,
    OperationStatus,
    OperationType,
    Scaling,
    Service,
    ServiceSpec,
    ServiceStatus,
)
from homeport.mounts import Mounts, Tmpfs, Volume
from homeport.schema import attribute

SCHEMA = [
    attribute("service/id", "string", identity=True),
    attribute("service/arn", "string", identity=True),
    attribute("service/name", "string"),
    attribute("service/spec", "string"),  # JSON
    attribute("service/status", "keyword"),
    attribute("service/url", "string"),
    attribute("service/created", "instant"),
    attribute("service/updated", "instant"),
    attribute("service/deleted", "instant"),
    attribute("service/digest", "string"),
    attribute("service/deployed", "string"),  # JSON
    attribute("operation/id", "string", identity=True),
    attribute("operation/service", "string"),  # the ARN
    attribute("operation/type", "keyword"),
    attribute("operation/status", "keyword"),
    attribute("operation/started", "instant"),
    attribute("operation/updated", "instant"),
    attribute("operation/ended", "instant"),
    attribute("operation/digest", "string"),
    attribute("operation/reason", "string"),
    attribute("instance/id", "string", identity=True),
    attribute("instance/service", "string"),  # the service's id
    attribute("instance/digest", "string"),
    attribute("instance/spec", "string"),  # JSON
    attribute("instance/address", "string"),
    attribute("instance/serving", "boolean"),
]


class State:
    """The facts as values; `save` writes them. To be used from one event loop."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        self._lock = asyncio.Lock()  # the values here change in the order of the transactions
        self.services: dict[str, Service] = {}  # by ARN
        self.operations: dict[str, dict[str, Operation]] = {}  # by ARN, then by id, oldest first
        self.serving: dict[str, dict[str, Instance]] = {}  # by the service's id, then by the instance's

    def load(self) -> None:
        """Install the schema and read everything. Blocks."""
        self._database.transact(SCHEMA)
        for facts in self._all(":service/id"):
            service = _service(facts)
            self.services[service.arn] = service
            self.operations[service.arn] = {}
        # In the order in which they were written: a clock that was set back has times in another one.
        for facts in sorted(self._all(":operation/id"), key=lambda facts: facts[":db/id"]):
            operation = _operation(facts)
            self.operations[operation.service_arn][operation.id] = operation
        for facts in self._all(":instance/id"):
            if facts[":instance/serving"]:
                instance = _instance(facts)
                self.serving.setdefault(instance.service_id, {})[instance.id] = instance
        for arn, service in self.services.items():
            if service.deployed is None and service.id in self.serving:  # written before that was kept
                (instance,) = self.serving[service.id].values()
                self.services[arn] = replace(service, deployed=instance.spec)

    async def save(
        self,
        *changed: Service | Operation,
        serving: Collection[Instance] = (),
        ended: Collection[Instance] = (),
    ) -> None:
        """Write services and operations, which instances serve, and which do no longer: all or nothing."""
        facts = [
            _service_facts(value) if isinstance(value, Service) else _operation_facts(value)
            for value in changed
        ]
        facts += [_instance_facts(instance, serving=True) for instance in serving]
        facts += [_instance_facts(instance, serving=False) for instance in ended]
        if not facts:
            return
        async with self._lock:
            await off_loop(self._database.transact, facts)
            for value in changed:
                if isinstance(value, Service):
                    self.services[value.arn] = value
                    self.operations.setdefault(value.arn, {})
                else:
                    self.operations[value.service_arn][value.id] = value
            for instance in ended:
                self.serving.get(instance.service_id, {}).pop(instance.id, None)
            for instance in serving:
                self.serving.setdefault(instance.service_id, {})[instance.id] = instance

    def _all(self, attribute: str) -> list[Mapping[str, Any]]:
        db = self._database.db()
        return [db.pull("[*]", entity) for entity in db.q(f"[:find [?e ...] :where [?e {attribute} _]]")]


def _service_facts(service: Service) -> dict[str, Any]:
    return _present({
        ":service/id": service.id,
        ":service/arn": service.arn,
        ":service/name": service.spec.name,
        ":service/spec": _spec_json(service.spec),
        ":service/status": f":{service.status}",
        ":service/url": service.url,
        ":service/created": service.created_at,
        ":service/updated": service.updated_at,
        ":service/deleted": service.deleted_at,
        ":service/digest": service.digest,
        ":service/deployed": None if service.deployed is None else _spec_json(service.deployed),
    })  # fmt: skip


def _service(facts: Mapping[str, Any]) -> Service:
    deployed = facts.get(":service/deployed")
    return Service(
        arn=facts[":service/arn"],
        id=facts[":service/id"],
        spec=_spec(facts[":service/spec"]),
        status=ServiceStatus(facts[":service/status"].lstrip(":")),
        url=facts[":service/url"],
        created_at=facts[":service/created"],
        updated_at=facts[":service/updated"],
        digest=facts.get(":service/digest"),
        deleted_at=facts.get(":service/deleted"),
        deployed=None if deployed is None else _spec(deployed),
    )


def _operation_facts(operation: Operation) -> dict[str, Any]:
    return _present({
        ":operation/id": operation.id,
        ":operation/service": operation.service_arn,
        ":operation/type": f":{operation.type}",
        ":operation/status": f":{operation.status}",
        ":operation/started": operation.started_at,
        ":operation/updated": operation.updated_at,
        ":operation/ended": operation.ended_at,
        ":operation/digest": operation.digest,
        ":operation/reason": operation.reason,
    })  # fmt: skip


def _operation(facts: Mapping[str, Any]) -> Operation:
    return Operation(
        id=facts[":operation/id"],
        service_arn=facts[":operation/service"],
        type=OperationType(facts[":operation/type"].lstrip(":")),
        status=OperationStatus(facts[":operation/status"].lstrip(":")),
        started_at=facts[":operation/started"],
        updated_at=facts[":operation/updated"],
        ended_at=facts.get(":operation/ended"),
        digest=facts.get(":operation/digest"),
        reason=facts.get(":operation/reason"),
    )


def _instance_facts(instance: Instance, *, serving: bool) -> dict[str, Any]:
    return {
        ":instance/id": instance.id,
        ":instance/service": instance.service_id,
        ":instance/digest": instance.digest,
        ":instance/spec": _spec_json(instance.spec),
        ":instance/address": instance.address,
        ":instance/serving": serving,
    }


def _instance(facts: Mapping[str, Any]) -> Instance:
    return Instance(
        id=facts[":instance/id"],
        service_id=facts[":instance/service"],
        digest=facts[":instance/digest"],
        spec=_spec(facts[":instance/spec"]),
        address=facts[":instance/address"],
    )


def _spec_json(spec: ServiceSpec) -> str:
    return json.dumps(
        {
            **{entry.name: getattr(spec, entry.name) for entry in fields(spec)},
            "environment": dict(spec.environment),
            "secrets": dict(spec.secrets),
            "health": asdict(spec.health),
            "scaling": asdict(spec.scaling),
            "mounts": asdict(spec.mounts),
            "entrance": asdict(spec.entrance),
        }
    )


def _spec(text: str) -> ServiceSpec:
    """What an earlier version wrote lacks the newer members: they have their defaults."""
    value = json.loads(text)
    return ServiceSpec(
        **{
            **value,
            "environment": MappingProxyType(value["environment"]),
            "secrets": MappingProxyType(value.get("secrets", {})),
            "health": HealthCheck(**value["health"]),
            "scaling": Scaling(**value.get("scaling", {})),
            "mounts": _mounts(value.get("mounts", {})),
            "host_ports": tuple(value.get("host_ports", ())),
            "entrance": _entrance(**value.get("entrance", {})),
        }
    )


def _mounts(value: Mapping[str, Any]) -> Mounts:
    return Mounts(
        value.get("read_only", False),
        tuple(Tmpfs(**one) for one in value.get("tmpfs", ())),
        tuple(Volume(**one) for one in value.get("volumes", ())),
    )


def _entrance(allow: Collection[str] = (), **more: Any) -> Entrance:
    return Entrance(tuple(allow), **more)


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
