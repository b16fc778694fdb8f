"""Redirects: from names and paths that have moved to where they are now; HAProxy answers them by itself.

A source is `HOST` or `*.HOST`, alone (everything below it) or with a path: `/old` just that one, `/docs/*`
what begins so, `/old?id=3` only with that query. Of all that fit a request the narrowest answers: its own
host before a wildcard, then path with query, path, path without regard to case, the longest prefix.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

import bucketlog
from homeport.errors import HomeportError
from homeport.hosts import HostError, host_name
from homeport.schema import attribute

Status = Literal[301, 302, 307, 308]
STATUSES: Final = get_args(Status)

_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986, section 2
_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~:/@!$&'()+,;=%*]*")
_QUERY: Final = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]*")
_LONGEST: Final = 2000  # characters of a source or a target: HAProxy's lines have their limits


class RedirectError(HomeportError):
    """A redirect that makes no sense, or that is there already."""


class NoSuchRedirectError(RedirectError):
    """No redirect has this source."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a request must be for a redirect to answer it; `prefix`: the path is only the beginning."""

    host: str  # lower case; `*.example.com` for every name below
    path: str
    query: str | None = None
    prefix: bool = False

    @classmethod
    def parse(cls, text: str) -> Source:
        """Raises RedirectError."""
        host, slash, rest = text.partition("/")
        path, question, query = f"{slash}{rest}".partition("?")
        try:
            host = host_name(host, wildcard=True)
        except HostError as error:
            raise RedirectError(str(error)) from None
        if len(text) > _LONGEST:
            raise RedirectError(f"the source has more than {_LONGEST} characters")
        if path in ("", "/*"):
            return cls._whole(host, text, question)
        if not _PATH.fullmatch(path) or "*" in path[:-1] or not _QUERY.fullmatch(query):
            raise RedirectError(
                f"{text!r} is no source: write HOST, HOST/path, HOST/path?query, or HOST/path/*"
            )
        if path.endswith("*"):
            if not path.endswith("/*") or question:
                raise RedirectError(f"{text!r}: * stands for whole parts of a path, at its end: HOST/docs/*")
            return cls(host, path[:-1], prefix=True)
        return cls(host, path, query if question else None)

    @classmethod
    def _whole(cls, host: str, text: str, question: str) -> Source:
        if question:
            raise RedirectError(f"{text!r}: a query needs a path before it, at least HOST/?query")
        return cls(host, "/", prefix=True)

    def takes(self, host: str) -> bool:
        """Whether whatever `host` is asked for fits."""
        whole = self.prefix and self.path == "/"
        wild = self.host.startswith("*.") and host.endswith(self.host[1:])
        return whole and (wild or host == self.host)

    def __str__(self) -> str:
        if self.prefix:
            return self.host if self.path == "/" else f"{self.host}{self.path}*"
        return f"{self.host}{self.path}" + ("" if self.query is None else f"?{self.query}")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a redirect leads, in the parts that a request's own path and query go between."""

    base: str  # scheme, authority, and path
    query: str
    fragment: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Raises RedirectError."""
        if len(text) > _LONGEST:
            raise RedirectError(f"the target has more than {_LONGEST} characters")
        try:
            parts = urlsplit(text)
            well = bool(parts.hostname) and parts.port != 0
        except ValueError:
            well = False
        if (
            not well
            or not _URI.fullmatch(text)
            or parts.scheme not in ("http", "https")
            or "@" in parts.netloc
        ):
            raise RedirectError(f"{text!r} is no target: write a whole URL, like https://www.example.com/new")
        before, _, fragment = text.partition("#")
        base, _, query = before.partition("?")
        return cls(base, query, fragment)


@dataclass(frozen=True, slots=True)
class Redirect:
    """`keep_path`: what of the path follows a prefix is put behind the target's, with one slash between, byte
    for byte; `keep_query`: the query too, behind the target's own.
    """

    source: Source
    target: str
    status: Status = 301
    keep_path: bool = True
    keep_query: bool = True
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        Target.parse(self.target)
        if self.status not in STATUSES:
            raise RedirectError(f"{self.status} is none of {', '.join(map(str, STATUSES))}")

    @property
    def parts(self) -> tuple[str, int | None, str, str]:
        """The beginning of the location, where the rest of the path begins (None: it is not kept), the
        target's query, and its fragment.
        """
        target = Target.parse(self.target)
        if not (self.keep_path and self.source.prefix):
            return target.base, None, target.query, target.fragment
        return f"{target.base.rstrip('/')}/", len(self.source.path), target.query, target.fragment

    def location(self, path: str, query: str | None) -> str:
        """Where a request that fits the source is sent."""
        base, begin, own, fragment = self.parts
        kept = query if self.keep_query else None
        asked = "&".join(part for part in (own, kept) if part)
        mark = "?" if own or kept is not None else ""
        return (
            f"{base}{'' if begin is None else path[begin:]}{mark}{asked}{f'#{fragment}' if fragment else ''}"
        )


def match(redirects: Iterable[Redirect], host: str, path: str, query: str | None = None) -> Redirect | None:
    """The redirect that answers a request, if one does: what HAProxy's maps do, said in Python."""
    by_source = {redirect.source: redirect for redirect in redirects}
    wildcards = [source.host for source in by_source if source.host.startswith("*.")]
    fitting = sorted((name for name in wildcards if host.endswith(name[1:])), key=len, reverse=True)
    for name in (host, *fitting[:1]):
        here = [redirect for source, redirect in by_source.items() if source.host == name]
        exact = [one for one in here if not one.source.prefix]
        prefixes = [one for one in here if one.source.prefix and path.startswith(one.source.path)]
        tries = (
            (one for one in exact if (one.source.path, one.source.query) == (path, query)),
            (one for one in exact if one.source.path == path and one.source.query is None),
            (one for one in exact if one.source.path.lower() == path.lower() and one.source.query is None),
            iter(sorted(prefixes, key=lambda one: len(one.source.path), reverse=True)),
        )
        for found in tries:
            if (redirect := next(found, None)) is not None:
                return redirect
    return None


