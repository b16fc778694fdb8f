"""A release of Debian or of a distribution that is built and signed the same way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Distribution, as /etc/os-release has it (os-release(5), ID) -> Origin of its archive's Release files.
_ORIGINS = {"debian": "Debian", "ubuntu": "Ubuntu"}

DISTRIBUTIONS = frozenset(_ORIGINS)


@dataclass(frozen=True, slots=True)
class Release:
    """`debian:bookworm`: a distribution and one of its suites, by code name."""

    distribution: str
    suite: str

    @classmethod
    def of_this_machine(cls, os_release: Path = Path("/etc/os-release")) -> Release | None:
        """The release that the machine runs; None where it is none of these, or names no suite."""
        try:
            lines = os_release.read_text().splitlines()
        except OSError:
            return None
        fields = {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in lines)}
        distribution, suite = fields.get("ID", ""), fields.get("VERSION_CODENAME", "")
        return cls(distribution, suite) if distribution in DISTRIBUTIONS and suite else None

    @property
    def origin(self) -> str:
        return _ORIGINS[self.distribution]

    def __str__(self) -> str:
        return f"{self.distribution}:{self.suite}"
