"""An OCI registry as an ASGI app over an object store."""

from ocikit.registry.app import Action, Authorize, RegistryApp, create_app
from ocikit.registry.errors import Denied, Refusal, Unauthorized
from ocikit.registry.garbage import Collected
from ocikit.registry.manifests import OnPush
from ocikit.registry.storage import Storage

__all__ = [
    "Action",
    "Authorize",
    "Collected",
    "Denied",
    "OnPush",
    "Refusal",
    "RegistryApp",
    "Storage",
    "Unauthorized",
    "create_app",
]
