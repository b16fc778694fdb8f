"""Writing: the editor's form and what its buttons do; deleting, taking off the site, bringing back.

What the form holds becomes a post, or a revision of one, when it is published. Of what is public already,
a draft is kept as the writer's working copy, so the live text stays as it is. A form that was opened on a
revision that is no longer the latest is answered with all three texts: the one that it was opened on, the one
that stands now, and its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bucketlog import StoreError
from company_site.addresses import post_path
from company_site.drafts.model import LIFETIMES, WorkingCopy
from company_site.drafts.store import (
    copy_of,
    count_previews,
    drop_copy,
    end_previews,
    find_copy,
    keep_copy,
    new_key,
    new_token,
    open_preview,
)
from company_site.errors import DeletedError, GoneError, NotAllowedError
from company_site.forms import Form, read_form
from company_site.headers import SCRIPTED
from company_site.posts.diff import Piece, compare, merge, merge_sets
from company_site.posts.markdown import undescribed_images
from company_site.posts.model import FORM_LIMIT, Draft, InvalidDraftError, Page, Post, may_change
from company_site.posts.store import (
    EditConflictError,
    create_post,
    delete_post,
    edit_post,
    find_post,
    find_version,
    is_public,
    read_post,
    undelete_post,
    unpublish_post,
)
from company_site.posts.views import whole
from company_site.routing import resource
from company_site.site import Site, Visit, visit
from company_site.templating import page
from company_site.uploads.image import UnacceptableImageError
from company_site.uploads.model import FILE_LIMIT
from company_site.uploads.views import keep_image

_DEFAULT_LIFETIME = 7  # days


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """What the editor's page shows: a draft, of a post or of none yet, and what there is to say about it."""

    draft: Draft
    post: Post | None = None
    basis: int = 0
    copy: WorkingCopy | None = None
    preview: bool = False
    notice: str = ""
    link: str = ""
    problems: Mapping[str, str] | None = None
    conflict: Conflict | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Three versions: `base` is the one that the writer began with, as far as it is known."""

    base: Post | None
    theirs: Post
    their_changes: tuple[Piece, ...]
    own_changes: tuple[Piece, ...]
    is_merged: bool = False  # whether the form's text has both changes


def show_editor(request: Request, seen: Visit, editor: Editor, *, status: int = 200) -> Response:
    """The editor's page."""
    now, post = datetime.now(UTC), editor.post
    of = editor.copy.id if editor.copy else post.id if post else None
    return page(
        request,
        "posts/editor.html",
        seen,
        status=status,
        headers=SCRIPTED,
        editor=editor,
        post=post,
        draft=editor.draft,
        problems=editor.problems or {},
        conflict=editor.conflict,
        is_public=post is not None and is_public(post, now),
        is_overtaken=post is not None and editor.basis != post.revision and editor.conflict is None,
        links=0 if of is None else count_previews(seen.database, of, now),
        lifetimes=list(LIFETIMES),
        lifetime=_DEFAULT_LIFETIME,
        pages=list(Page),
    )


async def new(request: Request) -> Response:
    seen = await visit(request)
    seen.require_member()
    return show_editor(request, seen, Editor(draft=Draft()))


async def create(request: Request) -> Response:
    seen, form = await _open(request)
    author = seen.require_member()
    draft, action, now = Draft.of_form(form), form.text("action"), datetime.now(UTC)
    copy = find_copy(seen.database, form.text("draft"), author.id)
    editor = Editor(draft=draft, copy=copy)
    if action in ("preview", "upload"):
        return await _continue(request, seen, editor, form)
    publish = action not in ("save", "share")
    try:
        if publish:
            _ask_for_descriptions(form, draft)
        creation = create_post(draft.checked(), author.id, now, publish=publish)
        dropping = [drop_copy(author.id, key=copy.key)] if copy else []
        report = await Site.of(request).data.transact([creation, *dropping])
    except InvalidDraftError as error:
        return show_editor(request, seen, replace(editor, problems=error.problems), status=422)
    made = read_post(report.db_after, report.tempids["post"])
    if made is None:
        raise GoneError("the post was deleted as it was made")
    if action == "share":
        seen = replace(seen, database=report.db_after)
        return await _share(request, seen, Editor(draft=draft, post=made, basis=made.revision), form)
    return RedirectResponse(post_path(made.slug) + ("" if publish else "/edit"), 303)


async def edit(request: Request) -> Response:
    """The editor on a post; on the writer's working copy of it, if there is one."""
    seen = await visit(request)
    found, editor = _changeable(request, seen), seen.require_member()
    copy = copy_of(seen.database, found, editor.id)
    if copy is None:
        shown = Editor(draft=Draft.of_post(found), post=found, basis=found.revision)
    else:
        shown = Editor(draft=copy.draft, post=found, basis=copy.basis, copy=copy)
    return show_editor(request, seen, shown)


