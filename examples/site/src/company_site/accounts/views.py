"""Signing in and out, one's own account, and who has which role."""

from __future__ import annotations

import logging
import re
import secrets
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from company_site.accounts.model import DEMO_USERS, Role
from company_site.accounts.oidc import (
    Attempt,
    Identity,
    Issuer,
    IssuerUnavailableError,
    LoginRefusedError,
    Refusal,
)
from company_site.accounts.store import (
    ABSOLUTE_LIMIT,
    DEMO_METHOD,
    IDLE_LIMIT,
    end_session,
    end_sessions,
    find_person,
    new_token,
    open_session,
    sessions_of,
    set_roles,
    sign_in,
)
from company_site.accounts.store import people as all_people
from company_site.csrf import is_cross_origin
from company_site.database import acting
from company_site.forms import read_form
from company_site.posts.store import count_written
from company_site.routing import resource
from company_site.settings import GOOGLE, Mode, Settings
from company_site.site import Site, cookie_name, is_secure, visit
from company_site.templating import page

CALLBACK = "/login/callback"
_log = logging.getLogger(__name__)
_NOT_KEPT = {"Cache-Control": "private, no-store"}
_FORM_LIMIT = 4096  # bytes
_ATTEMPT_AGE = 600  # seconds that somebody has at the issuer's
_CALLBACK_FIELD = 4096  # characters of a field of the issuer's answer
_STATUS = {Refusal.ATTEMPT: 400, Refusal.ANSWER: 400, Refusal.CANCELLED: 200}  # the others are 403
_DOES = {
    Role.MEMBER: "write entries, change and delete your own, upload images",
    Role.ADMIN: "change and delete everybody's, choose what is featured",
    Role.OWNER: "say who may do what",
}
# A path of this site: `//host` and `/\host` lead elsewhere.
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", re.ASCII)


def local_path(text: str) -> str:
    """The text if it is a path of this site, else the home page."""
    return text if len(text) <= 800 and _LOCAL_PATH.fullmatch(text) else "/"


async def login_page(request: Request) -> Response:
    """Where signing in begins: the demo's people, the issuer's button, or what to set to have one."""
    site, seen = Site.of(request), await visit(request)
    following = local_path(request.query_params.get("next", "/"))
    if site.settings.mode is Mode.DEMO:
        return page(request, "accounts/demo.html", seen, people=DEMO_USERS, following=following)
    if site.issuer is None:
        address = site.settings.site_url or f"{request.url.scheme}://{request.url.netloc}"
        return page(request, "accounts/setup.html", seen, address=address, callback=address + CALLBACK)
    # The issuer knows one address, and cookies one host. `moved` ends it where an edge changes the host.
    home = urlsplit(site.settings.site_url or "").netloc
    if request.url.netloc != home and "moved" not in request.query_params:
        query = urlencode({"next": following, "moved": "yes"})
        return RedirectResponse(f"{site.settings.site_url}/login?{query}", 303)
    return page(request, "accounts/login.html", seen, issuer=issuer_name(site.settings), following=following)


async def demo_login(request: Request) -> Response:
    """Sign in as one of the demo's people. A new session each time; the one that was there ends."""
    site = Site.of(request)
    site.limits.login(request)
    form = await read_form(request, limit=_FORM_LIMIT)
    user_id = form.text("user")
    if user_id not in {user.id for user in DEMO_USERS}:
        raise HTTPException(400)
    seen = await visit(request)
    acting.set(None)
    token = new_token()
    ending = [end_session(seen.session)] if seen.session else []
    await site.data.transact([*ending, open_session(token, user_id, DEMO_METHOD, datetime.now(UTC))])
    response = RedirectResponse(local_path(form.text("next")), 303)
    _set_cookie(request, response, cookie_name(request), token, int(ABSOLUTE_LIMIT.total_seconds()))
    return response


async def begin(request: Request) -> Response:
    """To the issuer. The attempt stays behind in a cookie of this browser."""
    site, issuer = _issuer(request)
    following = local_path(request.query_params.get("next", "/"))
    if is_cross_origin(request.headers):  # another site cannot make somebody begin
        return RedirectResponse("/login", 303)
    site.limits.login(request)
    attempt = Attempt.begin(following)
    try:
        address = await issuer.authorization_url(attempt)
    except IssuerUnavailableError as error:
        return await _unavailable(request, error)
    response = RedirectResponse(address, 303, headers=_NOT_KEPT)
    _set_cookie(request, response, _attempt_cookie(request), attempt.cookie(), _ATTEMPT_AGE)
    return response


async def callback(request: Request) -> Response:
    """Back from the issuer, by its redirect. The attempt ends here, however it ends."""
    site, issuer = _issuer(request)
    site.limits.login(request)
    response: Response
    try:
        attempt = _attempt(request)
        identity = await issuer.identify(_answer(request), attempt)
        token = await _open_session(request, issuer, identity, attempt)
    except LoginRefusedError as error:
        response = await _refused(request, error)
    except IssuerUnavailableError as error:
        response = await _unavailable(request, error)
    else:
        _note(request, "in")
        response = RedirectResponse(local_path(attempt.following), 303, headers=_NOT_KEPT)
        _set_cookie(request, response, cookie_name(request), token, int(ABSOLUTE_LIMIT.total_seconds()))
    _delete_cookie(request, response, _attempt_cookie(request))
    return response


def _attempt(request: Request) -> Attempt:
    """The attempt that this browser has begun. Raises LoginRefusedError."""
    attempt = Attempt.parse(request.cookies.get(_attempt_cookie(request), ""))
    if attempt is None:
        raise LoginRefusedError(Refusal.ATTEMPT, "cookie")
    return attempt


