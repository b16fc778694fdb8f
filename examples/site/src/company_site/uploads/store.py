"""Uploaded images in their bucket, and who uploaded what in the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError
from obstore.store import ObjectStore, from_url

from bucketlog import Database
from company_site.accounts.store import find_user
from company_site.database import Transaction, attribute
from company_site.errors import GoneError, NotAllowedError
from company_site.uploads.image import Image, UnacceptableImageError, make_variant, reencode
from company_site.uploads.model import ImageName, Variant, parse_name

SCHEMA = [
    attribute("upload/name", "string", identity=True),
    attribute("upload/by", "ref"),
    attribute("upload/at", "instant"),
    attribute("upload/ending", "instant"),  # since when it is known to be unused (see `garbage`)
    attribute("upload/going", "boolean"),  # true while its objects are deleted
]

_SHOWN = 24
_CHUNK = 256 * 1024  # bytes


class ImageStore:
    """The uploads bucket. Objects in it are never changed: a name says what is in it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._decoding = asyncio.Semaphore(1)  # one image in memory at a time
        self._chores: set[asyncio.Task[None]] = set()

    @classmethod
    def open(cls, url: str) -> ImageStore:
        """`s3://BUCKET` with the credentials and the endpoint of the AWS_* variables, or
        `file:///DIRECTORY`.
        """
        if url.startswith("file:"):
            return cls(from_url(url, mkdir=True))
        # Client options would displace AWS_ALLOW_HTTP.
        return cls(from_url(url, retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)}))

    async def close(self) -> None:
        """End what was begun by `begin`."""
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)

    def begin(self, chore: Coroutine[Any, Any, None]) -> None:
        """Let something run that no request waits for."""
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def check(self) -> None:
        """Ask the bucket for anything. Raises obstore's errors when it does not answer."""
        # Who may not list a bucket is not told that an object is not there; that is an answer, too.
        with suppress(FileNotFoundError, PermissionDeniedError):
            await obstore.head_async(self._store, "readiness")

    async def put(self, file: bytes) -> ImageName:
        """Re-encode a file and keep it. Raises UnacceptableImageError, or obstore's errors."""
        async with self._decoding:
            image: Image = await asyncio.to_thread(reencode, file)
        await self.keep(image.name, image.data)
        return image.name

    async def keep(self, name: ImageName, data: bytes) -> None:
        """Store an image of ours as it is. Raises obstore's errors."""
        with suppress(AlreadyExistsError):  # the same name, so the same bytes
            await obstore.put_async(self._store, str(name), data, mode="create")

    async def read(self, name: ImageName) -> bytes:
        """The whole image. Raises GoneError, or obstore's errors."""
        _, pieces = await self.get(name)
        return b"".join([piece async for piece in pieces])

    async def list(self) -> list[tuple[ImageName, datetime]]:
        """All images, and when each was stored. Raises obstore's errors."""
        found: list[tuple[ImageName, datetime]] = []
        async for objects in obstore.list(self._store):
            named = ((parse_name(meta["path"]), meta["last_modified"]) for meta in objects)
            found += [(name, at) for name, at in named if name is not None]
        return found

    async def delete(self, name: ImageName) -> None:
        """Delete an image and its other versions; what is not there is no error. Raises obstore's errors."""
        for path in (*map(str, name.variants), str(name)):
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, path)

    async def get_variant(self, variant: Variant) -> tuple[int, AsyncIterator[bytes]]:
        """As `get`; what nobody has asked for before is made of the image, and kept."""
        try:
            return await self.get(variant)
        except GoneError:
            async with self._decoding:
                # Of those who waited for it together one makes it.
                with suppress(GoneError):
                    return await self.get(variant)
                made = await asyncio.to_thread(make_variant, await self.read(variant.of), variant)
        with suppress(AlreadyExistsError):  # another instance was quicker
            await obstore.put_async(self._store, str(variant), made, mode="create")
        return await self.get(variant)

    async def get(self, name: ImageName | Variant) -> tuple[int, AsyncIterator[bytes]]:
        """Size in bytes and the content in pieces. Raises GoneError, or obstore's errors."""
        try:
            found = await obstore.get_async(self._store, str(name))
        except FileNotFoundError:
            raise GoneError(f"there is no image {name}") from None

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in found.stream(min_chunk_size=_CHUNK):
                yield bytes(piece)

        return found.meta["size"], pieces()


def note_upload(name: ImageName, user_id: str, now: datetime) -> Transaction:
    """Remember who uploaded an image first, and that it is not to be collected yet.

    The transaction raises NotAllowedError, and UnacceptableImageError while the image is being deleted.
    """

    def apply(database: Database) -> list[Any]:
        user = find_user(database, user_id)
        if user is None or not user.is_member:
            raise NotAllowedError("only members upload images")
        known = database.q(
            """[:find (pull ?u [:db/id :upload/by :upload/ending :upload/going]) .
                :in $ ?name :where [?u :upload/name ?name]]""",
            str(name),
        )
        if known is not None and ":upload/going" in known:
            raise UnacceptableImageError("This very image is being removed just now: try again in a minute.")
        if known is not None and ":upload/ending" in known:
            stays = [":db/retract", known[":db/id"], ":upload/ending"]
            renewed = {":db/id": known[":db/id"], ":upload/at": now}
            return [
                stays,
                renewed if ":upload/by" in known else {**renewed, ":upload/by": [":user/id", user_id]},
            ]
        if known is not None:
            return []
        return [{":upload/name": str(name), ":upload/by": [":user/id", user_id], ":upload/at": now}]

    return apply


def is_first_of_the_day(before: Database, now: datetime) -> bool:
    """Whether nobody had uploaded anything since midnight (UTC)."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    query = "[:find ?u . :in $ ?midnight :where [?u :upload/at ?at] [(<= ?midnight ?at)]]"
    return before.q(query, midnight) is None


def latest_uploads(database: Database, user_id: str) -> list[ImageName]:
    """The user's newest images, newest first."""
    found = database.q(
        """[:find ?name ?at :in $ ?id
            :where [?u :user/id ?id] [?i :upload/by ?u] [?i :upload/name ?name] [?i :upload/at ?at]]""",
        user_id,
    )
    newest = sorted(found, key=lambda row: row[1], reverse=True)[:_SHOWN]
    return [name for name, _ in ((parse_name(text), at) for text, at in newest) if name is not None]
