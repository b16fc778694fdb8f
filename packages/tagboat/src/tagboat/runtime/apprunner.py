"""A service of App Runner's, on AWS or on a homeport, which watch the tag `latest`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocikit import Digest, Platform, Reference, Registry
from tagboat.cloud import Cloud, CloudError, LogLine, Repository, Settings
from tagboat.runtime.runtime import LogKind, OperationStatus, Served, State, Watch
from tagboat.targets.place import LATEST

if TYPE_CHECKING:
    from types_boto3_apprunner.type_defs import ServiceTypeDef

_PUSH_SEEN = 10.0  # seconds for a platform that watches the tag to have noticed that it moved
_SHOWN = 5  # operations in a state


@dataclass(frozen=True)
class AppRunner:
    """`settings` are computed when they are needed: what only looks asks for no variable. `make` makes what
    the service needs and itself, where the platform does not do that at its creation.
    """

    cloud: Cloud
    name: str
    repository_name: str
    settings: Callable[[str], Settings]  # given the image
    platform: Platform | None = None
    tags: dict[str, str] | None = None
    make: Callable[[Watch], None] | None = None

    @property
    def service(self) -> str:
        return self.name

    def identity(self) -> str:
        return self.cloud.identity()

    def repository(self) -> Repository:
        return self.cloud.repository(self.repository_name, self.tags)

    def require(self) -> None:
        self.cloud.existing_service(self.name)

    def roll_out(self, registry: Registry, release: Reference, digest: Digest, watch: Watch) -> Served:
        settings = self.settings(str(release.with_tag(LATEST)))
        rollout = _Rollout(self.cloud, registry, settings, release, digest, watch, self.make)
        return rollout.run()

    def roll_back(
        self, registry: Registry, release: Reference, digest: Digest, watch: Watch, *, chosen: bool
    ) -> str:
        service = self.cloud.existing_service(self.name)
        arn = service["ServiceArn"]
        self.cloud.settle(arn, timeout=watch.timeout)
        before = self.cloud.operations(arn)
        registry.tag(release, LATEST)
        if not chosen and before and before[0]["Status"] == "ROLLBACK_SUCCEEDED":
            watch.progress("the platform has put it back already; `latest` follows")
        else:
            operation = _answering_operation(self.cloud, arn, {entry["Id"] for entry in before})
            self.cloud.wait(service, operation, timeout=watch.timeout, watch=watch.progress)
        return f"https://{service['ServiceUrl']}"

    def state(self) -> State:
        service = self.cloud.existing_service(self.name)
        return State(
            service["Status"],
            f"https://{service['ServiceUrl']}",
            tuple(
                OperationStatus(
                    operation["Type"],
                    operation["Status"],
                    operation["StartedAt"].isoformat(timespec="seconds"),
                    operation["EndedAt"].isoformat(timespec="seconds") if operation.get("EndedAt") else None,
                )
                for operation in self.cloud.operations(service["ServiceArn"])[:_SHOWN]
            ),
        )

    def lines(self, kind: LogKind, *, since: int) -> Iterator[LogLine]:
        yield from self.cloud.lines(self.cloud.existing_service(self.name), kind, since=since)


@dataclass(frozen=True, slots=True)
class _Rollout:
    """One release on its way to one service."""

    cloud: Cloud
    registry: Registry
    settings: Settings
    release: Reference
    digest: Digest
    watch: Watch
    make: Callable[[Watch], None] | None

    def run(self) -> Served:
        """Make the service serve the release, and return once it does."""
        service = self._ready_service()
        if service is None:
            self._move_latest()
            if self.make is not None:
                self.make(self.watch)
                return _served(self.cloud.existing_service(self.settings.name))
            return self._finish(*self.cloud.create(self.settings))
        arn = service["ServiceArn"]
        if not self.settings.describes(service):
            # New settings and new code arrive in one rollout, so that neither meets the other's old half.
            pinned = replace(self.settings, image=str(self.release), auto_deploy=False)
            self._finish(service, self.cloud.update(arn, pinned))
            self._move_latest()
            return self._finish(service, self.cloud.update(arn, self.settings))
        before = self.cloud.operations(arn)
        if self.registry.digest(self.release.with_tag(LATEST)) != self.digest:
            self._move_latest()
            known = {operation["Id"] for operation in before}
            return self._finish(service, _answering_operation(self.cloud, arn, known))
        if before and before[0]["Status"] == "SUCCEEDED":
            self.watch.progress(f"{self.release} is live already")
            return replace(_served(service), already=True)
        return self._finish(service, self.cloud.start_deployment(arn))

    def _ready_service(self) -> ServiceTypeDef | None:
        """The service with no operation under way; one that never came up is removed first."""
        name = self.settings.name
        service = self.cloud.service(name)
        if service is None:
            return None
        arn = service["ServiceArn"]
        if service["Status"] == "OPERATION_IN_PROGRESS":
            self.watch.progress(f"waiting for the operation that is under way on {name}")
            self.cloud.settle(arn, timeout=self.watch.timeout)
            service = self.cloud.describe(arn)
        if service["Status"] == "CREATE_FAILED":
            self.watch.progress(f"removing {name}, which never came up")
            self._finish(service, self.cloud.delete(arn))
            return None
        if service["Status"] != "RUNNING":
            raise CloudError(f"service {name} is {service['Status']}: it cannot be deployed to")
        return service

    def _move_latest(self) -> None:
        self.registry.tag(self.release, LATEST)

    def _finish(self, service: ServiceTypeDef, operation: str) -> Served:
        self.cloud.wait(service, operation, timeout=self.watch.timeout, watch=self.watch.progress)
        return _served(service)


def _served(service: ServiceTypeDef) -> Served:
    return Served(f"https://{service['ServiceUrl']}")


def _answering_operation(cloud: Cloud, arn: str, known: set[str]) -> str:
    """The operation by which the platform answers the move of the tag, one that was not `known` before it;
    where the platform does not watch the tag, one that is started now.
    """
    deadline = time.monotonic() + _PUSH_SEEN
    while time.monotonic() < deadline:
        for operation in cloud.operations(arn):
            if operation["Id"] not in known and operation["Type"] == "START_DEPLOYMENT":
                return operation["Id"]
        time.sleep(0.05)
    return cloud.start_deployment(arn)
