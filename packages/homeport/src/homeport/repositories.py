"""Image repositories: their names, which of their tags may move, and what is said of them. Kept in homeport's
own database.
"""

from __future__ import annotations

import fnmatch
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, get_args

import bucketlog
from homeport.command import off_loop
from homeport.schema import attribute

Mutability = Literal["MUTABLE", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION"]

_SCHEMA = [
    attribute("repository/name", "string", identity=True),
    attribute("repository/mutability", "string"),
    attribute("repository/exclusion", "string", many=True),
    attribute("repository/created-at", "instant"),
    attribute("repository/tags", "string"),  # JSON
    attribute("repository/policy", "string"),
    attribute("repository/lifecycle-policy", "string"),
    attribute("repository/evaluated-at", "instant"),
]
_LATER = {
    "policy": ":repository/policy",
    "lifecycle_policy": ":repository/lifecycle-policy",
    "evaluated_at": ":repository/evaluated-at",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """`exclusions` are wildcards of the tags for which the opposite of `mutability` holds.

    `tags` are AWS's, of the repository; `policy` and `lifecycle_policy` texts as they were given, and
    `evaluated_at` when the latter was applied last.
    """

    name: str
    mutability: Mutability
    exclusions: tuple[str, ...]
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    policy: str | None = None
    lifecycle_policy: str | None = None
    evaluated_at: datetime | None = None

    def mutable(self, tag: str) -> bool:
        """Whether the tag may be given to another image."""
        excluded = any(fnmatch.fnmatchcase(tag, pattern) for pattern in self.exclusions)
        return self.mutability.startswith("MUTABLE") != (
            excluded and self.mutability.endswith("_WITH_EXCLUSION")
        )


class RepositoryExistsError(ValueError):
    """There is a repository of this name."""


class NoSuchRepositoryError(LookupError):
    """There is no repository of this name."""


class Repositories:
    """All repositories, in memory; this process alone writes them."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        self._lock = threading.Lock()
        database.transact(_SCHEMA)
        self._all = {repository.name: repository for repository in _read(database.db())}

    def find(self, name: str) -> Repository | None:
        return self._all.get(name)

    def exists(self, name: str) -> bool:
        return name in self._all

    def mutable(self, name: str, tag: str) -> bool:
        repository = self._all.get(name)
        return repository is not None and repository.mutable(tag)

    def list(self) -> list[Repository]:
        return [self._all[name] for name in sorted(self._all)]

    async def create(
        self,
        name: str,
        mutability: Mutability,
        exclusions: tuple[str, ...],
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> Repository:
        """Raises RepositoryExistsError."""
        repository = Repository(name, mutability, exclusions, datetime.now(UTC), tags)
        return await off_loop(self._create, repository)

    async def change(self, name: str, **changes: Any) -> Repository:
        """With other values in some fields. Raises NoSuchRepositoryError."""
        return await off_loop(self._change, name, changes)

    async def delete(self, name: str) -> None:
        """Raises NoSuchRepositoryError."""
        await off_loop(self._delete, name)

    def _create(self, repository: Repository) -> Repository:
        with self._lock:
            if repository.name in self._all:
                raise RepositoryExistsError(f"there is a repository {repository.name} already")
            self._database.transact([_facts(repository)])
            self._all[repository.name] = repository
            return repository

    def _change(self, name: str, changes: Mapping[str, Any]) -> Repository:
        with self._lock:
            before = self._require(name)
            after = replace(before, **changes)
            entity = [":repository/name", name]
            gone = [
                [":db/retract", entity, ":repository/exclusion", exclusion]
                for exclusion in before.exclusions
                if exclusion not in after.exclusions
            ]
            gone += [
                [":db/retract", entity, attribute]
                for later, attribute in _LATER.items()
                if getattr(before, later) is not None and getattr(after, later) is None
            ]
            self._database.transact([*gone, _facts(after)])
            self._all[name] = after
            return after

    def _delete(self, name: str) -> None:
        with self._lock:
            self._require(name)
            self._database.transact([[":db/retractEntity", [":repository/name", name]]])
            del self._all[name]

    def _require(self, name: str) -> Repository:
        if name not in self._all:
            raise NoSuchRepositoryError(f"there is no repository {name}")
        return self._all[name]


def _facts(repository: Repository) -> dict[str, Any]:
    facts = {
        ":repository/name": repository.name,
        ":repository/mutability": repository.mutability,
        ":repository/created-at": repository.created_at,
        ":repository/tags": json.dumps(dict(repository.tags)),
    }
    if repository.exclusions:
        facts[":repository/exclusion"] = list(repository.exclusions)
    values = {attribute: getattr(repository, name) for name, attribute in _LATER.items()}
    return facts | {attribute: value for attribute, value in values.items() if value is not None}


def _read(database: bucketlog.Database) -> list[Repository]:
    found = database.q("[:find [(pull ?e [*]) ...] :where [?e :repository/name]]")
    repositories = []
    for entity in found:
        mutability = entity[":repository/mutability"]
        assert mutability in get_args(Mutability)  # noqa: S101  this module alone writes it
        repositories.append(
            Repository(
                entity[":repository/name"],
                mutability,
                tuple(sorted(entity.get(":repository/exclusion", ()))),
                entity[":repository/created-at"],
                json.loads(entity.get(":repository/tags", "{}")),
                **{name: entity.get(attribute) for name, attribute in _LATER.items()},
            )
        )
    return repositories
