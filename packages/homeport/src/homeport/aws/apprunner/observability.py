"""Observability configurations: kept, with revisions; homeport sends no traces anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.apprunner.faults import INVALID, invalid, missing
from homeport.aws.apprunner.settings import OBSERVABILITY, Settings
from homeport.aws.apprunner.tags import read_tags
from homeport.aws.pages import page
from homeport.resources import Resource, Resources

_PAGE = 100
_RESERVED = "DefaultConfiguration"


class Observability:
    """The operations on configurations."""

    def __init__(self, resources: Resources, settings: Settings) -> None:
        self._resources = resources
        self._settings = settings

    async def create_observability_configuration(self, **request: Any) -> Mapping[str, Any]:
        name = request["ObservabilityConfigurationName"]
        if name == _RESERVED:
            raise invalid(f"the name {_RESERVED} is reserved; choose another")
        content = {"TraceConfiguration": request.get("TraceConfiguration")}
        tags = read_tags(request.get("Tags", ()))
        configuration = await self._resources.create(OBSERVABILITY, name, content, tags)
        return {"ObservabilityConfiguration": self._shown(configuration)}

    async def describe_observability_configuration(self, **request: Any) -> Mapping[str, Any]:
        return {"ObservabilityConfiguration": self._shown(self._find(request))}

    async def list_observability_configurations(self, **request: Any) -> Mapping[str, Any]:
        found = self._resources.active(OBSERVABILITY, request.get("ObservabilityConfigurationName"))
        if request.get("LatestOnly", True):
            found = [one for one in found if self._resources.latest(one)]
        shown, token = page(
            found,
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda one: f"{one.name}/{one.revision:09}",
            code=INVALID,
        )
        summaries = [_summary(one) for one in shown]
        return {"ObservabilityConfigurationSummaryList": summaries, "NextToken": token}

    async def delete_observability_configuration(self, **request: Any) -> Mapping[str, Any]:
        found = self._find(request)
        if not found.active:
            raise missing(f"the observability configuration {found.arn} is deleted")
        self._settings.require_unused(found)
        await self._resources.retire(found)
        return {"ObservabilityConfiguration": self._shown(self._resources.find(found.arn) or found)}

    def _find(self, request: Mapping[str, Any]) -> Resource:
        named = request["ObservabilityConfigurationArn"]
        found = self._resources.resolve(OBSERVABILITY, named)
        if found is None:
            raise missing(f"there is no observability configuration {named}")
        return found

    def _shown(self, configuration: Resource) -> dict[str, Any]:
        return _summary(configuration) | {
            "TraceConfiguration": configuration.content["TraceConfiguration"],
            "Latest": self._resources.latest(configuration),
            "Status": configuration.status,
            "CreatedAt": configuration.created_at,
            "DeletedAt": configuration.deleted_at,
        }


def _summary(configuration: Resource) -> dict[str, Any]:
    return {
        "ObservabilityConfigurationArn": configuration.arn,
        "ObservabilityConfigurationName": configuration.name,
        "ObservabilityConfigurationRevision": configuration.revision,
    }
