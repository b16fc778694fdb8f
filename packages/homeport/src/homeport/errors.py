"""What can go wrong below the API, each saying what, where and what to do."""

from __future__ import annotations


class HomeportError(Exception):
    """The base of all of homeport's own errors."""


class CommandError(HomeportError):
    """A program that homeport runs (ip, nft, runc, haproxy, mount) failed."""


class NetworkError(HomeportError):
    """The instances' network cannot be set up."""


class ImageError(HomeportError):
    """An image cannot be had, or cannot be run."""


class EdgeError(HomeportError):
    """HAProxy does not run or refuses what it is told."""


class CertificateError(HomeportError):
    """A certificate cannot be had; the message says what the authority said."""


class DeploymentError(HomeportError):
    """A new version did not come up; the message is the operation's reason."""


class DirectoryBusyError(HomeportError):
    """Another homeport process uses this data directory."""


class UnavailableError(HomeportError):
    """No instance of a service can answer now, and none is about to."""
