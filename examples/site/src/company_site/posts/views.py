"""Reading posts: each by itself, by lists, tags, authors and years, and by search."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import nlargest

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.addresses import author_path, origin, post_path, segment, tag_path, year_path
from company_site.errors import DeletedError, GoneError
from company_site.meta import Article, Meta, blog_posting, breadcrumbs
from company_site.posts.edition import Edition, months
from company_site.posts.markdown import render
from company_site.posts.model import Heading, Post, may_change, slugify
from company_site.posts.search import QUERY_LIMIT, excerpts, parse, search
from company_site.posts.store import earlier_names, find_moved, find_post, is_public, summarised
from company_site.site import Site, Visit, visit_edition
from company_site.templating import card_of, page

PAGE_SIZE = 20
_TAGS_SHOWN = 24
_LOG = "The log"
_ABOUT_THE_LOG = "What we build, what we learn, and what went wrong."
_IMAGE = re.compile(r'<img [^>]*?src="(/uploads/[^"]+)"')


async def posts(request: Request) -> Response:
    """A page of the list: `?page=` counts from 1. `?tag=` was the address of a tag once."""
    if "tag" in request.query_params:
        return RedirectResponse(tag_path(request.query_params["tag"]), 301)
    seen, edition = await visit_edition(request)
    return _list(request, seen, edition, edition.posts, path="/posts", title=_LOG, description=_ABOUT_THE_LOG)


async def tagged(request: Request) -> Response:
    seen, edition = await visit_edition(request)
    tag = request.path_params["tag"]
    found = edition.tags.get(tag)
    if found is None:
        raise HTTPException(404)
    return _list(
        request,
        seen,
        edition,
        found,
        path=tag_path(tag),
        title=f"Entries on {tag}",
        description=f"{_count(found)} on {tag}.",
    )


async def by_author(request: Request) -> Response:
    """What somebody has written. Under a name that they had before it answers with where it is now."""
    seen, edition = await visit_edition(request)
    slug = request.path_params["author"]
    author = edition.authors.get(slug)
    if author is None:
        for user, name in earlier_names(seen.database):
            if slugify(name) == slug and user in edition.slugs:
                return RedirectResponse(author_path(edition.slugs[user]), 301, {"Cache-Control": "no-cache"})
        raise HTTPException(404)
    return _list(
        request,
        seen,
        edition,
        author.posts,
        path=author_path(slug),
        title=f"Entries by {author.name}",
        description=f"{_count(author.posts)} by {author.name}.",
    )


async def archive(request: Request) -> Response:
    """All titles of a year, by month; without one, of the newest year."""
    seen, edition = await visit_edition(request)
    newest = next(iter(edition.years), datetime.now(UTC).year)
    year = request.path_params.get("year", newest)
    found = edition.years.get(year, ())
    if not found and "year" in request.path_params:
        raise HTTPException(404)
    meta = Meta(
        url=origin(request) + year_path(year),
        title=f"The log of {year}",
        description=f"{_count(found)} of {year}, by month.",
        image=card_of(request, None),
    )
    return page(
        request,
        "posts/archive.html",
        seen,
        edition,
        meta,
        year=year,
        years=edition.years,
        months=months(found),
    )


async def find(request: Request) -> Response:
    """Search: `?q=`, and `?page=` as in a list."""
    seen, edition = await visit_edition(request)
    site = Site.of(request)
    query = " ".join(request.query_params.get("q", "").split())[:QUERY_LIMIT]
    terms = parse(query)
    if terms:
        site.limits.search(request)
    async with site.searching:
        found = await asyncio.to_thread(search, seen.database, edition, terms)
        at = _page(request, found)
        hits = await asyncio.to_thread(excerpts, seen.database, at.posts, terms)
    return page(
        request,
        "posts/search.html",
        seen,
        query=query,
        count=len(found),
        hits=hits,
        number=at.number,
        last=at.last,
        before=f"/search?q={segment(query)}&page={at.number - 1}",
        after=f"/search?q={segment(query)}&page={at.number + 1}",
        author_slugs=edition.slugs,
    )


async def post(request: Request) -> Response:
    """One post. Under an earlier slug it answers with where it is now; when it was deleted, with 410. Who
    may change it reads it before it is public, too.
    """
    seen, edition = await visit_edition(request)
    slug = request.path_params["slug"]
    found = find_post(seen.database, slug)
    if found is None:
        moved = find_moved(seen.database, slug)
        if moved is None or not _may_read(seen, moved):
            raise _absent(moved, slug)
        return RedirectResponse(post_path(moved.slug), 301, headers={"Cache-Control": "no-cache"})
    if not _may_read(seen, found):
        raise _absent(found, slug)
    place = edition.places.get(slug)
    ordered = edition.posts
    return page(
        request,
        "posts/post.html",
        seen,
        None if place is None else edition,
        None if place is None else _meta(request, found, edition),
        post=found,
        author_slug=edition.slugs.get(found.author.id),
        is_public=place is not None,
        newer=ordered[place - 1] if place else None,
        older=ordered[place + 1] if place is not None and place + 1 < len(ordered) else None,
        may_change=may_change(seen.user, found.author),
    )


def _meta(request: Request, post: Post, edition: Edition) -> Meta:
    site, base = Site.of(request), origin(request)
    image = _IMAGE.search(render(post.body))
    meta = Meta(
        url=base + post_path(post.slug),
        title=post.title,
        description=post.summary,
        image=base + image[1] if image else card_of(request, post.slug),
        article=Article(post.author.name, post.date, max(post.updated, post.date), post.tags),
    )
    author = base + author_path(edition.slugs[post.author.id])
    words = len(post.body.split())
    return replace(meta, structured=blog_posting(meta, site.settings.site_name, base, author, words))


def _list(
    request: Request,
    seen: Visit,
    edition: Edition,
    found: Sequence[Heading],
    *,
    path: str,
    title: str,
    description: str,
) -> Response:
    at = _page(request, found)

    def address(of: int) -> str:
        return path if of == 1 else f"{path}?page={of}"

    base, whole_log = origin(request), path == "/posts"
    meta = Meta(
        url=base + address(at.number),
        title=title if at.number == 1 else f"{title}, page {at.number}",
        description=description,
        image=card_of(request, None),
        feeds="" if whole_log else path,
        structured=() if whole_log else (breadcrumbs((_LOG, f"{base}/posts"), (title, base + path)),),
    )
    return page(
        request,
        "posts/list.html",
        seen,
        edition,
        meta,
        posts=summarised(seen.database, at.posts),
        heading=title,
        whole_log=whole_log,
        tags=_used_most(edition.tags) if whole_log and at.number == 1 else {},
        count=len(found),
        number=at.number,
        last=at.last,
        before=address(at.number - 1),
        after=address(at.number + 1),
    )


@dataclass(frozen=True, slots=True)
class _Page:
    """One of the pages that a list is cut into; `number` counts from 1."""

    number: int
    last: int
    posts: Sequence[Heading]


def _page(request: Request, found: Sequence[Heading]) -> _Page:
    """What `?page=` asks for. Raises HTTPException 404 when there is none."""
    number = whole(request.query_params.get("page", "1"))
    last = max(1, -(-len(found) // PAGE_SIZE))
    if not 1 <= number <= last:
        raise HTTPException(404)
    return _Page(number, last, found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE])


def _used_most(tags: Mapping[str, Sequence[Heading]]) -> dict[str, Sequence[Heading]]:
    """In alphabetical order."""
    return dict(sorted(nlargest(_TAGS_SHOWN, tags.items(), key=lambda tag: len(tag[1]))))


def _count(found: Sequence[Heading]) -> str:
    return "One entry" if len(found) == 1 else f"{len(found)} entries"


def _may_read(seen: Visit, post: Post) -> bool:
    if is_public(post, datetime.now(UTC)):
        return True
    return post.deleted_at is None and may_change(seen.user, post.author)


def _absent(post: Post | None, slug: str) -> GoneError:
    if post is not None and post.deleted_at is not None:
        return DeletedError(f"{slug!r} was deleted")
    return GoneError(f"there is no post {slug!r}")


def whole(text: str) -> int:
    """A number of a form or an address. Raises HTTPException 400."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400)
    return int(text)


routes = [
    Route("/posts", posts),
    Route("/posts/{slug}", post),
    Route("/tags/{tag:path}", tagged),
    Route("/authors/{author}", by_author),
    Route("/archive", archive),
    Route("/archive/{year:int}", archive),
    Route("/search", find),
]
