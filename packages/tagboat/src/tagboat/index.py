"""One name for the images of several platforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocikit import Descriptor, Digest, Image, Index, Reference, Registry


def push_images(
    registry: Registry,
    images: Sequence[Image],
    reference: Reference,
    *,
    progress: Callable[[str, int], None] | None = None,
) -> Digest:
    """Push an image under `reference`, or several and then the index of them; the digest of what it names.

    `progress` gets a blob's digest and a number of bytes as they are sent, from several threads. Raises
    RegistryError.
    """
    if len(images) == 1:
        return registry.push(images[0], reference, progress=progress)
    for image in images:
        registry.push(image, reference.with_digest(image.digest), progress=progress)
    manifests = (
        Descriptor(
            image.manifest.media_type,
            image.digest,
            len(image.manifest_bytes),
            platform=image.config.platform,
        )
        for image in images
    )
    return registry.push_manifest(reference, Index(tuple(manifests)))