def _answer(request: Request) -> dict[str, str]:
    """The fields of the issuer's answer. Raises LoginRefusedError."""
    fields = request.query_params.multi_items()
    answer = {name: value[:_CALLBACK_FIELD] for name, value in fields}
    if len(answer) != len(fields):  # RFC 6749 section 3.1: none may be there twice
        raise LoginRefusedError(Refusal.ANSWER, "repeated")
    return answer


async def _open_session(request: Request, issuer: Issuer, identity: Identity, attempt: Attempt) -> str:
    """The token of a new session; the one that was there ends. Raises LoginRefusedError, TooOftenError."""
    site = Site.of(request)
    site.limits.login_by_account.take(f"{identity.issuer} {identity.subject}")
    seen = await visit(request)
    acting.set(None)  # whoever was signed in here before has no part in this
    token = new_token()
    opening = sign_in(
        identity,
        token,
        datetime.now(UTC),
        attempt=attempt.digest,
        new_id=secrets.token_hex(8),
        owners=issuer.owners,
    )
    await site.data.transact([*([end_session(seen.session)] if seen.session else []), opening])
    return token


async def logout(request: Request) -> Response:
    seen = await visit(request)
    if seen.session:
        await Site.of(request).data.transact([end_session(seen.session)])
    response = RedirectResponse("/", 303)
    _delete_cookie(request, response, cookie_name(request))
    return response


async def account(request: Request) -> Response:
    """What the site knows of its visitor, and where else they are signed in."""
    seen = await visit(request)
    user, now = seen.require_user(), datetime.now(UTC)
    return page(
        request,
        "accounts/account.html",
        seen,
        person=find_person(seen.database, user.id, now),
        sessions=sessions_of(seen.database, user.id, now),
        current=seen.session,
        written=count_written(seen.database, user.id),
        does=_DOES,
        limits={"idle": IDLE_LIMIT // timedelta(hours=1), "absolute": ABSOLUTE_LIMIT.days},
    )


async def end_others(request: Request) -> Response:
    """Sign out everywhere else."""
    seen = await visit(request)
    user = seen.require_user()
    digest = seen.session.digest if seen.session else None
    await Site.of(request).data.transact([end_sessions(user.id, user.id, but=digest)])
    return RedirectResponse("/account", 303)


async def people(request: Request) -> Response:
    seen = await visit(request)
    return page(
        request,
        "accounts/people.html",
        seen,
        owner=seen.require_owner(),
        people=all_people(seen.database, datetime.now(UTC)),
        roles=list(Role),
    )


async def change_person(request: Request) -> Response:
    """Give exactly the roles that are ticked, or end all of somebody's sessions."""
    seen = await visit(request)
    owner = seen.require_owner()
    form = await read_form(request, limit=_FORM_LIMIT)
    if form.text("action") == "sign-out":
        change = end_sessions(owner.id, form.text("user"))
    else:
        roles = frozenset(role for role in Role if form.text(role) == "yes")
        change = set_roles(owner.id, form.text("user"), roles)
    await Site.of(request).data.transact([change])
    return RedirectResponse("/people", 303)


def issuer_name(settings: Settings) -> str:
    """What the button calls the issuer."""
    issuer = settings.login.issuer if settings.login else ""
    return "Google" if issuer == GOOGLE else issuer.partition("://")[2].partition("/")[0]


def _issuer(request: Request) -> tuple[Site, Issuer]:
    site = Site.of(request)
    if site.issuer is None:
        raise HTTPException(404)
    return site, site.issuer


async def _refused(request: Request, error: LoginRefusedError) -> Response:
    _note(request, error.refusal, detail=error.detail)
    return page(
        request,
        "accounts/refused.html",
        await visit(request),
        status=_STATUS.get(error.refusal, 403),
        refusal=error.refusal,
        email=error.email,
        issuer=issuer_name(Site.of(request).settings),
        headers=_NOT_KEPT,
    )


async def _unavailable(request: Request, error: IssuerUnavailableError) -> Response:
    _note(request, "unavailable", detail=str(error))
    return page(
        request,
        "accounts/refused.html",
        await visit(request),
        status=503,
        refusal="unavailable",
        email="",
        issuer=issuer_name(Site.of(request).settings),
        headers={**_NOT_KEPT, "Retry-After": "30"},
    )


def _note(request: Request, outcome: str, detail: str = "") -> None:
    """Log and count how an attempt ended. Whose it was is no business of a log: the trail has it."""
    Site.of(request).metrics.logins[outcome] += 1
    fields = {"outcome": outcome} | ({"detail": detail} if detail else {})
    _log.log(logging.INFO if outcome == "in" else logging.WARNING, "login", extra={"fields": fields})


def _attempt_cookie(request: Request) -> str:
    return "__Host-login" if is_secure(request) else "login"


def _set_cookie(request: Request, response: Response, name: str, value: str, age: int) -> None:
    secure = is_secure(request)
    response.set_cookie(name, value, max_age=age, secure=secure, httponly=True, samesite="lax")


def _delete_cookie(request: Request, response: Response, name: str) -> None:
    response.delete_cookie(name, secure=is_secure(request), httponly=True, samesite="lax")


def routes(settings: Settings) -> list[Route]:
    """The demo's login is a route of a demo only, and the issuer's only where one is configured: elsewhere
    there is nothing that a request could reach.
    """
    if settings.mode is Mode.DEMO:
        login = [resource("/login", get=login_page, post=demo_login)]
    else:
        login = [resource("/login", get=login_page)]
        if settings.login:
            login += [resource("/login/start", get=begin), resource(CALLBACK, get=callback)]
    return [
        *login,
        resource("/logout", post=logout),
        resource("/account", get=account),
        resource("/account/sessions", post=end_others),
        resource("/people", get=people, post=change_person),
    ]
