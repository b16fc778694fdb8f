"""Where things are: the paths of public pages, and the site's own origin."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.requests import Request

from company_site.site import Site

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


def segment(text: str) -> str:
    """A text as one part of an address."""
    return quote(text, safe="")


def post_path(slug: str) -> str:
    return f"/posts/{segment(slug)}"


def tag_path(tag: str) -> str:
    return f"/tags/{segment(tag)}"


def author_path(slug: str) -> str:
    return f"/authors/{segment(slug)}"


def year_path(year: int) -> str:
    return f"/archive/{year}"


def origin(request: Request) -> str:
    """Scheme and host of every absolute address: what the settings say, or what was asked for."""
    configured = Site.of(request).settings.site_url
    if configured is not None:
        return configured
    host = request.headers.get("host", "")
    return f"{request.url.scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"
