"""Style sheet and pictures of the site itself: read once, named by content, cached by browsers for good."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from company_site.headers import ELSEWHERE

IMMUTABLE = "public, max-age=31536000, immutable"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    data: bytes
    media_type: str


def _load() -> tuple[dict[str, str], dict[str, Asset]]:
    paths, assets = {}, {}
    for file in sorted(Path(__file__).with_name("static").iterdir()):
        data = file.read_bytes()
        served = f"{file.stem}-{hashlib.sha256(data).hexdigest()[:10]}{file.suffix}"
        paths[file.name] = f"/static/{served}"
        assets[served] = Asset(data, _TYPES[file.suffix])
    return paths, assets


_PATHS, _ASSETS = _load()


def asset(name: str) -> str:
    """The address of a file of `static/`; KeyError for one that is not there."""
    return _PATHS[name]


async def serve_asset(request: Request) -> Response:
    found = _ASSETS.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return Response(
        found.data, media_type=found.media_type, headers={"Cache-Control": IMMUTABLE, **ELSEWHERE}
    )


routes = [Route("/static/{name}", serve_asset)]
