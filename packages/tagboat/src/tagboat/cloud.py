"""The cloud that a release goes to, as AWS's own clients see it: ECR, App Runner and CloudWatch Logs.

homeport and AWS answer the same calls; which of them is meant is the business of the usual AWS settings
(`AWS_ENDPOINT_URL`, `AWS_PROFILE`, …), never of this code.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from ocikit import Credentials, Reference, Registry
from tagboat.advice import SETTINGS, advice, code_of, failure, said
from tagboat.aws.tags import pairs
from tagboat.cache_folder import uploads_folder
from tagboat.errors import TagboatError
from tagboat.identity import session

if TYPE_CHECKING:
    import boto3
    from types_boto3_apprunner.type_defs import CustomDomainTypeDef, OperationSummaryTypeDef, ServiceTypeDef

_RECENT = 24 * 3600.0  # seconds: how far back the last lines of a service are looked for
_SHOWN = 20  # lines of an instance that did not come up
_LATE = 10_000  # milliseconds by which a line may come after a later one
_ENDED = frozenset({"SUCCEEDED", "FAILED", "ROLLBACK_SUCCEEDED", "ROLLBACK_FAILED"})


class CloudError(TagboatError):
    """The cloud refused a call or could not be reached."""


class DeploymentFailedError(TagboatError):
    """The platform ended the operation without success; `log` holds the service's last lines."""

    exit_code: ClassVar[int] = 30

    def __init__(self, message: str, log: list[str], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log


class StillUnderWayError(CloudError):
    """The operation was not over in time; it goes on."""

    exit_code: ClassVar[int] = 31


class NoServiceError(CloudError):
    """There is no service of that name."""

    exit_code: ClassVar[int] = 32


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a service's log, and when it came, in milliseconds since 1970."""

    time: int
    message: str
    id: str


@dataclass(frozen=True, slots=True)
class Repository:
    """An image repository and what lets us push to it."""

    uri: str  # `host[:port]/name`
    credentials: Credentials
    insecure: bool  # plain HTTP: only where the endpoint itself is plain HTTP

    @property
    def reference(self) -> Reference:
        return Reference.parse(self.uri)

    def registry(self) -> Registry:
        return Registry(
            self.reference.registry,
            credentials=self.credentials,
            insecure=self.insecure,
            uploads=uploads_folder(),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service is asked to be, in App Runner's units: CPU in 1/1024 of a vCPU, memory in MiB."""

    name: str
    image: str
    port: int
    cpu: int
    memory: int
    health_path: str | None
    environment: dict[str, str]
    auto_deploy: bool = True
    access_role: str | None = None  # that pulls the image, on AWS
    instance_role: str | None = None
    tags: dict[str, str] = field(default_factory=dict)  # that the service is made with
    secrets: dict[str, str] = field(default_factory=dict)  # by variable, where its value is kept

    def request(self) -> dict[str, Any]:
        """The part that CreateService and UpdateService share."""
        health = {"Protocol": "HTTP", "Path": self.health_path} if self.health_path else {"Protocol": "TCP"}
        access = {"AuthenticationConfiguration": {"AccessRoleArn": self.access_role}}
        instance = {"InstanceRoleArn": self.instance_role} if self.instance_role else {}
        return {
            "SourceConfiguration": {
                **(access if self.access_role else {}),
                "ImageRepository": {
                    "ImageIdentifier": self.image,
                    "ImageRepositoryType": "ECR",
                    "ImageConfiguration": {
                        "Port": str(self.port),
                        "RuntimeEnvironmentVariables": self.environment,
                        **({"RuntimeEnvironmentSecrets": self.secrets} if self.secrets else {}),
                    },
                },
                "AutoDeploymentsEnabled": self.auto_deploy,
            },
            "InstanceConfiguration": {"Cpu": str(self.cpu), "Memory": str(self.memory), **instance},
            "HealthCheckConfiguration": health,
        }

    def describes(self, service: ServiceTypeDef) -> bool:
        """Whether the service is set up like this already, so that only its image has to move."""
        source = service["SourceConfiguration"]
        image = source.get("ImageRepository")
        if image is None:
            return False
        configuration = image.get("ImageConfiguration", {})
        health = service.get("HealthCheckConfiguration", {})
        return (
            image["ImageIdentifier"] == self.image
            and source.get("AutoDeploymentsEnabled") is self.auto_deploy
            and configuration.get("Port", "8080") == str(self.port)
            and configuration.get("RuntimeEnvironmentVariables", {}) == self.environment
            and configuration.get("RuntimeEnvironmentSecrets", {}) == self.secrets
            and service["InstanceConfiguration"].get("Cpu") == str(self.cpu)
            and service["InstanceConfiguration"].get("Memory") == str(self.memory)
            and source.get("AuthenticationConfiguration", {}).get("AccessRoleArn") == self.access_role
            and service["InstanceConfiguration"].get("InstanceRoleArn") == self.instance_role
            and (health.get("Path") if health.get("Protocol") == "HTTP" else None) == self.health_path
        )


class Cloud:
    """One account and region of AWS, or one homeport. Raises CloudError for whatever boto3 raises."""

    def __init__(
        self,
        region: str | None = None,
        *,
        owner: boto3.Session | None = None,
        endpoint: str | None = None,
    ) -> None:
        """`region` is the one that is meant, where it is not that of the AWS settings; `owner` and `endpoint`
        are those of a homeport that the AWS settings do not name.
        """
        self._session = owner or session()
        self._endpoint = endpoint
        self._region = region
        # A control plane that is away for a moment is retried by boto3 itself; a hung one is given up.
        self._config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 4},
            ignore_configured_endpoint_urls=owner is not None,  # type: ignore[call-arg]
        )

    @cached_property
    def _ecr(self) -> Any:
        return self._client("ecr")

    @cached_property
    def _apprunner(self) -> Any:
        return self._client("apprunner")

    @cached_property
    def _logs(self) -> Any:
        return self._client("logs")

    @cached_property
    def _sts(self) -> Any:
        return self._client("sts")

    def _client(self, service: Any) -> Any:
        try:
            return self._session.client(
                service, region_name=self._region, endpoint_url=self._endpoint, config=self._config
            )
        except (BotoCoreError, ValueError) as error:
            raise CloudError(f"no {service} client: {error}", hint=HINT) from error

    def repository(self, name: str, tags: Mapping[str, str] | None = None) -> Repository:
        """The image repository called `name`, made when absent: release tags immutable, `latest` movable."""
        uri = self.existing_repository(name)
        if uri is None:
            uri = self._call(
                self._ecr.create_repository,
                repositoryName=name,
                **({"tags": pairs(tags)} if tags else {}),
                imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
                imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest"}],
            )["repository"]["repositoryUri"]
        data = self._call(self._ecr.get_authorization_token)["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        insecure = urlsplit(data["proxyEndpoint"]).scheme == "http"
        return Repository(uri, Credentials(user, password), insecure)

    def existing_repository(self, name: str) -> str | None:
        """The address of the repository called `name`; None where there is none."""
        try:
            answer = self._call(self._ecr.describe_repositories, repositoryNames=[name])
        except CloudError as error:
            if _has_code(error, "RepositoryNotFoundException"):
                return None
            raise
        address: str = answer["repositories"][0]["repositoryUri"]
        return address

    def service(self, name: str) -> ServiceTypeDef | None:
        """The service called `name`, None where there is none or only a deleted one."""
        token: dict[str, str] = {}
        while True:
            page = self._call(self._apprunner.list_services, **token)
            for summary in page["ServiceSummaryList"]:
                if summary["ServiceName"] == name and summary["Status"] != "DELETED":
                    return self.describe(summary["ServiceArn"])
            if not page.get("NextToken"):
                return None
            token = {"NextToken": page["NextToken"]}

    def existing_service(self, name: str) -> ServiceTypeDef:
        """The service called `name`; NoServiceError where there is none."""
        service = self.service(name)
        if service is None:
            raise NoServiceError(f"there is no service {name}", hint="`tagboat deploy` makes it")
        return service

    def identity(self) -> str:
        """The ARN of whoever asks."""
        arn: str = self._call(self._sts.get_caller_identity)["Arn"]
        return arn

    def describe(self, arn: str) -> ServiceTypeDef:
        service: ServiceTypeDef = self._call(self._apprunner.describe_service, ServiceArn=arn)["Service"]
        return service

    def custom_domains(self, arn: str) -> tuple[str, list[CustomDomainTypeDef]]:
        """Where the domains of a service are to point, and these."""
        domains: list[CustomDomainTypeDef] = []
        token: dict[str, str] = {}
        while True:
            page = self._call(self._apprunner.describe_custom_domains, ServiceArn=arn, **token)
            domains += page["CustomDomains"]
            if not page.get("NextToken"):
                return page["DNSTarget"], domains
            token = {"NextToken": page["NextToken"]}

    def create(self, settings: Settings) -> tuple[ServiceTypeDef, str]:
        """The new service and the id of the operation that brings it up."""
        tags = {"Tags": pairs(settings.tags)} if settings.tags else {}
        answer = self._call(
            self._apprunner.create_service, ServiceName=settings.name, **tags, **settings.request()
        )
        return answer["Service"], answer["OperationId"]

    def update(self, arn: str, settings: Settings) -> str:
        answer: str = self._call(self._apprunner.update_service, ServiceArn=arn, **settings.request())[
            "OperationId"
        ]
        return answer

    def start_deployment(self, arn: str) -> str:
        answer: str = self._call(self._apprunner.start_deployment, ServiceArn=arn)["OperationId"]
        return answer

    def delete(self, arn: str) -> str:
        answer: str = self._call(self._apprunner.delete_service, ServiceArn=arn)["OperationId"]
        return answer

    def operations(self, arn: str) -> list[OperationSummaryTypeDef]:
        """The latest operations of a service, newest first."""
        answer = self._call(self._apprunner.list_operations, ServiceArn=arn, MaxResults=20)
        operations: list[OperationSummaryTypeDef] = answer["OperationSummaryList"]
        return operations

    def wait(
        self, service: ServiceTypeDef, operation: str, *, timeout: float, watch: Callable[[str], None]
    ) -> None:
        """Return once the operation has succeeded; `watch` is given each event of the service meanwhile.

        Raises DeploymentFailedError when it ends otherwise, CloudError when `timeout` seconds pass first.
        """
        arn = service["ServiceArn"]
        since, status = 0, "PENDING"
        events: Iterator[list[LogLine]] | None = None
        told: set[str] = set()
        deadline = time.monotonic() + timeout
        for pause in pauses():
            entry = next((entry for entry in self.operations(arn) if entry["Id"] == operation), None)
            if entry is not None:
                # By the platform's clock: what an operation before it, or its version, wrote is not of it.
                since, status = int(entry["StartedAt"].timestamp() * 1000), entry["Status"]
                events = events or followed(
                    lambda since: self.lines(service, "service", since=since), since=since
                )
                for event in next(events):
                    watch(event.message)
                    told.add(event.message.strip())
            if status == "SUCCEEDED":
                return
            if status in _ENDED:
                written = last_messages(
                    lambda since: self.lines(service, "application", since=since), since=since
                )
                # A homeport's events have had the last lines.
                raise DeploymentFailedError(
                    f"{service['ServiceName']}: the deployment ended {status}",
                    [line for line in written if line.strip() not in told],
                    hint="the version that served before still serves"
                    if status == "ROLLBACK_SUCCEEDED"
                    else None,
                )
            if time.monotonic() > deadline:
                raise StillUnderWayError(f"operation {operation} is still {status} after {timeout:.0f} s")
            time.sleep(pause)

    def settle(self, arn: str, *, timeout: float) -> None:
        """Return once no operation of the service is under way; CloudError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for pause in pauses():
            under_way = [entry for entry in self.operations(arn) if entry["Status"] not in _ENDED]
            if not under_way:
                return
            if time.monotonic() > deadline:
                raise StillUnderWayError(
                    f"operation {under_way[0]['Id']} is still under way after {timeout:.0f} s"
                )
            time.sleep(pause)

    def lines(
        self, service: ServiceTypeDef, kind: Literal["application", "service"], *, since: int
    ) -> Iterator[LogLine]:
        """What the instances wrote, or what the platform says of the service, oldest first; from `since` on,
        in milliseconds since 1970.
        """
        token: dict[str, str] = {}
        while True:
            try:
                page = self._call(
                    self._logs.filter_log_events,
                    logGroupName=_log_group(service, kind),
                    startTime=since,
                    **token,
                )
            except CloudError as error:
                # On AWS the group appears with its first line.
                if not _has_code(error, "ResourceNotFoundException"):
                    raise
                return
            for event in page["events"]:
                yield LogLine(event["timestamp"], event["message"], event["eventId"])
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}

    def _call(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return operation(**arguments)
        except ClientError as error:
            raise CloudError(
                f"{error.operation_name}: {said(error)}", hint=advice(error, _service_of(operation))
            ) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise CloudError(failure(error), hint=HINT) from error


def followed(lines: Callable[[int], Iterator[LogLine]], *, since: int) -> Iterator[list[LogLine]]:
    """At each turn, the lines that have come since the last one; `lines` are those since a time."""
    seen: set[str] = set()
    while True:
        fresh = [line for line in lines(since) if line.id not in seen]
        seen.update(line.id for line in fresh)
        if fresh:
            since = max(since, fresh[-1].time - _LATE)
        yield fresh


def last_messages(
    lines: Callable[[int], Iterator[LogLine]], *, since: int | None = None, count: int = _SHOWN
) -> list[str]:
    """The last lines that were written since a time (milliseconds), or else within a day; `lines` are those
    since a time.
    """
    if since is None:
        since = int((time.time() - _RECENT) * 1000)
    return [line.message for line in deque(lines(since), maxlen=count)]


HINT = f"check the AWS settings of this shell, AWS_ENDPOINT_URL too; {SETTINGS}"


def _service_of(operation: Any) -> str:
    """The service that an operation of a client is of."""
    name: str = operation.__self__.meta.service_model.service_name
    return name


def _has_code(error: CloudError, code: str) -> bool:
    cause = error.__cause__
    return isinstance(cause, ClientError) and code_of(cause) == code


def _log_group(service: ServiceTypeDef, kind: str) -> str:
    return f"/aws/apprunner/{service['ServiceName']}/{service['ServiceId']}/{kind}"


def pauses() -> Iterator[float]:
    """Seconds between looks: quick at first, for a homeport; gentle later, for AWS, which takes minutes."""
    pause = 0.05
    while True:
        yield pause
        pause = min(pause * 1.15, 5.0)
