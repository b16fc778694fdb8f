"""What homeport keeps: services, operations and log lines, as values.

Names and states are App Runner's own (API version 2020-05-15), so that the AWS surface only renames fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, Protocol

from homeport.mounts import Mounts


class ServiceStatus(StrEnum):
    """As DescribeService has it."""

    CREATE_FAILED = "CREATE_FAILED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DELETED = "DELETED"
    DELETE_FAILED = "DELETE_FAILED"
    OPERATION_IN_PROGRESS = "OPERATION_IN_PROGRESS"


class OperationType(StrEnum):
    """As ListOperations has it."""

    CREATE_SERVICE = "CREATE_SERVICE"
    START_DEPLOYMENT = "START_DEPLOYMENT"
    UPDATE_SERVICE = "UPDATE_SERVICE"
    DELETE_SERVICE = "DELETE_SERVICE"
    PAUSE_SERVICE = "PAUSE_SERVICE"
    RESUME_SERVICE = "RESUME_SERVICE"


class OperationStatus(StrEnum):
    """As ListOperations has it."""

    PENDING = "PENDING"
    IN_PROGRESS = "IN_PROGRESS"
    FAILED = "FAILED"
    SUCCEEDED = "SUCCEEDED"
    ROLLBACK_IN_PROGRESS = "ROLLBACK_IN_PROGRESS"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"
    ROLLBACK_SUCCEEDED = "ROLLBACK_SUCCEEDED"

    @property
    def ended(self) -> bool:
        """Whether it stays so."""
        return self not in (
            OperationStatus.PENDING,
            OperationStatus.IN_PROGRESS,
            OperationStatus.ROLLBACK_IN_PROGRESS,
        )


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an instance is asked whether it is well; times in seconds. The defaults are App Runner's."""

    protocol: Literal["TCP", "HTTP"] = "TCP"
    path: str = "/"
    interval: int = 5
    timeout: int = 2
    healthy_threshold: int = 1
    unhealthy_threshold: int = 5


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many instances serve, by the requests that are in flight. The defaults are App Runner's.

    `to_zero`: none at all while nobody asks; the next request is held until one is up again. `freeze`: those
    that stay while nobody asks stand still, with their memory, until the next request.
    """

    max_concurrency: int = 100  # requests that one instance answers at a time; what is more waits
    min_size: int = 1
    max_size: int = 25
    to_zero: bool = False
    idle_after: float = 60.0  # seconds for which an instance has not been needed before it goes
    freeze: bool = False


@dataclass(frozen=True, slots=True)
class Entrance:
    """How the edge lets requests in: at once for all that a service runs, no instance is started for it."""

    allow: tuple[str, ...] = ()  # networks from which alone the service may be asked, as CIDR; none: all
    timeout: int = 120  # seconds that an instance may keep silent while it owes an answer
    log: bool = False  # whether each request is a line in the access log


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a service should be: the whole of what CreateService and UpdateService can say."""

    name: str
    image: str  # `host:port/repository:tag` or `…@sha256:…`
    port: int = 8080
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # By variable, which secret's value it gets: an ARN (`vault.SecretReference`), never the value.
    secrets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    start_command: str | None = None
    cpu: int = 1024  # thousandths of a CPU, AWS counts 1024 a vCPU
    memory: int = 2048  # MiB
    auto_deploy: bool = True
    health: HealthCheck = field(default_factory=HealthCheck)
    scaling: Scaling = field(default_factory=Scaling)
    entrance: Entrance = field(default_factory=Entrance)
    origin: str | None = None  # whose images alone it may run (`origins.OriginPolicy`)
    track: str | None = None  # which tags it follows instead of the image's own (`tracking.Track`)
    mounts: Mounts = field(default_factory=Mounts)
    role: str | None = None  # that its instances have credentials of, instead of the service's key
    host_ports: tuple[int, ...] = ()  # TCP ports of the host that its instances may connect to


@dataclass(frozen=True, slots=True)
class Service:
    """A service as it stands.

    `digest` is the manifest digest that serves, `deployed` the configuration that it was deployed with; both
    are None before the first success. A paused service keeps them: it is resumed with them.
    """

    arn: str
    id: str  # 32 hexadecimal digits
    spec: ServiceSpec
    status: ServiceStatus
    url: str  # host and port at the edge, no scheme: what ServiceUrl answers
    created_at: datetime
    updated_at: datetime
    digest: str | None = None
    deleted_at: datetime | None = None
    deployed: ServiceSpec | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """What is being done to a service, or has been."""

    id: str  # UUID
    service_arn: str
    type: OperationType
    status: OperationStatus
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    digest: str | None = None  # the manifest that this operation brings up
    reason: str | None = None  # why it failed


