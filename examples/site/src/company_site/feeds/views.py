"""Feeds at `feed.atom`, `feed.rss` and `feed.json` below what they are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from company_site.addresses import author_path, origin, post_path, tag_path
from company_site.assets import asset
from company_site.caching import public_headers
from company_site.feeds import atom, json_feed, rss
from company_site.feeds.model import Entry, Feed, absolute, tag_uri
from company_site.posts.edition import Edition
from company_site.posts.markdown import render
from company_site.posts.model import Heading
from company_site.posts.store import find_post
from company_site.site import Site, Visit, visit_edition

_FORMATS: Mapping[str, tuple[str, Callable[[Feed], bytes]]] = {
    "atom": (atom.MEDIA_TYPE, atom.write),
    "rss": (rss.MEDIA_TYPE, rss.write),
    "json": (json_feed.MEDIA_TYPE, json_feed.write),
}
_LENGTH = 20  # posts


@dataclass(frozen=True, slots=True)
class _Topic:
    """What a feed is about: the path of its page, without one the whole log."""

    path: str
    name: str
    description: str
    posts: Sequence[Heading]


async def site_feed(request: Request) -> Response:
    seen, edition = await visit_edition(request)
    return _feed(request, seen, edition, _Topic("", "", "What we build, learn and get wrong.", edition.posts))


async def tag_feed(request: Request) -> Response:
    seen, edition = await visit_edition(request)
    tag = request.path_params["tag"]
    if tag not in edition.tags:
        raise HTTPException(404)
    return _feed(request, seen, edition, _Topic(tag_path(tag), tag, f"Entries on {tag}.", edition.tags[tag]))


async def author_feed(request: Request) -> Response:
    seen, edition = await visit_edition(request)
    author = edition.authors.get(request.path_params["author"])
    if author is None:
        raise HTTPException(404)
    topic = _Topic(author_path(author.slug), author.name, f"Entries by {author.name}.", author.posts)
    return _feed(request, seen, edition, topic)


def _feed(request: Request, seen: Visit, edition: Edition, topic: _Topic) -> Response:
    format_name = request.path_params["format"]
    if format_name not in _FORMATS:
        raise HTTPException(404)
    media_type, write = _FORMATS[format_name]
    site, base = Site.of(request), origin(request)
    name = site.settings.site_name
    entries = (_entry(seen, edition, post, base) for post in topic.posts[:_LENGTH])
    feed = Feed(
        url=f"{base}{topic.path}/feed.{format_name}",
        home=f"{base}{topic.path or '/posts'}",
        title=f"{name}: {topic.name}" if topic.name else name,
        description=topic.description,
        icon=base + asset("favicon.svg"),
        entries=[entry for entry in entries if entry is not None],
    )
    headers = {**public_headers(site, edition), "Content-Type": media_type}
    return Response(write(feed), headers=headers)


def _entry(seen: Visit, edition: Edition, heading: Heading, base: str) -> Entry | None:
    post = find_post(seen.database, heading.slug)
    if post is None:
        return None
    return Entry(
        id=tag_uri(base, post.created, f"posts/{post.id}"),
        url=f"{base}{post_path(post.slug)}",
        title=post.title,
        author=post.author.name,
        author_url=f"{base}{author_path(edition.slugs[post.author.id])}",
        tags=post.tags,
        published=post.date,
        updated=max(post.updated, post.date),
        summary=post.summary or post.title,  # of a post that is a picture
        html=absolute(render(post.body), base),
    )


routes = [
    Route("/feed.{format}", site_feed),
    Route("/tags/{tag:path}/feed.{format}", tag_feed),
    Route("/authors/{author}/feed.{format}", author_feed),
]
