"""Connections to GitHub and Bitbucket: kept and shown. Their handshake needs AWS's console, so here they stay
`PENDING_HANDSHAKE`, as there before it; homeport runs images and asks no code host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.apprunner.faults import INVALID, missing, once
from homeport.aws.apprunner.tags import read_tags
from homeport.aws.pages import page
from homeport.resources import Resource, Resources

_KIND = "connection"
_PAGE = 100


class Connections:
    """The operations on connections."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def create_connection(self, **request: Any) -> Mapping[str, Any]:
        name = request["ConnectionName"]
        tags = read_tags(request.get("Tags", ()))
        content = {"ProviderType": request["ProviderType"]}
        with once():
            connection = await self._resources.create(_KIND, name, content, tags, once=True)
        return {"Connection": _shown(connection)}

    async def list_connections(self, **request: Any) -> Mapping[str, Any]:
        shown, token = page(
            self._resources.of(_KIND, request.get("ConnectionName")),
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda one: one.name,
            code=INVALID,
        )
        return {"ConnectionSummaryList": [_shown(one) for one in shown], "NextToken": token}

    async def delete_connection(self, **request: Any) -> Mapping[str, Any]:
        named = request["ConnectionArn"]
        found = self._resources.find(named)
        if found is None or found.kind != _KIND:
            raise missing(f"there is no connection {named}")
        await self._resources.remove(found)
        return {"Connection": _shown(found, "DELETED")}


def _shown(connection: Resource, status: str = "PENDING_HANDSHAKE") -> dict[str, Any]:
    return {
        "ConnectionName": connection.name,
        "ConnectionArn": connection.arn,
        "ProviderType": connection.content["ProviderType"],
        "Status": status,
        "CreatedAt": connection.created_at,
    }
