"""Where requests go: origins, loopback hosts, and the next place that an answer names."""

from __future__ import annotations

import os
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from ocikit.errors import RegistryError


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this very machine, by its name or number alone."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_plain(host: str) -> bool:
    """Whether `host[:port]` is spoken to in plain HTTP: loopback, and what the user has named."""
    named = os.environ.get("OCIKIT_INSECURE_REGISTRIES", "").replace(",", " ").split()
    return host in named or is_loopback(host)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port. Raises ValueError."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def shown(url: str) -> str:
    """A URL without what may be secret: its user, its password, and its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def next_place(url: str, location: str) -> str:
    """Where an answer from `url` sends us. Raises RegistryError if that is no place to go."""
    try:
        target = urljoin(url, location)
        scheme, _, _ = origin(target)
    except ValueError:
        scheme = ""
    if not location or scheme not in ("http", "https"):
        raise RegistryError(f"{shown(url)} sends us to {location[:200]!r}, which is no place to go")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise RegistryError(f"{shown(url)} sends us from https to {scheme}")
    return target


def with_query(url: str, query: str) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}"
