"""Home, about, Markdown help, and health."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from company_site.posts.store import listing
from company_site.site import Site, visit
from company_site.templating import page
from company_site.version import __version__

HEADLINE = "Software for people who keep things moving."
_NEWEST = 6


async def home(request: Request) -> Response:
    seen = await visit(request)
    posts = Site.of(request).data.derive(seen.database, listing)
    featured = next((post for post in posts if post.featured), None)
    newest = [post for post in posts if post is not featured][:_NEWEST]
    return page(request, "pages/home.html", seen, headline=HEADLINE, featured=featured, newest=newest)


async def about(request: Request) -> Response:
    return page(request, "pages/about.html", await visit(request))


async def markdown_help(request: Request) -> Response:
    return page(request, "pages/markdown.html", await visit(request))


async def health(_: Request) -> Response:
    """The process is up and has opened its database; asks nothing of the bucket, so that a slow one kills
    nobody.
    """
    return JSONResponse({"status": "ok", "version": __version__}, headers={"Cache-Control": "no-store"})


routes = [
    Route("/", home),
    Route("/about", about),
    Route("/markdown", markdown_help),
    Route("/healthz", health),
]
