"""Services and their operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from homeport.aws.apprunner import extensions
from homeport.aws.apprunner.faults import INVALID, invalid, refused
from homeport.aws.apprunner.scaling import AutoScaling
from homeport.aws.apprunner.settings import Settings
from homeport.aws.apprunner.specification import changed, shown, summary
from homeport.aws.apprunner.tags import read_tags
from homeport.aws.pages import page
from homeport.model import (
    Controller,
    NoSuchServiceError,
    Operation,
    Service,
    ServiceBusyError,
    ServiceExistsError,
    ServiceSpec,
)
from homeport.policy import INSTANCES, trusts_instances
from homeport.roles import Roles

_Begin = Callable[[str], Awaitable[tuple[Service, Operation]]]

_PAGE = 20


class Services:
    """One method an operation, named as boto3 names it."""

    def __init__(
        self, controller: Controller, settings: Settings, scaling: AutoScaling, roles: Roles
    ) -> None:
        self._controller = controller
        self._settings = settings
        self._scaling = scaling
        self._roles = roles

    async def create_service(self, **request: Any) -> Mapping[str, Any]:
        source = request["SourceConfiguration"]
        if "ImageRepository" not in source:
            raise invalid("SourceConfiguration.ImageRepository is missing: homeport runs images")
        settings = self._settings.read(request, self._settings.defaults())
        tags = read_tags(request.get("Tags", ()))
        spec = ServiceSpec(request["ServiceName"], source["ImageRepository"]["ImageIdentifier"])
        spec = extensions.applied(self._scaled(self._changed(spec, request), settings), tags, tags)
        try:
            service, operation = await self._controller.create_service(spec)
        except ServiceExistsError as error:
            raise invalid(str(error)) from error
        await self._settings.save(service, settings, tags)
        return {"Service": self._shown(service), "OperationId": operation.id}

    async def update_service(self, **request: Any) -> Mapping[str, Any]:
        arn = request["ServiceArn"]
        try:
            service = self._controller.service(arn)
            settings = self._settings.read(request, self._settings.of(service))
            spec = self._scaled(self._changed(service.spec, request), settings)
            service, operation = await self._controller.update_service(arn, spec)
        except (NoSuchServiceError, ServiceBusyError) as error:
            raise refused(error) from error
        await self._settings.save(service, settings)
        return {"Service": self._shown(service), "OperationId": operation.id}

    async def delete_service(self, **request: Any) -> Mapping[str, Any]:
        return await self._begun(self._controller.delete_service, request)

    async def pause_service(self, **request: Any) -> Mapping[str, Any]:
        return await self._begun(self._controller.pause_service, request)

    async def resume_service(self, **request: Any) -> Mapping[str, Any]:
        return await self._begun(self._controller.resume_service, request)

    async def start_deployment(self, **request: Any) -> Mapping[str, Any]:
        try:
            operation = await self._controller.start_deployment(request["ServiceArn"])
        except NoSuchServiceError as error:
            raise refused(error) from error
        except ServiceBusyError as error:
            # This operation knows no InvalidStateException.
            raise invalid(str(error)) from error
        return {"OperationId": operation.id}

    async def describe_service(self, **request: Any) -> Mapping[str, Any]:
        try:
            return {"Service": self._shown(self._controller.service(request["ServiceArn"]))}
        except NoSuchServiceError as error:
            raise refused(error) from error

    async def list_services(self, **request: Any) -> Mapping[str, Any]:
        shown, token = page(
            self._controller.services(),
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda service: f"{service.spec.name}/{service.id}",
            code=INVALID,
        )
        return {"ServiceSummaryList": [summary(service) for service in shown], "NextToken": token}

    async def list_operations(self, **request: Any) -> Mapping[str, Any]:
        try:
            operations = self._controller.operations(request["ServiceArn"])
        except NoSuchServiceError as error:
            raise refused(error) from error
        newest, token = page(
            enumerate(reversed(operations)),  # which number an operation has never changes
            request.get("NextToken"),
            request.get("MaxResults", _PAGE),
            key=lambda numbered: f"{numbered[0]:09}",
            code=INVALID,
            descending=True,
        )
        return {"OperationSummaryList": [_operation(entry) for _, entry in newest], "NextToken": token}

    async def _begun(self, begin: _Begin, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            service, operation = await begin(request["ServiceArn"])
        except (NoSuchServiceError, ServiceBusyError) as error:
            raise refused(error) from error
        return {"Service": self._shown(service), "OperationId": operation.id}

    def _changed(self, spec: ServiceSpec, request: Mapping[str, Any]) -> ServiceSpec:
        """Raises ApiError, also for a role that instances may not have."""
        spec = changed(spec, request)
        if spec.role is not None and "InstanceRoleArn" in request.get("InstanceConfiguration", {}):
            role = self._roles.find(spec.role)
            if role is None or not trusts_instances(role.trust):
                raise invalid(f"InstanceRoleArn: there is no role {spec.role} that trusts {INSTANCES}")
        return spec

    def _scaled(self, spec: ServiceSpec, settings: Mapping[str, Any]) -> ServiceSpec:
        """With what the auto scaling configuration says, as it is now: its numbers never change."""
        sizes = self._settings.scaling(settings).content
        scaling = replace(
            spec.scaling,
            max_concurrency=sizes["MaxConcurrency"],
            min_size=sizes["MinSize"],
            max_size=sizes["MaxSize"],
        )
        return replace(spec, scaling=scaling)

    def _shown(self, service: Service) -> dict[str, Any]:
        settings = self._settings.of(service)
        answer = shown(service) | {
            "NetworkConfiguration": settings["NetworkConfiguration"],
            "ObservabilityConfiguration": settings.get("ObservabilityConfiguration"),
            "AutoScalingConfigurationSummary": self._scaling.summary_of(settings),
        }
        authentication = settings.get("AuthenticationConfiguration")
        answer["SourceConfiguration"]["AuthenticationConfiguration"] = authentication
        return answer


def _operation(operation: Operation) -> dict[str, Any]:
    return {
        "Id": operation.id,
        "Type": operation.type.value,
        "Status": operation.status.value,
        "TargetArn": operation.service_arn,
        "StartedAt": operation.started_at,
        "EndedAt": operation.ended_at,
        "UpdatedAt": operation.updated_at,
    }
