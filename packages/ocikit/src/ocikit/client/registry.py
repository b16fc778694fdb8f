"""The client of a registry: OCI distribution specification 1.1, with the usual ways to log in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import BinaryIO, Self

from ocikit._document import MAX_DOCUMENT, Reader
from ocikit.blob import Blob, BytesBlob, FileBlob, verified
from ocikit.client.address import shown, with_query
from ocikit.client.blobs import open_blob
from ocikit.client.login import Find
from ocikit.client.referrers import describe, forget_referrer, has_list, keep_referrer, list_referrers
from ocikit.client.session import PARALLEL, Session
from ocikit.client.uploads import Content, Progress, provide
from ocikit.credentials import Credentials
from ocikit.digest import Digest
from ocikit.errors import (
    DigestMismatchError,
    InvalidDocumentError,
    InvalidReferenceError,
    RegistryError,
    RegistryNotFoundError,
)
from ocikit.image import Image
from ocikit.layer import Layer
from ocikit.layout import choose
from ocikit.manifest import INDEXES, MANIFESTS, Descriptor, Index, Manifest
from ocikit.platform import Platform
from ocikit.reference import Reference, check_repository
from ocikit.value import value

_ACCEPT = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
_DEEPEST = 8  # indexes within indexes


class Registry:
    """One registry host. Thread-safe; a context manager that closes its connections.

    `insecure` allows plain HTTP; by default only a loopback host is spoken to in plain HTTP, and a host that
    the environment variable OCIKIT_INSECURE_REGISTRIES lists (`HOST[:PORT],…`).
    `credentials` may be what finds them by the host's name, such as `find_credentials`: it is called when the
    registry asks who we are, and raises OcikitError where it cannot say.
    `places` are repositories of the registry that may have a blob, by its digest: from there it is mounted.
    `uploads` is a folder, made when absent, where large uploads are noted: what a process that was killed had
    sent, the next one with the same folder does not send again, where the registry has kept it.
    Credentials go to that host, over the scheme that it is spoken to in, and to where it has tokens fetched,
    if that is HTTPS, or both are loopback hosts; never to where it redirects. Proxies and certificates are
    those of the environment: HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE.
    Every method raises RegistryError: AuthenticationError for 401 and 403, RegistryNotFoundError for 404;
    and InvalidDocumentError for what is no manifest.
    Passing failures (connection lost, 408, 429, 5xx) are tried again after growing pauses or Retry-After.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Credentials | Find | None = None,
        insecure: bool | None = None,
        places: Mapping[str, str] | None = None,
        uploads: Path | None = None,
    ) -> None:
        self.host = host
        self._places = places or {}
        self._session = Session(host, credentials, insecure, uploads)
        self._ahead: set[tuple[str, Digest]] = set()  # blobs that were pushed ahead of their images
        self._seen: dict[Reference, _Present | None] = {}  # what they stood for before a push
        self._closed = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; what is still being pushed by other threads ends with an error."""
        self._closed.set()
        self._session.close()

    def digest(self, reference: Reference) -> Digest | None:
        """The digest that the reference stands for, None where the registry has no such manifest."""
        try:
            answer = self._session.request(
                "HEAD", self._manifest_url(reference), reference.repository, headers=_ACCEPT
            )
        except RegistryNotFoundError:
            return None
        given = answer.headers.get("Docker-Content-Digest")
        if not given:
            return Digest.of(self._manifest(reference)[0])
        try:
            return Digest.parse(given)
        except InvalidReferenceError as error:
            raise RegistryError(f"{reference}: the registry answers that {error}") from error

    def manifest(self, reference: Reference) -> Manifest | Index:
        """The manifest or index itself."""
        return _parse(*self._manifest(reference))

    def descriptor(self, reference: Reference) -> Descriptor:
        """What refers to the manifest or index, for an artifact that is about it; it is read for that."""
        raw, media_type = self._manifest(reference)
        return Descriptor(_parse(raw, media_type).media_type, Digest.of(raw), len(raw))

    def image(self, reference: Reference, platform: Platform | None = None) -> Image:
        """The image; of an index, the one for `platform` (default: this machine's). Layers come lazily.

        Raises NotFoundError where the index has none for the platform.
        """
        raw, media_type = self._manifest(reference)
        depth = 0  # no index can hold itself, for it would have to hold its own digest
        while media_type in INDEXES:
            if depth == _DEEPEST:
                raise InvalidDocumentError(f"{reference}: more than {_DEEPEST} indexes in each other")
            chosen = choose(Index.parse(raw), platform, str(reference))
            raw, media_type = self._manifest(reference.with_digest(chosen.digest))
            depth += 1
        return Image.assemble(
            raw,
            lambda config: self._document(reference.repository, config),
            lambda layer: RegistryBlob(self, reference.repository, layer),
        )

    def push(
        self,
        image: Image,
        reference: Reference,
        *,
        progress: Progress | None = None,
        mount_from: str | None = None,
    ) -> Digest:
        """Upload what the registry lacks, several blobs at once, then the manifest; returns its digest.

        Where the reference stands for this very image already, that is all that is asked. What comes from
        another repository of this registry, or may be in `mount_from`, is mounted if the registry does that,
        and does not travel. `progress` gets a blob's digest and a number of bytes as they are sent, from
        several threads; first, of each that has to be sent, its digest and 0. Raises TagExistsError when the
        tag is immutable and another image's, DigestMismatchError when a layer is not what it should be.
        """
        blobs: dict[Digest, Blob] = {layer.descriptor.digest: layer.blob for layer in image.layers}
        blobs[image.manifest.config.digest] = BytesBlob(image.config_bytes)
        return self._push(
            reference, image.manifest_bytes, image.manifest, blobs, progress=progress, mount_from=mount_from
        )

    def look(self, reference: Reference) -> None:
        """Find out what the reference stands for, ahead of a push, which then needs not wait for that."""
        self._seen[reference] = self._present(reference)

    def push_layer(
        self, layer: Layer, repository: str, *, is_new: bool = False, progress: Progress | None = None
    ) -> None:
        """Upload a layer unless it is there: ahead of the image that it will be part of, which `push` then
        pushes without it. Of a layer that no image ever names, the registry gets rid by itself.

        With `is_new` nobody asks whether it is there: for what is small and was only just made.
        """
        source = self._source(layer.blob, layer.descriptor.digest, repository)
        self._push_ahead(layer.descriptor, layer.blob, repository, source, progress, is_new=is_new)

    def push_config(self, image: Image, repository: str, *, progress: Progress | None = None) -> None:
        """The same for the configuration of an image that is new."""
        blob = BytesBlob(image.config_bytes)
        self._push_ahead(image.manifest.config, blob, repository, None, progress, is_new=True)

    def _push_ahead(
        self,
        descriptor: Descriptor,
        blob: Blob,
        repository: str,
        source: str | None,
        progress: Progress | None,
        *,
        is_new: bool,
    ) -> None:
        check_repository(repository)
        opener = _opener(blob, descriptor, f"{self.host}/{repository}")
        content = Content(descriptor.digest, descriptor.size, opener, source, is_new)
        provide(self._session, repository, content, progress, self._closed)
        self._ahead.add((repository, descriptor.digest))

    def push_manifest(
        self,
        reference: Reference,
        manifest: Manifest | Index,
        blobs: Mapping[Digest, Blob] | None = None,
    ) -> Digest:
        """The same for an artifact, whose blobs are given, or an index, whose manifests are there already.

        One with a subject is found by `referrers` afterwards, at registries that keep no such list too.
        """
        return self._push(reference, manifest.to_bytes(), manifest, blobs or {})

    def tag(self, reference: Reference, tag: str) -> Digest:
        """Give the manifest that `reference` stands for another tag in the same repository."""
        raw, media_type = self._manifest(reference)
        self._put_manifest(reference.with_tag(tag), raw, media_type)
        return Digest.of(raw)

    def tags(self, repository: str) -> list[str]:
        """All tags of the repository. Raises RegistryNotFoundError, RegistryError."""
        check_repository(repository)
        url = f"{self._session.base}/{repository}/tags/list"
        found: list[str] = []
        for answer in self._session.pages(url, repository):
            try:
                found += Reader.of(answer.data, "tags").list_of_strings("tags")
            except InvalidDocumentError as error:
                raise RegistryError(f"GET {shown(url)}: {error}") from error
        return found

    def referrers(self, reference: Reference, artifact_type: str | None = None) -> tuple[Descriptor, ...]:
        """What is about the manifest that `reference` stands for: signatures, SBOMs, attestations.

        Raises RegistryNotFoundError where the tag stands for nothing.
        """
        subject = reference.digest or self.digest(reference)
        if subject is None:
            raise RegistryNotFoundError(f"{reference} is not there", status=404)
        return list_referrers(self._session, reference.repository, subject, artifact_type)

    def delete(self, reference: Reference) -> None:
        """Delete the tag; or, by digest, the manifest and all of its tags."""
        subject = self._subject(reference) if reference.digest else None
        self._session.request("DELETE", self._manifest_url(reference), reference.repository)
        if subject and reference.digest and not has_list(self._session, reference.repository, subject):
            forget_referrer(self._session, reference.repository, subject, reference.digest)

    def open_blob(self, repository: str, descriptor: Descriptor) -> BinaryIO:
        """The blob's bytes as they arrive; see `ocikit.blob.verified` for who checks them.

        A stream that breaks is taken up again where it broke.
        """
        return open_blob(self._session, repository, descriptor)

    def _subject(self, reference: Reference) -> Digest | None:
        try:
            found = self.manifest(reference).subject
        except InvalidDocumentError:
            return None
        return found.digest if found else None

    def _push(
        self,
        reference: Reference,
        raw: bytes,
        manifest: Manifest | Index,
        blobs: Mapping[Digest, Blob],
        *,
        progress: Progress | None = None,
        mount_from: str | None = None,
    ) -> Digest:
        digest = Digest.of(raw)
        if reference.digest not in (None, digest):
            raise DigestMismatchError(f"{reference} cannot be pushed to: the image has digest {digest}")
        present = self._standing(reference, digest) if manifest.subject is None else None
        if present is not None and present.digest == digest:
            return digest
        there = present.parts if present else frozenset()
        there |= {known for repository, known in self._ahead if repository == reference.repository}
        named = () if isinstance(manifest, Index) else (manifest.config, *manifest.layers)
        parts = {part.digest: part for part in named}
        contents = [
            Content(
                part.digest,
                part.size,
                _opener(blobs[part.digest], part, str(reference)),
                self._source(blobs[part.digest], part.digest, reference.repository) or mount_from,
            )
            for part in parts.values()
            if part.digest in blobs
        ]
        self._provide(reference.repository, [one for one in contents if one.digest not in there], progress)
        try:
            subject = self._put_manifest(reference, raw, manifest.media_type)
        except RegistryError as error:
            if not there or error.status not in (400, 404):
                raise
            self._provide(reference.repository, contents, progress)  # what was there has gone
            subject = self._put_manifest(reference, raw, manifest.media_type)
        if manifest.subject is not None and subject is None:
            listed = describe(raw, digest, manifest)
            keep_referrer(self._session, reference.repository, manifest.subject.digest, listed)
        return digest

    def _standing(self, reference: Reference, wanted: Digest) -> _Present | None:
        """What the reference stands for. That it is what is wanted has to hold now, not just when it was
        looked at."""
        if reference in self._seen:
            present = self._seen.pop(reference)
            if present is None or present.digest != wanted or self.digest(reference) == wanted:
                return present
        return self._present(reference)

    def _present(self, reference: Reference) -> _Present | None:
        """What has the name now: nobody needs to ask one by one for what it consists of."""
        try:
            raw, media_type = self._manifest(reference)
        except RegistryNotFoundError as error:
            if error.code == "NAME_UNKNOWN" or not self._is_known(reference.repository):
                self._session.unknown.add(reference.repository)
            return None
        try:
            manifest = _parse(raw, media_type)
        except InvalidDocumentError:
            return _Present(Digest.of(raw), frozenset())
        parts = () if isinstance(manifest, Index) else (manifest.config, *manifest.layers)
        return _Present(Digest.of(raw), frozenset(part.digest for part in parts))

    def _is_known(self, repository: str) -> bool:
        """Whether there is a repository, as far as the registry says: no manifest is told apart from no
        repository only there (end-8a)."""
        url = with_query(f"{self._session.base}/{repository}/tags/list", "n=1")
        try:
            self._session.request("GET", url, repository)
        except RegistryError as error:
            return error.code != "NAME_UNKNOWN"
        return True

    def _provide(self, repository: str, contents: list[Content], progress: Progress | None) -> None:
        stop = Event()
        pool = ThreadPoolExecutor(PARALLEL)
        try:
            waiting = [
                pool.submit(provide, self._session, repository, content, progress, stop)
                for content in contents
            ]
            done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
            for one in done:
                one.result()
        except BaseException:
            # Of a failure, or of Ctrl-C, nobody waits for the others to send the rest of theirs.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()

    def _source(self, blob: Blob, digest: Digest, repository: str) -> str | None:
        """Where else in this registry the blob is already, as far as anybody knows."""
        origin = None
        if isinstance(blob, RegistryBlob):
            origin = blob.registry.host, blob.repository
        elif isinstance(blob, FileBlob):
            origin = blob.origin
        if origin is not None and origin[0] == self.host:
            place: str | None = origin[1]
        else:
            place = self._places.get(str(digest))
        return place if place != repository else None

    def _manifest_url(self, reference: Reference) -> str:
        return f"{self._session.base}/{reference.repository}/manifests/{reference.identifier}"

    def _manifest(self, reference: Reference) -> tuple[bytes, str]:
        """Bytes, which are what the digest promises, and media type."""
        answer = self._session.request(
            "GET", self._manifest_url(reference), reference.repository, headers=_ACCEPT
        )
        raw = answer.data
        if reference.digest is not None:
            hashed = reference.digest.hasher()
            hashed.update(raw)
            if hashed.hexdigest() != reference.digest.hex:
                raise DigestMismatchError(f"{reference}: the registry answers with {Digest.of(raw)}")
        return raw, answer.headers.get("Content-Type", "").partition(";")[0].strip()

    def _put_manifest(self, reference: Reference, raw: bytes, media_type: str) -> str | None:
        """The subject that the registry has seen, if any."""
        self._session.unknown.discard(reference.repository)
        answer = self._session.request(
            "PUT",
            self._manifest_url(reference),
            reference.repository,
            body=raw,
            headers={"Content-Type": media_type},
        )
        return answer.headers.get("OCI-Subject")

    def _document(self, repository: str, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT:
            raise RegistryError(f"{descriptor.digest} has {descriptor.size} bytes, more than {MAX_DOCUMENT}")
        blob = RegistryBlob(self, repository, descriptor)
        with verified(blob, descriptor.digest, descriptor.size, f"{self.host}/{repository}") as source:
            return source.read()


@value
class _Present:
    """A manifest that is there, and the blobs that are there for it."""

    digest: Digest
    parts: frozenset[Digest]


@value
class RegistryBlob:
    """A blob that stays in its registry until it is read."""

    registry: Registry
    repository: str
    descriptor: Descriptor

    def open(self) -> BinaryIO:
        return self.registry.open_blob(self.repository, self.descriptor)


def _parse(raw: bytes, media_type: str) -> Manifest | Index:
    return Index.parse(raw) if media_type in INDEXES else Manifest.parse(raw)


def _opener(blob: Blob, descriptor: Descriptor, what: str) -> Callable[[], BinaryIO]:
    return lambda: verified(blob, descriptor.digest, descriptor.size, what)
