"""Templates: how a page is made from values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from company_site.addresses import author_path, origin, post_path, segment, tag_path, year_path
from company_site.assets import asset
from company_site.caching import public_headers
from company_site.meta import Meta
from company_site.posts.edition import Edition
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
        "author_path": author_path,
        "post_path": post_path,
        "tag_path": tag_path,
        "year_path": year_path,
        "site_name": settings.site_name,
        "is_demo": settings.mode is Mode.DEMO,
        "version": __version__,
    }
    made.filters |= {
        "day": _day,
        "day_of_month": _day_of_month,
        "flag": _flag,
        "markdown": _markdown,
        "minute": _minute,
        "segment": segment,
    }
    return made


def page(
    request: Request,
    template: str,
    visit: Visit | None,
    edition: Edition | None = None,
    meta: Meta | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """A page for this visit; without one, as for a guest.

    What a signed-in visitor sees is theirs alone. What a guest sees of an edition is the same for all, until
    there is another edition (see `caching`). Of any other page that a guest sees a copy may be kept, but must
    be asked about each time; it has no `meta`, and search engines are asked to leave it alone.
    """
    site, user = Site.of(request), visit.user if visit else None
    if user is not None:
        caching = {"Cache-Control": "private, no-store", "Vary": "Cookie"}
    elif edition is not None:
        caching = public_headers(site, edition)
    else:
        caching = {"Cache-Control": "no-cache", "Vary": "Cookie"}
    values = {"author_slugs": edition.slugs if edition else {}, **values}
    text = site.templates.get_template(template).render(user=user, path=request.url.path, meta=meta, **values)
    return HTMLResponse(text, status, headers={**caching, **(headers or {})})


def card_of(request: Request, slug: str | None) -> str:
    """The absolute address of the picture that stands for a post, or for the site."""
    return origin(request) + asset("card.png" if slug is None else f"card-{_flag(slug)}.png")


def _day(instant: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(
        instant.isoformat(timespec="seconds"), f"{instant.day} {instant:%B %Y}"
    )


def _day_of_month(instant: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(
        instant.isoformat(timespec="seconds"), f"{instant.day} {instant:%b}"
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
