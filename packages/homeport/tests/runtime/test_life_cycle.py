"""A service from its creation to its end in the real `homeport serve`, by boto3, and by `aws`."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import xform_name
from prometheus_client.parser import text_string_to_metric_families

from ocikit import Image, Layout

Ask = Callable[..., Any]


class Harbour:
    """A homeport that runs, as its owner sees it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        free = ("--port", "0", "--https-port", "0", "--http-port", "0")
        command = [sys.executable, "-m", "homeport", "serve", "--data", str(data), *free]
        self._session = boto3.session.Session()
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._log = (data.parent / "serve.log").open("w")
        self.process = subprocess.Popen(command, stderr=self._log)
        self.until((data / "homeport.json").exists)
        self.addresses = json.loads((data / "homeport.json").read_text())
        key = json.loads((data / "credentials.json").read_text())
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(data.parent),
            "AWS_ENDPOINT_URL": self.addresses["endpoint"],
            "AWS_DEFAULT_REGION": "local-1",
            "AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "REGISTRY_AUTH_FILE": str(data.parent / "auth.json"),
        }

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self._log.close()

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, (self.data.parent / "serve.log").read_text()
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def client(self, service: str) -> Any:
        """Closed with the harbour."""
        with self._lock:
            return self._client(service)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self.addresses["endpoint"],
                region_name="local-1",
                aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            )
        return self._clients[service]

    def by_boto3(self, service: str, operation: str, **members: Any) -> Any:
        return getattr(self.client(service), xform_name(operation))(**members)

    def by_aws(self, service: str, operation: str, **members: Any) -> Any:
        command = ["aws", service, xform_name(operation, "-"), "--cli-input-json", json.dumps(members)]
        done = self.run(*command, "--output", "json")
        return json.loads(done) if done.strip() else {}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, host: str, path: str = "/") -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.data / "ca.pem"))
        with (
            socket.create_connection(("127.0.0.1", self.addresses["https_port"]), 30) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read().decode()

    def control(self, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.addresses["registry"], timeout=30)
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    data = tmp_path_factory.mktemp("life") / "port"
    data.mkdir()
    made = Harbour(data)
    yield made
    made.close()


@pytest.fixture
def push(harbour: Harbour, make_image: Callable[..., Image], tmp_path: Path) -> Callable[..., str]:
    """Pushes with skopeo, as `docker login` and `docker push` do; returns the digest."""
    registry = harbour.addresses["registry"]
    password = harbour.by_boto3("ecr", "GetAuthorizationToken")["authorizationData"][0]["authorizationToken"]

    def copy(repository: str, tag: str, version: str) -> str:
        layout = tmp_path / f"{repository}-{version}"
        image = make_image(VERSION=version)
        Layout(layout).write(image, version)
        token = b64decode(password).decode()
        harbour.run(
            "skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", token,
            f"oci:{layout}:{version}", f"docker://{registry}/{repository}:{tag}",
        )  # fmt: skip
        return str(image.digest)

    return copy


def test_a_service_lives_from_its_creation_to_its_end(harbour: Harbour, push: Callable[..., str]) -> None:
    """One by each client, at the same time."""
    with ThreadPoolExecutor() as pool:
        lives = [pool.submit(_live, harbour, push, client) for client in ("aws", "boto3")]
        for life in lives:
            life.result()


def _live(harbour: Harbour, push: Callable[..., str], client: str) -> None:
    ask: Ask = harbour.by_boto3 if client == "boto3" else harbour.by_aws
    name = f"shop-{client}"
    image = f"{harbour.addresses['registry']}/{name}:latest"
    watcher = harbour.client("apprunner")

    def ended(kind: str, status: str = "SUCCEEDED") -> None:
        """The newest operation is of this kind, and has ended so."""
        newest: dict[str, Any] = {}

        def over() -> bool:
            nonlocal newest
            newest = watcher.list_operations(ServiceArn=arn)["OperationSummaryList"][0]
            return "EndedAt" in newest

        harbour.until(over)
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
    assert harbour.get(host) == (200, "1")

    push(name, "latest", "2")
    harbour.until(lambda: harbour.get(host) == (200, "2"))
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
    harbour.until(lambda: _instances(harbour, name) == 2)

    ask("apprunner", "PauseService", ServiceArn=arn)
    ended("PAUSE_SERVICE")
    assert watcher.describe_service(ServiceArn=arn)["Service"]["Status"] == "PAUSED"
    assert harbour.get(host)[0] == 503
    ask("apprunner", "ResumeService", ServiceArn=arn)
    ended("RESUME_SERVICE")
    assert harbour.get(host) == (200, "2")

    domain = f"my.{host}"
    asked = ask("apprunner", "AssociateCustomDomain", ServiceArn=arn, DomainName=domain)
    assert asked["CustomDomain"]["Status"] == "CREATING"
    assert asked["DNSTarget"] == host

    def domains() -> list[str]:
        return [one["Status"] for one in watcher.describe_custom_domains(ServiceArn=arn)["CustomDomains"]]

    harbour.until(lambda: domains() == ["ACTIVE"])
    assert harbour.get(domain) == harbour.get(f"www.{domain}") == (200, "2")
    before = watcher.list_operations(ServiceArn=arn)["OperationSummaryList"]
    ask(
        "apprunner", "TagResource", ResourceArn=arn, Tags=[{"Key": "homeport:allow", "Value": "192.0.2.0/24"}]
    )
    ended("UPDATE_SERVICE")
    assert harbour.get(host)[0] == harbour.get(domain)[0] == 403
    ask("apprunner", "UntagResource", ResourceArn=arn, TagKeys=["homeport:allow"])
    ended("UPDATE_SERVICE")
    assert len(watcher.list_operations(ServiceArn=arn)["OperationSummaryList"]) == len(before) + 2

    rollback = {"Key": "homeport:rollback", "Value": "previous"}
    ask("apprunner", "TagResource", ResourceArn=arn, Tags=[rollback])
    ended("START_DEPLOYMENT")
    assert harbour.get(domain) == (200, "1")
    ask("apprunner", "DisassociateCustomDomain", ServiceArn=arn, DomainName=domain)
    assert domains() == []

    kept = ask("ecr", "BatchDeleteImage", repositoryName=name, imageIds=[{"imageDigest": first}])
    assert kept["failures"], "a digest that serves is not deleted"
    ask("apprunner", "DeleteService", ServiceArn=arn)
    ended("DELETE_SERVICE")
    assert watcher.describe_service(ServiceArn=arn)["Service"]["Status"] == "DELETED"
    assert harbour.get("localhost")[0] == 421


def _metrics(harbour: Harbour) -> dict[tuple[str, ...], float]:
    token = (harbour.data / "metrics-token").read_text()
    status, text = harbour.control("/_homeport/metrics", {"Authorization": f"Bearer {token}"})
    assert status == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _instances(harbour: Harbour, name: str) -> float:
    return _metrics(harbour)["homeport_instances", name]


def test_its_figures_are_for_prometheus_which_has_a_token_of_its_own(
    harbour: Harbour, push: Callable[..., str]
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert harbour.control("/_homeport/metrics", headers)[0] == 401
    harbour.by_boto3("ecr", "CreateRepository", repositoryName="seen")
    push("seen", "latest", "7")
    image = f"{harbour.addresses['registry']}/seen:latest"
    source = {"ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}}
    harbour.by_boto3("apprunner", "CreateService", ServiceName="seen", SourceConfiguration=source)
    harbour.until(lambda: _instances(harbour, "seen") == 1)
    for _ in range(3):
        assert harbour.get("seen.localhost") == (200, "7")
    seen = _metrics(harbour)
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
