"""OCI images and registries: immutable values, and interchangeable sources and sinks for them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit._compression import Compression, compressor
    from ocikit.archive import read_docker_archive, write_docker_archive
    from ocikit.blob import Blob, BytesBlob, CopiedBlob, FileBlob
    from ocikit.client import Registry
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
        TagExistsError,
        UnsafeArchiveError,
    )
    from ocikit.image import Image
    from ocikit.layer import Layer, LayerWriter
    from ocikit.layout import Layout
    from ocikit.limits import MAX_ENTRIES, MAX_SIZE
    from ocikit.listing import LayerEntry, layer_entries
    from ocikit.manifest import Descriptor, Index, Manifest
    from ocikit.platform import Platform
    from ocikit.reference import Reference
    from ocikit.unpacking import unpack, unpack_layer

__all__ = [
    "MAX_ENTRIES",
    "MAX_SIZE",
    "AuthenticationError",
    "Blob",
    "BytesBlob",
    "Compression",
    "ContainerConfig",
    "CopiedBlob",
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
    "LayerEntry",
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
    "TagExistsError",
    "UnsafeArchiveError",
    "compressor",
    "find_credentials",
    "layer_entries",
    "read_docker_archive",
    "unpack",
    "unpack_layer",
    "write_docker_archive",
]

# Loaded at first use: a command that only names an image does not wait for HTTP, subprocesses and tar.
_MODULES = {
    "_compression": (
        "Compression",
        "compressor",
    ),
    "archive": (
        "read_docker_archive",
        "write_docker_archive",
    ),
    "blob": (
        "Blob",
        "BytesBlob",
        "CopiedBlob",
        "FileBlob",
    ),
    "client": ("Registry",),
    "config": (
        "ContainerConfig",
        "History",
        "ImageConfig",
    ),
    "credentials": (
        "Credentials",
        "find_credentials",
    ),
    "digest": ("Digest",),
    "errors": (
        "AuthenticationError",
        "DigestMismatchError",
        "InvalidDocumentError",
        "InvalidReferenceError",
        "NotFoundError",
        "OcikitError",
        "RegistryError",
        "RegistryNotFoundError",
        "TagExistsError",
        "UnsafeArchiveError",
    ),
    "image": ("Image",),
    "layer": (
        "Layer",
        "LayerWriter",
    ),
    "layout": ("Layout",),
    "limits": (
        "MAX_ENTRIES",
        "MAX_SIZE",
    ),
    "listing": (
        "LayerEntry",
        "layer_entries",
    ),
    "manifest": (
        "Descriptor",
        "Index",
        "Manifest",
    ),
    "platform": ("Platform",),
    "reference": ("Reference",),
    "unpacking": (
        "unpack",
        "unpack_layer",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
