"""An OCI registry as an ASGI app over an object store."""

from ocikit.registry.app import Action, Authorize, OnPush, create_app
from ocikit.registry.errors import Denied, Refusal, Unauthorized
from ocikit.registry.storage import Storage

__all__ = ["Action", "Authorize", "Denied", "OnPush", "Refusal", "Storage", "Unauthorized", "create_app"]
