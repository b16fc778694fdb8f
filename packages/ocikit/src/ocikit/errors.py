"""What can go wrong with images and registries. Messages say what, where, and what to do; never a secret."""

from __future__ import annotations


class OcikitError(Exception):
    """The root of every error that ocikit raises on purpose."""


class InvalidReferenceError(OcikitError, ValueError):
    """The text names no image."""


class InvalidDocumentError(OcikitError, ValueError):
    """A manifest, index, configuration or layout is not what the image specification says."""


class DigestMismatchError(OcikitError):
    """Content is not what its digest or size promised."""


class UnsafeArchiveError(OcikitError):
    """An archive is malformed, wants to write outside its root, or more than it may."""


class NotFoundError(OcikitError, LookupError):
    """No such image, tag or blob."""


class RegistryError(OcikitError):
    """A registry refused or failed. `status` is HTTP's, `code` the distribution specification's."""

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class AuthenticationError(RegistryError):
    """The registry does not know who asks (401) or does not let them (403)."""


class RegistryNotFoundError(RegistryError, NotFoundError):
    """The registry has no such repository, tag or blob."""


class TagExistsError(RegistryError):
    """The tag names another image already, and the registry does not let it be moved."""
