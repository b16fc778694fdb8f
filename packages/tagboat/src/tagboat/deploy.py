"""From a release to a served page: build, push under the release's tag, move `latest`, wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit import Digest, Image, Reference, Registry
from tagboat.build import build
from tagboat.cloud import Cloud, CloudError, Settings
from tagboat.component import Component
from tagboat.errors import TagboatError
from tagboat.history import Journal
from tagboat.tag import require_release

if TYPE_CHECKING:
    from types_boto3_apprunner.type_defs import ServiceTypeDef

    from tagboat.supply.documents import Documents

LATEST = "latest"
_PUSH_SEEN = 10.0  # seconds for a platform that watches the tag to have noticed that it moved


class TagTakenError(TagboatError):
    """The release tag names another image in the repository: releases are never overwritten."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was deployed, where it is served, and what each step took, in seconds."""

    tag: str
    digest: str
    url: str
    seconds: dict[str, float] = field(default_factory=dict)


def deploy(
    component: Component,
    cache: Path,
    *,
    timeout: float,
    progress: Callable[[str], None],
    prebuilt: Image | None = None,
    documents: Documents | None = None,
) -> Deployment:
    """Bring the release that is checked out to its service, which is created when absent.

    Its image is built, unless it is `prebuilt`. The documents go beside it before anything is rolled out, and
    so does a record of the deployment afterwards (see history.py).
    Raises TagRefusedError (no release is checked out), TagTakenError, DeploymentFailedError (the platform
    kept or put back the version before), and the errors of build, registry and cloud.
    """
    release = require_release(component)
    seconds: dict[str, float] = {}

    started = time.monotonic()
    image = prebuilt or build(component, cache, progress=progress)
    seconds["build"] = time.monotonic() - started

    started = time.monotonic()
    cloud = Cloud()
    repository = cloud.repository(component.config.repository)
    target = repository.reference.with_tag(release.name)
    settings = _settings(component, str(repository.reference.with_tag(LATEST)))
    with repository.registry() as registry:
        progress(f"pushing {target}")
        _push_release(registry, image, target)
        if documents is not None:
            documents.attach(registry, target, image, component, progress)
        seconds["push"] = time.monotonic() - started

        started = time.monotonic()
        rollout = _Rollout(cloud, registry, settings, target, image.digest, timeout, progress)
        with Journal(cloud, registry, settings.name, progress).entry("deploy", target, image):
            service = rollout.run()
        seconds["rollout"] = time.monotonic() - started
    return Deployment(release.name, str(image.digest), f"https://{service['ServiceUrl']}", seconds)


def _settings(component: Component, image: str) -> Settings:
    service = component.config.service
    return Settings(
        name=service.name or component.name,
        image=image,
        port=service.port,
        cpu=service.cpu,
        memory=service.memory,
        health_path=service.health_path,
        environment=service.expanded_environment(),
    )


def _push_release(registry: Registry, image: Image, target: Reference) -> None:
    taken = registry.digest(target)
    if taken is not None and taken != image.digest:
        raise TagTakenError(
            f"{target} is {taken} already, and this build is {image.digest}",
            hint="a release is never overwritten: raise the version and `tagboat tag`",
        )
    if taken is None:
        registry.push(image, target)


@dataclass(frozen=True, slots=True)
class _Rollout:
    """One release on its way to one service."""

    cloud: Cloud
    registry: Registry
    settings: Settings
    release: Reference
    digest: Digest
    timeout: float
    progress: Callable[[str], None]

    def run(self) -> ServiceTypeDef:
        """Make the service serve the release, and return it once it does."""
        service = self._ready_service()
        if service is None:
            self._move_latest()
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
            return self._finish(
                service, answering_operation(self.cloud, arn, {operation["Id"] for operation in before})
            )
        if before and before[0]["Status"] == "SUCCEEDED":
            self.progress(f"{self.release} is live already")
            return service
        return self._finish(service, self.cloud.start_deployment(arn))

    def _ready_service(self) -> ServiceTypeDef | None:
        """The service with no operation under way; one that never came up is removed first."""
        name = self.settings.name
        service = self.cloud.service(name)
        if service is None:
            return None
        arn = service["ServiceArn"]
        if service["Status"] == "OPERATION_IN_PROGRESS":
            self.progress(f"waiting for the operation that is under way on {name}")
            self.cloud.settle(arn, timeout=self.timeout)
            service = self.cloud.describe(arn)
        if service["Status"] == "CREATE_FAILED":
            self.progress(f"removing {name}, which never came up")
            self._finish(service, self.cloud.delete(arn))
            return None
        if service["Status"] != "RUNNING":
            raise CloudError(f"service {name} is {service['Status']}: it cannot be deployed to")
        return service

    def _move_latest(self) -> None:
        self.registry.tag(self.release, LATEST)

    def _finish(self, service: ServiceTypeDef, operation: str) -> ServiceTypeDef:
        self.cloud.wait(service, operation, timeout=self.timeout, watch=self.progress)
        return service


def answering_operation(cloud: Cloud, arn: str, known: set[str]) -> str:
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