_SCHEMA = [
    attribute("redirect/source", "string", identity=True),
    attribute("redirect/id", "string"),
    attribute("redirect/target", "string"),
    attribute("redirect/status", "long"),
    attribute("redirect/keep-path", "boolean"),
    attribute("redirect/keep-query", "boolean"),
    attribute("redirect/created", "instant"),
]


class Redirects:
    """The redirects of one homeport, in bucketlog. Changes block."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._all: dict[Source, Redirect] = {}  # oldest first

    def load(self) -> None:
        """Install the schema and read everything."""
        self._database.transact(_SCHEMA)
        db = self._database.db()
        found = [
            _redirect(db.pull("[*]", one)) for one in db.q("[:find [?e ...] :where [?e :redirect/source _]]")
        ]
        self._all = {one.source: one for one in sorted(found, key=lambda one: one.created_at)}

    def all(self) -> list[Redirect]:
        return list(self._all.values())

    def add(self, redirect: Redirect) -> None:
        """Raises RedirectError for a source that is there already, and for one that its target leads to."""
        with self._lock:
            if redirect.source in self._all:
                raise RedirectError(f"{redirect.source} is redirected already: remove that first")
            parts = urlsplit(redirect.target)
            if match([redirect], (parts.hostname or "").lower(), parts.path or "/", parts.query or None):
                raise RedirectError(f"{redirect.source} would be redirected to itself")
            self._database.transact([_facts(redirect)])
            self._all = {**self._all, redirect.source: redirect}

    def remove(self, source: Source) -> Redirect:
        """Raises NoSuchRedirectError."""
        with self._lock:
            if source not in self._all:
                raise NoSuchRedirectError(f"{source} is not redirected")
            self._database.transact([[":db/retractEntity", [":redirect/source", str(source)]]])
            left = dict(self._all)
            redirect = left.pop(source)
            self._all = left
            return redirect


def _facts(redirect: Redirect) -> dict[str, Any]:
    return {
        ":redirect/source": str(redirect.source),
        ":redirect/id": redirect.id,
        ":redirect/target": redirect.target,
        ":redirect/status": redirect.status,
        ":redirect/keep-path": redirect.keep_path,
        ":redirect/keep-query": redirect.keep_query,
        ":redirect/created": redirect.created_at,
    }


def _redirect(facts: Mapping[str, Any]) -> Redirect:
    return Redirect(
        source=Source.parse(facts[":redirect/source"]),
        target=facts[":redirect/target"],
        status=facts[":redirect/status"],
        keep_path=facts[":redirect/keep-path"],
        keep_query=facts[":redirect/keep-query"],
        id=facts[":redirect/id"],
        created_at=facts[":redirect/created"],
    )
