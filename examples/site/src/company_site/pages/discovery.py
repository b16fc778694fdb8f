"""What search engines ask for: the sitemap (sitemaps.org/protocol.html) and robots.txt (RFC 9309)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from company_site.addresses import author_path, origin, post_path, tag_path, year_path
from company_site.caching import public_headers
from company_site.posts.edition import Edition
from company_site.posts.model import Heading
from company_site.site import Site, visit_edition

_LIMIT = 50_000  # addresses that one sitemap may have
_HIDDEN = ("/login", "/logout", "/search")


async def sitemap(request: Request) -> Response:
    """Every public page (sitemaps.org protocol 0.9)."""
    site = Site.of(request)
    _, edition = await visit_edition(request)
    root = Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for count, (path, changed) in enumerate(_addresses(edition)):
        if count == _LIMIT:
            break
        url = SubElement(root, "url")
        SubElement(url, "loc").text = origin(request) + path
        if changed is not None:
            SubElement(url, "lastmod").text = changed.isoformat(timespec="seconds")
    return Response(
        tostring(root, encoding="utf-8", xml_declaration=True),
        media_type="application/xml",
        headers=public_headers(site, edition),
    )


def _addresses(edition: Edition) -> Iterator[tuple[str, datetime | None]]:
    """Every public page with the instant of its last change, where that is known."""
    newest = max(map(_changed, edition.posts), default=None)
    yield from (("/", newest), ("/about", None), ("/careers", None), ("/posts", newest), ("/archive", newest))
    for post in edition.posts:
        yield post_path(post.slug), _changed(post)
    for year, posts in edition.years.items():
        yield year_path(year), max(map(_changed, posts))
    for tag, posts in edition.tags.items():
        yield tag_path(tag), max(map(_changed, posts))
    for author in edition.authors.values():
        yield author_path(author.slug), max(map(_changed, author.posts))


def _changed(post: Heading) -> datetime:
    return max(post.updated, post.date)


async def robots(request: Request) -> Response:
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in _HIDDEN), ""]
    lines += [f"Sitemap: {origin(request)}/sitemap.xml", ""]
    return PlainTextResponse("\n".join(lines), headers={"Cache-Control": "public, max-age=3600"})


routes = [Route("/sitemap.xml", sitemap), Route("/robots.txt", robots)]