class CustomDomainStatus(StrEnum):
    """As DescribeCustomDomains has it."""

    CREATING = "CREATING"
    CREATE_FAILED = "CREATE_FAILED"
    ACTIVE = "ACTIVE"
    DELETING = "DELETING"
    DELETE_FAILED = "DELETE_FAILED"
    PENDING_CERTIFICATE_DNS_VALIDATION = "PENDING_CERTIFICATE_DNS_VALIDATION"
    BINDING_CERTIFICATE = "BINDING_CERTIFICATE"


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """What DNS must say before a certificate for `name` can be had: that it leads here."""

    name: str  # with a dot at the end
    value: str  # the service's own host name
    status: Literal["PENDING_VALIDATION", "SUCCESS", "FAILED"]
    type: str = "CNAME"


@dataclass(frozen=True, slots=True)
class CustomDomain:
    """A name of the owner's that leads to a service; with `www`, so does `www.` before it.

    ACTIVE when all of its names have a certificate. Until then `reason` says what the last try for one failed
    of; it is tried again, with growing pauses.
    """

    name: str  # lower case
    service_arn: str
    www: bool
    status: CustomDomainStatus
    created_at: datetime
    reason: str | None = None
    records: tuple[ValidationRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a service's log, as CloudWatch Logs counts: time in milliseconds since 1970."""

    timestamp: int
    stream: str
    message: str


class NoSuchServiceError(LookupError):
    """No service has this ARN."""


class ServiceExistsError(ValueError):
    """A service of this name is there already."""


class ServiceBusyError(RuntimeError):
    """The service is not in a state that allows the call: an operation is under way, or it never ran."""


class NoSuchReleaseError(LookupError):
    """The service cannot go back to this digest: it has not served it, or too long ago."""


class InvalidDomainError(ValueError):
    """The name is none that a service can have here."""


class DomainExistsError(ValueError):
    """The name leads to a service already."""


class NoSuchDomainError(LookupError):
    """The service has no custom domain of this name."""


LogKind = Literal["application", "service", "access"]


class Controller(Protocol):
    """What the API asks of the part that runs things. Calls return as soon as the operation is recorded."""

    async def create_service(self, spec: ServiceSpec) -> tuple[Service, Operation]: ...
    async def update_service(self, arn: str, spec: ServiceSpec) -> tuple[Service, Operation]: ...
    async def delete_service(self, arn: str) -> tuple[Service, Operation]: ...
    async def start_deployment(self, arn: str) -> Operation: ...
    async def pause_service(self, arn: str) -> tuple[Service, Operation]:
        """Stop all instances of a RUNNING service; its name stays and is answered 503."""
        ...

    async def resume_service(self, arn: str) -> tuple[Service, Operation]:
        """Bring a PAUSED service up again, as it was; what was pushed meanwhile is not deployed."""
        ...

    async def rollback(self, arn: str, digest: str) -> tuple[Service, Operation]:
        """Deploy one of `releases` again. Raises NoSuchReleaseError for another digest."""
        ...

    async def image_pushed(self, repository: str, tag: str, digest: str) -> None:
        """A tag of homeport's own registry has moved: deploy every service that watches it."""
        ...

    async def associate_domain(self, arn: str, name: str, *, www: bool = True) -> CustomDomain:
        """Have the service answer for a name too; its certificate follows by itself.

        Raises NoSuchServiceError, ServiceBusyError for a service that is deleted, InvalidDomainError, and
        DomainExistsError where this or another service has the name.
        """
        ...

    async def disassociate_domain(self, arn: str, name: str) -> CustomDomain:
        """Answer for the name no more; returns what it was, DELETING. Raises NoSuchServiceError, and
        NoSuchDomainError.
        """
        ...

    def custom_domains(self, arn: str) -> list[CustomDomain]:
        """Oldest first. Raises NoSuchServiceError."""
        ...

    def service(self, arn: str) -> Service:
        """Raises NoSuchServiceError. Answers for deleted services too, as DescribeService does."""
        ...

    def services(self) -> list[Service]: ...
    def operations(self, arn: str) -> list[Operation]:
        """Newest first."""
        ...

    def releases(self, arn: str) -> list[str]:
        """The manifest digests that have served, newest first: what serves and what `rollback` takes."""
        ...

    def digests(self) -> set[str]:
        """The manifest digests that some service runs or may go back to: not to be deleted."""
        ...

    def logs(self, arn: str, kind: LogKind, *, since: int = 0, limit: int = 10_000) -> list[LogLine]:
        """Oldest first, from `since` milliseconds on; with more than `limit` lines, the newest of them."""
        ...
