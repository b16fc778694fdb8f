"""Reading posts, and the lists of them."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.errors import DeletedError, GoneError
from company_site.posts.model import Post, Summary, may_change
from company_site.posts.store import entries, find_moved, find_post, is_public, public
from company_site.site import Site, Visit, visit
from company_site.templating import page

PAGE_SIZE = 6


def public_entries(request: Request, seen: Visit) -> list[Summary]:
    """What everybody may read now, newest first."""
    return public(Site.of(request).data.derive(seen.database, entries), datetime.now(UTC))


async def posts(request: Request) -> Response:
    """A page of the list: `?page=` counts from 1, `?tag=` keeps the posts that have it."""
    seen = await visit(request)
    tag = request.query_params.get("tag")
    number = whole(request.query_params.get("page", "1"))
    found = [post for post in public_entries(request, seen) if tag in (None, *post.tags)]
    last = max(1, -(-len(found) // PAGE_SIZE))
    if not 1 <= number <= last or (tag is not None and not found):
        raise HTTPException(404)
    shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return page(request, "posts/list.html", seen, posts=shown, tag=tag, number=number, last=last)


async def post(request: Request) -> Response:
    """One post. Under an earlier slug it answers with where it is now; when it was deleted, with 410. Who
    may change it reads it before it is public, too.
    """
    seen = await visit(request)
    slug = request.path_params["slug"]
    found = find_post(seen.database, slug)
    if found is None:
        moved = find_moved(seen.database, slug)
        if moved is None or not _may_read(seen, moved):
            raise _absent(moved, slug)
        return RedirectResponse(post_path(moved.slug), 301, headers={"Cache-Control": "no-cache"})
    if not _may_read(seen, found):
        raise _absent(found, slug)
    ordered = public_entries(request, seen)
    places = [place for place, summary in enumerate(ordered) if summary.slug == found.slug]
    place = places[0] if places else None
    return page(
        request,
        "posts/post.html",
        seen,
        post=found,
        is_public=is_public(found, datetime.now(UTC)),
        newer=ordered[place - 1] if place else None,
        older=ordered[place + 1] if place is not None and place + 1 < len(ordered) else None,
        may_change=may_change(seen.user, found.author),
    )


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


def post_path(slug: str) -> str:
    """Where the site serves a post."""
    return f"/posts/{quote(slug, safe='')}"


routes = [
    Route("/posts", posts),
    Route("/posts/{slug}", post),
]
