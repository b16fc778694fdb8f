"""Collecting garbage while the registry serves: what nothing names any more goes, after a grace.

1. List all repositories: what each makes visible (links), and its manifests.
2. A link that no manifest of its repository needs, and that nobody has written or relied on within the grace,
   goes.
3. A blob that no repository makes visible, and that was not written within the grace, goes.

Content that somebody is pushing is young, or was looked for by its pusher, which makes its links young; and
what a request is at work with at this moment is held (see `holds`). Manifests are never garbage, tagged or
not: they are pulled by digest too, and go when they are deleted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import obstore

from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, InvalidReferenceError
from ocikit.manifest import INDEXES, Index, Manifest
from ocikit.registry.storage import Storage, StoredManifest

_ENTRY = re.compile(r"repositories/(?P<name>.+?)/_(?P<kind>blobs|manifests)/(?P<digest>[a-z0-9]+/[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Collected:
    """What went: blobs, their bytes, and places where a blob was visible to no use."""

    blobs: int
    bytes: int
    links: int


@dataclass(slots=True)
class _Repository:
    links: dict[Digest, datetime] = field(default_factory=dict)
    manifests: set[Digest] = field(default_factory=set)


async def collect(storage: Storage, grace: timedelta) -> Collected:
    """Remove garbage that is older than `grace`. One collection at a time."""
    before = datetime.now(UTC) - grace
    with storage.holds.collecting():
        repositories = await _list(storage)
        links, live = 0, set[Digest]()
        for name, repository in repositories.items():
            removed = await _unlink(storage, name, repository, before)
            links += len(removed)
            live |= repository.manifests | (repository.links.keys() - removed)
        blobs, size = await _remove(storage, live, before)
    return Collected(blobs, size, links)


async def _list(storage: Storage) -> dict[str, _Repository]:
    repositories: defaultdict[str, _Repository] = defaultdict(_Repository)
    async for batch in obstore.list(storage.store, "repositories/"):
        for entry in batch:
            match = _ENTRY.fullmatch(entry["path"])
            digest = _digest(match["digest"]) if match else None
            if match is None or digest is None:
                continue
            repository = repositories[match["name"]]
            if match["kind"] == "blobs":
                repository.links[digest] = entry["last_modified"]
            else:
                repository.manifests.add(digest)
    return repositories


async def _unlink(storage: Storage, name: str, repository: _Repository, before: datetime) -> set[Digest]:
    old = {digest for digest, written in repository.links.items() if written < before}
    if not old:
        return old
    for digest in repository.manifests:
        manifest = await storage.find_manifest(name, str(digest))
        needed = _needed(manifest) if manifest else None
        if needed is None:
            return set()  # what it needs cannot be known, so everything here may be needed
        old -= needed
    removed = set[Digest]()
    for digest in old:
        with storage.holds.condemned(digest) as goes:
            if goes:
                await storage.unlink_blob(name, digest)
                removed.add(digest)
    return removed


def _needed(stored: StoredManifest) -> set[Digest] | None:
    try:
        if stored.media_type in INDEXES:
            return {entry.digest for entry in Index.parse(stored.data).manifests}
        manifest = Manifest.parse(stored.data)
    except InvalidDocumentError:
        return None
    return {entry.digest for entry in (manifest.config, *manifest.layers)}


async def _remove(storage: Storage, live: set[Digest], before: datetime) -> tuple[int, int]:
    count = size = 0
    async for batch in obstore.list(storage.store, "blobs/"):
        for entry in batch:
            digest = _digest(entry["path"].removeprefix("blobs/"))
            if digest is None or digest in live or entry["last_modified"] >= before:
                continue
            with storage.holds.condemned(digest) as goes:
                if goes:
                    await storage.remove_blob(digest)
                    count, size = count + 1, size + entry["size"]
    return count, size


def _digest(path: str) -> Digest | None:
    algorithm, _, value = path.partition("/")
    try:
        return Digest(algorithm, value)
    except InvalidReferenceError:
        return None
