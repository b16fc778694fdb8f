"""What App Runner's API keeps: resources with revisions and tags, and what it says of services beyond what
runs. They live in bucketlog, so each change of each is in its history.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import bucketlog
from homeport.command import off_loop
from homeport.place import arn
from homeport.schema import attribute

_ARN = arn("apprunner", "")
_WITHOUT_REVISION = ("connection", "vpcingressconnection")


_SCHEMA = [
    attribute("resource/arn", "string", identity=True),
    attribute("resource/kind", "keyword"),
    attribute("resource/name", "string"),
    attribute("resource/revision", "long"),
    attribute("resource/content", "string"),  # JSON
    attribute("resource/tags", "string"),  # JSON
    attribute("resource/created", "instant"),
    attribute("resource/deleted", "instant"),
]


@dataclass(frozen=True, slots=True)
class Resource:
    """`kind` is what stands in its ARN; `content` what its kind has beside what all have, as JSON's values.

    One that is deleted but still shown, as AWS shows revisions, has `deleted_at`.
    """

    arn: str
    kind: str
    name: str
    revision: int
    content: Mapping[str, Any]
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    deleted_at: datetime | None = None

    @property
    def active(self) -> bool:
        return self.deleted_at is None

    @property
    def status(self) -> str:
        return "ACTIVE" if self.active else "INACTIVE"


class ResourceExistsError(ValueError):
    """There is a resource of this kind and name."""


class Resources:
    """All resources, in memory; this process alone writes them, from one event loop."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        database.transact(_SCHEMA)
        entities = database.db().q("[:find [(pull ?e [*]) ...] :where [?e :resource/arn]]")
        loaded = sorted((_resource(facts) for facts in entities), key=lambda one: (one.created_at, one.arn))
        self._all: dict[str, Resource] = {}
        self._kinds: dict[str, dict[str, Resource]] = {}  # by kind, then by ARN, oldest first
        self._keep(*loaded)

    def find(self, arn: str) -> Resource | None:
        return self._all.get(arn)

    def get(self, arn: str) -> Resource:
        """Of one that is there for sure: what another names cannot go."""
        return self._all[arn]

    def of(self, kind: str, name: str | None = None) -> list[Resource]:
        """Those of a kind, or of a name of it, with the deleted ones that are kept; oldest first."""
        return [one for one in self._kinds.get(kind, {}).values() if name in (None, one.name)]

    def active(self, kind: str, name: str | None = None) -> list[Resource]:
        return [one for one in self.of(kind, name) if one.active]

    def resolve(self, kind: str, arn: str) -> Resource | None:
        """By a whole ARN, or by one that ends with the name or the revision: of those, what is active.

        Of a name it is the latest revision.
        """
        if (resource := self._all.get(arn)) is not None:
            return resource if resource.kind == kind else None
        prefix = f"{_ARN}{kind}/"
        name, _, revision = arn.removeprefix(prefix).partition("/")
        if not arn.startswith(prefix) or (revision and not revision.isdecimal()):
            return None
        found = [one for one in self.active(kind, name) if revision in ("", str(one.revision))]
        return max(found, key=lambda one: one.revision, default=None)

    def latest(self, resource: Resource) -> bool:
        """Whether it is the highest active revision of its name."""
        revisions = (one.revision for one in self.active(resource.kind, resource.name))
        return resource.active and resource.revision == max(revisions)

    async def create(
        self,
        kind: str,
        name: str,
        content: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        once: bool = False,
    ) -> Resource:
        """The next revision of the name; the first is 1.

        `once`: raises ResourceExistsError where one of this name is active.
        """
        async with self._lock:
            others = self.of(kind, name)
            if once and any(one.active for one in others):
                raise ResourceExistsError(f"there is a {kind} {name} already")
            revision = max((one.revision for one in others), default=0) + 1
            path = f"{kind}/{name}" if kind in _WITHOUT_REVISION else f"{kind}/{name}/{revision}"
            arn = f"{_ARN}{path}/{uuid.uuid4().hex}"
            resource = Resource(arn, kind, name, revision, content, datetime.now(UTC), tags)
            await self._write(resource)
            return resource

    async def save(self, *resources: Resource) -> None:
        """Make them or change them: all or nothing."""
        async with self._lock:
            await self._write(*resources)

    async def retire(self, *resources: Resource) -> None:
        """Delete them, all or nothing; they are kept and shown as inactive."""
        await self.save(*(replace(one, deleted_at=datetime.now(UTC)) for one in resources))

    async def remove(self, resource: Resource) -> None:
        """Delete it; only the history has it from now on."""
        async with self._lock:
            await off_loop(self._database.transact, [[":db/retractEntity", [":resource/arn", resource.arn]]])
            del self._all[resource.arn]
            del self._kinds[resource.kind][resource.arn]

    def establish(self, resources: Iterable[Resource]) -> None:
        """Write those that are not there yet. Blocks; for the start."""
        missing = [resource for resource in resources if resource.arn not in self._all]
        if missing:
            self._database.transact([_facts(resource) for resource in missing])
            self._keep(*missing)

    async def _write(self, *resources: Resource) -> None:
        await off_loop(self._database.transact, [_facts(resource) for resource in resources])
        self._keep(*resources)

    def _keep(self, *resources: Resource) -> None:
        for resource in resources:
            self._all[resource.arn] = resource
            self._kinds.setdefault(resource.kind, {})[resource.arn] = resource


def _facts(resource: Resource) -> dict[str, Any]:
    facts = {
        ":resource/arn": resource.arn,
        ":resource/kind": f":{resource.kind}",
        ":resource/name": resource.name,
        ":resource/revision": resource.revision,
        ":resource/content": json.dumps(dict(resource.content)),
        ":resource/tags": json.dumps(dict(resource.tags)),
        ":resource/created": resource.created_at,
    }
    if resource.deleted_at is not None:
        facts[":resource/deleted"] = resource.deleted_at
    return facts


def _resource(facts: Mapping[str, Any]) -> Resource:
    return Resource(
        arn=facts[":resource/arn"],
        kind=facts[":resource/kind"].lstrip(":"),
        name=facts[":resource/name"],
        revision=facts[":resource/revision"],
        content=json.loads(facts[":resource/content"]),
        created_at=facts[":resource/created"],
        tags=json.loads(facts[":resource/tags"]),
        deleted_at=facts.get(":resource/deleted"),
    )
