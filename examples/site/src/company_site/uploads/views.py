"""Uploading images, and serving them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from obstore.exceptions import BaseError as ObjectStoreError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bucketlog import StoreError
from company_site.accounts.model import User
from company_site.assets import IMMUTABLE
from company_site.forms import read_form
from company_site.routing import resource
from company_site.site import Site, visit
from company_site.templating import page
from company_site.uploads.garbage import collect
from company_site.uploads.image import UnacceptableImageError
from company_site.uploads.model import FILE_LIMIT, ImageName, Variant, parse_name, parse_variant
from company_site.uploads.store import is_first_of_the_day, latest_uploads, note_upload

_log = logging.getLogger(__name__)
_FORM_LIMIT = FILE_LIMIT + 64 * 1024  # bytes: the file and what surrounds it


async def keep_image(request: Request, user: User, file: bytes) -> ImageName:
    """Take an image from a member. The first one of a day has unused ones collected after it.

    Raises UnacceptableImageError, NotAllowedError, TooOftenError.
    """
    site = Site.of(request)
    if not file:
        raise UnacceptableImageError("Choose an image first.")
    site.limits.upload(request, user.id)
    name, now = await site.images.put(file), datetime.now(UTC)
    report = await site.data.transact([note_upload(name, user.id, now)])
    if is_first_of_the_day(report.db_before, now):
        site.images.begin(_collect(site, now))
    return name


async def _collect(site: Site, now: datetime) -> None:
    """Once a day, and only where images come in at all: see `garbage`."""
    try:
        collected = await collect(site.data, site.images, now)
    except (StoreError, ObjectStoreError) as error:
        _log.warning("collecting images", exc_info=error)
    else:
        fields = {"marked": collected.marked, "deleted": collected.deleted}
        _log.info("collected images", extra={"fields": fields})


async def uploads(request: Request) -> Response:
    seen = await visit(request)
    user = seen.require_member()
    return page(
        request, "uploads/list.html", seen, images=latest_uploads(seen.database, user.id), problem=None
    )


async def upload(request: Request) -> Response:
    """Take an image. The editor's script asks for JSON and gets its path, or the problem."""
    seen = await visit(request)
    user = seen.require_member()  # before the body is read
    form = await read_form(request, limit=_FORM_LIMIT)
    is_script = "application/json" in request.headers.get("accept", "")
    try:
        name = await keep_image(request, user, form.file("image"))
    except UnacceptableImageError as error:
        if is_script:
            return JSONResponse({"problem": str(error)}, 422)
        images = latest_uploads(seen.database, user.id)
        return page(request, "uploads/list.html", seen, status=422, images=images, problem=str(error))
    if is_script:
        return JSONResponse({"path": name.path}, 201, headers={"Location": name.path})
    return RedirectResponse("/uploads", 303)


async def serve(request: Request) -> Response:
    """An image by its name, which says what is in it: it is of our type, and never changes."""
    text = request.path_params["name"]
    name = parse_name(text) or parse_variant(text)
    if name is None:
        raise HTTPException(404)
    headers = {"ETag": name.etag, "Cache-Control": IMMUTABLE}
    if name.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    images = Site.of(request).images
    size, pieces = await (images.get_variant(name) if isinstance(name, Variant) else images.get(name))
    return StreamingResponse(
        pieces, headers={**headers, "Content-Length": str(size)}, media_type=name.kind.media_type
    )


routes = [
    resource("/uploads", get=uploads, post=upload),
    Route("/uploads/{name}", serve),
]
