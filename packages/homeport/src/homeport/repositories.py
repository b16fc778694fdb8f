"""Image repositories: their names, and which of their tags may move. Kept in homeport's own database."""

from __future__ import annotations

import asyncio
import fnmatch
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

import bucketlog

Mutability = Literal["MUTABLE", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION", "MUTABLE_WITH_EXCLUSION"]

_SCHEMA = [
    {
        ":db/ident": ":repository/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {
        ":db/ident": ":repository/mutability",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
    },
    {
        ":db/ident": ":repository/exclusion",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/many",
    },
    {
        ":db/ident": ":repository/created-at",
        ":db/valueType": ":db.type/instant",
        ":db/cardinality": ":db.cardinality/one",
    },
]


@dataclass(frozen=True, slots=True)
class Repository:
    """`exclusions` are wildcards of the tags for which the opposite of `mutability` holds."""

    name: str
    mutability: Mutability
    exclusions: tuple[str, ...]
    created_at: datetime

    def mutable(self, tag: str) -> bool:
        """Whether the tag may be given to another image."""
        excluded = any(fnmatch.fnmatchcase(tag, pattern) for pattern in self.exclusions)
        return self.mutability.startswith("MUTABLE") != (
            excluded and self.mutability.endswith("_WITH_EXCLUSION")
        )


class RepositoryExistsError(ValueError):
    """There is a repository of this name."""


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

    async def create(self, name: str, mutability: Mutability, exclusions: tuple[str, ...]) -> Repository:
        """Raises RepositoryExistsError."""
        return await asyncio.to_thread(self._create, name, mutability, exclusions)

    def _create(self, name: str, mutability: Mutability, exclusions: tuple[str, ...]) -> Repository:
        with self._lock:
            if name in self._all:
                raise RepositoryExistsError(f"there is a repository {name} already")
            repository = Repository(name, mutability, exclusions, datetime.now(UTC))
            entity = {
                ":repository/name": name,
                ":repository/mutability": mutability,
                ":repository/created-at": repository.created_at,
            }
            if exclusions:
                entity[":repository/exclusion"] = list(exclusions)
            self._database.transact([entity])
            self._all[name] = repository
            return repository


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
            )
        )
    return repositories
