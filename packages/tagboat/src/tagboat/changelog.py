"""The changelog of a component, `CHANGELOG.md`: a section for each version, the newest first.

A section begins with a heading that names a version, in any of the usual ways: `## [1.4.0] - 2026-11-23`,
`## 1.4.0`, `# v1.4.0 (2026-11-23)`; what is not released yet may stand below `## [Unreleased]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from packaging.version import InvalidVersion, Version

FILE_NAME = "CHANGELOG.md"
_TITLE = "# Changelog\n"
_HEADING = re.compile(r"(?P<level>#{1,3})\s+\[?v?(?P<name>[^]\s(]+)\]?(?=\s|\(|$)")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_LINK = re.compile(r"\[[^\]]+\]:\s")
# Conventional Commits 1.0.0: `type(scope)!: subject`
_CONVENTIONAL = re.compile(r"(?P<type>[a-z]+)(?:\([^)]*\))?(?P<breaking>!)?:\s+(?P<subject>\S.*)")
_KINDS = {"feat": "Added", "fix": "Fixed", "perf": "Changed", "refactor": "Changed", "revert": "Removed"}
_ORDER = ("Breaking", "Added", "Changed", "Removed", "Fixed", "Other")


@dataclass(frozen=True, slots=True)
class Section:
    """One version's part of a changelog: lines `start` to `end`, the heading being the first of them."""

    version: Version | None  # None: not released yet
    start: int
    end: int
    body: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit, as a changelog sees it."""

    commit: str
    subject: str
    body: str


def section_of(text: str, version: str) -> Section | None:
    """The section of `version`, compared as versions are (`1.4` is `1.4.0`); None where there is none."""
    wanted = Version(version)
    return next((section for section in _sections(text) if section.version == wanted), None)


def unreleased_section(text: str) -> Section | None:
    return next((section for section in _sections(text) if section.version is None), None)


def released(text: str, version: str, today: date) -> str | None:
    """The changelog with what was unreleased as the section of `version`; None where nothing was."""
    section = unreleased_section(text)
    if section is None or not section.body:
        return None
    lines = text.splitlines(keepends=True)
    level = lines[section.start].partition(" ")[0]
    lines[section.start] = f"{level} [{version}] - {today}\n"
    return "".join(lines)


def draft(entries: Iterable[Entry]) -> str:
    """The body of a section for these commits: grouped where their subjects follow Conventional Commits."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        match = _CONVENTIONAL.fullmatch(entry.subject)
        kind = "Changed" if match is None else _KINDS.get(match["type"], "Other")
        if (match is not None and match["breaking"]) or "BREAKING CHANGE:" in entry.body:
            kind = "Breaking"
        subject = entry.subject if match is None else match["subject"]
        line = f"- {subject[0].upper()}{subject[1:]} ({entry.commit[:7]})"
        groups.setdefault(kind, []).append(line)
    parts = (
        f"### {kind}\n\n" + "\n".join(groups[kind])
        if len(groups) > 1 or kind != "Changed"
        else "\n".join(groups[kind])
        for kind in _ORDER
        if kind in groups
    )
    return "\n\n".join(parts)


def with_section(text: str | None, version: str | None, body: str, today: date) -> str:
    """The changelog (None: a new one) with a section before all others; of no version: what is unreleased."""
    heading = "## [Unreleased]" if version is None else f"## [{version}] - {today}"
    if text is None:
        return f"{_TITLE}\n{heading}\n\n{body}\n"
    lines = text.splitlines(keepends=True)
    first = next((section.start for section in _sections(text)), len(lines))
    before = "".join(lines[:first]).rstrip("\n")
    return f"{before}\n\n{heading}\n\n{body}\n\n{''.join(lines[first:])}".strip("\n") + "\n"


@dataclass(frozen=True, slots=True)
class _Heading:
    line: int
    level: int
    names_section: bool
    version: Version | None


def _sections(text: str) -> list[Section]:
    lines = text.splitlines()
    headings = list(_headings(lines))
    found = []
    for position, heading in enumerate(headings):
        if heading.names_section:
            later = (
                other.line
                for other in headings[position + 1 :]
                if other.names_section or other.level <= heading.level
            )
            end = next(later, len(lines))
            found.append(Section(heading.version, heading.line, end, _body(lines[heading.line + 1 : end])))
    return found


def _body(lines: list[str]) -> str:
    """Without blank lines around it, and without the link definitions that often end a changelog."""
    while lines and (not lines[-1].strip() or _LINK.match(lines[-1])):
        lines.pop()
    while lines and not lines[0].strip():
        lines.pop(0)
    return "\n".join(line.rstrip() for line in lines)


def _headings(lines: list[str]) -> Iterator[_Heading]:
    """The headings of the first three levels, outside of fenced code."""
    fence = ""
    for number, line in enumerate(lines):
        if mark := _FENCE.match(line):
            fence = "" if mark[1] == fence else fence or mark[1]
        elif not fence and (match := _HEADING.match(line)):
            version = _version(match["name"])
            named = version is not None or match["name"].lower() == "unreleased"
            yield _Heading(number, len(match["level"]), named, version)


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None
