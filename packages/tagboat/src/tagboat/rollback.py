"""Back to the release before: `latest` moves back to its image, and the platform rolls that out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ocikit import Reference, Registry
from tagboat.component import Component
from tagboat.errors import TagboatError
from tagboat.history import Journal, read_history, release_before
from tagboat.runtime.choice import runtime_of
from tagboat.runtime.runtime import Watch
from tagboat.targets.place import LATEST


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
    target: str | None = None,
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
    runtime = runtime_of(component, target)
    runtime.require()
    place = runtime.repository()
    repository = place.reference
    with place.registry() as registry:
        current = registry.digest(repository.with_tag(LATEST))
        if current is None:
            raise NothingToRollBackError(f"nothing has been released to {repository} yet")
        if only_from is not None and str(current) != only_from:
            progress(f"{only_from} is not what is released now: nothing to roll back")
            return None
        release = _release(component, registry, repository, str(current), to)
        image = registry.image(release)
        progress(f"back from {current} to {release.tag} ({image.digest})")
        journal = Journal(runtime, registry, component, progress)
        with journal.entry("rollback", release, image, replaced=current):
            url = runtime.roll_back(
                registry, release, image.digest, Watch(timeout, progress), chosen=to is not None
            )
    return Rollback(release.tag or "", str(image.digest), str(current), url)


def _release(
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
