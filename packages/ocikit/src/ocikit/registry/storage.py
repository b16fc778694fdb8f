"""What a registry keeps, as objects:

    blobs/ALGORITHM/HEX                                 content, shared by all repositories
    repositories/NAME/_blobs/ALGORITHM/HEX              the blob is visible in this repository
    repositories/NAME/_manifests/ALGORITHM/HEX          the manifest too; holds its media type
    repositories/NAME/_tags/TAG                         holds a digest
    repositories/NAME/_referrers/ALGORITHM/HEX/DIGEST   holds the descriptor of a manifest about that subject

No part of a repository's name begins with an underscore, so names and these folders never collide.

In a folder, what was acknowledged outlasts a power failure, and nothing is half there after one: else a blob
that is cut short would be there for every push, and be sent by none.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore

from ocikit.blob import CHUNK
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError, InvalidReferenceError, NotFoundError
from ocikit.image import Image
from ocikit.layout import choose
from ocikit.manifest import INDEXES, Descriptor, Index
from ocikit.platform import Platform
from ocikit.registry.holds import Holds

_FRESH = timedelta(minutes=1)  # a link that is older is written again when somebody relies on it
# Bytes of a blob in memory on its way into the store: a few parts of the least size that S3 takes.
_PART = 5 << 20
_PARTS = 2
_DEEPEST = 8  # indexes within indexes


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest's bytes as they were pushed."""

    digest: Digest
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StoreBlob:
    """A blob in an object store."""

    store: ObjectStore
    path: str

    def open(self) -> BinaryIO:
        reader = obstore.open_reader(self.store, self.path, buffer_size=CHUNK)
        return cast("BinaryIO", _ObjectReader(reader))


