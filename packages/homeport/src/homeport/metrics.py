"""Figures for Prometheus, in its text format; their names and labels are in the README.

Labels have as many values as there are services, names, redirects and operations of the API: no client can
add one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)

from homeport.model import Operation, OperationStatus, Service, ServiceStatus
from homeport.traffic import CLASSES, Traffic

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a service's instances together: how many take requests, bytes of memory, seconds of CPU so far."""

    instances: int = 0
    memory: int = 0
    cpu: float = 0.0


class Source(Protocol):
    """Where the figures come from."""

    def services(self) -> list[Service]: ...
    def operations(self, arn: str) -> list[Operation]: ...
    async def traffic(self) -> Traffic: ...
    async def usage(self) -> Mapping[str, Usage]:
        """By the service's id."""
        ...

    def certificates(self) -> Mapping[str, datetime]:
        """When each name's ends."""
        ...

    async def hits(self) -> Mapping[str, int]:
        """By the redirect's source."""
        ...


class Metrics:
    """What `GET /_homeport/metrics` answers."""

    def __init__(self, source: Source, calls: Mapping[tuple[str, str], int], version: str) -> None:
        """`calls`: how often each operation of the API has ended in each way."""
        self._source = source
        self._calls = calls
        self._version = version

    async def text(self) -> bytes:
        services = self._source.services()
        families: list[Metric] = [
            InfoMetricFamily("homeport_build", "The version that runs.", value={"version": self._version}),
            self._states(services),
            *_traffic(services, await self._source.traffic()),
            *_usage(services, await self._source.usage()),
            *self._operations(services),
            self._api_calls(),
            self._certificates(),
            self._hits(await self._source.hits()),
        ]
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Given(families))
        return bytes(generate_latest(registry))

    def _states(self, services: Iterable[Service]) -> Metric:
        family = GaugeMetricFamily("homeport_services", "Services, by status.", labels=["status"])
        counted = Counter(service.status for service in services)
        for status in ServiceStatus:
            if status != ServiceStatus.DELETED:
                family.add_metric([status.value], counted[status])
        return family

    def _operations(self, services: Iterable[Service]) -> Iterable[Metric]:
        counted: Counter[tuple[str, str, str]] = Counter()
        times: dict[tuple[str, str], list[float]] = {}
        under_way = GaugeMetricFamily(
            "homeport_operations_under_way", "Operations that run or wait.", labels=["service"]
        )
        for service in services:
            operations = self._source.operations(service.arn)
            for one in operations:
                if one.ended_at is not None:
                    counted[service.spec.name, one.type, one.status] += 1
                    if one.status == OperationStatus.SUCCEEDED:
                        took = (one.ended_at - one.started_at).total_seconds()
                        times.setdefault((service.spec.name, one.type), []).append(took)
            under_way.add_metric([service.spec.name], sum(not one.status.ended for one in operations))
        ended = CounterMetricFamily(
            "homeport_operations", "Operations that have ended.", labels=["service", "type", "status"]
        )
        for labels, count in counted.items():
            ended.add_metric([str(label) for label in labels], count)
        lasted = SummaryMetricFamily(
            "homeport_operation_seconds",
            "How long operations took that succeeded, waiting included.",
            labels=["service", "type"],
        )
        for (name, kind), seconds in times.items():
            lasted.add_metric([name, str(kind)], len(seconds), sum(seconds))
        return under_way, ended, lasted

    def _api_calls(self) -> Metric:
        family = CounterMetricFamily(
            "homeport_api_calls", "Calls of the API, by how they ended.", labels=["operation", "result"]
        )
        for (operation, result), count in sorted(self._calls.items()):
            family.add_metric([operation, result], count)
        return family

    def _certificates(self) -> Metric:
        family = GaugeMetricFamily(
            "homeport_certificate_expiry_timestamp_seconds",
            "When the certificate of a custom domain or a redirect's host ends.",
            labels=["name"],
        )
        for name, end in sorted(self._source.certificates().items()):
            family.add_metric([name], end.timestamp())
        return family

    def _hits(self, hits: Mapping[str, int]) -> Metric:
        family = CounterMetricFamily(
            "homeport_redirect_hits", "How often a redirect has answered.", labels=["source"]
        )
        for source, count in sorted(hits.items()):
            family.add_metric([source], count)
        return family


def _traffic(services: Iterable[Service], traffic: Traffic) -> Iterable[Metric]:
    requests = CounterMetricFamily(
        "homeport_requests", "Requests that have come to a service.", labels=["service"]
    )
    responses = CounterMetricFamily(
        "homeport_responses", "Answers, by class of status.", labels=["service", "class"]
    )
    received = CounterMetricFamily("homeport_received_bytes", "Bytes from clients.", labels=["service"])
    sent = CounterMetricFamily("homeport_sent_bytes", "Bytes to clients.", labels=["service"])
    in_flight = GaugeMetricFamily(
        "homeport_requests_in_flight", "Requests that are answered or wait.", labels=["service"]
    )
    queued = GaugeMetricFamily(
        "homeport_requests_queued", "Requests that wait at the edge.", labels=["service"]
    )
    for service in services:
        name = [service.spec.name]
        requests.add_metric(name, traffic.requests(service.id))
        for kind in CLASSES:
            responses.add_metric([*name, kind], traffic.responses(service.id, kind))
        received.add_metric(name, traffic.received(service.id))
        sent.add_metric(name, traffic.sent(service.id))
        in_flight.add_metric(name, traffic.in_flight(service.id))
        queued.add_metric(name, traffic.queued(service.id))
    return requests, responses, received, sent, in_flight, queued


def _usage(services: Iterable[Service], usage: Mapping[str, Usage]) -> Iterable[Metric]:
    instances = GaugeMetricFamily(
        "homeport_instances", "Instances in rotation, by service.", labels=["service"]
    )
    memory = GaugeMetricFamily(
        "homeport_memory_bytes", "Memory of a service's instances.", labels=["service"]
    )
    cpu = GaugeMetricFamily(
        "homeport_instance_cpu_seconds",
        "CPU time of the instances that run now; less when one has gone.",
        labels=["service"],
    )
    for service in services:
        used = usage.get(service.id, Usage())
        instances.add_metric([service.spec.name], used.instances)
        memory.add_metric([service.spec.name], used.memory)
        cpu.add_metric([service.spec.name], used.cpu)
    return instances, memory, cpu


class _Given:
    """Families that have been made, for a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
