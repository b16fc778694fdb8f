"""What the handlers of a request work with: the site's parts, and who is asking."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import jinja2
from starlette.requests import Request

from bucketlog import Database
from company_site.accounts.model import User
from company_site.accounts.oidc import Issuer
from company_site.accounts.store import DEMO_METHOD, Session, find_session, touch_session
from company_site.database import Data, acting
from company_site.errors import NotAllowedError, SignInNeededError
from company_site.limits import Limits
from company_site.metrics import Metrics
from company_site.posts.edition import Edition, Editions
from company_site.readiness import Readiness
from company_site.settings import Mode, Settings
from company_site.uploads.store import ImageStore


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of a running site."""

    settings: Settings
    data: Data
    images: ImageStore
    templates: jinja2.Environment
    editions: Editions
    fingerprint: str
    issuer: Issuer | None  # None in a demo, and where no login is configured
    limits: Limits
    metrics: Metrics
    readiness: Readiness
    # Searches run in threads; most of those are for the database's looks and commits.
    searching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    @classmethod
    def of(cls, request: Request) -> Site:
        site: Site = request.app.state.site
        return site

    async def edition(self) -> Edition:
        """What visitors without a session may read now."""
        return self.editions.at(await self.data.recent())


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's view: the database value that it is answered from, and its session, if it has a valid
    one.
    """

    database: Database
    session: Session | None

    @property
    def user(self) -> User | None:
        return self.session.user if self.session else None

    def require_member(self) -> User:
        """The user, who may write. Raises SignInNeededError, NotAllowedError."""
        if not self.require_user().is_member:
            raise NotAllowedError("only members write posts and upload images")
        return self.require_user()

    def require_owner(self) -> User:
        """The user, who may give and take roles. Raises SignInNeededError, NotAllowedError."""
        if not self.require_user().is_owner:
            raise NotAllowedError("only owners give and take roles")
        return self.require_user()

    def require_user(self) -> User:
        """Whoever is signed in. Raises SignInNeededError."""
        if self.user is None:
            raise SignInNeededError("only users may do this")
        return self.user


def is_secure(request: Request) -> bool:
    """Whether the visitor's side of the connection is HTTPS, by the edge's word or by the configuration."""
    address = Site.of(request).settings.site_url or ""
    return request.url.scheme == "https" or address.startswith("https:")


def cookie_name(request: Request) -> str:
    """Over HTTPS a `__Host-` cookie (RFC 6265bis): no other host and no plain HTTP can have set it."""
    return "__Host-session" if is_secure(request) else "session"


async def visit(request: Request) -> Visit:
    """Find out who asks, once a request, on a value of the database that is fresh enough for them (see
    `database`).

    What the request writes from now on is written in the user's name. Raises bucketlog.StoreError.
    """
    seen: Visit | None = getattr(request.state, "visit", None)
    if seen is None:
        seen = request.state.visit = await _find_out(request)
    return seen


async def visit_edition(request: Request) -> tuple[Visit, Edition]:
    """Who asks, and what may be read by all in the value of the database that they see. Raises as `visit`."""
    seen = await visit(request)
    return seen, Site.of(request).editions.at(seen.database)


async def _find_out(request: Request) -> Visit:
    site = Site.of(request)
    token = request.cookies.get(cookie_name(request))
    if token is None:
        return Visit(await site.data.recent(), None)
    database = await site.data.newest()
    session, now = find_session(database, token), datetime.now(UTC)
    if session is None or not session.is_valid(now):
        return Visit(database, None)
    if not _is_accepted(session, site.settings):
        return Visit(database, None)
    acting.set(session.user.id)
    if session.is_due(now):
        await site.data.transact([touch_session(session, now)])
    return Visit(database, session)


def _is_accepted(session: Session, settings: Settings) -> bool:
    """Whether somebody with this session could sign in today: the configuration may have changed since.

    The demo's people are nobody to a site that is not a demo.
    """
    if session.method == DEMO_METHOD:
        return settings.mode is Mode.DEMO
    login, email = settings.login, session.user.email
    return (
        login is not None
        and session.method == login.issuer
        and email is not None
        and login.gate.lets_in(email)
    )
