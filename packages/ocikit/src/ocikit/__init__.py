"""OCI images and registries: immutable values, and interchangeable sources and sinks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocikit.archive import read_docker_archive, write_docker_archive
from ocikit.blob import Blob, BytesBlob, FileBlob
from ocikit.config import ContainerConfig, History, ImageConfig
from ocikit.credentials import Credentials, find_credentials
from ocikit.digest import Digest
from ocikit.errors import (
    AuthenticationError,
    DigestMismatchError,
    InvalidDocumentError,
    InvalidReferenceError,
    NotFoundError,
    OcikitError,
    RegistryError,
    RegistryNotFoundError,
    UnsafeArchiveError,
)
from ocikit.image import Image
from ocikit.layer import Layer, LayerWriter
from ocikit.layout import Layout
from ocikit.manifest import Descriptor, Index, Manifest
from ocikit.platform import Platform
from ocikit.reference import Reference
from ocikit.unpack import unpack, unpack_layer

if TYPE_CHECKING:
    from ocikit.client import Registry

__all__ = [
    "AuthenticationError",
    "Blob",
    "BytesBlob",
    "ContainerConfig",
    "Credentials",
    "Descriptor",
    "Digest",
    "DigestMismatchError",
    "FileBlob",
    "History",
    "Image",
    "ImageConfig",
    "Index",
    "InvalidDocumentError",
    "InvalidReferenceError",
    "Layer",
    "LayerWriter",
    "Layout",
    "Manifest",
    "NotFoundError",
    "OcikitError",
    "Platform",
    "Reference",
    "Registry",
    "RegistryError",
    "RegistryNotFoundError",
    "UnsafeArchiveError",
    "find_credentials",
    "read_docker_archive",
    "unpack",
    "unpack_layer",
    "write_docker_archive",
]


def __getattr__(name: str) -> object:
    # The client alone needs an HTTP library; who only reads and writes images does not wait for it to load.
    if name == "Registry":
        from ocikit.client import Registry  # noqa: PLC0415

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
