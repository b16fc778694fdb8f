"""One name for the images of several platforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ocikit import Descriptor, Digest, Image, Index, Layout, Reference, Registry


def push_images(
    registry: Registry,
    images: Sequence[Image],
    reference: Reference,
    *,
    progress: Callable[[str, int], None] | None = None,
) -> Descriptor:
    """Push an image under `reference`, or several and then the index of them; what the reference is then.

    `progress` gets a blob's digest and a number of bytes as they are sent, from several threads. Raises
    RegistryError.
    """
    if len(images) == 1:
        registry.push(images[0], reference, progress=progress)
        return describe(images[0])
    for image in images:
        registry.push(image, reference.with_digest(image.digest), progress=progress)
    index = index_of(images)
    digest = registry.push_manifest(reference, index)
    return Descriptor(index.media_type, digest, len(index.to_bytes()))


def write_layout(path: Path, images: Sequence[Image], name: str) -> Digest:
    """Write an image into an OCI layout, or several and the index of them; what `name` is then.

    Raises OcikitError.
    """
    if len(images) == 1:
        return Layout(path).write(images[0], name).digest
    return Layout(path).write_index(index_of(images), images, name).digest


def index_of(images: Sequence[Image]) -> Index:
    """The images side by side, each for its platform."""
    return Index(tuple(replace(describe(image), platform=image.config.platform) for image in images))


def blob_sizes(images: Sequence[Image]) -> dict[str, int]:
    """The bytes of all that images consist of, by digest."""
    manifests = [image.manifest for image in images]
    return {
        str(part.digest): part.size for manifest in manifests for part in (manifest.config, *manifest.layers)
    }


def describe(image: Image) -> Descriptor:
    """What refers to the image."""
    return Descriptor(image.manifest.media_type, image.digest, len(image.manifest_bytes))
