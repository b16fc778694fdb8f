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
        lives = [pool.submit(_live, homeport, push, client) for client in ("aws", "boto3")]
        for life in lives:
            life.result()


def _live(homeport: Any, push: Push, client: str) -> None:
    ask: Ask = homeport.by_boto3 if client == "boto3" else homeport.by_aws
    name = f"shop-{client}"
    image = f"{homeport.addresses['registry']}/{name}:latest"
    watcher = homeport.client("apprunner")

    def ended(kind: str, status: str = "SUCCEEDED") -> None:
        """The newest operation is of this kind, and has ended so."""
        newest: dict[str, Any] = {}

        def over() -> bool:
            nonlocal newest
            newest = watcher.list_operations(ServiceArn=arn)["OperationSummaryList"][0]
            return "EndedAt" in newest

        homeport.until(over)
        assert (newest["Type"], newest["Status"]) == (kind, status)

    ask("ecr", "CreateRepository", repositoryName=name, imageTagMutability="MUTABLE")
    first = push(name, "latest", "1")
    source = {"ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}}
    made = ask(
        "apprunner",
        "CreateService",
        ServiceName=name,
        SourceConfiguration=source,
        InstanceConfiguration={"Cpu": "0.25 vCPU", "Memory": "0.5 GB"},
        HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/"},
    )["Service"]
    arn, host = made["ServiceArn"], made["ServiceUrl"].partition(":")[0]
    assert made["Status"] == "OPERATION_IN_PROGRESS"
    ended("CREATE_SERVICE")
    assert homeport.get(host) == (200, "1")

    push(name, "latest", "2")
    homeport.until(lambda: homeport.get(host) == (200, "2"))
    ended("START_DEPLOYMENT")
    ask("apprunner", "StartDeployment", ServiceArn=arn)
    ended("START_DEPLOYMENT")

    scaling = ask(
        "apprunner",
        "CreateAutoScalingConfiguration",
        AutoScalingConfigurationName=name,
        MaxConcurrency=5,
        MinSize=2,
        MaxSize=3,
    )["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
    ask("apprunner", "UpdateService", ServiceArn=arn, AutoScalingConfigurationArn=scaling)
    ended("UPDATE_SERVICE")
    homeport.until(lambda: _instances(homeport, name) == 2)

    ask("apprunner", "PauseService", ServiceArn=arn)
    ended("PAUSE_SERVICE")
    assert watcher.describe_service(ServiceArn=arn)["Service"]["Status"] == "PAUSED"
    assert homeport.get(host)[0] == 503
    ask("apprunner", "ResumeService", ServiceArn=arn)
    ended("RESUME_SERVICE")
    assert homeport.get(host) == (200, "2")

    domain = f"my.{host}"
    asked = ask("apprunner", "AssociateCustomDomain", ServiceArn=arn, DomainName=domain)
    assert asked["CustomDomain"]["Status"] == "CREATING"
    assert asked["DNSTarget"] == host

    def domains() -> list[str]:
        return [one["Status"] for one in watcher.describe_custom_domains(ServiceArn=arn)["CustomDomains"]]

    homeport.until(lambda: domains() == ["ACTIVE"])
    assert homeport.get(domain) == homeport.get(f"www.{domain}") == (200, "2")
    before = watcher.list_operations(ServiceArn=arn)["OperationSummaryList"]
    ask(
        "apprunner", "TagResource", ResourceArn=arn, Tags=[{"Key": "homeport:allow", "Value": "192.0.2.0/24"}]
    )
    ended("UPDATE_SERVICE")
    assert homeport.get(host)[0] == homeport.get(domain)[0] == 403
    ask("apprunner", "UntagResource", ResourceArn=arn, TagKeys=["homeport:allow"])
    ended("UPDATE_SERVICE")
    assert len(watcher.list_operations(ServiceArn=arn)["OperationSummaryList"]) == len(before) + 2

    rollback = {"Key": "homeport:rollback", "Value": "previous"}
    ask("apprunner", "TagResource", ResourceArn=arn, Tags=[rollback])
    ended("START_DEPLOYMENT")
    assert homeport.get(domain) == (200, "1")
    ask("apprunner", "DisassociateCustomDomain", ServiceArn=arn, DomainName=domain)
    assert domains() == []

    kept = ask("ecr", "BatchDeleteImage", repositoryName=name, imageIds=[{"imageDigest": first}])
    assert kept["failures"], "a digest that serves is not deleted"
    ask("apprunner", "DeleteService", ServiceArn=arn)
    ended("DELETE_SERVICE")
    assert watcher.describe_service(ServiceArn=arn)["Service"]["Status"] == "DELETED"
    assert homeport.get("localhost")[0] == 421


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
