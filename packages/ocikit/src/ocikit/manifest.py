"""Descriptors, manifests and indexes (image specification 1.1), parsed strictly, written canonically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

from ocikit._document import Reader, canonical
from ocikit.digest import Digest
from ocikit.errors import InvalidDocumentError
from ocikit.platform import Platform, read_platform
from ocikit.value import value

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)
OCI_LAYERS = {DOCKER_LAYER: OCI_LAYER, DOCKER_LAYER_GZIP: OCI_LAYER_GZIP, DOCKER_LAYER_ZSTD: OCI_LAYER_ZSTD}
"""What the image specification calls Docker's types of layers, which are the same bytes."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


@value
class Descriptor:
    """What refers to content: its type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    platform: Platform | None = None
    artifact_type: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As manifests, indexes and registries have it."""
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform:
            document["platform"] = self.platform.to_json()
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return document


@value
class Manifest:
    """One image for one platform: its configuration and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    subject: Descriptor | None = None
    artifact_type: str | None = None

    def to_bytes(self) -> bytes:
        """The document, always the same for the same values."""
        layers = [layer.to_json() for layer in self.layers]
        return _written(self, {"config": self.config.to_json(), "layers": layers})

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Read a document. Raises InvalidDocumentError, which names the member that is wrong."""
        reader = _header(data, "manifest", without="manifests")
        media_type = reader.optional("mediaType", str) or OCI_MANIFEST
        if media_type not in MANIFESTS:
            raise InvalidDocumentError(f"manifest: mediaType {media_type!r} is not an image manifest's")
        return cls(
            config=read_descriptor(Reader(reader.get("config", dict), "manifest.config")),
            layers=_descriptors(reader, "layers"),
            media_type=media_type,
            annotations=reader.strings("annotations"),
            subject=_subject(reader),
            artifact_type=reader.optional("artifactType", str),
        )


@value
class Index:
    """Manifests side by side, usually one a platform."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    subject: Descriptor | None = None
    artifact_type: str | None = None

    def to_bytes(self) -> bytes:
        """The document, always the same for the same values."""
        return _written(self, {"manifests": [manifest.to_json() for manifest in self.manifests]})

    @classmethod
    def parse(cls, data: bytes) -> Index:
        """Read a document. Raises InvalidDocumentError, which names the member that is wrong."""
        reader = _header(data, "index", without="layers")
        media_type = reader.optional("mediaType", str) or OCI_INDEX
        if media_type not in INDEXES:
            raise InvalidDocumentError(f"index: mediaType {media_type!r} is not an image index's")
        return cls(
            manifests=_descriptors(reader, "manifests"),
            media_type=media_type,
            annotations=reader.strings("annotations"),
            subject=_subject(reader),
            artifact_type=reader.optional("artifactType", str),
        )


def _header(data: bytes, name: str, *, without: str) -> Reader:
    reader = Reader.of(data, name)
    if reader.get("schemaVersion", int) != 2:
        raise InvalidDocumentError(f"{name}.schemaVersion is not 2")
    if without in reader.values:
        # Read as the other kind it would be another image (CVE-2021-41190).
        raise InvalidDocumentError(f"{name}.{without} makes it two kinds of document at once")
    return reader


def _descriptors(reader: Reader, key: str) -> tuple[Descriptor, ...]:
    return tuple(
        read_descriptor(Reader.check(entry, f"{reader.name}.{key}[{index}]"))
        for index, entry in enumerate(reader.get(key, list))
    )


def _subject(reader: Reader) -> Descriptor | None:
    """What the document is about, if it is about another one."""
    subject = reader.optional("subject", dict)
    return read_descriptor(Reader(subject, f"{reader.name}.subject")) if subject is not None else None


def _written(of: Manifest | Index, content: Mapping[str, Any]) -> bytes:
    """The document with this content, and with what both kinds have beside it."""
    document = {"schemaVersion": 2, "mediaType": of.media_type, **content}
    if of.artifact_type:
        document["artifactType"] = of.artifact_type
    if of.subject:
        document["subject"] = of.subject.to_json()
    if of.annotations:
        document["annotations"] = dict(of.annotations)
    return canonical(document)


def read_descriptor(reader: Reader) -> Descriptor:
    """The descriptor in a document's object. Raises InvalidDocumentError."""
    size = reader.get("size", int)
    if size < 0:
        raise InvalidDocumentError(f"{reader.name}.size is negative")
    platform = reader.optional("platform", dict)
    return Descriptor(
        media_type=reader.get("mediaType", str),
        digest=reader.digest("digest"),
        size=size,
        annotations=reader.strings("annotations"),
        platform=read_platform(Reader(platform, f"{reader.name}.platform")) if platform is not None else None,
        artifact_type=reader.optional("artifactType", str),
    )
