"""A post as a Markdown file, to take away and to begin with."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from company_site.forms import read_form
from company_site.posts.editor import Editor, show_editor
from company_site.posts.frontmatter import dump, load
from company_site.posts.history import readable
from company_site.posts.model import FORM_LIMIT, Draft, InvalidDraftError
from company_site.routing import resource
from company_site.site import visit


async def download(request: Request) -> Response:
    """The post with its front matter, for members."""
    seen = await visit(request)
    found = readable(request, seen)
    name = quote(f"{found.slug}.md", safe="")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Cache-Control": "private, no-store",
    }
    return Response(dump(found), media_type="text/markdown; charset=utf-8", headers=headers)


async def begin(request: Request) -> Response:
    """The editor on what a file holds. Nothing is kept before its button is pressed."""
    seen = await visit(request)
    seen.require_member()
    form = await read_form(request, limit=FORM_LIMIT)
    try:
        draft, ignored = load(_decode(form.file("file")))
    except InvalidDraftError as error:
        return show_editor(request, seen, Editor(draft=Draft(), problems=error.problems), status=422)
    notice = "This is what the file holds. Nothing of it is kept yet."
    if ignored:
        notice += f" Not taken from it: {', '.join(ignored)}."
    return show_editor(request, seen, Editor(draft=draft, notice=notice))


def _decode(data: bytes) -> str:
    if not data:
        raise InvalidDraftError({"file": "Choose a file first."})
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidDraftError({"file": "The file is not a text in UTF-8."}) from None
    if "\0" in text:
        raise InvalidDraftError({"file": "The file is not a text."})
    return text


routes = [
    resource("/posts/new/file", post=begin),
    resource("/posts/{slug}/markdown", get=download),
]
