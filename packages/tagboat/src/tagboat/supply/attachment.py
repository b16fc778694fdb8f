"""Bills of materials beside their image in a registry, as referrers (OCI image specification 1.1)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ocikit import BytesBlob, Descriptor, Digest, Image, Manifest, Reference, Registry
from tagboat.supply.cyclonedx import cyclonedx_document
from tagboat.supply.inventory import take_inventory
from tagboat.supply.spdx import spdx_document

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_FORMATS = {
    "spdx": ("application/spdx+json", spdx_document),
    "cyclonedx": ("application/vnd.cyclonedx+json", cyclonedx_document),
}


def attach_sboms(
    registry: Registry, reference: Reference, image: Image, formats: Iterable[str]
) -> list[Digest]:
    """Push a bill of each of `formats` about `image`, which is at `reference`; returns their digests.

    The same image has the same bills, so one that is there already stays as it is. Raises OcikitError.
    """
    inventory = take_inventory(image)
    there = {found.digest for found in registry.referrers(reference.with_digest(image.digest))}
    attached = []
    for name in formats:
        media_type, document = _FORMATS[name]
        data = json.dumps(document(inventory), sort_keys=True, separators=(",", ":")).encode()
        bill, empty = Descriptor(media_type, Digest.of(data), len(data)), Digest.of(_EMPTY)
        manifest = Manifest(
            config=Descriptor(_EMPTY_TYPE, empty, len(_EMPTY)),
            layers=(bill,),
            subject=Descriptor(image.manifest.media_type, image.digest, len(image.manifest_bytes)),
            artifact_type=media_type,
            annotations={"org.opencontainers.image.created": inventory.created},
        )
        digest = Digest.of(manifest.to_bytes())
        if digest not in there:
            target = Reference(reference.registry, reference.repository, digest=digest)
            blobs = {bill.digest: BytesBlob(data), empty: BytesBlob(_EMPTY)}
            registry.push_manifest(target, manifest, blobs)
        attached.append(digest)
    return attached
