"""Home, about, Markdown help, and health."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from company_site.posts.model import Page
from company_site.posts.store import featured_on
from company_site.posts.views import public_entries
from company_site.site import visit
from company_site.templating import page
from company_site.version import __version__

HEADLINE = "Software for people who keep things moving."
_NEWEST = 6


async def home(request: Request) -> Response:
    seen = await visit(request)
    posts = public_entries(request, seen)
    featured = featured_on(posts, Page.HOME)
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
