"""Reading, writing and the history of posts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.errors import GoneError, NotAllowedError
from company_site.forms import Form, read_form
from company_site.posts.model import FORM_LIMIT, Draft, InvalidDraftError, Post, may_change
from company_site.posts.store import (
    EditConflictError,
    create_post,
    delete_post,
    edit_post,
    find_post,
    find_version,
    listing,
    versions,
)
from company_site.routing import resource
from company_site.site import Site, Visit, visit
from company_site.templating import page
from company_site.uploads.image import UnacceptableImageError
from company_site.uploads.model import FILE_LIMIT
from company_site.uploads.views import keep_image

PAGE_SIZE = 6


async def posts(request: Request) -> Response:
    """A page of the list: `?page=` counts from 1, `?tag=` keeps the posts that have it."""
    seen = await visit(request)
    tag = request.query_params.get("tag")
    number = _whole(request.query_params.get("page", "1"))
    found = [
        post for post in Site.of(request).data.derive(seen.database, listing) if tag in (None, *post.tags)
    ]
    last = max(1, -(-len(found) // PAGE_SIZE))
    if not 1 <= number <= last or (tag is not None and not found):
        raise HTTPException(404)
    shown = found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return page(request, "posts/list.html", seen, posts=shown, tag=tag, number=number, last=last)


async def post(request: Request) -> Response:
    seen = await visit(request)
    found = _find(request, seen)
    ordered = Site.of(request).data.derive(seen.database, listing)
    place = next(place for place, summary in enumerate(ordered) if summary.slug == found.slug)
    return page(
        request,
        "posts/post.html",
        seen,
        post=found,
        newer=ordered[place - 1] if place > 0 else None,
        older=ordered[place + 1] if place + 1 < len(ordered) else None,
        may_change=may_change(seen.user, found.author),
    )


async def new(request: Request) -> Response:
    seen = await visit(request)
    seen.require_member()
    return _editor(request, seen, None, Draft())


async def create(request: Request) -> Response:
    seen = await visit(request)
    author = seen.require_member()
    form = await _read(request)
    draft = Draft.of_form(form)
    if form.text("action") in ("preview", "upload"):
        return await _continue(request, seen, None, draft, form)
    try:
        content = draft.checked()
    except InvalidDraftError as error:
        return _editor(request, seen, None, draft, status=422, problems=error.problems)
    report = await Site.of(request).data.transact([create_post(content, author.id, datetime.now(UTC))])
    slug = report.db_after.pull("[:post/slug]", report.tempids["post"])[":post/slug"]
    return RedirectResponse(_path(slug), 303)


async def edit(request: Request) -> Response:
    seen = await visit(request)
    found = _changeable(request, seen)
    return _editor(request, seen, found, Draft.of_post(found), basis=found.revision)


async def update(request: Request) -> Response:
    seen = await visit(request)
    found, editor = _changeable(request, seen), seen.require_member()
    form = await _read(request)
    draft, basis = Draft.of_form(form), _whole(form.text("basis"))
    if form.text("action") in ("preview", "upload"):
        return await _continue(request, seen, found, draft, form, basis=basis)
    try:
        change = edit_post(found.slug, basis, draft.checked(), editor.id, datetime.now(UTC))
        await Site.of(request).data.transact([change])
    except InvalidDraftError as error:
        return _editor(request, seen, found, draft, status=422, basis=basis, problems=error.problems)
    except EditConflictError as error:
        # Saving again from this page is a decision made with both texts in view.
        current = error.current
        return _editor(request, seen, current, draft, status=409, basis=current.revision, conflict=current)
    return RedirectResponse(_path(found.slug), 303)


async def confirm_deletion(request: Request) -> Response:
    seen = await visit(request)
    return page(request, "posts/delete.html", seen, post=_changeable(request, seen), conflict=False)


async def delete(request: Request) -> Response:
    seen = await visit(request)
    found, editor = _changeable(request, seen), seen.require_member()
    form = await _read(request)
    try:
        await Site.of(request).data.transact([delete_post(found.slug, _whole(form.text("basis")), editor.id)])
    except EditConflictError as error:
        return page(request, "posts/delete.html", seen, status=409, post=error.current, conflict=True)
    return RedirectResponse("/posts", 303)


async def history(request: Request) -> Response:
    """Every version of a post, for members."""
    seen = await visit(request)
    seen.require_member()
    found = _find(request, seen)
    return page(request, "posts/history.html", seen, post=found, versions=versions(seen.database, found))


async def version(request: Request) -> Response:
    """A post as it was, for members."""
    seen = await visit(request)
    seen.require_member()
    found = _find(request, seen)
    then = find_version(seen.database, found, request.path_params["revision"])
    if then is None:
        raise GoneError(f"{found.slug} has no such revision")
    return page(request, "posts/version.html", seen, post=found, then=then)


async def _continue(
    request: Request, seen: Visit, post: Post | None, draft: Draft, form: Form, *, basis: int = 0
) -> Response:
    """The editor again, with a preview, or with an uploaded image put at the end of the text. Nothing is
    published.
    """
    if form.text("action") == "preview":
        return _editor(request, seen, post, draft, basis=basis, preview=True)
    try:
        name = await keep_image(Site.of(request), seen.require_member(), form.file("image"))
    except UnacceptableImageError as error:
        return _editor(request, seen, post, draft, status=422, basis=basis, problems={"image": str(error)})
    description = " ".join(form.text("description").translate(str.maketrans("", "", "[]\\")).split())
    body = f"{draft.body.rstrip()}\n\n![{description}]({name.path})\n".lstrip()
    return _editor(request, seen, post, replace(draft, body=body), basis=basis, inserted=True)


def _editor(
    request: Request,
    seen: Visit,
    post: Post | None,
    draft: Draft,
    *,
    status: int = 200,
    basis: int = 0,
    preview: bool = False,
    inserted: bool = False,
    problems: Mapping[str, str] | None = None,
    conflict: Post | None = None,
) -> Response:
    return page(
        request,
        "posts/editor.html",
        seen,
        status=status,
        post=post,
        draft=draft,
        basis=basis,
        preview=preview,
        inserted=inserted,
        problems=problems or {},
        conflict=conflict,
    )


def _find(request: Request, seen: Visit) -> Post:
    found = find_post(seen.database, request.path_params["slug"])
    if found is None:
        raise GoneError(f"there is no post {request.path_params['slug']!r}")
    return found


def _changeable(request: Request, seen: Visit) -> Post:
    member = seen.require_member()
    found = _find(request, seen)
    if not may_change(member, found.author):
        raise NotAllowedError("only its author and admins change a post")
    return found


async def _read(request: Request) -> Form:
    return await read_form(request, limit=FORM_LIMIT + FILE_LIMIT)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400)
    return int(text)


def _path(slug: str) -> str:
    return f"/posts/{quote(slug, safe='')}"


routes = [
    Route("/posts", posts),
    resource("/posts/new", get=new, post=create),
    Route("/posts/{slug}", post),
    resource("/posts/{slug}/edit", get=edit, post=update),
    resource("/posts/{slug}/delete", get=confirm_deletion, post=delete),
    Route("/posts/{slug}/history", history),
    Route("/posts/{slug}/history/{revision:int}", version),
]
