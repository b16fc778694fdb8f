"""A writer's own desk, autosave, the live preview, and what a preview link shows."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from company_site.addresses import post_path
from company_site.drafts.model import WorkingCopy
from company_site.drafts.store import copies, copy_of, drop_copy, find_copy, find_preview, keep_copy, new_key
from company_site.errors import DeletedError, GoneError, NotAllowedError
from company_site.forms import read_form
from company_site.posts.editor import Editor, show_editor
from company_site.posts.markdown import render
from company_site.posts.model import FORM_LIMIT, Draft, InvalidDraftError, may_change
from company_site.posts.store import entries, find_post, is_public, read_post
from company_site.posts.views import whole
from company_site.routing import resource
from company_site.site import Site, visit
from company_site.templating import page

_UNSEEN = {"X-Robots-Tag": "noindex", "Cache-Control": "private, no-store"}


async def desk(request: Request) -> Response:
    """Everything of the writer's that is not public: unfinished, drafts, scheduled, taken down, deleted.

    Admins, who change everything, see the others' too.
    """
    seen = await visit(request)
    member, now = seen.require_member(), datetime.now(UTC)
    hidden = [
        post
        for post in Site.of(request).data.derive(seen.database, entries)
        if not is_public(post, now) and may_change(member, post.author)
    ]
    kept = [post for post in hidden if post.deleted_at is None]
    unfinished = [
        (copy, read_post(seen.database, copy.post) if copy.post else None)
        for copy in copies(seen.database, member.id)
    ]
    return page(
        request,
        "drafts/desk.html",
        seen,
        unfinished=[(copy, post) for copy, post in unfinished if post is None or post.deleted_at is None],
        drafts=[post for post in kept if post.published_at is None],
        scheduled=[post for post in kept if post.published_at is not None and post.published_at > now],
        ended=[post for post in kept if post.published_at is not None and post.published_at <= now],
        deleted=[
            (post, found)
            for post in hidden
            if post.deleted_at is not None and (found := find_post(seen.database, post.slug))
        ],
    )


async def unfinished(request: Request) -> Response:
    """The editor on a text that is no post yet."""
    seen = await visit(request)
    member = seen.require_member()
    copy = find_copy(seen.database, request.path_params["key"], member.id)
    if copy is None:
        raise GoneError("there is no such working copy")
    if copy.post is not None and (post := read_post(seen.database, copy.post)) is not None:
        return RedirectResponse(f"{post_path(post.slug)}/edit", 303)
    return show_editor(request, seen, Editor(draft=copy.draft, copy=copy))


async def discard(request: Request) -> Response:
    seen = await visit(request)
    member = seen.require_member()
    await Site.of(request).data.transact([drop_copy(member.id, key=request.path_params["key"])])
    return RedirectResponse("/drafts", 303)


async def autosave(request: Request) -> Response:
    """Keep what the editor's script sends while somebody writes; nothing of it is public.

    The answer says under which key, and whether the post has a later revision than the one that the form was
    opened on.
    """
    seen = await visit(request)
    member = seen.require_member()
    form = await read_form(request, limit=FORM_LIMIT)
    draft, now = Draft.of_form(form), datetime.now(UTC)
    post, basis = None, 0
    if form.text("post"):
        post, basis = find_post(seen.database, form.text("post")), whole(form.text("basis"))
        if post is None or post.deleted_at is not None:
            raise DeletedError("the post was deleted")
        if not may_change(member, post.author):
            raise NotAllowedError("only its author and admins change a post")
    key = form.text("draft")
    copy = copy_of(seen.database, post, member.id) if post else find_copy(seen.database, key, member.id)
    key = copy.key if copy else new_key()
    try:
        await Site.of(request).data.transact([keep_copy(key, draft, member.id, now, post=post, basis=basis)])
    except InvalidDraftError as error:
        return JSONResponse({"problem": str(error)}, 422, headers=_UNSEEN)
    answer = {"key": key, "at": f"{now:%H:%M} UTC", "overtaken": post is not None and post.revision != basis}
    return JSONResponse(answer, headers=_UNSEEN)


async def live_preview(request: Request) -> Response:
    """The text of the form as readers would see it, without a page around it."""
    seen = await visit(request)
    seen.require_member()
    form = await read_form(request, limit=FORM_LIMIT)
    return HTMLResponse(render(form.text("body")), headers=_UNSEEN)


async def preview(request: Request) -> Response:
    """What a preview link shows. It is for whoever has the link, and for no search engine."""
    seen = await visit(request)
    now = datetime.now(UTC)
    shown = find_preview(seen.database, request.path_params["token"], now)
    if isinstance(shown, WorkingCopy):
        title, body, saved = shown.draft.title, shown.draft.body, shown.saved
    elif is_public(shown, now):
        return RedirectResponse(post_path(shown.slug), 303)
    else:
        title, body, saved = shown.title, shown.body, shown.updated
    return page(request, "drafts/preview.html", seen, headers=_UNSEEN, heading=title, body=body, saved=saved)


routes = [
    resource("/drafts", get=desk, post=autosave),
    resource("/drafts/preview", post=live_preview),
    resource("/drafts/{key}", get=unfinished),
    resource("/drafts/{key}/discard", post=discard),
    Route("/preview/{token}", preview),
]
