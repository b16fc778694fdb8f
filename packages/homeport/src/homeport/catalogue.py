"""The images of homeport's own registry, repository by repository, and which of them must stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from ocikit import Digest, Index, Manifest, OcikitError
from ocikit.manifest import INDEXES
from ocikit.registry import Storage

_USED = "a service runs it or may go back to it"
_REMEMBERED = 50_000  # manifests; one is a few hundred bytes


@dataclass(frozen=True, slots=True)
class CataloguedImage:
    """A manifest as a repository has it. `size` in bytes, compressed; of an index, its largest image's.

    `parts` are the manifests that an index names.
    """

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime
    media_type: str
    artifact_type: str
    size: int
    subject: str | None
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Content:
    """What a manifest says; that never changes."""

    media_type: str
    artifact_type: str
    size: int
    subject: str | None
    parts: tuple[str, ...]


class ImageHeldError(Exception):
    """An image that is in use was to be removed."""


class Catalogue:
    """Reads and removes images. `in_use` gives the digests that services run or may go back to."""

    def __init__(self, storage: Storage, in_use: Callable[[], Collection[str]]) -> None:
        self.storage = storage
        self._in_use = in_use
        self._known: dict[Digest, _Content] = {}

    async def images(self, repository: str) -> list[CataloguedImage]:
        """All of a repository, tagged or not, by digest."""
        pushed = await self.storage.list_manifests(repository)
        contents = dict(zip(pushed, await self._contents(repository, pushed), strict=True))
        tags: dict[Digest, list[str]] = {digest: [] for digest in pushed}
        for tag, digest in await self.tags(repository):
            tags.get(digest, []).append(tag)
        found = {
            str(digest): CataloguedImage(
                digest=str(digest),
                tags=tuple(tags[digest]),
                pushed_at=pushed[digest],
                media_type=content.media_type,
                artifact_type=content.artifact_type,
                size=content.size,
                subject=content.subject,
                parts=content.parts,
            )
            for digest, content in contents.items()
            if content is not None
        }
        return [_sized(found[digest], found) for digest in sorted(found)]

    async def tags(self, repository: str) -> list[tuple[str, Digest]]:
        """Each tag of a repository and what it stands for."""
        names = await self.storage.list_tags(repository)
        digests = await asyncio.gather(*(self.storage.find_tag(repository, name) for name in names))
        return [(name, digest) for name, digest in zip(names, digests, strict=True) if digest is not None]

    async def held(self, repository: str) -> dict[str, str]:
        """The digests of a repository that cannot be removed, each with the reason."""
        return self.held_among(await self.images(repository))

    def held_among(self, images: Iterable[CataloguedImage]) -> dict[str, str]:
        """The same of images that were read already."""
        images = list(images)
        reasons = {
            part: f"{image.digest} is an index that names it" for image in images for part in image.parts
        }
        return reasons | dict.fromkeys(self.used_among(images), _USED)

    def used_among(self, images: Iterable[CataloguedImage]) -> set[str]:
        """The digests that services run or may go back to."""
        return {image.digest for image in images} & set(self._in_use())

    async def remove(self, repository: str, digest: str) -> None:
        """With its tags. What it was made of goes with the registry's garbage. Raises ImageHeldError."""
        if digest in self._in_use():
            raise ImageHeldError(f"{digest} of {repository} cannot be removed: {_USED}")
        await self.storage.remove_manifest(repository, Digest.parse(digest))

    async def _contents(self, repository: str, digests: Iterable[Digest]) -> list[_Content | None]:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        return await asyncio.gather(*(self._content(repository, digest) for digest in digests))

    async def _content(self, repository: str, digest: Digest) -> _Content | None:
        """None for what was removed just now, or cannot be read."""
        if digest in self._known:
            return self._known[digest]
        stored = await self.storage.find_manifest(repository, str(digest))
        if stored is None:
            return None
        try:
            manifest = (Index if stored.media_type in INDEXES else Manifest).parse(stored.data)
        except OcikitError:
            return None
        if isinstance(manifest, Index):
            size, parts = 0, tuple(str(entry.digest) for entry in manifest.manifests)
            config_type = ""
        else:
            size, parts = manifest.config.size + sum(layer.size for layer in manifest.layers), ()
            config_type = manifest.config.media_type
        content = _Content(
            media_type=stored.media_type,
            artifact_type=manifest.artifact_type or config_type,
            size=size,
            subject=None if manifest.subject is None else str(manifest.subject.digest),
            parts=parts,
        )
        self._known[digest] = content
        return content


def _sized(image: CataloguedImage, others: dict[str, CataloguedImage]) -> CataloguedImage:
    if not image.parts:
        return image
    return replace(image, size=max((others[part].size for part in image.parts if part in others), default=0))
