"""Tags of App Runner's resources. Of a service's, those that begin with `homeport:` act (`extensions`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from homeport.aws.apprunner import extensions
from homeport.aws.apprunner.faults import invalid, missing, refused, wrong_state
from homeport.aws.apprunner.settings import Settings
from homeport.model import Controller, NoSuchServiceError, Service, ServiceBusyError, ServiceStatus
from homeport.resources import Resource, Resources

_MOST = 50  # on one resource ("Tag naming limits and requirements")
_TAGGED = (
    "autoscalingconfiguration",
    "connection",
    "observabilityconfiguration",
    "vpcconnector",
    "vpcingressconnection",
)


def read_tags(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Raises ApiError where one key comes twice, or has no name, or they are too many."""
    read: dict[str, str] = {}
    for tag in tags:
        key = tag.get("Key")
        if key is None:
            raise invalid("Tags: there is one without a Key")
        if key in read:
            raise invalid(f"Tags: {key!r} is there twice")
        read[key] = tag.get("Value", "")
    if len(read) > _MOST:
        raise invalid(f"Tags: {len(read)} on one resource, more than {_MOST}")
    return read


class Tags:
    """The operations on tags."""

    def __init__(self, controller: Controller, resources: Resources, settings: Settings) -> None:
        self._controller = controller
        self._resources = resources
        self._settings = settings

    async def tag_resource(self, **request: Any) -> Mapping[str, Any]:
        new = read_tags(request["Tags"])
        found = self._find(request["ResourceArn"])
        if isinstance(found, Service):
            await self._tag_service(found, new)
        else:
            await self._resources.save(replace(found, tags=_together(found.tags, new)))
        return {}

    async def untag_resource(self, **request: Any) -> Mapping[str, Any]:
        found = self._find(request["ResourceArn"])
        if isinstance(found, Service):
            keys = request["TagKeys"]
            await self._keep(found, _without(self._settings.tags_of(found), keys), keys)
        else:
            await self._resources.save(replace(found, tags=_without(found.tags, request["TagKeys"])))
        return {}

    async def list_tags_for_resource(self, **request: Any) -> Mapping[str, Any]:
        found = self._find(request["ResourceArn"])
        tags = self._settings.tags_of(found) if isinstance(found, Service) else found.tags
        return {"Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}

    async def _tag_service(self, service: Service, new: dict[str, str]) -> None:
        digest = new.pop(extensions.ROLLBACK, None)
        if digest is not None and new:
            raise invalid(f"{extensions.ROLLBACK} is a call of its own: give no other tag with it")
        try:
            if digest is not None:
                await extensions.roll_back(self._controller, service, digest)
            else:
                await self._keep(service, _together(self._settings.tags_of(service), new), new)
        except (NoSuchServiceError, ServiceBusyError) as error:
            raise refused(error) from error

    async def _keep(self, service: Service, tags: Mapping[str, str], keys: Collection[str]) -> None:
        """What tags of these keys say that act is an update of the service, with an operation of its own."""
        spec = extensions.applied(service.spec, tags, keys)
        if spec != service.spec:
            try:
                service, _ = await self._controller.update_service(service.arn, spec)
            except (NoSuchServiceError, ServiceBusyError) as error:
                raise refused(error) from error
        await self._settings.save(service, self._settings.of(service), tags)

    def _find(self, arn: str) -> Resource | Service:
        resource = self._resources.find(arn)
        if resource is not None and resource.kind in _TAGGED:
            if not resource.active:
                raise wrong_state(f"{arn} is deleted")
            return resource
        try:
            service = self._controller.service(arn)
        except NoSuchServiceError:
            raise missing(f"there is no resource {arn}") from None
        if service.status == ServiceStatus.DELETED:
            raise wrong_state(f"{arn} is deleted")
        return service


def _together(before: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    tags = {**before, **new}
    if len(tags) > _MOST:
        raise invalid(f"Tags: {len(tags)} on one resource, more than {_MOST}")
    return tags


def _without(tags: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in set(keys)}
