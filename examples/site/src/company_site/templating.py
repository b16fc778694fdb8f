"""Templates: how a page is made from values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from company_site.assets import asset
from company_site.posts.markdown import render as render_markdown
from company_site.settings import Mode, Settings
from company_site.site import Site, Visit
from company_site.version import __version__

_FLAGS = 12  # patterns in the style sheet


def environment(settings: Settings) -> jinja2.Environment:
    """Everything is escaped unless it is Markup; a name that does not exist is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {
        "asset": asset,
        "site_name": settings.site_name,
        "is_demo": settings.mode is Mode.DEMO,
        "version": __version__,
    }
    made.filters |= {
        "day": _day,
        "flag": _flag,
        "markdown": _markdown,
        "minute": _minute,
        "segment": _segment,
    }
    return made


def page(
    request: Request,
    template: str,
    visit: Visit | None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """A page for this visit; without one, as for a guest.

    What a signed-in visitor sees is theirs alone; what a guest sees may be kept, but must be asked about
    each time.
    """
    user = visit.user if visit else None
    caching = {"Cache-Control": "no-cache" if user is None else "private, no-store", "Vary": "Cookie"}
    text = (
        Site.of(request).templates.get_template(template).render(user=user, path=request.url.path, **values)
    )
    return HTMLResponse(text, status, headers={**caching, **(headers or {})})


def _day(instant: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(
        instant.isoformat(timespec="seconds"), f"{instant.day} {instant:%B %Y}"
    )


def _minute(instant: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(
        instant.isoformat(timespec="seconds"), f"{instant.day} {instant:%B %Y, %H:%M} UTC"
    )


def _flag(slug: str) -> int:
    """Which of the style sheet's patterns stands for a post: always the same one.

    Any byte would do; by this one the first posts all differ.
    """
    return hashlib.sha256(slug.encode()).digest()[23] % _FLAGS + 1


def _markdown(text: str) -> Markup:
    return Markup(render_markdown(text))  # noqa: S704 - sanitised by `render`


def _segment(text: str) -> str:
    """A text as one part of an address."""
    return quote(text, safe="")
