"""From a release to a served page: build, push under the release's tag, move `latest`, wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit import Image, Reference, Registry
from tagboat.build import build
from tagboat.component import Component
from tagboat.errors import ConfigError, TagboatError
from tagboat.history import Journal
from tagboat.runtime.choice import require_settings, runtime_of
from tagboat.runtime.runtime import Runtime, Watch
from tagboat.tag import require_release

if TYPE_CHECKING:
    from tagboat.supply.documents import Documents
    from tagboat.supply.key import PrivateKey
    from tagboat.supply.keyless import KeylessSigner


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
    target: str | None = None,
    prebuilt: Image | None = None,
    documents: Documents | None = None,
    signer: PrivateKey | KeylessSigner | None = None,
) -> Deployment:
    """Bring the release that is checked out to its service on `target`, which is created when absent.

    Its image is built, unless it is `prebuilt`. The documents and the signature go beside it before anything
    is rolled out, and so does a record of the deployment afterwards (see history.py).
    Raises TagRefusedError (no release is checked out), TagTakenError, DeploymentFailedError (the platform
    kept or put back the version before), UnsupportedError (the target cannot do what is configured), and the
    errors of build, registry and cloud.
    """
    release = require_release(component)
    require_settings(component, target)
    runtime = runtime_of(component, target)
    seconds: dict[str, float] = {}

    started = time.monotonic()
    image = prebuilt or build(component, cache, platform=runtime.platform, progress=progress)
    require_platform(image, runtime)
    seconds["build"] = time.monotonic() - started

    started = time.monotonic()
    repository = runtime.repository()
    reference = repository.reference.with_tag(release.name)
    with repository.registry() as registry:
        progress(f"pushing {reference}")
        push_release(registry, image, reference)
        if documents is not None:
            documents.attach(registry, reference, image, component, progress)
        if signer is not None:
            from tagboat.supply.signing import sign_image  # noqa: PLC0415  few deployments need it

            progress(sign_image(registry, reference.with_digest(image.digest), signer).said)
        seconds["push"] = time.monotonic() - started

        started = time.monotonic()
        with Journal(runtime, registry, component, progress).entry("deploy", reference, image) as entry:
            served = runtime.roll_out(registry, reference, image.digest, Watch(timeout, progress))
            entry.was_live = served.already
        seconds["rollout"] = time.monotonic() - started
    return Deployment(release.name, str(image.digest), served.url, seconds)


def require_platform(image: Image, runtime: Runtime) -> None:
    """Raises ConfigError for an image that cannot run there."""
    wanted, has = runtime.platform, image.config.platform
    if wanted is not None and (has.os, has.architecture) != (wanted.os, wanted.architecture):
        raise ConfigError(
            f"the image is for {has}, and {runtime.service} runs {wanted}",
            hint=f"`tagboat build --platform {wanted}`, or `platform` of the target",
        )


def push_release(registry: Registry, image: Image, target: Reference) -> None:
    """Push the image under its release tag, unless it is there. Raises TagTakenError where another one is."""
    taken = registry.digest(target)
    if taken is not None and taken != image.digest:
        raise TagTakenError(
            f"{target} is {taken} already, and this build is {image.digest}",
            hint="a release is never overwritten: raise the version and `tagboat tag`",
        )
    if taken is None:
        registry.push(image, target)
