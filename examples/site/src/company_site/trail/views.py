"""The audit page, for owners."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from company_site.routing import resource
from company_site.site import visit
from company_site.templating import page
from company_site.trail.store import Kind, entries


async def trail(request: Request) -> Response:
    """Who did what, newest first: `?kind=` narrows it, `?before=` is where the page before ended."""
    seen = await visit(request)
    seen.require_owner()
    kind, before = request.query_params.get("kind"), request.query_params.get("before")
    if kind not in (None, *Kind) or not (before is None or (before.isdecimal() and len(before) < 19)):
        raise HTTPException(404)
    found = await asyncio.to_thread(
        entries, seen.database, Kind(kind) if kind else None, int(before) if before else None
    )
    return page(
        request,
        "trail/list.html",
        seen,
        entries=found,
        kinds=list(Kind),
        kind=kind,
        is_first=before is None,
        last=found[-1].t if found else None,
    )


routes = [resource("/trail", get=trail)]
