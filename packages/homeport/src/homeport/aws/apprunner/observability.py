"""Observability configurations: kept, with revisions; homeport sends no traces anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.apprunner.faults import invalid, missing
from homeport.aws.apprunner.revisions import page_of_revisions
from homeport.aws.apprunner.settings import OBSERVABILITY, Settings
from homeport.aws.apprunner.tags import read_tags
from homeport.resources import Resource, Resources

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
        name = request.get("ObservabilityConfigurationName")
        shown, token = page_of_revisions(self._resources, OBSERVABILITY, name, request)
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
