"""Uploading images, and serving them."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from company_site.accounts.model import User
from company_site.assets import IMMUTABLE
from company_site.forms import read_form
from company_site.routing import resource
from company_site.site import Site, visit
from company_site.templating import page
from company_site.uploads.image import UnacceptableImageError
from company_site.uploads.model import FILE_LIMIT, ImageName, parse_name
from company_site.uploads.store import latest_uploads, note_upload

_FORM_LIMIT = FILE_LIMIT + 64 * 1024  # bytes: the file and what surrounds it


async def keep_image(site: Site, user: User, file: bytes) -> ImageName:
    """Take an image from a member. Raises UnacceptableImageError, NotAllowedError."""
    if not file:
        raise UnacceptableImageError("Choose an image first.")
    name = await site.images.put(file)
    await site.data.transact([note_upload(name, user.id, datetime.now(UTC))])
    return name


async def uploads(request: Request) -> Response:
    seen = await visit(request)
    user = seen.require_member()
    return page(
        request, "uploads/list.html", seen, images=latest_uploads(seen.database, user.id), problem=None
    )


async def upload(request: Request) -> Response:
    seen = await visit(request)
    user = seen.require_member()  # before the body is read
    form = await read_form(request, limit=_FORM_LIMIT)
    try:
        await keep_image(Site.of(request), user, form.file("image"))
    except UnacceptableImageError as error:
        images = latest_uploads(seen.database, user.id)
        return page(request, "uploads/list.html", seen, status=422, images=images, problem=str(error))
    return RedirectResponse("/uploads", 303)


async def serve(request: Request) -> Response:
    """An image by its name, which says what is in it: it is of our type, and never changes."""
    name = parse_name(request.path_params["name"])
    if name is None:
        raise HTTPException(404)
    headers = {"ETag": f'"{name.digest}"', "Cache-Control": IMMUTABLE}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    size, pieces = await Site.of(request).images.get(name)
    return StreamingResponse(
        pieces, headers={**headers, "Content-Length": str(size)}, media_type="image/webp"
    )


routes = [
    resource("/uploads", get=uploads, post=upload),
    Route("/uploads/{name}", serve),
]
