"""Manifests and tags over HTTP: end-3, end-7 and end-9 of the distribution specification."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import Response

from ocikit._document import Reader
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError
from ocikit.manifest import INDEXES, MANIFESTS, Descriptor, Index, Manifest
from ocikit.registry.errors import Refusal
from ocikit.registry.request import document, expect, matches, read_digest, read_tag
from ocikit.registry.storage import Storage, StoredManifest

OnPush = Callable[[str, str | None, Digest, str], Awaitable[None]]
Keep = Callable[[str, Digest], Awaitable[str | None]]

_MAX_TAGS = 100  # in one request
# Layers that a licence keeps out of registries: they may be named without being there.
_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


class Manifests:
    """Manifests and tags: pulled, pushed and deleted."""

    def __init__(
        self,
        storage: Storage,
        on_push: OnPush | None,
        mutable: Callable[[str, str], bool],
        keep: Keep | None = None,
    ) -> None:
        self._storage = storage
        self._keep = keep
        self._on_push = on_push
        self._mutable = mutable
        self._tagging: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def manifest(self, request: Request, repository: str, identifier: str) -> Response:
        expect(request, "GET", "PUT", "DELETE")
        if ":" in identifier:
            read_digest(identifier)
        else:
            read_tag(identifier)
        if request.method == "PUT":
            return await self._put(request, repository, identifier)
        return await self._read_or_delete(request, repository, identifier)

    async def _read_or_delete(self, request: Request, repository: str, identifier: str) -> Response:
        found = await self._storage.find_manifest(repository, identifier)
        if found is None:
            raise Refusal(404, "MANIFEST_UNKNOWN", f"{repository} has no manifest {identifier}")
        if request.method == "DELETE":
            if ":" in identifier:
                if self._keep and (reason := await self._keep(repository, found.digest)):
                    raise Refusal(403, "DENIED", f"{found.digest} cannot be deleted: {reason}")
                await self._storage.remove_manifest(repository, found.digest)
            else:
                await self._storage.remove_tag(repository, identifier)
            return Response(status_code=202)
        headers = {"Docker-Content-Digest": str(found.digest), "ETag": f'"{found.digest}"'}
        if matches(request.headers.get("If-None-Match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        headers |= {"Content-Type": found.media_type, "Content-Length": str(len(found.data))}
        return Response(b"" if request.method == "HEAD" else found.data, headers=headers)

    async def _put(self, request: Request, repository: str, identifier: str) -> Response:
        """end-7a and end-7b."""
        data = await document(request)
        promised = read_digest(identifier) if ":" in identifier else None
        digest = _digest(data, promised.algorithm if promised else "sha256")
        if promised not in (None, digest):
            raise Refusal(400, "DIGEST_INVALID", f"the manifest has digest {digest}, not {promised}")
        tags = [read_tag(tag) for tag in request.query_params.getlist("tag")] if promised else [identifier]
        if len(tags) > _MAX_TAGS:
            raise Refusal(414, "TAG_INVALID", f"{len(tags)} tags in one request, more than {_MAX_TAGS}")
        media_type, manifest = _parse(request.headers.get("Content-Type", ""), data)
        async with self._storage.holds.hold(digest, *_references(manifest)):
            await self._check(repository, manifest)
            await self._storage.add_manifest(repository, StoredManifest(digest, media_type, data))
            if manifest.subject is not None:
                await self._storage.add_referrer(
                    repository, manifest.subject.digest, _referrer(media_type, digest, len(data), manifest)
                )
        for name in tags:
            await self._set_tag(request, repository, name, digest)
        if self._on_push is not None:
            for tag in tags or (None,):
                await self._on_push(repository, tag, digest, media_type)
        response = Response(status_code=201)
        response.headers["Location"] = f"/v2/{repository}/manifests/{identifier}"
        response.headers["Docker-Content-Digest"] = str(digest)
        if manifest.subject is not None:
            response.headers["OCI-Subject"] = str(manifest.subject.digest)
        if promised is not None and tags:
            response.headers["OCI-Tag"] = ", ".join(tags)
        return response

    async def _set_tag(self, request: Request, repository: str, tag: str, digest: Digest) -> None:
        # Nobody else moves the tag between the comparison with a condition and the change.
        async with self._tagging.setdefault(f"{repository}:{tag}", asyncio.Lock()):
            await self._check_condition(request, repository, tag)
            mutable = self._mutable(repository, tag)
            now = await self._storage.set_tag(repository, tag, digest, mutable=mutable)
        if now != digest:
            message = f"tag {tag} of {repository} is {now} already and cannot be overwritten: it is immutable"
            raise Refusal(400, "TAG_INVALID", message)

    async def _check_condition(self, request: Request, repository: str, tag: str) -> None:
        """If-Match and If-None-Match (RFC 9110 section 13.1): what the tag must or must not be now."""
        wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")
        if wanted is None and unwanted is None:
            return
        now = await self._storage.find_tag(repository, tag)
        etag = "" if now is None else f'"{now}"'
        if (wanted is not None and not (now and matches(wanted, etag))) or (
            unwanted is not None and now and matches(unwanted, etag)
        ):
            raise Refusal(412, "MANIFEST_INVALID", f"tag {tag} of {repository} is {now or 'not there'} now")

    async def _check(self, repository: str, manifest: Manifest | Index) -> None:
        """Refuse what names content that is not here; a subject may come later."""
        if isinstance(manifest, Index):
            for digest in dict.fromkeys(entry.digest for entry in manifest.manifests):
                if not await self._storage.has_manifest(repository, digest):
                    message = f"{repository} has no manifest {digest}"
                    raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", message)
            return
        sizes: dict[Digest, int | None] = {}
        for entry in (manifest.config, *manifest.layers):
            if entry.digest not in sizes:
                sizes[entry.digest] = await self._storage.blob_size(repository, entry.digest, keep=True)
            size = sizes[entry.digest]
            if size is None and entry.media_type.startswith(_FOREIGN):
                continue
            if size is None:
                raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"{repository} has no blob {entry.digest}")
            if size != entry.size:
                raise Refusal(400, "SIZE_INVALID", f"{entry.digest} has {size} bytes, not {entry.size}")


def _digest(data: bytes, algorithm: str) -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


def _parse(content_type: str, data: bytes) -> tuple[str, Manifest | Index]:
    """The media type, which the document says where the request does not, and what it is."""
    media_type = content_type.partition(";")[0].strip()
    try:
        said = Reader.of(data, "manifest").optional("mediaType", str)
        media_type = media_type or said or ""
        if media_type in INDEXES:
            manifest: Manifest | Index = Index.parse(data)
        elif media_type in MANIFESTS:
            manifest = Manifest.parse(data)
        else:
            raise Refusal(400, "MANIFEST_INVALID", f"Content-Type {media_type[:100]!r} is no manifest's")
    except InvalidDocumentError as error:
        raise Refusal(400, "MANIFEST_INVALID", str(error)) from error
    if said not in (None, media_type):
        raise Refusal(400, "MANIFEST_INVALID", f"a {manifest.media_type} came as {media_type}")
    return media_type, manifest


def _references(manifest: Manifest | Index) -> tuple[Digest, ...]:
    if isinstance(manifest, Index):
        return tuple(entry.digest for entry in manifest.manifests)
    return tuple(entry.digest for entry in (manifest.config, *manifest.layers))


def _referrer(media_type: str, digest: Digest, size: int, manifest: Manifest | Index) -> Descriptor:
    artifact_type = manifest.artifact_type
    if isinstance(manifest, Manifest) and not artifact_type:
        artifact_type = manifest.config.media_type
    return Descriptor(media_type, digest, size, manifest.annotations, artifact_type=artifact_type)
