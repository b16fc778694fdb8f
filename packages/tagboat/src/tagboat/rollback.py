"""Back to the release before: `latest` moves back to its image, and the platform rolls that out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ocikit import Reference, Registry
from tagboat.cloud import Cloud
from tagboat.component import Component
from tagboat.deploy import LATEST, answering_operation
from tagboat.errors import TagboatError
from tagboat.history import Journal, read_history, release_before


class NothingToRollBackError(TagboatError):
    """There is no release to go back to."""

    exit_code: ClassVar[int] = 33


@dataclass(frozen=True, slots=True)
class Rollback:
    """What serves again, in place of what."""

    tag: str
    digest: str
    replaced: str
    url: str


def roll_back(
    component: Component,
    *,
    to: str | None = None,
    only_from: str | None = None,
    timeout: float,
    progress: Callable[[str], None],
) -> Rollback | None:
    """Serve an earlier release again, with the settings that the service has now.

    It is release `to`, a tag or its version, or else the last good one before the one that is released now.
    With `only_from`, a digest, nothing is done (None) unless that is the one. Raises NothingToRollBackError,
    NoServiceError, DeploymentFailedError, StillUnderWayError, and the errors of registry and cloud.
    """
    cloud = Cloud()
    place = cloud.repository(component.config.repository)
    repository = place.reference
    service = cloud.existing_service(component.config.service.name or component.name)
    arn = service["ServiceArn"]
    with place.registry() as registry:
        current = registry.digest(repository.with_tag(LATEST))
        if current is None:
            raise NothingToRollBackError(f"nothing has been released to {repository} yet")
        if only_from is not None and str(current) != only_from:
            progress(f"{only_from} is not what is released now: nothing to roll back")
            return None
        target = _target(component, registry, repository, str(current), to)
        image = registry.image(target)
        progress(f"back from {current} to {target.tag} ({image.digest})")
        cloud.settle(arn, timeout=timeout)
        journal = Journal(cloud, registry, service["ServiceName"], progress)
        with journal.entry("rollback", target, image, replaced=current):
            before = cloud.operations(arn)
            registry.tag(target, LATEST)
            if to is None and before and before[0]["Status"] == "ROLLBACK_SUCCEEDED":
                progress("the platform has put it back already; `latest` follows")
            else:
                operation = answering_operation(cloud, arn, {entry["Id"] for entry in before})
                cloud.wait(service, operation, timeout=timeout, watch=progress)
    return Rollback(target.tag or "", str(image.digest), str(current), f"https://{service['ServiceUrl']}")


def _target(
    component: Component, registry: Registry, repository: Reference, current: str, to: str | None
) -> Reference:
    """The release to go back to, as its tag in the repository."""
    if to is None:
        before = release_before(read_history(registry, repository, component), current)
        if before is None:
            raise NothingToRollBackError(
                f"no good deployment of another release of {component.name} is on record",
                hint=f"name one: `tagboat rollback --to {component.name}-vVERSION`",
            )
        return repository.with_tag(before.tag)
    prefix = f"{component.name}-v"
    target = repository.with_tag(prefix + to.removeprefix(prefix))
    if registry.digest(target) is None:
        raise NothingToRollBackError(f"there is no release {target}", hint="`tagboat history` lists them")
    return target