async def update(request: Request) -> Response:
    seen, form = await _open(request)
    found, writer = _changeable(request, seen), seen.require_member()
    draft, basis, action = Draft.of_form(form), whole(form.text("basis")), form.text("action")
    data, now = Site.of(request).data, datetime.now(UTC)
    copy = copy_of(seen.database, found, writer.id)
    editor = Editor(draft=draft, post=found, basis=basis, copy=copy)
    if action in ("preview", "upload"):
        return await _continue(request, seen, editor, form)
    is_draft = found.published_at is None
    publish = action not in ("save", "share")
    try:
        if publish or is_draft:
            if publish:
                _ask_for_descriptions(form, draft)
            change = edit_post(found.slug, basis, draft.checked(), writer.id, now, publish=publish)
            report = await data.transact([change, drop_copy(writer.id, post=found)])
        else:
            keeping = keep_copy(new_key(), draft, writer.id, now, post=found, basis=basis)
            report = await data.transact([keeping])
    except InvalidDraftError as error:
        return show_editor(request, seen, replace(editor, problems=error.problems), status=422)
    except EditConflictError as error:
        return _conflict(request, seen, replace(editor, post=error.current))
    seen = replace(seen, database=report.db_after)
    current = read_post(seen.database, found.id)
    if current is None:
        raise GoneError(f"there is no post {found.slug!r}")
    if action == "share":
        copy = copy_of(seen.database, current, writer.id)
        editor = replace(editor, post=current, copy=copy, basis=copy.basis if copy else current.revision)
        return await _share(request, seen, editor, form)
    return RedirectResponse(post_path(current.slug) + ("" if publish else "/edit"), 303)


async def discard(request: Request) -> Response:
    """Throw the working copy of a post away: the editor begins with what stands."""
    seen = await visit(request)
    found, writer = _changeable(request, seen), seen.require_member()
    await Site.of(request).data.transact([drop_copy(writer.id, post=found)])
    return RedirectResponse(f"{post_path(found.slug)}/edit", 303)


async def unpublish(request: Request) -> Response:
    """Take a post off the site: it is a draft again."""
    seen = await visit(request)
    found, writer = _changeable(request, seen), seen.require_member()
    basis = whole((await _read(request)).text("basis"))
    try:
        change = unpublish_post(found.slug, basis, writer.id, datetime.now(UTC))
        await Site.of(request).data.transact([change])
    except EditConflictError as error:
        draft = Draft.of_post(found)
        return _conflict(request, seen, Editor(draft=draft, post=error.current, basis=basis))
    return RedirectResponse(f"{post_path(found.slug)}/edit", 303)


async def undelete(request: Request) -> Response:
    """Bring a deleted post back as it was. One that was brought back meanwhile is there already."""
    seen = await visit(request)
    writer, found = seen.require_member(), find_any(request, seen)
    basis = whole((await _read(request)).text("basis"))
    with suppress(EditConflictError):
        change = undelete_post(found.slug, basis, writer.id, datetime.now(UTC))
        await Site.of(request).data.transact([change])
    return RedirectResponse(post_path(found.slug), 303)


async def end_links(request: Request) -> Response:
    """End the preview links to a post, and to the writer's working copy of it."""
    seen = await visit(request)
    found, writer = _changeable(request, seen), seen.require_member()
    copy = copy_of(seen.database, found, writer.id)
    ending = [end_previews(of) for of in (found.id, *((copy.id,) if copy else ()))]
    await Site.of(request).data.transact(ending)
    return RedirectResponse(f"{post_path(found.slug)}/edit", 303)


async def confirm_deletion(request: Request) -> Response:
    seen = await visit(request)
    return page(request, "posts/delete.html", seen, post=_changeable(request, seen), conflict=False)


async def delete(request: Request) -> Response:
    seen = await visit(request)
    found, editor = _changeable(request, seen), seen.require_member()
    form = await _read(request)
    try:
        deletion = delete_post(found.slug, whole(form.text("basis")), editor.id, datetime.now(UTC))
        await Site.of(request).data.transact([deletion])
    except EditConflictError as error:
        return page(request, "posts/delete.html", seen, status=409, post=error.current, conflict=True)
    return RedirectResponse("/drafts#deleted", 303)


def _ask_for_descriptions(form: Form, draft: Draft) -> None:
    """Once: who says that these images need none is believed. Raises InvalidDraftError."""
    count = undescribed_images(draft.body)
    if count and form.text("undescribed") != "yes":
        images = "An image says" if count == 1 else f"{count} images say"
        raise InvalidDraftError(
            {"undescribed": f"{images} nothing to those who cannot see: write it between ![ and ]."}
        )


