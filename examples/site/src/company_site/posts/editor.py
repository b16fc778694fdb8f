"""Writing: the editor's form, deleting, and taking off the site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.addresses import post_path
from company_site.errors import DeletedError, GoneError, NotAllowedError
from company_site.forms import Form, read_form
from company_site.posts.model import FORM_LIMIT, Draft, InvalidDraftError, Page, Post, may_change
from company_site.posts.store import (
    EditConflictError,
    create_post,
    delete_post,
    edit_post,
    find_post,
    find_version,
    versions,
)
from company_site.posts.views import whole
from company_site.routing import resource
from company_site.site import Site, Visit, visit
from company_site.templating import page
from company_site.uploads.image import UnacceptableImageError
from company_site.uploads.model import FILE_LIMIT
from company_site.uploads.views import keep_image


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
        creation = create_post(draft.checked(), author.id, datetime.now(UTC))
        report = await Site.of(request).data.transact([creation])
    except InvalidDraftError as error:
        return _editor(request, seen, None, draft, status=422, problems=error.problems)
    slug = report.db_after.pull("[:post/slug]", report.tempids["post"])[":post/slug"]
    return RedirectResponse(post_path(slug), 303)


async def edit(request: Request) -> Response:
    seen = await visit(request)
    found = _changeable(request, seen)
    return _editor(request, seen, found, Draft.of_post(found), basis=found.revision)


async def update(request: Request) -> Response:
    seen = await visit(request)
    found, editor = _changeable(request, seen), seen.require_member()
    form = await _read(request)
    draft, basis = Draft.of_form(form), whole(form.text("basis"))
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
    return RedirectResponse(post_path(found.slug), 303)


async def confirm_deletion(request: Request) -> Response:
    seen = await visit(request)
    return page(request, "posts/delete.html", seen, post=_changeable(request, seen), conflict=False)


async def delete(request: Request) -> Response:
    seen = await visit(request)
    found, editor = _changeable(request, seen), seen.require_member()
    form = await _read(request)
    try:
        await Site.of(request).data.transact(
            [delete_post(found.slug, whole(form.text("basis")), editor.id, datetime.now(UTC))]
        )
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
        pages=list(Page),
    )


def _find(request: Request, seen: Visit) -> Post:
    slug = request.path_params["slug"]
    found = find_post(seen.database, slug)
    if found is None:
        raise GoneError(f"there is no post {slug!r}")
    if found.deleted_at is not None:
        raise DeletedError(f"{slug!r} was deleted")
    return found


def _changeable(request: Request, seen: Visit) -> Post:
    member = seen.require_member()
    found = _find(request, seen)
    if not may_change(member, found.author):
        raise NotAllowedError("only its author and admins change a post")
    return found


async def _read(request: Request) -> Form:
    return await read_form(request, limit=FORM_LIMIT + FILE_LIMIT)


routes = [
    resource("/posts/new", get=new, post=create),
    resource("/posts/{slug}/edit", get=edit, post=update),
    resource("/posts/{slug}/delete", get=confirm_deletion, post=delete),
    Route("/posts/{slug}/history", history),
    Route("/posts/{slug}/history/{revision:int}", version),
]