class _ObjectReader(io.RawIOBase):
    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return bytes(self._source.read(None if size < 0 else size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class Storage:
    """A registry's content in an object store; the app and its host read and write it side by side."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.holds = Holds()
        # Where the store is a folder of this machine, content is moved into it and not copied.
        self.folder = Path(store.prefix) if isinstance(store, LocalStore) and store.prefix else None

    # For the host of the registry: without a server in between. These block.

    def resolve(self, repository: str, tag_or_digest: str) -> Digest | None:
        """The digest that the tag stands for, or this very one where the repository has its manifest; None
        where there is no such thing.
        """
        try:
            if digest := _as_digest(tag_or_digest):
                obstore.head(self.store, _manifest_path(repository, digest))
                return digest
            return Digest.parse(_text(obstore.get(self.store, _tag_path(repository, tag_or_digest)).bytes()))
        except FileNotFoundError:
            return None

    def image(self, repository: str, tag_or_digest: str, platform: Platform | None = None) -> Image:
        """The image, its layers read lazily from the store; of an index, the one for `platform`.

        That is this machine's by default. Raises NotFoundError, InvalidDocumentError.
        """
        digest = _as_digest(tag_or_digest) or self.resolve(repository, tag_or_digest)
        if digest is None:
            raise NotFoundError(f"{repository} has no tag {tag_or_digest}")
        try:
            raw, media_type = self._manifest(repository, digest)
            depth = 0  # no index can hold itself, for it would have to hold its own digest
            while media_type in INDEXES:
                if depth == _DEEPEST:
                    raise InvalidDocumentError(f"{repository}@{digest}: too many indexes in each other")
                digest = choose(Index.parse(raw), platform, f"{repository}@{digest}").digest
                raw, media_type = self._manifest(repository, digest)
                depth += 1
            return Image.assemble(
                raw,
                lambda config: bytes(obstore.get(self.store, _blob_path(config.digest)).bytes()),
                lambda layer: StoreBlob(self.store, _blob_path(layer.digest)),
            )
        except FileNotFoundError as error:
            raise NotFoundError(f"{repository} has no image {digest}") from error

    def _manifest(self, repository: str, digest: Digest) -> tuple[bytes, str]:
        """Bytes and media type; raises FileNotFoundError."""
        media_type = bytes(obstore.get(self.store, _manifest_path(repository, digest)).bytes()).decode()
        return bytes(obstore.get(self.store, _blob_path(digest)).bytes()), media_type

    def repositories(self) -> list[str]:
        """Names of the repositories that hold a tag."""
        found = {
            str(path).removeprefix("repositories/").partition("/_tags/")[0]
            for batch in obstore.list(self.store, "repositories/")
            for path in (entry["path"] for entry in batch)
            if "/_tags/" in path
        }
        return sorted(found)

    def tags(self, repository: str) -> list[str]:
        """In alphabetical order; none of a repository that is not there."""
        prefix = f"repositories/{repository}/_tags"
        return sorted(
            PurePosixPath(entry["path"]).name for batch in obstore.list(self.store, prefix) for entry in batch
        )

    # For the app

    async def blob_size(self, repository: str, digest: Digest, *, keep: bool = False) -> int | None:
        """Bytes of the blob, None where it is not visible in the repository.

        `keep`: somebody is going to rely on it, so its age begins anew.
        """
        try:
            link = await obstore.head_async(self.store, _link_path(repository, digest))
            size = (await obstore.head_async(self.store, _blob_path(digest)))["size"]
        except FileNotFoundError:
            return None
        if keep and datetime.now(UTC) - link["last_modified"] > _FRESH:
            await self.link_blob(repository, digest)
        return size

    async def read_blob(self, digest: Digest, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes `start` up to, not including, `end`."""
        result = await obstore.get_async(self.store, _blob_path(digest), options={"range": (start, end)})
        async for chunk in result.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)

    async def add_blob(self, repository: str, digest: Digest, content: Path) -> None:
        """Store the file's content, which has this digest, and make it visible in the repository.

        Content-addressed: whoever else writes it at this moment writes the same.
        """
        if self.folder is not None:
            await asyncio.to_thread(_move, content, self.folder / _blob_path(digest))
        else:
            await obstore.put_async(
                self.store, _blob_path(digest), content, chunk_size=_PART, max_concurrency=_PARTS
            )
        await self.link_blob(repository, digest)

    async def link_blob(self, repository: str, digest: Digest) -> None:
        """Make a blob that is there visible in the repository, or as young as a new one."""
        await self._put(_link_path(repository, digest), b"")

    async def unlink_blob(self, repository: str, digest: Digest) -> None:
        """Make it invisible in the repository; its bytes stay for the others."""
        await obstore.delete_async(self.store, _link_path(repository, digest))

    async def remove_blob(self, digest: Digest) -> None:
        """From the store itself, wherever it was visible."""
        await obstore.delete_async(self.store, _blob_path(digest))

    async def find_manifest(self, repository: str, tag_or_digest: str) -> StoredManifest | None:
        """What the tag or digest names in the repository; None where that is nothing."""
        digest = _as_digest(tag_or_digest) or await self.find_tag(repository, tag_or_digest)
        if digest is None:
            return None
        try:
            link = await obstore.get_async(self.store, _manifest_path(repository, digest))
            content = await obstore.get_async(self.store, _blob_path(digest))
            return StoredManifest(digest, _text(await link.bytes_async()), bytes(await content.bytes_async()))
        except FileNotFoundError:
            return None

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Whether it is in this repository, tagged or not."""
        try:
            await obstore.head_async(self.store, _manifest_path(repository, digest))
        except FileNotFoundError:
            return False
        return True

    async def add_manifest(self, repository: str, manifest: StoredManifest) -> None:
        """Bytes first, so that whoever finds it can read it."""
        await self._put(_blob_path(manifest.digest), manifest.data)
        await self._put(_manifest_path(repository, manifest.digest), manifest.media_type.encode())

    async def remove_manifest(self, repository: str, digest: Digest) -> None:
        """The manifest and every tag that stands for it."""
        stored = await self.find_manifest(repository, str(digest))
        subject = json.loads(stored.data).get("subject") if stored else None
        if subject:
            await self._drop(_referrer_path(repository, Digest.parse(subject["digest"]), digest))
        for tag in await self.list_tags(repository):
            if await self.find_tag(repository, tag) == digest:
                await self.remove_tag(repository, tag)
        await self._drop(_manifest_path(repository, digest))

    async def list_manifests(self, repository: str) -> dict[Digest, datetime]:
        """Every manifest of the repository, tagged or not, and when it was pushed last."""
        prefix = f"repositories/{repository}/_manifests"
        return {
            Digest(*PurePosixPath(entry["path"]).parts[-2:]): entry["last_modified"]
            async for batch in obstore.list(self.store, prefix)
            for entry in batch
        }

    async def remove_repository(self, repository: str) -> None:
        """All that it holds; blobs go with the garbage. Repositories whose names begin with its name stay."""
        for folder in ("_tags", "_manifests", "_referrers", "_blobs"):
            async for batch in obstore.list(self.store, f"repositories/{repository}/{folder}"):
                await obstore.delete_async(self.store, [entry["path"] for entry in batch])

    async def find_tag(self, repository: str, tag: str) -> Digest | None:
        """Where the tag points; None where there is no such tag."""
        try:
            result = await obstore.get_async(self.store, _tag_path(repository, tag))
        except FileNotFoundError:
            return None
        return Digest.parse(_text(await result.bytes_async()))

    async def set_tag(self, repository: str, tag: str, digest: Digest, *, mutable: bool) -> Digest:
        """Point the tag at the manifest, an immutable one only where it is free; returns where it points."""
        path = _tag_path(repository, tag)
        data = str(digest).encode()
        if mutable:
            await self._put(path, data)
            return digest
        try:
            await self._put(path, data, create=True)
        except (AlreadyExistsError, FileExistsError):
            return await self.find_tag(repository, tag) or digest
        return digest

    async def remove_tag(self, repository: str, tag: str) -> None:
        """The manifest stays."""
        await self._drop(_tag_path(repository, tag))

    async def list_tags(self, repository: str) -> list[str]:
        """As `tags`."""
        return await self._names(f"repositories/{repository}/_tags")

    async def has_repository(self, repository: str) -> bool:
        """Whether anything was ever pushed to it."""
        listed = await obstore.list_with_delimiter_async(self.store, f"repositories/{repository}/")
        return any(PurePosixPath(path).name in ("_blobs", "_manifests") for path in listed["common_prefixes"])

    async def holders(self, digest: Digest) -> AsyncIterator[str]:
        """Repositories in which the blob is visible, as they are found."""
        try:
            await obstore.head_async(self.store, _blob_path(digest))
        except FileNotFoundError:
            return
        waiting = ["repositories/"]
        while waiting:
            listed = await obstore.list_with_delimiter_async(self.store, waiting.pop())
            for path in listed["common_prefixes"]:
                if PurePosixPath(path).name == "_blobs":
                    repository = path.removeprefix("repositories/").removesuffix("/_blobs")
                    if await self.blob_size(repository, digest) is not None:
                        yield repository
                elif not PurePosixPath(path).name.startswith("_"):
                    waiting.append(f"{path}/")

    async def add_referrer(self, repository: str, subject: Digest, referrer: Descriptor) -> None:
        """Note that the manifest `referrer` is about `subject`, which need not be there."""
        path = _referrer_path(repository, subject, referrer.digest)
        await self._put(path, json.dumps(referrer.to_json()).encode())

    async def referrers(self, repository: str, subject: Digest) -> list[dict[str, Any]]:
        """Descriptors, as JSON, of the manifests that are about `subject`."""
        found: list[dict[str, Any]] = []
        async for batch in obstore.list(self.store, f"repositories/{repository}/_referrers/{subject.path}"):
            for entry in batch:
                result = await obstore.get_async(self.store, entry["path"])
                found.append(json.loads(bytes(await result.bytes_async())))
        return sorted(found, key=lambda descriptor: str(descriptor["digest"]))

    async def _put(self, path: str, data: bytes, *, create: bool = False) -> None:
        """Raises AlreadyExistsError or FileExistsError where `create` finds something there."""
        if self.folder is not None:
            await asyncio.to_thread(_write, self.folder / path, data, create=create)
        else:
            await obstore.put_async(self.store, path, data, mode="create" if create else "overwrite")

    async def _drop(self, path: str) -> None:
        """Somebody else may have, or we ourselves before a crash."""
        with suppress(FileNotFoundError):
            await obstore.delete_async(self.store, path)

    async def _names(self, prefix: str) -> list[str]:
        return sorted(
            [
                PurePosixPath(entry["path"]).name
                async for batch in obstore.list(self.store, prefix)
                for entry in batch
            ]
        )


def _blob_path(digest: Digest) -> str:
    return f"blobs/{digest.path}"


def _link_path(repository: str, digest: Digest) -> str:
    return f"repositories/{repository}/_blobs/{digest.path}"


def _manifest_path(repository: str, digest: Digest) -> str:
    return f"repositories/{repository}/_manifests/{digest.path}"


def _tag_path(repository: str, tag: str) -> str:
    return f"repositories/{repository}/_tags/{tag}"


def _referrer_path(repository: str, subject: Digest, referrer: Digest) -> str:
    return f"repositories/{repository}/_referrers/{subject.path}/{referrer.path}"


def _move(source: Path, target: Path) -> None:
    _make_folder(target.parent)
    _sync(source)
    source.replace(target)
    _sync(target.parent)


def _write(target: Path, data: bytes, *, create: bool) -> None:
    _make_folder(target.parent)
    # Names that end in # and digits are of what is still being written, and listed by no store.
    new = target.with_name(f"{target.name}#{secrets.randbits(63)}")
    try:
        with new.open("xb") as file:
            if data:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if create:
            target.hardlink_to(new)
        else:
            new.replace(target)
    finally:
        new.unlink(missing_ok=True)
    _sync(target.parent)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(path: Path) -> None:
    """Have a file's content, or a folder's entries, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidReferenceError:
        return None


def _text(data: Any) -> str:
    return bytes(data).decode()
