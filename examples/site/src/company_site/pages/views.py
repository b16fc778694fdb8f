"""Home, about, careers, and Markdown help."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from company_site.addresses import origin
from company_site.assets import asset
from company_site.meta import Meta, website
from company_site.posts.model import Page
from company_site.posts.store import summarised
from company_site.site import Site, visit, visit_edition
from company_site.templating import card_of, page

HEADLINE = "Software for people who keep things moving."
_NEWEST = 6


async def home(request: Request) -> Response:
    """What we are, the entry that the page features, the others that stand on it, and the newest."""
    base, name = origin(request), Site.of(request).settings.site_name
    description = f"{name} builds software for ports, depots and the people who keep things moving."
    meta = Meta(
        url=f"{base}/",
        title=f"{name}: {HEADLINE}",
        description=description,
        image=card_of(request, None),
        structured=website(name, base, description, base + asset("favicon.svg")),
    )
    return await _page(request, Page.HOME, meta, headline=HEADLINE)


async def about(request: Request) -> Response:
    """Who we are, and what stands on this page."""
    name = Site.of(request).settings.site_name
    description = f"Who {name} is, what we do, how we work and where to find us."
    return await _page(request, Page.ABOUT, _meta(request, "/about", f"About {name}", description))


async def careers(request: Request) -> Response:
    """Whom we look for, and what stands on this page."""
    name = Site.of(request).settings.site_name
    description = f"What working at {name} is like, and whom we are looking for."
    return await _page(request, Page.CAREERS, _meta(request, "/careers", f"Work at {name}", description))


def _meta(request: Request, path: str, title: str, description: str) -> Meta:
    return Meta(
        url=origin(request) + path, title=title, description=description, image=card_of(request, None)
    )


async def _page(request: Request, name: Page, meta: Meta, headline: str = "") -> Response:
    seen, edition = await visit_edition(request)
    standing = edition.on(name)
    featured = standing[0] if standing and standing[0].featured else None
    others = [post for post in standing if post is not featured]
    newest = [post for post in edition.posts if post not in standing][:_NEWEST]
    return page(
        request,
        f"pages/{name}.html",
        seen,
        edition,
        meta,
        featured=next(iter(summarised(seen.database, [featured])), None) if featured else None,
        others=summarised(seen.database, others),
        newest=summarised(seen.database, newest),
        headline=headline,
    )


async def markdown_help(request: Request) -> Response:
    return page(request, "pages/markdown.html", await visit(request))


routes = [
    Route("/", home),
    Route("/about", about),
    Route("/careers", careers),
    Route("/markdown", markdown_help),
]
