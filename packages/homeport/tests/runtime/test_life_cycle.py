"""A service from its creation to its end in the real `homeport serve`, by boto3, and by `aws`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ocikit import Image

Ask = Callable[..., Any]
Push = Callable[..., str]


@pytest.fixture(scope="module")
def homeport(open_homeport: Any) -> Any:
    return open_homeport()


@pytest.fixture
def push(homeport: Any, make_image: Callable[..., Image]) -> Push:
    """Pushes with skopeo, as `docker login` and `docker push` do; returns the digest."""

    def copy(repository: str, tag: str, version: str) -> str:
        return str(homeport.push(make_image(VERSION=version), repository, tag))

    return copy


def test_a_service_lives_from_its_creation_to_its_end(homeport: Any, push: Push) -> None:
    """One by each client, at the same time."""
    with ThreadPoolExecutor() as pool:
        lives = [pool.submit(_Life(homeport, push, client).live) for client in ("aws", "boto3")]
        for life in lives:
            life.result()


class _Life:
    """One service, whose operations are asked for by one client and watched by boto3."""

    def __init__(self, homeport: Any, push: Push, client: str) -> None:
        self.homeport, self.push = homeport, push
        self.ask: Ask = homeport.by_boto3 if client == "boto3" else homeport.by_aws
        self.name = f"shop-{client}"
        self.watcher = homeport.client("apprunner")
        self.arn = self.host = self.first = ""

    def live(self) -> None:
        self.begins()
        self.is_deployed()
        self.is_scaled()
        self.rests()
        domain = self.has_a_domain()
        self.lets_few_in(domain)
        self.goes_back(domain)
        self.ends()

    def begins(self) -> None:
        self.ask("ecr", "CreateRepository", repositoryName=self.name, imageTagMutability="MUTABLE")
        self.first = self.push(self.name, "latest", "1")
        image = f"{self.homeport.addresses['registry']}/{self.name}:latest"
        made = self.ask(
            "apprunner",
            "CreateService",
            ServiceName=self.name,
            SourceConfiguration={"ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}},
            InstanceConfiguration={"Cpu": "0.25 vCPU", "Memory": "0.5 GB"},
            HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/"},
        )["Service"]
        self.arn, self.host = made["ServiceArn"], made["ServiceUrl"].partition(":")[0]
        assert made["Status"] == "OPERATION_IN_PROGRESS"
        self.ended("CREATE_SERVICE")
        assert self.homeport.get(self.host) == (200, "1")

    def is_deployed(self) -> None:
        self.push(self.name, "latest", "2")
        self.homeport.until(lambda: self.homeport.get(self.host) == (200, "2"))
        self.ended("START_DEPLOYMENT")
        self.ask("apprunner", "StartDeployment", ServiceArn=self.arn)
        self.ended("START_DEPLOYMENT")

    def is_scaled(self) -> None:
        scaling = self.ask(
            "apprunner",
            "CreateAutoScalingConfiguration",
            AutoScalingConfigurationName=self.name,
            MaxConcurrency=5,
            MinSize=2,
            MaxSize=3,
        )["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
        self.ask("apprunner", "UpdateService", ServiceArn=self.arn, AutoScalingConfigurationArn=scaling)
        self.ended("UPDATE_SERVICE")
        self.homeport.until(lambda: _instances(self.homeport, self.name) == 2)

    def rests(self) -> None:
        self.ask("apprunner", "PauseService", ServiceArn=self.arn)
        self.ended("PAUSE_SERVICE")
        assert self.status() == "PAUSED"
        assert self.homeport.get(self.host)[0] == 503
        self.ask("apprunner", "ResumeService", ServiceArn=self.arn)
        self.ended("RESUME_SERVICE")
        assert self.homeport.get(self.host) == (200, "2")

    def has_a_domain(self) -> str:
        domain = f"my.{self.host}"
        asked = self.ask("apprunner", "AssociateCustomDomain", ServiceArn=self.arn, DomainName=domain)
        assert asked["CustomDomain"]["Status"] == "CREATING"
        assert asked["DNSTarget"] == self.host
        self.homeport.until(lambda: self.domains() == ["ACTIVE"])
        assert self.homeport.get(domain) == self.homeport.get(f"www.{domain}") == (200, "2")
        return domain

    def lets_few_in(self, domain: str) -> None:
        before = self.operations()
        tags = [{"Key": "homeport:allow", "Value": "192.0.2.0/24"}]
        self.ask("apprunner", "TagResource", ResourceArn=self.arn, Tags=tags)
        self.ended("UPDATE_SERVICE")
        assert self.homeport.get(self.host)[0] == self.homeport.get(domain)[0] == 403
        self.ask("apprunner", "UntagResource", ResourceArn=self.arn, TagKeys=["homeport:allow"])
        self.ended("UPDATE_SERVICE")
        assert len(self.operations()) == len(before) + 2

    def goes_back(self, domain: str) -> None:
        rollback = {"Key": "homeport:rollback", "Value": "previous"}
        self.ask("apprunner", "TagResource", ResourceArn=self.arn, Tags=[rollback])
        self.ended("START_DEPLOYMENT")
        assert self.homeport.get(domain) == (200, "1")
        self.ask("apprunner", "DisassociateCustomDomain", ServiceArn=self.arn, DomainName=domain)
        assert self.domains() == []

    def ends(self) -> None:
        first = [{"imageDigest": self.first}]
        kept = self.ask("ecr", "BatchDeleteImage", repositoryName=self.name, imageIds=first)
        assert kept["failures"], "a digest that serves is not deleted"
        self.ask("apprunner", "DeleteService", ServiceArn=self.arn)
        self.ended("DELETE_SERVICE")
        assert self.status() == "DELETED"
        assert self.homeport.get("localhost")[0] == 421

    def operations(self) -> list[dict[str, Any]]:
        """The newest first."""
        found: list[dict[str, Any]] = self.watcher.list_operations(ServiceArn=self.arn)[
            "OperationSummaryList"
        ]
        return found

    def status(self) -> str:
        return str(self.watcher.describe_service(ServiceArn=self.arn)["Service"]["Status"])

    def domains(self) -> list[str]:
        found = self.watcher.describe_custom_domains(ServiceArn=self.arn)["CustomDomains"]
        return [one["Status"] for one in found]

    def ended(self, kind: str) -> None:
        """The newest operation is of this kind, and has succeeded."""
        self.homeport.until(lambda: "EndedAt" in self.operations()[0])
        newest = self.operations()[0]
        assert (newest["Type"], newest["Status"]) == (kind, "SUCCEEDED")


def _metrics(homeport: Any) -> dict[tuple[str, ...], float]:
    token = (homeport.data / "metrics-token").read_text()
    status, text = homeport.control("/_homeport/metrics", {"Authorization": f"Bearer {token}"})
    assert status == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _instances(homeport: Any, name: str) -> float:
    return _metrics(homeport)["homeport_instances", name]


def test_its_figures_are_for_prometheus_which_has_a_token_of_its_own(homeport: Any, push: Push) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert homeport.control("/_homeport/metrics", headers)[0] == 401
    homeport.by_boto3("ecr", "CreateRepository", repositoryName="seen")
    push("seen", "latest", "7")
    homeport.create("seen")
    assert _instances(homeport, "seen") == 1
    for _ in range(3):
        assert homeport.get("seen.localhost") == (200, "7")
    seen: dict[tuple[str, ...], float] = {}

    def counted() -> bool:
        """The edge counts an answer, and forgets its request, a moment after it has given it."""
        nonlocal seen
        seen = _metrics(homeport)
        ended = seen.get(("homeport_operations_total", "CREATE_SERVICE", "SUCCEEDED", "seen"))
        answered = seen["homeport_responses_total", "2xx", "seen"]
        return (answered, seen["homeport_requests_in_flight", "seen"], ended) == (3, 0, 1)

    homeport.until(counted)
    assert seen["homeport_requests_total", "seen"] == 3
    assert seen["homeport_responses_total", "2xx", "seen"] == 3
    assert seen["homeport_responses_total", "5xx", "seen"] == 0
    assert seen["homeport_requests_in_flight", "seen"] == 0
    assert seen["homeport_memory_bytes", "seen"] > 1 << 20
    assert seen["homeport_instance_cpu_seconds", "seen"] > 0
    assert seen["homeport_services", "RUNNING"] == 1
    assert seen["homeport_operations_total", "CREATE_SERVICE", "SUCCEEDED", "seen"] == 1
    assert 0 < seen["homeport_operation_seconds_sum", "CREATE_SERVICE", "seen"] < 60
    assert seen["homeport_api_calls_total", "OK", "apprunner:CreateService"] >= 1
    assert seen["process_resident_memory_bytes",] > 0
    names = {name for name, *_ in seen if name.startswith("homeport_")}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name in names:
        assert f"`{name.removesuffix('_sum').removesuffix('_count')}`" in readme, name
