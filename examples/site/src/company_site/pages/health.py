"""What platforms and operators ask: is it up, can it work, how is it doing."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from company_site.metrics import is_authorised
from company_site.site import Site
from company_site.version import __version__

_NOT_KEPT = {"Cache-Control": "no-store"}


async def health(_: Request) -> Response:
    """The process is up and has opened its database; asks nothing of the bucket, so that a slow one kills
    nobody.
    """
    return JSONResponse({"status": "ok", "version": __version__}, headers=_NOT_KEPT)


async def ready(request: Request) -> Response:
    """Whether writing would work now: 200 when both buckets answer, else 503 and which does not."""
    checks = await Site.of(request).readiness.checks()
    is_ready = all(state == "ok" for state in checks.values())
    body = {"status": "ready" if is_ready else "not ready", "version": __version__, "checks": checks}
    return JSONResponse(body, 200 if is_ready else 503, headers=_NOT_KEPT)


async def metrics(request: Request) -> Response:
    """Prometheus' format, for those who know the token; where none is set there is no such page."""
    site = Site.of(request)
    token = site.settings.metrics_token
    if token is None:
        raise HTTPException(404)
    if not is_authorised(request.headers.get("authorization", ""), token):
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    site.metrics.database = site.data.stats()
    text = await asyncio.to_thread(site.metrics.render)
    return Response(text, headers=_NOT_KEPT, media_type="text/plain; version=0.0.4; charset=utf-8")


routes = [
    Route("/healthz", health),
    Route("/readyz", ready),
    Route("/metrics", metrics),
]
