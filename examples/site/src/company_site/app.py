"""The application: its parts put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from obstore.exceptions import BaseError as ObjectStoreError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from bucketlog import BucketlogError
from company_site import assets, database
from company_site.accounts import store as account_store
from company_site.accounts import views as account_views
from company_site.accounts.oidc import Issuer
from company_site.caching import PageCache, fingerprint
from company_site.csrf import CrossOriginProtection
from company_site.database import Data, once
from company_site.drafts import store as draft_store
from company_site.drafts import views as draft_views
from company_site.feeds import views as feed_views
from company_site.headers import SecurityHeaders
from company_site.limits import Limits
from company_site.logs import RequestLog
from company_site.metrics import Metrics, RequestMetrics
from company_site.pages import discovery, failures, health
from company_site.pages import views as page_views
from company_site.posts import editor, files, history, seed
from company_site.posts import store as post_store
from company_site.posts import views as post_views
from company_site.posts.edition import Editions
from company_site.readiness import Readiness
from company_site.settings import Mode, Settings
from company_site.site import Site
from company_site.templating import environment
from company_site.trail import views as trail_views
from company_site.uploads import store as upload_store
from company_site.uploads import views as upload_views
from company_site.uploads.store import ImageStore

_log = logging.getLogger(__name__)

SCHEMA = [
    *database.SCHEMA,
    *account_store.SCHEMA,
    *post_store.SCHEMA,
    *draft_store.SCHEMA,
    *upload_store.SCHEMA,
]


def create_app(settings: Settings) -> ASGIApp:
    """The site as an ASGI application; its start opens the database, its end closes it.

    A start brings the schema up to date and writes the first posts into a database that never had any. Both
    do nothing the second time, also when several instances start at once. Who owns the site by configuration
    no longer loses that role here, though they may be signed in.
    """
    routes = [
        *page_views.routes,
        *discovery.routes,
        *health.routes,
        *files.routes,
        *editor.routes,
        *feed_views.routes,
        *history.routes,
        *draft_views.routes,
        *post_views.routes,
        *account_views.routes(settings),
        *trail_views.routes,
        *upload_views.routes,
        *assets.routes,
    ]

    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        editions = Editions()
        with _named("DATABASE_URL"):
            data = Data.open(settings.database_url, SCHEMA, *_first_content(settings), prepare=editions.at)
        issuer = _issuer(settings)
        try:
            with _named("UPLOADS_URL"):
                images = ImageStore.open(settings.uploads_url)
            app.state.site = Site(
                settings=settings,
                data=data,
                images=images,
                templates=environment(settings),
                editions=editions,
                fingerprint=fingerprint(settings),
                issuer=issuer,
                limits=Limits(settings.proxies),
                metrics=metrics,
                readiness=Readiness(data, images),
            )
            if issuer is None and settings.mode is not Mode.DEMO:
                _log.warning("nobody can sign in: OIDC_CLIENT_ID is not set; /login says what to do")
            yield
            await images.close()
        finally:
            data.close()
            if issuer is not None:
                await issuer.close()

    app = Starlette(
        # Within the mount, so that its refusals become pages as all others do.
        routes=[Mount("", routes=routes, middleware=[Middleware(CrossOriginProtection)])],
        exception_handlers=failures.handlers,
        lifespan=lifespan,
    )
    return RequestLog(RequestMetrics(SecurityHeaders(PageCache(app)), metrics, routes))


@contextmanager
def _named(variable: str) -> Iterator[None]:
    """Log why a start fails, by the variable that leads there."""
    try:
        yield
    except (BucketlogError, ObjectStoreError, OSError) as error:
        reason = str(error).partition("\n")[0]
        _log.error("cannot start", exc_info=error, extra={"fields": {"variable": variable, "reason": reason}})
        raise


def _issuer(settings: Settings) -> Issuer | None:
    if settings.login is None:
        return None
    return Issuer(settings.login, f"{settings.site_url}{account_views.CALLBACK}")


def _first_content(settings: Settings) -> list[list[Any]]:
    steps = [
        once("people", account_store.add_people),
        once("first posts", seed.add_first_posts),
    ]
    if settings.mode is Mode.DEMO:
        steps.append(once("demo roles", account_store.grant_demo_roles))
    if settings.login is not None:
        steps.append(account_store.withdraw_owners(settings.login.gate.owners))
    return [[step] for step in steps]
