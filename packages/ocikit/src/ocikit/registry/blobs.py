"""Blobs over HTTP: reading, uploading, mounting, deleting. Docstrings give the endpoint numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ocikit.digest import Digest
from ocikit.errors import InvalidReferenceError
from ocikit.reference import check_repository
from ocikit.registry.errors import Refusal
from ocikit.registry.request import (
    body,
    expect,
    matches,
    read_content_range,
    read_digest,
    read_range,
)
from ocikit.registry.storage import Storage
from ocikit.registry.upload import Upload, Uploads

MayPull = Callable[[str], Awaitable[bool]]


class Blobs:
    """Blobs: pulled, pushed at once or in chunks, mounted and deleted."""

    def __init__(self, storage: Storage, uploads: Uploads) -> None:
        self._storage = storage
        self._uploads = uploads

    async def blob(self, request: Request, repository: str, text: str) -> Response:
        """end-2 and end-10."""
        expect(request, "GET", "DELETE")
        digest = read_digest(text)
        async with self._storage.holds.hold(digest):
            size = await self._storage.blob_size(repository, digest, keep=request.method == "HEAD")
            if size is None:
                raise Refusal(404, "BLOB_UNKNOWN", f"{repository} has no blob {digest}")
            if request.method == "DELETE":
                await self._storage.unlink_blob(repository, digest)
                return Response(status_code=202)
        etag = f'"{digest}"'
        headers = {"Docker-Content-Digest": str(digest), "ETag": etag}
        if matches(request.headers.get("If-None-Match", ""), etag):
            return Response(status_code=304, headers=headers)
        part = read_range(request, size, etag)
        start, end = (part.start, part.end) if part else (0, size)
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        headers["Content-Length"] = str(end - start)
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status = 206 if part else 200
        if request.method == "HEAD" or start == end:
            return Response(status_code=status, headers=headers)
        return StreamingResponse(self._storage.read_blob(digest, start, end), status, headers)

    async def begin_upload(self, request: Request, repository: str, may_pull: MayPull) -> Response:
        """end-4a, end-4b, end-4c and end-11."""
        expect(request, "POST")
        query = request.query_params
        if mounted := query.get("mount"):
            digest = read_digest(mounted)
            if await self._mount(repository, digest, query.get("from"), may_pull):
                return _created(repository, digest)
        promised = read_digest(query["digest"]) if "digest" in query else None
        algorithm = promised.algorithm if promised else query.get("digest-algorithm", "sha256")
        if algorithm not in ("sha256", "sha512"):
            raise Refusal(400, "DIGEST_INVALID", f"{algorithm[:40]!r} is neither sha256 nor sha512")
        upload = self._uploads.begin(repository, algorithm)
        if promised is None:
            return _under_way(upload, 202)
        try:
            with upload.claimed():
                return await self._finish(request, upload, promised)
        finally:
            self._uploads.end(upload)  # nobody else knows its name

    async def upload(self, request: Request, repository: str, name: str) -> Response:
        """end-5, end-6, end-13 and end-14."""
        expect(request, "GET", "PATCH", "PUT", "DELETE")
        upload = self._uploads.find(repository, name)
        if request.method in ("GET", "HEAD"):
            return _under_way(upload, 204)
        with upload.claimed():
            if request.method == "DELETE":
                self._uploads.end(upload)
                return Response(status_code=204)
            if request.method == "PATCH":
                await upload.append(body(request), read_content_range(request))
                return _under_way(upload, 202)
            promised = request.query_params.get("digest")
            if promised is None:
                raise Refusal(400, "DIGEST_INVALID", "the closing PUT names no digest")
            return await self._finish(request, upload, read_digest(promised))

    async def _finish(self, request: Request, upload: Upload, digest: Digest) -> Response:
        await upload.append(body(request), read_content_range(request))
        try:
            await upload.check(digest)
            async with self._storage.holds.hold(digest):
                await self._storage.add_blob(upload.repository, digest, upload.path)
        finally:
            self._uploads.end(upload)
        return _created(upload.repository, digest)

    async def _mount(self, repository: str, digest: Digest, source: str | None, may_pull: MayPull) -> bool:
        """Make a blob visible that the caller may pull: from `source`, or from wherever it is."""
        async with self._storage.holds.hold(digest):
            if source is None:
                async for holder in self._storage.holders(digest):
                    if await may_pull(holder):
                        break
                else:
                    return False
            elif not await self._has(source, digest, may_pull):
                return False
            await self._storage.link_blob(repository, digest)
        return True

    async def _has(self, repository: str, digest: Digest, may_pull: MayPull) -> bool:
        try:
            check_repository(repository)
        except InvalidReferenceError:
            return False
        return await may_pull(repository) and await self._storage.blob_size(repository, digest) is not None


def _under_way(upload: Upload, status: int) -> Response:
    return Response(
        status_code=status,
        headers={
            "Location": f"/v2/{upload.repository}/blobs/uploads/{upload.id}",
            "Range": f"0-{max(0, upload.size - 1)}",
            "Docker-Upload-UUID": upload.id,
        },
    )


def _created(repository: str, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return Response(status_code=201, headers=headers)