async def _continue(request: Request, seen: Visit, editor: Editor, form: Form) -> Response:
    """The editor again, with a preview, or with an uploaded image put at the end of the text. Nothing is
    published.
    """
    if form.text("action") == "preview":
        return show_editor(request, seen, replace(editor, preview=True))
    try:
        name = await keep_image(request, seen.require_member(), form.file("image"))
    except UnacceptableImageError as error:
        return show_editor(request, seen, replace(editor, problems={"image": str(error)}), status=422)
    description = " ".join(form.text("description").translate(str.maketrans("", "", "[]\\")).split())
    body = f"{editor.draft.body.rstrip()}\n\n![{description}]({name.path})\n".lstrip()
    notice = "The image is at the end of the text. Nothing is published yet."
    return show_editor(request, seen, replace(editor, draft=replace(editor.draft, body=body), notice=notice))


async def _share(request: Request, seen: Visit, editor: Editor, form: Form) -> Response:
    """The editor again, with a link that shows what was just saved to whoever has it, for some days."""
    days = whole(form.text("lifetime") or str(_DEFAULT_LIFETIME))
    lifetime, now = LIFETIMES.get(days, LIFETIMES[_DEFAULT_LIFETIME]), datetime.now(UTC)
    shown = editor.copy or editor.post
    if shown is None:
        raise GoneError("there is nothing to show")
    token = new_token()
    opening = open_preview(token, shown.id, seen.require_member().id, now + lifetime, now)
    try:
        report = await Site.of(request).data.transact([opening])
    except InvalidDraftError as error:
        return show_editor(request, seen, replace(editor, problems=error.problems), status=422)
    link = str(request.url.replace(path=f"/preview/{token}", query=""))
    notice = f"Saved. Whoever has this link can read it until {now + lifetime:%d %B, %H:%M} UTC:"
    return show_editor(
        request, replace(seen, database=report.db_after), replace(editor, notice=notice, link=link)
    )


def _conflict(request: Request, seen: Visit, editor: Editor) -> Response:
    """The editor with three texts in view. Publishing from this page is a decision made with all of them
    seen; where only the others changed a field, the form has it as they left it, and where both changed the
    text in different places, it has both.
    """
    theirs = editor.post
    if theirs is None:
        raise GoneError("there is no such post")
    base = find_version(seen.database, theirs, editor.basis)
    draft = editor.draft
    if base is not None:
        began, now = Draft.of_post(base), Draft.of_post(theirs)
        untouched = [f.name for f in fields(Draft) if getattr(draft, f.name) == getattr(began, f.name)]
        draft = replace(draft, **{name: getattr(now, name) for name in untouched})
        if "tags" not in untouched:
            tags = merge_sets(base.tags, [tag.strip() for tag in draft.tags.split(",")], theirs.tags)
            draft = replace(draft, tags=", ".join(filter(None, tags)))
        if "pages" not in untouched:
            draft = replace(draft, pages=tuple(merge_sets(base.pages, draft.pages, theirs.pages)))
    old = base.body if base else theirs.body
    merged = merge(old, editor.draft.body.strip("\n"), theirs.body) if base else None
    if merged is not None:
        draft = replace(draft, body=merged)
    conflict = Conflict(
        base,
        theirs,
        compare(old, theirs.body),
        compare(old, editor.draft.body),
        is_merged=merged not in (None, theirs.body, editor.draft.body),
    )
    shown = replace(editor, draft=draft, basis=theirs.revision, conflict=conflict)
    return show_editor(request, seen, shown, status=409)


def find_any(request: Request, seen: Visit) -> Post:
    """The post of the address, for members, deleted or not. Raises GoneError."""
    slug = request.path_params["slug"]
    found = find_post(seen.database, slug)
    if found is None:
        raise GoneError(f"there is no post {slug!r}")
    return found


def _changeable(request: Request, seen: Visit) -> Post:
    member = seen.require_member()
    found = find_any(request, seen)
    if not may_change(member, found.author):
        raise NotAllowedError("only its author and admins change a post")
    if found.deleted_at is not None:
        raise DeletedError(f"{found.slug!r} was deleted")
    return found


async def _open(request: Request) -> tuple[Visit, Form]:
    """Who asks, and what they have written. Whatever goes wrong from here on, even that they are signed out
    or that the bucket is away, the page that says so has their text, to send it again.
    """
    try:
        seen = await visit(request)
    except StoreError:
        request.state.kept = await read_form(request, limit=FORM_LIMIT)
        raise
    is_member = seen.user is not None and seen.user.is_member
    form = request.state.kept = await read_form(request, limit=FORM_LIMIT + (FILE_LIMIT if is_member else 0))
    return seen, form


async def _read(request: Request) -> Form:
    return await read_form(request, limit=FORM_LIMIT + FILE_LIMIT)


routes = [
    resource("/posts/new", get=new, post=create),
    resource("/posts/{slug}/edit", get=edit, post=update),
    resource("/posts/{slug}/discard", post=discard),
    resource("/posts/{slug}/end-links", post=end_links),
    resource("/posts/{slug}/unpublish", post=unpublish),
    resource("/posts/{slug}/delete", get=confirm_deletion, post=delete),
    resource("/posts/{slug}/undelete", post=undelete),
]
