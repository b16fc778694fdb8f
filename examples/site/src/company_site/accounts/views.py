"""Signing in (in the demo alone), signing out, and who has which role."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.accounts.model import DEMO_USERS, Role
from company_site.accounts.store import (
    ABSOLUTE_LIMIT,
    DEMO_METHOD,
    all_users,
    end_session,
    new_token,
    open_session,
    set_roles,
)
from company_site.forms import read_form
from company_site.routing import resource
from company_site.settings import Mode, Settings
from company_site.site import Site, cookie_name, visit
from company_site.templating import page

_FORM_LIMIT = 4096  # bytes
# A path of this site: `//host` and `/\host` lead elsewhere.
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", re.ASCII)


def local_path(text: str) -> str:
    """The text if it is a path of this site, else the home page."""
    return text if _LOCAL_PATH.fullmatch(text) else "/"


async def demo_login_page(request: Request) -> Response:
    seen = await visit(request)
    following = local_path(request.query_params.get("next", "/"))
    return page(request, "accounts/login.html", seen, people=DEMO_USERS, following=following)


async def demo_login(request: Request) -> Response:
    """Sign in as one of the demo's people. A new session each time; the one that was there ends."""
    form = await read_form(request, limit=_FORM_LIMIT)
    user_id = form.text("user")
    if user_id not in {user.id for user in DEMO_USERS}:
        raise HTTPException(400)
    seen = await visit(request)
    token = new_token()
    ending = [end_session(seen.session)] if seen.session else []
    await Site.of(request).data.transact(
        [*ending, open_session(token, user_id, DEMO_METHOD, datetime.now(UTC))]
    )
    response = RedirectResponse(local_path(form.text("next")), 303)
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=int(ABSOLUTE_LIMIT.total_seconds()),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


async def logout(request: Request) -> Response:
    seen = await visit(request)
    if seen.session:
        await Site.of(request).data.transact([end_session(seen.session)])
    response = RedirectResponse("/", 303)
    response.delete_cookie(
        cookie_name(request), secure=request.url.scheme == "https", httponly=True, samesite="lax"
    )
    return response


async def people(request: Request) -> Response:
    seen = await visit(request)
    return page(
        request,
        "accounts/people.html",
        seen,
        owner=seen.require_owner(),
        people=all_users(seen.database),
        roles=list(Role),
    )


async def change_roles(request: Request) -> Response:
    seen = await visit(request)
    owner = seen.require_owner()
    form = await read_form(request, limit=_FORM_LIMIT)
    roles = frozenset(role for role in Role if form.text(role) == "yes")
    await Site.of(request).data.transact([set_roles(owner.id, form.text("user"), roles)])
    return RedirectResponse("/people", 303)


def routes(settings: Settings) -> list[Route]:
    """The demo's login is a route of a demo only: elsewhere there is nothing that a request could reach."""
    login = [resource("/login", get=demo_login_page, post=demo_login)]
    return [
        *(login if settings.mode is Mode.DEMO else []),
        resource("/logout", post=logout),
        resource("/people", get=people, post=change_roles),
    ]
