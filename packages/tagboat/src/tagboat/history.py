"""The history of a service: each deployment, left as a record beside its image in the registry.

A record is an OCI referrer of the image, so it is where the image is, on homeport as on ECR, for whoever may
read that. It says what the deployer says; what the platform saw is in the platform's own audit log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, cast

from ocikit import Digest, Image, OcikitError, Reference, Registry
from tagboat.cloud import CloudError, DeploymentFailedError
from tagboat.component import Component
from tagboat.identity import actor, run_address
from tagboat.index import describe
from tagboat.plan import releases
from tagboat.runtime.runtime import Runtime
from tagboat.supply.attachment import Document, attach

Action = Literal["deploy", "promote", "rollback"]
_TYPE = "application/vnd.tagboat.deployment.v1+json"
_PREFIX = "tagboat.deployment."
_RELEASES = 20  # that are looked at, the newest


@dataclass(frozen=True, slots=True)
class Record:
    """One deployment: of which release, how it ended, when (UTC, ISO 8601), and by whom.

    `identity` is the caller as the cloud knows it, `actor` and `run` are what the CI system says. `replaced`
    is the digest that a rollback led away from.
    """

    at: str
    service: str
    action: Action
    outcome: str
    tag: str
    digest: str
    commit: str
    identity: str
    actor: str | None = None
    run: str | None = None
    replaced: str | None = None


@dataclass(slots=True)
class Entry:
    """`was_live`: the image was served already, and nothing happened that the history has to tell."""

    was_live: bool = False


@dataclass(frozen=True, slots=True)
class Journal:
    """Where the records of one service are written."""

    runtime: Runtime
    registry: Registry
    component: Component
    progress: Callable[[str], None]

    @contextmanager
    def entry(
        self, action: Action, release: Reference, image: Image, *, replaced: Digest | None = None
    ) -> Iterator[Entry]:
        """Record what happens inside, whether the platform makes it succeed or fail."""
        entry = Entry()
        try:
            yield entry
        except DeploymentFailedError:
            self._write(action, "failed", release, image, replaced)
            raise
        if not (entry.was_live and self._tells_of(release, image)):
            self._write(action, "succeeded", release, image, replaced)

    def _tells_of(self, release: Reference, image: Image) -> bool:
        """Whether the last that the history has of the service is that it came to serve this image. It has
        not where whoever deployed it did not wait for the end.
        """
        try:
            history = read_history(self.registry, release, self.component)
        except OcikitError:
            return False
        last = next((one for one in history if one.service == self.runtime.service), None)
        return last is not None and (last.outcome, last.digest) == ("succeeded", str(image.digest))

    def _write(
        self, action: Action, outcome: str, release: Reference, image: Image, replaced: Digest | None
    ) -> None:
        labels = image.config.config.labels
        try:
            record = Record(
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                service=self.runtime.service,
                action=action,
                outcome=outcome,
                tag=release.tag or "",
                digest=str(image.digest),
                commit=labels.get("org.opencontainers.image.revision", ""),
                identity=self.runtime.identity(),
                actor=actor(),
                run=run_address(),
                replaced=str(replaced) if replaced else None,
            )
            said = {key: value for key, value in asdict(record).items() if value is not None}
            data = json.dumps(said, sort_keys=True).encode()
            annotations = {f"{_PREFIX}{key}": value for key, value in said.items()}
            attach(self.registry, release, describe(image), Document(_TYPE, data, annotations))
        except (OcikitError, CloudError) as error:  # what is deployed is deployed, recorded or not
            self.progress(f"the deployment could not be recorded: {error}")


def read_history(registry: Registry, repository: Reference, component: Component) -> list[Record]:
    """The deployments of the newest releases, newest first. Raises OcikitError."""
    tags = list(releases(component, registry.tags(repository.repository)).values())[-_RELEASES:]
    found: dict[str, Record] = {}
    for tag in tags:
        digest = registry.digest(repository.with_tag(tag))
        if digest is not None:
            for referrer in registry.referrers(repository.with_digest(digest), _TYPE):
                found[str(referrer.digest)] = _record(referrer.annotations)
    return sorted(found.values(), key=lambda record: record.at, reverse=True)


def release_before(history: Iterable[Record], current: str) -> Record | None:
    """The last good deployment of another image than `current` that nobody has rolled back from since."""
    left = {current}
    for record in history:
        if record.action == "rollback" and record.replaced:
            left.add(record.replaced)
        if record.outcome == "succeeded" and record.digest not in left:
            return record
    return None


def _record(annotations: Mapping[str, str]) -> Record:
    said = {name: annotations.get(f"{_PREFIX}{name}") for name in Record.__dataclass_fields__}
    needed = {
        name: said[name] or "" for name in ("at", "service", "outcome", "tag", "digest", "commit", "identity")
    }
    return Record(
        **needed,
        action=cast("Action", said["action"]),
        actor=said["actor"],
        run=said["run"],
        replaced=said["replaced"],
    )
