"""What `deploy`, `rollback`, `status`, `logs` and `history` ask of wherever the service runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from tagboat.cloud import LogLine, Repository

if TYPE_CHECKING:
    from ocikit import Digest, Platform, Reference, Registry

LogKind = Literal["application", "service"]


@dataclass(frozen=True, slots=True)
class Watch:
    """How long an operation is waited for, in seconds, and who is told of what happens meanwhile."""

    timeout: float
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Served:
    """Where a release is served; `already`: it was before it was asked for, and nothing was done."""

    url: str
    already: bool = False


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """Times are UTC, ISO 8601."""

    type: str
    status: str
    started: str
    ended: str | None


@dataclass(frozen=True, slots=True)
class State:
    """What the service is doing; its operations, the latest first."""

    state: str
    url: str
    operations: tuple[OperationStatus, ...]


class Runtime(Protocol):
    """One service, there or not yet. What it raises are CloudErrors."""

    @property
    def service(self) -> str:
        """Its name."""

    @property
    def platform(self) -> Platform | None:
        """What its images have to be for; None: whatever this machine is."""

    def identity(self) -> str:
        """Who asks, as the cloud knows them."""

    def repository(self) -> Repository:
        """Where its images are pushed."""

    def require(self) -> None:
        """Raises NoServiceError where it is not there."""

    def roll_out(self, registry: Registry, release: Reference, digest: Digest, watch: Watch) -> Served:
        """Serve the image, which is in the registry as `release`, with the settings that the configuration
        has, and let `latest` be it. The service is made where there is none.

        Raises DeploymentFailedError where the platform kept or put back the version before.
        """

    def roll_back(
        self, registry: Registry, release: Reference, digest: Digest, watch: Watch, *, chosen: bool
    ) -> str:
        """Serve an earlier release again, with the settings that the service has; `chosen`: it was named."""

    def state(self) -> State:
        """Raises NoServiceError where there is no service."""

    def lines(self, kind: LogKind, *, since: int) -> Iterator[LogLine]:
        """What it wrote, or what the platform says of it, oldest first; from `since` on, in milliseconds
        since 1970."""
