"""What a repository holds: its tags (end-8), and what refers to a manifest (end-12)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ocikit._document import MAX_DOCUMENT
from ocikit.manifest import OCI_INDEX
from ocikit.registry.errors import Refusal
from ocikit.registry.request import expect, read_count, read_digest
from ocikit.registry.storage import Storage


class Discovery:
    """What there is: tags of a repository, and manifests that are about another one."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def tags(self, request: Request, repository: str) -> Response:
        """end-8a and end-8b: in the order of their bytes."""
        expect(request, "GET")
        tags = await self._storage.list_tags(repository)
        if not tags and not await self._storage.has_repository(repository):
            raise Refusal(404, "NAME_UNKNOWN", f"there is no repository {repository}")
        last, count = request.query_params.get("last", ""), read_count(request)
        tags = [tag for tag in tags if tag > last]
        page = tags if count is None else tags[:count]
        headers: dict[str, str] = {}
        if page and len(page) < len(tags):
            headers["Link"] = _link(f"/v2/{repository}/tags/list", n=str(count), last=page[-1])
        return JSONResponse({"name": repository, "tags": page}, headers=headers)

    async def referrers(self, request: Request, repository: str, subject: str) -> Response:
        """end-12a and end-12b: in pages that a client accepts as one document."""
        expect(request, "GET")
        found = await self._storage.referrers(repository, read_digest(subject))
        query, headers = {}, {}
        if wanted := request.query_params.get("artifactType"):
            found = [entry for entry in found if entry.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
            query["artifactType"] = wanted
        last = request.query_params.get("last", "")
        found = [entry for entry in found if entry["digest"] > last]
        page = _page(found)
        if len(page) < len(found):
            place = f"/v2/{repository}/referrers/{subject}"
            headers["Link"] = _link(place, **query, last=page[-1]["digest"])
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page}
        return Response(json.dumps(document), media_type=OCI_INDEX, headers=headers)


def _page(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many entries from the first on as fit into a document; at least one."""
    size = 100  # bytes of what stands around the entries
    for index, entry in enumerate(entries):
        size += len(json.dumps(entry)) + 2
        if size > MAX_DOCUMENT and index:
            return entries[:index]
    return entries


def _link(place: str, **query: str) -> str:
    """RFC 8288."""
    return f'<{place}?{urlencode(query)}>; rel="next"'
