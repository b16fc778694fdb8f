"""The name of an image: `host[:port]/repository[:tag][@digest]` (distribution specification 1.1)."""

from __future__ import annotations

import re
from dataclasses import replace

from ocikit.digest import Digest
from ocikit.errors import InvalidReferenceError
from ocikit.value import value

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[(?P<address>[0-9A-Fa-f:]+)\])(?::(?P<port>[0-9]{1,5}))?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HUB = "docker.io"


@value
class Reference:
    """An image in a registry. Neither tag nor digest stands for the tag `latest`."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if not _is_host(self.registry):
            raise InvalidReferenceError(f"{self.registry!r} is no registry host")
        check_repository(self.repository)
        if self.tag is not None:
            check_tag(self.tag)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference. A first part without dot, colon or `localhost` belongs to Docker Hub's names."""
        name, at, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        if slash and (first == "localhost" or "." in first or ":" in first):
            registry, path = first, rest
        else:
            registry, path = _HUB, name if slash else f"library/{name}"
        repository, colon, tag = path.rpartition(":")
        if not colon:
            repository, tag = path, ""
        if colon and not tag:
            raise InvalidReferenceError(f"{text!r} ends in a colon without a tag")
        return cls(registry, repository, tag or None, Digest.parse(digest) if at else None)

    def with_tag(self, tag: str) -> Reference:
        """Another image of the repository. Raises InvalidReferenceError for what is no tag."""
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        """Another image of the repository, whatever its tag."""
        return replace(self, tag=None, digest=digest)

    @property
    def identifier(self) -> str:
        """What stands for the manifest in a registry's paths: the digest before the tag before `latest`."""
        return str(self.digest) if self.digest else self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def _is_host(text: str) -> bool:
    match = _HOST.fullmatch(text)
    if match is None or (match["port"] and not 0 < int(match["port"]) < 65536):
        return False
    if match["address"] is None:
        return True
    from ipaddress import IPv6Address  # noqa: PLC0415  few registries have a number for a name

    try:
        IPv6Address(match["address"])
    except ValueError:
        return False
    return True


def check_repository(name: str) -> None:
    """Raises InvalidReferenceError for what is no repository's name."""
    if len(name) > 255 or not _REPOSITORY.fullmatch(name):
        raise InvalidReferenceError(
            f"{name[:260]!r} is no repository name: lower-case words joined by . _ __ - and /"
        )


def check_tag(tag: str) -> None:
    """Raises InvalidReferenceError for what is no tag."""
    if not _TAG.fullmatch(tag):
        raise InvalidReferenceError(f"{tag[:140]!r} is no tag: at most 128 of A-Z a-z 0-9 _ . -")
