"""From one target to another: the very image that one serves is served by the other, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tagboat.component import Component
from tagboat.deploy import push_release, require_platform
from tagboat.errors import TagboatError
from tagboat.history import Journal
from tagboat.identity import Login
from tagboat.runtime.choice import runtime_of
from tagboat.runtime.runtime import Watch
from tagboat.status import released_now


class NothingToPromoteError(TagboatError):
    """The target that it is to come from has no release."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """What is served now, and where."""

    tag: str
    digest: str
    url: str


def promote(
    component: Component,
    *,
    origin: str,
    target: str,
    login: Login | None = None,
    timeout: float,
    progress: Callable[[str], None],
) -> Promotion:
    """Serve on `target` what `origin` has released, with the settings of `target`. Nothing is built.

    `login` is how `origin` is reached where the AWS settings, which mean one place, are those of `target`.

    Raises NothingToPromoteError, ConfigError (it is for another architecture), and what `deploy` raises.
    """
    source, destination = runtime_of(component, origin, login), runtime_of(component, target)
    source.require()
    there, here = source.repository(), destination.repository()
    with there.registry() as origin_registry, here.registry() as registry:
        tag, digest = released_now(component, origin_registry, there.reference)
        if tag is None or digest is None:
            raise NothingToPromoteError(f"{origin} has no release of {component.name}")
        image = origin_registry.image(there.reference.with_digest(digest))
        require_platform(image, destination)
        reference = here.reference.with_tag(tag)
        progress(f"{tag} ({digest}) from {origin} to {target}")
        push_release(registry, image, reference)
        with Journal(destination, registry, component, progress).entry("promote", reference, image) as entry:
            served = destination.roll_out(registry, reference, digest, Watch(timeout, progress))
            entry.was_live = served.already
    return Promotion(tag, str(digest), served.url)
