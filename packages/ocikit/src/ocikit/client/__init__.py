"""Registries as sources and sinks of images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocikit.client.registry import Registry, RegistryBlob
    from ocikit.client.uploads import Progress

__all__ = ["Progress", "Registry", "RegistryBlob"]

# Loaded at first use: who only glances at a registry does not wait for a whole HTTP client.
_MODULE_OF = {"Progress": "uploads", "Registry": "registry", "RegistryBlob": "registry"}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
