"""Uploaded images in their bucket, and who uploaded what in the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from company_site.uploads.image import Image, reencode
from company_site.uploads.model import ImageName, parse_name

SCHEMA = [
    attribute("upload/name", "string", identity=True),
    attribute("upload/by", "ref"),
    attribute("upload/at", "instant"),
]

_SHOWN = 24
_CHUNK = 256 * 1024  # bytes


class ImageStore:
    """The uploads bucket. Objects in it are never changed: a name says what is in it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._decoding = asyncio.Semaphore(1)  # one image in memory at a time

    @classmethod
    def open(cls, url: str) -> ImageStore:
        """`s3://BUCKET` with the credentials and the endpoint of the AWS_* variables, or
        `file:///DIRECTORY`.
        """
        if url.startswith("file:"):
            return cls(from_url(url, mkdir=True))
        # Client options would displace AWS_ALLOW_HTTP.
        return cls(from_url(url, retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)}))

    async def check(self) -> None:
        """Ask the bucket for anything. Raises obstore's errors when it does not answer."""
        # Who may not list a bucket is not told that an object is not there; that is an answer, too.
        with suppress(FileNotFoundError, PermissionDeniedError):
            await obstore.head_async(self._store, "readiness")

    async def put(self, file: bytes) -> ImageName:
        """Re-encode a file and keep it. Raises UnacceptableImageError, or obstore's errors."""
        async with self._decoding:
            image: Image = await asyncio.to_thread(reencode, file)
        with suppress(AlreadyExistsError):  # the same name, so the same bytes
            await obstore.put_async(self._store, str(image.name), image.data, mode="create")
        return image.name

    async def get(self, name: ImageName) -> tuple[int, AsyncIterator[bytes]]:
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
    """Remember who uploaded an image first. The transaction raises NotAllowedError."""

    def apply(database: Database) -> list[Any]:
        user = find_user(database, user_id)
        if user is None or not user.is_member:
            raise NotAllowedError("only members upload images")
        if database.q("[:find ?u . :in $ ?name :where [?u :upload/name ?name]]", str(name)) is not None:
            return []
        return [{":upload/name": str(name), ":upload/by": [":user/id", user_id], ":upload/at": now}]

    return apply


def latest_uploads(database: Database, user_id: str) -> list[ImageName]:
    """The user's newest images, newest first."""
    found = database.q(
        """[:find ?name ?at :in $ ?id
            :where [?u :user/id ?id] [?i :upload/by ?u] [?i :upload/name ?name] [?i :upload/at ?at]]""",
        user_id,
    )
    newest = sorted(found, key=lambda row: row[1], reverse=True)[:_SHOWN]
    return [name for name, _ in ((parse_name(text), at) for text, at in newest) if name is not None]
