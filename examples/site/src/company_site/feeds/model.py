"""A feed, apart from its format. All addresses in it are absolute: a reader shows it somewhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = re.compile(r"<(?:a|img|source)\b[^>]*>")
_ADDRESS = re.compile(r'\b(href|src)="/(?!/)')
_SOURCES = re.compile(r'\bsrcset="([^"]*)"')
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """A post. `id` is a tag URI (RFC 4151): it stays when the post's address changes."""

    id: str
    url: str
    title: str
    author: str
    author_url: str
    tags: Sequence[str]
    published: datetime
    updated: datetime
    summary: str
    html: str


@dataclass(frozen=True, slots=True)
class Feed:
    """Of the newest posts; `home` is the page that shows the same, `url` where the feed itself is."""

    url: str
    home: str
    title: str
    description: str
    icon: str
    entries: Sequence[Entry]

    @property
    def updated(self) -> datetime:
        return max((entry.updated for entry in self.entries), default=_EPOCH)


def tag_uri(origin: str, day: datetime, name: str) -> str:
    return f"tag:{urlsplit(origin).hostname},{day:%Y-%m-%d}:{name}"


def absolute(html: str, origin: str) -> str:
    """Sanitised HTML with the addresses of links and images of this site made absolute."""

    def sources(match: re.Match[str]) -> str:
        return 'srcset="' + re.sub(r"(^|,\s*)/", rf"\1{origin}/", match[1]) + '"'

    def tag(match: re.Match[str]) -> str:
        return _SOURCES.sub(sources, _ADDRESS.sub(rf'\1="{origin}/', match[0]))

    return _TAG.sub(tag, html)


def xml_text(text: str) -> str:
    """Without the characters that XML 1.0 has no place for (section 2.2)."""
    return _NO_XML.sub("", text)
