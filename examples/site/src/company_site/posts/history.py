"""The revisions of a post: their list, what each changed, and restoring one."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.addresses import post_path
from company_site.errors import GoneError, NotAllowedError
from company_site.forms import read_form
from company_site.posts.diff import changes
from company_site.posts.editor import find_any
from company_site.posts.model import InvalidDraftError, Post, may_change
from company_site.posts.store import EditConflictError, find_version, is_public, restore_post, versions
from company_site.posts.views import whole
from company_site.routing import resource
from company_site.site import Site, Visit, visit
from company_site.templating import page

PAGE_SIZE = 50
_FORM_LIMIT = 4096  # bytes


async def history(request: Request) -> Response:
    """The versions of a post, newest first: `?page=` counts from 1."""
    seen = await visit(request)
    found = readable(request, seen)
    lines = versions(seen.database, found)
    number, last = whole(request.query_params.get("page", "1")), max(1, -(-len(lines) // PAGE_SIZE))
    if not 1 <= number <= last:
        raise GoneError(f"{found.slug} has no page {number} of revisions")
    shown = lines[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return page(request, "posts/history.html", seen, post=found, versions=shown, number=number, last=last)


async def version(request: Request) -> Response:
    """A post as it was, and what that changed: against the revision before, or the one of `?against=`."""
    seen = await visit(request)
    found = readable(request, seen)
    revision = request.path_params["revision"]
    return _show(request, seen, found, revision)


async def restore(request: Request) -> Response:
    """Make what an earlier revision said the latest one."""
    seen = await visit(request)
    found, writer = readable(request, seen), seen.require_member()
    if not may_change(writer, found.author):
        raise NotAllowedError("only its author and admins change a post")
    revision = request.path_params["revision"]
    basis = whole((await read_form(request, limit=_FORM_LIMIT)).text("basis"))
    try:
        restoring = restore_post(found.slug, basis, revision, writer.id, datetime.now(UTC))
        await Site.of(request).data.transact([restoring])
    except EditConflictError as error:
        problem = "The entry was changed since you opened this page: look again before you restore."
        return _show(request, seen, error.current, revision, status=409, problem=problem)
    except InvalidDraftError as error:
        return _show(request, seen, found, revision, status=422, problem=str(error))
    return RedirectResponse(post_path(found.slug), 303)


def _show(
    request: Request, seen: Visit, post: Post, revision: int, *, status: int = 200, problem: str = ""
) -> Response:
    against = whole(request.query_params.get("against", str(max(revision - 1, 0))))
    then = find_version(seen.database, post, revision)
    before = find_version(seen.database, post, against) if against else None
    if then is None or (against and before is None):
        raise GoneError(f"{post.slug} has no such revision")
    return page(
        request,
        "posts/version.html",
        seen,
        status=status,
        post=post,
        then=then,
        before=before,
        changes=changes(before, then) if before else [],
        problem=problem,
        may_change=may_change(seen.user, post.author) and post.deleted_at is None,
    )


def readable(request: Request, seen: Visit) -> Post:
    """Members read the past of what is public; of what is not, those who may change it."""
    member = seen.require_member()
    found = find_any(request, seen)
    if not is_public(found, datetime.now(UTC)) and not may_change(member, found.author):
        raise GoneError(f"there is no post {found.slug!r}")
    return found


routes = [
    Route("/posts/{slug}/history", history),
    resource("/posts/{slug}/history/{revision:int}", get=version, post=restore),
]
