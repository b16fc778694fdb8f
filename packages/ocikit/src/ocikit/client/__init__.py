"""Registries as sources and sinks of images."""

from ocikit.client.registry import Registry, RegistryBlob
from ocikit.client.uploads import Progress

__all__ = ["Progress", "Registry", "RegistryBlob"]
