"""Auto scaling configurations: how many instances, and how many requests each; with revisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.apprunner.faults import INVALID, invalid, missing
from homeport.aws.apprunner.revisions import page_of_revisions
from homeport.aws.apprunner.settings import SCALING, Settings
from homeport.aws.apprunner.tags import read_tags
from homeport.aws.pages import page
from homeport.resources import Resource, Resources

_PAGE = 100
_DEFAULTS = {"MaxConcurrency": 100, "MinSize": 1, "MaxSize": 25}


class AutoScaling:
    """The operations on configurations."""

    def __init__(self, resources: Resources, settings: Settings) -> None:
        self._resources = resources
        self._settings = settings

    async def create_auto_scaling_configuration(self, **request: Any) -> Mapping[str, Any]:
        name = request["AutoScalingConfigurationName"]
        sizes = {size: request.get(size, default) for size, default in _DEFAULTS.items()}
        if sizes["MaxSize"] < sizes["MinSize"]:
            raise invalid(f"MaxSize is {sizes['MaxSize']}, less than MinSize, which is {sizes['MinSize']}")
        tags = read_tags(request.get("Tags", ()))
        configuration = await self._resources.create(SCALING, name, sizes, tags)
        return {"AutoScalingConfiguration": self._shown(configuration)}

    async def describe_auto_scaling_configuration(self, **request: Any) -> Mapping[str, Any]:
        return {"AutoScalingConfiguration": self._shown(self._find(request))}

    async def list_auto_scaling_configurations(self, **request: Any) -> Mapping[str, Any]:
        name = request.get("AutoScalingConfigurationName")
        shown, token = page_of_revisions(self._resources, SCALING, name, request)
        used = self._settings.used()
        summaries = [self._summary(one, used=one.arn in used) for one in shown]
        return {"AutoScalingConfigurationSummaryList": summaries, "NextToken": token}

    async def delete_auto_scaling_configuration(self, **request: Any) -> Mapping[str, Any]:
        last = self._find(request, active=True)
        going = [last]
        if request.get("DeleteAllRevisions", False):
            if not request["AutoScalingConfigurationArn"].endswith(f":{SCALING}/{last.name}"):
                raise invalid("DeleteAllRevisions goes with an ARN that ends with the configuration's name")
            going = self._resources.active(SCALING, last.name)
        for one in going:
            if one == self._settings.default_scaling():
                raise invalid(f"{one.arn} is the default auto scaling configuration and cannot be deleted")
            self._settings.require_unused(one)
        await self._resources.retire(*going)
        return {"AutoScalingConfiguration": self._shown(self._resources.find(last.arn) or last)}

    async def update_default_auto_scaling_configuration(self, **request: Any) -> Mapping[str, Any]:
        chosen = self._find(request, active=True)
        await self._settings.set_default_scaling(chosen)
        return {"AutoScalingConfiguration": self._shown(chosen)}

    async def list_services_for_auto_scaling_configuration(self, **request: Any) -> Mapping[str, Any]:
        shown, token = page(
            [service.arn for service in self._settings.users(self._find(request))],
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda arn: arn,
            code=INVALID,
        )
        return {"ServiceArnList": shown, "NextToken": token}

    def summary_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a service with these settings shows."""
        return self._summary(self._settings.scaling(settings), used=True)

    def _find(self, request: Mapping[str, Any], *, active: bool = False) -> Resource:
        named = request["AutoScalingConfigurationArn"]
        found = self._resources.resolve(SCALING, named)
        if found is None or (active and not found.active):
            raise missing(f"there is no {'active ' if found else ''}auto scaling configuration {named}")
        return found

    def _summary(self, configuration: Resource, *, used: bool) -> dict[str, Any]:
        return {
            "AutoScalingConfigurationArn": configuration.arn,
            "AutoScalingConfigurationName": configuration.name,
            "AutoScalingConfigurationRevision": configuration.revision,
            "Status": configuration.status,
            "CreatedAt": configuration.created_at,
            "HasAssociatedService": used,
            "IsDefault": configuration == self._settings.default_scaling(),
        }

    def _shown(self, configuration: Resource) -> dict[str, Any]:
        return {
            **self._summary(configuration, used=bool(self._settings.users(configuration))),
            **configuration.content,
            "Latest": self._resources.latest(configuration),
            "DeletedAt": configuration.deleted_at,
        }
