"""Which of a repository's tags a service follows that follows releases: the newest by Semantic Versioning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

_SCHEME: Final = "semver"
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")  # OCI distribution spec 1.1
_NUMBER: Final = r"(0|[1-9][0-9]{0,17})"
_VERSION: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
)  # no pre-release: those are asked for by name


@dataclass(frozen=True, slots=True)
class Track:
    """Tags that begin with `begin`: `v`, `site-v`, or `v1.` for the releases of one line only."""

    begin: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """`semver`, which is releases written `1.2.3` or `v1.2.3`, or `semver:BEGIN`. Raises ValueError."""
        scheme, colon, begin = text.partition(":")
        if scheme != _SCHEME or (colon and not _TAG.fullmatch(begin)):
            raise ValueError(text)
        return cls(begin)

    def version(self, tag: str) -> tuple[int, int, int] | None:
        """What the tag is a release of; None for one that is not followed."""
        if not tag.startswith(self.begin):
            return None
        # What the beginning says of the version itself (`v1.`) is part of the version.
        name = self.begin.rstrip("0123456789.") if self.begin else "v" if tag.startswith("v") else ""
        match = _VERSION.fullmatch(tag.removeprefix(name))
        return None if match is None else (int(match[1]), int(match[2]), int(match[3]))

    def newest(self, tags: Iterable[str]) -> str | None:
        """The tag of the highest version; None where no tag is followed."""
        found = [(version, tag) for tag in tags if (version := self.version(tag)) is not None]
        return max(found)[1] if found else None
