"""Why a release is not tagged: each reason is a class, and has an exit code that scripts can tell it by.

The code 10 is that of git.NoRepositoryError.
"""

from __future__ import annotations

from typing import ClassVar

from tagboat.errors import TagboatError


class TagRefusedError(TagboatError):
    """The release is not safe to tag; nothing was changed."""


class NoRemoteError(TagRefusedError):
    """There is no remote of that name to push to."""

    exit_code: ClassVar[int] = 11


class DetachedError(TagRefusedError):
    """No branch is checked out."""

    exit_code: ClassVar[int] = 12


class WrongBranchError(TagRefusedError):
    """Another branch is checked out than the one that releases are made on."""

    exit_code: ClassVar[int] = 13


class NotCleanError(TagRefusedError):
    """Something that goes into the image is not committed."""

    exit_code: ClassVar[int] = 14


class NotPushedError(TagRefusedError):
    """The commit is not on the remote's branch."""

    exit_code: ClassVar[int] = 15


class TagExistsError(TagRefusedError):
    """The tag exists here."""

    exit_code: ClassVar[int] = 16


class RemoteTagExistsError(TagRefusedError):
    """The tag exists on the remote."""

    exit_code: ClassVar[int] = 17


class VersionNotAboveError(TagRefusedError):
    """The version is not above that of the component's last tag."""

    exit_code: ClassVar[int] = 18


class NoChangelogError(TagRefusedError):
    """The changelog says nothing of the version."""

    exit_code: ClassVar[int] = 19


class LockOutdatedError(TagRefusedError):
    """The lock lacks what the packages ask for."""

    exit_code: ClassVar[int] = 20


class PushFailedError(TagRefusedError):
    """The remote cannot be reached, or refuses the tag."""

    exit_code: ClassVar[int] = 21
