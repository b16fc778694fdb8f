"""homeport in a browser: services, their deployments and logs, and the audit trail; for the owner alone."""

from homeport.console.app import PREFIX, ByEdge, Console

__all__ = ["PREFIX", "ByEdge", "Console"]
