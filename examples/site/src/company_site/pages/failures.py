"""Pages for what went wrong. They say what a visitor can do; never the text of an exception."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from obstore.exceptions import BaseError as ObjectStoreError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ExceptionHandler

from bucketlog import StoreError
from company_site.errors import DeletedError, GoneError, NotAllowedError, SignInNeededError
from company_site.forms import Form
from company_site.limits import TooOftenError
from company_site.posts.model import Page
from company_site.site import Site, visit
from company_site.templating import page

_log = logging.getLogger(__name__)

_TEXTS: Mapping[int, tuple[str, str]] = {
    400: ("That did not make sense to us", "The request was put together in a way that we cannot read."),
    401: ("Who is asking?", "This address answers only those who show its token."),
    403: (
        "This is not yours to do",
        "It needs an account that is allowed to, and a form that comes from this very site.",
    ),
    404: ("Nothing moors here", "There is no page at this address. It may have been moved, or taken down."),
    405: ("Not in this way", "This address exists, but it does not do what was asked of it."),
    410: ("Taken off the wall", "There was something at this address. It has been taken away."),
    413: ("That is too large", "What you sent is larger than we take. Images may have up to 10 MB."),
    415: ("We cannot read that", "This address takes forms, and what was sent is not one."),
    429: ("Not so fast", "That was tried very often in a short time. Please wait a little, and try again."),
    503: (
        "Back in a moment",
        "Our storage does not answer just now. Nothing is lost; please try again shortly.",
    ),
}
# The fields of the editor's form, which a page about a failure gives back.
_EDITOR = (
    *("title", "body", "tags", "slug", "publish-at", "unpublish-at", "featured", "basis", "draft"),
    *(f"page-{page}" for page in Page),
)
_OTHER = (
    "Something broke on our side",
    "It has been noted, with the number of this request, and we will look into it.",
)


async def _failure(request: Request, status: int, headers: Mapping[str, str] | None = None) -> Response:
    title, text = _TEXTS.get(status, _OTHER)
    seen = None
    if status < 500:
        with suppress(StoreError):
            seen = await visit(request)
    return page(
        request,
        "pages/failure.html",
        seen,
        status=status,
        headers=headers,
        code=status,
        title=title,
        text=text,
        kept=_kept(request),
    )


def _kept(request: Request) -> Mapping[str, str]:
    """What somebody wrote in the editor and sent in vain."""
    form: Form | None = getattr(request.state, "kept", None)
    texts = form.texts if form else {}
    return {name: texts[name] for name in _EDITOR if name in texts}


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    return await _failure(request, error.status_code, error.headers)


async def _not_allowed(request: Request, _: Exception) -> Response:
    return await _failure(request, 403)


async def _sign_in_needed(request: Request, error: Exception) -> Response:
    """To the login with the way back; what was written in the editor comes back with the page."""
    if request.method == "GET":
        return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
    return await _not_allowed(request, error)


async def _too_often(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooOftenError)  # noqa: S101 - registered for nothing else
    Site.of(request).metrics.limited[error.limit] += 1
    _log.warning("too often", extra={"fields": {"limit": error.limit}})
    return await _failure(request, 429, {"Retry-After": str(error.seconds)})


async def _gone(request: Request, _: Exception) -> Response:
    return await _failure(request, 404)


async def _deleted(request: Request, _: Exception) -> Response:
    return await _failure(request, 410)


async def _unavailable(request: Request, error: Exception) -> Response:
    # The first line names the object and the operation, and holds nobody's data.
    reason = str(error).partition("\n")[0]
    _log.error("storage", exc_info=error, extra={"fields": {"reason": reason}})
    return await _failure(request, 503, {"Retry-After": "5"})


async def _broken(request: Request, _: Exception) -> Response:
    return await _failure(request, 500)


handlers: Mapping[type[Exception], ExceptionHandler] = {
    HTTPException: _http,
    NotAllowedError: _not_allowed,
    SignInNeededError: _sign_in_needed,
    TooOftenError: _too_often,
    GoneError: _gone,
    DeletedError: _deleted,
    StoreError: _unavailable,
    ObjectStoreError: _unavailable,
    Exception: _broken,
}
