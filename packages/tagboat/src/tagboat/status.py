"""What a service is doing, and which release `latest` is."""

from __future__ import annotations

from dataclasses import dataclass

from ocikit import Digest, Reference, Registry
from tagboat.component import Component
from tagboat.plan import releases
from tagboat.runtime.choice import runtime_of
from tagboat.runtime.runtime import OperationStatus
from tagboat.targets.place import LATEST

_EXIT_CODES = {"RUNNING": 0, "OPERATION_IN_PROGRESS": 31}


@dataclass(frozen=True, slots=True)
class Status:
    """`tag` and `digest` are those of the release that is to be served, None before the first one."""

    service: str
    state: str
    url: str
    tag: str | None
    digest: str | None
    operations: tuple[OperationStatus, ...]

    @property
    def exit_code(self) -> int:
        """0 it runs, 31 an operation is under way, 1 it does not run."""
        return _EXIT_CODES.get(self.state, 1)


def read_status(component: Component, target: str | None = None) -> Status:
    """Raises NoServiceError, and the errors of registry and cloud."""
    runtime = runtime_of(component, target)
    found = runtime.state()
    place = runtime.repository()
    with place.registry() as registry:
        tag, released = released_now(component, registry, place.reference)
    return Status(
        runtime.service, found.state, found.url, tag, str(released) if released else None, found.operations
    )


def released_now(
    component: Component, registry: Registry, repository: Reference
) -> tuple[str | None, Digest | None]:
    """The tag and the digest of the release that `latest` is; of two tags of one image the newer."""
    released = registry.digest(repository.with_tag(LATEST))
    if released is None:
        return None, None
    newest_first = reversed(releases(component, registry.tags(repository.repository)).values())
    tags = (tag for tag in newest_first if registry.digest(repository.with_tag(tag)) == released)
    return next(tags, None), released
