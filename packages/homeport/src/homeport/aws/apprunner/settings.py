"""What a service is configured with beyond what homeport runs it by: the resources it names, and what is kept
for whoever asks for it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from homeport.aws.apprunner.faults import invalid
from homeport.model import Controller, Service
from homeport.place import arn
from homeport.resources import Resource, Resources

SCALING = "autoscalingconfiguration"
OBSERVABILITY = "observabilityconfiguration"
CONNECTOR = "vpcconnector"

_KIND = "service"
# Each account has it from the beginning, with the id that AWS gives it.
_PROVIDED = Resource(
    arn("apprunner", f"{SCALING}/DefaultConfiguration/1/{1:032}"),
    SCALING,
    "DefaultConfiguration",
    1,
    {"MaxConcurrency": 100, "MinSize": 1, "MaxSize": 25},
    datetime(2026, 1, 1, tzinfo=UTC),
)
# Which configuration services get that name none.
_DEFAULT = Resource(
    arn("apprunner", f"default/{SCALING}"),
    "default",
    SCALING,
    1,
    {"arn": _PROVIDED.arn},
    _PROVIDED.created_at,
)


class Settings:
    """The settings of all services."""

    def __init__(self, controller: Controller, resources: Resources) -> None:
        self._controller = controller
        self._resources = resources
        resources.establish([_PROVIDED, _DEFAULT])

    def read(self, request: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with what a request says; what it leaves out stays. Raises ApiError."""
        settings = dict(before)
        if "EncryptionConfiguration" in request:
            raise invalid("EncryptionConfiguration is not supported by homeport; leave it out")
        if named := request.get("AutoScalingConfigurationArn"):
            settings["AutoScalingConfigurationArn"] = self._named(SCALING, named).arn
        if authentication := request.get("SourceConfiguration", {}).get("AuthenticationConfiguration"):
            if "ConnectionArn" in authentication:
                raise invalid("AuthenticationConfiguration.ConnectionArn is for code: homeport runs images")
            settings["AuthenticationConfiguration"] = authentication
        if observability := request.get("ObservabilityConfiguration"):
            settings["ObservabilityConfiguration"] = self._observability(observability)
        if network := request.get("NetworkConfiguration"):
            settings["NetworkConfiguration"] = self._network(network, settings["NetworkConfiguration"])
        return settings

    def defaults(self) -> dict[str, Any]:
        """The settings of a service that says nothing."""
        return {
            "AutoScalingConfigurationArn": self.default_scaling().arn,
            "NetworkConfiguration": {
                "EgressConfiguration": {"EgressType": "DEFAULT"},
                "IngressConfiguration": {"IsPubliclyAccessible": True},
                "IpAddressType": "IPV4",
            },
        }

    def of(self, service: Service) -> Mapping[str, Any]:
        kept = self._resources.find(service.arn)
        return self.defaults() if kept is None else kept.content

    def tags_of(self, service: Service) -> Mapping[str, str]:
        kept = self._resources.find(service.arn)
        return {} if kept is None else kept.tags

    async def save(
        self, service: Service, settings: Mapping[str, Any], tags: Mapping[str, str] | None = None
    ) -> None:
        """Without `tags` they stay."""
        kept = self._resources.find(service.arn) or Resource(
            service.arn, _KIND, service.spec.name, 1, settings, service.created_at
        )
        changed = replace(kept, content=settings, tags=kept.tags if tags is None else tags)
        if self._resources.find(service.arn) != changed:
            await self._resources.save(changed)

    def scaling(self, settings: Mapping[str, Any]) -> Resource:
        """The auto scaling configuration that settings name."""
        return self._resources.get(settings["AutoScalingConfigurationArn"])

    def default_scaling(self) -> Resource:
        """The auto scaling configuration of services that name none."""
        return self._resources.get(self._resources.get(_DEFAULT.arn).content["arn"])

    async def set_default_scaling(self, configuration: Resource) -> None:
        await self._resources.save(replace(_DEFAULT, content={"arn": configuration.arn}))

    def users(self, resource: Resource) -> list[Service]:
        """Services that name the resource."""
        return [one for one in self._controller.services() if resource.arn in _named(self.of(one))]

    def require_unused(self, resource: Resource) -> None:
        """Raises ApiError where a service names the resource, which therefore cannot go."""
        if users := self.users(resource):
            names = ", ".join(sorted(service.spec.name for service in users))
            raise invalid(f"{resource.arn} is used by {names} and cannot be deleted")

    def used(self) -> set[str]:
        """ARNs of all that services name."""
        return {arn for service in self._controller.services() for arn in _named(self.of(service))}

    def _observability(self, request: Mapping[str, Any]) -> dict[str, Any]:
        named = request.get("ObservabilityConfigurationArn")
        if not request["ObservabilityEnabled"]:
            if named:
                raise invalid("ObservabilityConfigurationArn goes with ObservabilityEnabled")
            return {"ObservabilityEnabled": False}
        if not named:
            return {"ObservabilityEnabled": True}
        found = self._named(OBSERVABILITY, named)
        return {"ObservabilityEnabled": True, "ObservabilityConfigurationArn": found.arn}

    def _network(self, request: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        if not request.get("IngressConfiguration", {}).get("IsPubliclyAccessible", True):
            raise invalid(
                "IngressConfiguration.IsPubliclyAccessible must be true: homeport's edge serves every service"
            )
        if request.get("IpAddressType", "IPV4") != "IPV4":
            raise invalid(
                "IpAddressType must be IPV4: where the edge listens is said by `homeport serve --address`"
            )
        settings = {**before, **request}
        egress = settings["EgressConfiguration"] = dict(settings["EgressConfiguration"])
        named = egress.get("VpcConnectorArn")
        if (egress.setdefault("EgressType", "DEFAULT") == "VPC") != bool(named):
            raise invalid("EgressConfiguration: a VpcConnectorArn goes with EgressType VPC, and only with it")
        if named:
            egress["VpcConnectorArn"] = self._named(CONNECTOR, named).arn
        return settings

    def _named(self, kind: str, arn: str) -> Resource:
        found = self._resources.resolve(kind, arn)
        if found is None or not found.active:
            raise invalid(f"there is no active {kind} {arn}")
        return found


def _named(settings: Mapping[str, Any]) -> Iterable[str]:
    egress = settings["NetworkConfiguration"]["EgressConfiguration"]
    observability = settings.get("ObservabilityConfiguration", {})
    named = (
        settings["AutoScalingConfigurationArn"],
        observability.get("ObservabilityConfigurationArn"),
        egress.get("VpcConnectorArn"),
    )
    return [arn for arn in named if arn]
