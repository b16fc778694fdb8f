"""Documents about an image beside it in a registry, as referrers (OCI image specification 1.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ocikit import (
    BytesBlob,
    Descriptor,
    Digest,
    Image,
    InvalidDocumentError,
    Manifest,
    Reference,
    Registry,
)
from ocikit.blob import verified
from ocikit.client import RegistryBlob
from tagboat.index import describe
from tagboat.supply.cyclonedx import cyclonedx_document
from tagboat.supply.inventory import Inventory
from tagboat.supply.spdx import spdx_document

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_MAX_DOCUMENT = 16 << 20  # bytes
_CREATED = "org.opencontainers.image.created"
_FORMATS = {
    "spdx": ("application/spdx+json", spdx_document),
    "cyclonedx": ("application/vnd.cyclonedx+json", cyclonedx_document),
}


def attach_sboms(
    registry: Registry, reference: Reference, inventory: Inventory, image: Image, formats: Iterable[str]
) -> list[Digest]:
    """Push a bill of each of `formats` about `image`, which is at `reference`; returns their digests.

    The same inventory has the same bills, so one that is there already stays as it is. Raises OcikitError.
    """
    attached, subject = [], describe(image)
    for name in formats:
        media_type, document = _FORMATS[name]
        data = json.dumps(document(inventory), sort_keys=True, separators=(",", ":")).encode()
        bill = Document(media_type, data, {_CREATED: inventory.created})
        attached.append(attach(registry, reference, subject, bill))
    return attached


@dataclass(frozen=True, slots=True)
class Document:
    """What is attached, and what the registry lists of it."""

    media_type: str
    data: bytes
    annotations: Mapping[str, str]


def attach(registry: Registry, reference: Reference, subject: Descriptor, document: Document) -> Digest:
    """Push a document about `subject`, an image or an index of the repository of `reference`, unless it is
    there; returns the digest of its manifest.
    """
    data, empty = document.data, Digest.of(_EMPTY)
    layer = Descriptor(document.media_type, Digest.of(data), len(data))
    manifest = Manifest(
        config=Descriptor(_EMPTY_TYPE, empty, len(_EMPTY)),
        layers=(layer,),
        subject=subject,
        artifact_type=document.media_type,
        annotations=document.annotations,
    )
    digest = Digest.of(manifest.to_bytes())
    there = registry.referrers(reference.with_digest(subject.digest), document.media_type)
    if digest not in {found.digest for found in there}:
        blobs = {layer.digest: BytesBlob(data), empty: BytesBlob(_EMPTY)}
        registry.push_manifest(reference.with_digest(digest), manifest, blobs)
    return digest


def read_attached(registry: Registry, reference: Reference, digest: Digest) -> bytes:
    """The only document of the artifact with that digest, in the repository of `reference`.

    Raises InvalidDocumentError, DigestMismatchError and RegistryNotFoundError.
    """
    manifest = registry.manifest(reference.with_digest(digest))
    if not isinstance(manifest, Manifest) or len(manifest.layers) != 1:
        raise InvalidDocumentError(f"{digest} is not an artifact of one document")
    (layer,) = manifest.layers
    if layer.size > _MAX_DOCUMENT:
        raise InvalidDocumentError(f"{layer.digest} has {layer.size} bytes, more than {_MAX_DOCUMENT}")
    blob = RegistryBlob(registry, reference.repository, layer)
    with verified(blob, layer.digest, layer.size, f"attached {digest}") as source:
        return source.read()
