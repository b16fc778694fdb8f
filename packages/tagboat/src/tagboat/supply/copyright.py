"""The licences of Debian's packages, by their copyright files (Debian policy, sections 4.5 and 12.5)."""

from __future__ import annotations

import re

from packaging.licenses import canonicalize_license_expression

# Names of the machine-readable form ("DEP-5") that are licences of SPDX and no others.
_SPDX = {
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "cc0-1.0": "CC0-1.0",
    "expat": "MIT",
    "isc": "ISC",
    "mit": "MIT",
    "mpl-1.1": "MPL-1.1",
    "mpl-2.0": "MPL-2.0",
    "zlib": "Zlib",
}
_GNU = re.compile(r"(l?gpl|gfdl)-(\d)(?:\.(\d))?(\+?)")
_SYNOPSIS = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+-?[0-9]?(?:\.[0-9]+)*)")
_FORMAT = re.compile(r"(?:Format|Format-Specification):", re.IGNORECASE)
_LONGEST = 60  # characters of a name; what is longer is the text itself


def read_licences(package: str, text: str) -> tuple[str | None, str | None]:
    """All that a package's copyright file names, as an SPDX expression, or else in its own words.

    It is about the source package: a binary may hold less. What is in prose is left to people to read.
    """
    if not _FORMAT.match(text.lstrip()):
        common = dict.fromkeys(name.rstrip("-.") for name in _COMMON.findall(text))
        names = f", which names {', '.join(common)}" if common else ""
        return None, f"see /usr/share/doc/{package}/copyright{names}"
    found = {name.lower(): name for name in reversed([name.strip() for name in _SYNOPSIS.findall(text)])}
    named = [name for name in reversed(found.values()) if len(name) <= _LONGEST]
    expressions = [_expression(name) for name in named]
    if named and len(named) == len(found) and all(expressions):
        parts = dict.fromkeys(f"({one})" if " OR " in one else one for one in expressions if one)
        return canonicalize_license_expression(" AND ".join(parts)), None
    return None, ", ".join(named) or f"see /usr/share/doc/{package}/copyright"


def _expression(name: str) -> str | None:
    """`A`, or `A or B`, where SPDX knows each."""
    found = [_identifier(part.strip()) for part in re.split(r"\s+or\s+|\s*\|\s*", name)]
    return " OR ".join(filter(None, found)) if all(found) else None


def _identifier(name: str) -> str | None:
    if match := _GNU.fullmatch(name.lower()):
        kind, major, minor, later = match.groups()
        return f"{kind.upper()}-{major}.{minor or 0}-{'or-later' if later else 'only'}"
    return _SPDX.get(name.lower())
