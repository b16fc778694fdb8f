"""Where an image runs: operating system, architecture, variant, in the image specification's words."""

from __future__ import annotations

import os
from typing import Any

from ocikit._document import Reader
from ocikit.errors import InvalidReferenceError
from ocikit.value import value

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@value
class Platform:
    """`os` and `architecture` as Go names them: linux, amd64, arm64; `variant` as in arm's v7."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`. Raises InvalidReferenceError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise InvalidReferenceError(f"{text!r} is no platform; write e.g. linux/amd64 or linux/arm64/v8")
        return cls(*parts)

    @classmethod
    def host(cls) -> Platform:
        """This machine's, which is a Linux whatever runs here: containers are."""
        machine = os.uname().machine
        return cls("linux", _MACHINES.get(machine, machine))

    def matches(self, wanted: Platform) -> bool:
        """Whether an image for this platform runs where `wanted` is asked for."""
        return (
            self.os == wanted.os
            and self.architecture == wanted.architecture
            and (wanted.variant is None or self.variant in (None, wanted.variant))
        )

    def to_json(self) -> dict[str, Any]:
        """As descriptors and configurations have it."""
        plain = {"architecture": self.architecture, "os": self.os}
        return plain | ({"variant": self.variant} if self.variant else {})

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def read_platform(reader: Reader) -> Platform:
    """The platform in the members of a descriptor's `platform`, or of a configuration."""
    return Platform(
        reader.get("os", str), reader.get("architecture", str), reader.optional("variant", str) or None
    )
