"""What can go wrong in the site, apart from HTTP itself."""

from __future__ import annotations


class SiteError(Exception):
    """The root of the site's own errors."""


class NotAllowedError(SiteError):
    """The user may not do this; for a change, decided on the database value that it would be made on."""


class SignInNeededError(NotAllowedError):
    """A visitor who is not signed in asked for what only some users may do."""


class GoneError(SiteError):
    """What was to be changed or shown is not there."""


class DeletedError(GoneError):
    """What was asked for was there and has been deleted: its address answers 410."""
