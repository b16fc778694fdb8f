"""App Runner (API version 2020-05-15): its calls in terms of homeport's controller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from homeport.aws.errors import ApiError
from homeport.aws.pages import page
from homeport.model import (
    Controller,
    HealthCheck,
    NoSuchServiceError,
    Operation,
    Service,
    ServiceBusyError,
    ServiceExistsError,
    ServiceSpec,
)
from ocikit import OcikitError, Reference

_INVALID = "InvalidRequestException"
_PAGE = 20
# What one machine has no use for is refused rather than dropped in silence.
_NOT_HERE = (
    "Tags",
    "EncryptionConfiguration",
    "AutoScalingConfigurationArn",
    "NetworkConfiguration",
    "ObservabilityConfiguration",
)


class AppRunner:
    """One method an operation, named as boto3 names it."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def create_service(self, **request: Any) -> Mapping[str, Any]:
        _refuse_unsupported(request)
        source = request["SourceConfiguration"]
        if "ImageRepository" not in source:
            raise ApiError(_INVALID, "SourceConfiguration.ImageRepository is missing: homeport runs images")
        spec = ServiceSpec(name=request["ServiceName"], image=source["ImageRepository"]["ImageIdentifier"])
        try:
            service, operation = await self._controller.create_service(_changed(spec, request))
        except ServiceExistsError as error:
            raise ApiError(_INVALID, str(error)) from error
        return {"Service": _service(service), "OperationId": operation.id}

    async def update_service(self, **request: Any) -> Mapping[str, Any]:
        _refuse_unsupported(request)
        arn = request["ServiceArn"]
        try:
            spec = _changed(self._controller.service(arn).spec, request)
            service, operation = await self._controller.update_service(arn, spec)
        except (NoSuchServiceError, ServiceBusyError) as error:
            _refuse(error)
        return {"Service": _service(service), "OperationId": operation.id}

    async def delete_service(self, *, ServiceArn: str) -> Mapping[str, Any]:  # noqa: N803  AWS's member names
        try:
            service, operation = await self._controller.delete_service(ServiceArn)
        except (NoSuchServiceError, ServiceBusyError) as error:
            _refuse(error)
        return {"Service": _service(service), "OperationId": operation.id}

    async def start_deployment(self, *, ServiceArn: str) -> Mapping[str, Any]:  # noqa: N803
        try:
            operation = await self._controller.start_deployment(ServiceArn)
        except NoSuchServiceError as error:
            _refuse(error)
        except ServiceBusyError as error:
            # This operation knows no InvalidStateException.
            raise ApiError(_INVALID, str(error)) from error
        return {"OperationId": operation.id}

    async def describe_service(self, *, ServiceArn: str) -> Mapping[str, Any]:  # noqa: N803
        try:
            return {"Service": _service(self._controller.service(ServiceArn))}
        except NoSuchServiceError as error:
            _refuse(error)

    async def list_services(
        self,
        *,
        NextToken: str | None = None,  # noqa: N803
        MaxResults: int = _PAGE,  # noqa: N803
    ) -> Mapping[str, Any]:
        services = sorted(self._controller.services(), key=lambda service: (service.spec.name, service.id))
        shown, token = page(services, NextToken, MaxResults, code=_INVALID)
        return {"ServiceSummaryList": [_summary(service) for service in shown], "NextToken": token}

    async def list_operations(
        self,
        *,
        ServiceArn: str,  # noqa: N803
        NextToken: str | None = None,  # noqa: N803
        MaxResults: int = _PAGE,  # noqa: N803
    ) -> Mapping[str, Any]:
        try:
            operations = self._controller.operations(ServiceArn)
        except NoSuchServiceError as error:
            _refuse(error)
        shown, token = page(operations, NextToken, MaxResults, code=_INVALID)
        return {"OperationSummaryList": [_operation(entry) for entry in shown], "NextToken": token}


def _refuse(error: NoSuchServiceError | ServiceBusyError) -> NoReturn:
    code = "ResourceNotFoundException" if isinstance(error, NoSuchServiceError) else "InvalidStateException"
    raise ApiError(code, str(error)) from error


def _refuse_unsupported(request: Mapping[str, Any]) -> None:
    for name in _NOT_HERE:
        if name in request:
            raise ApiError(_INVALID, f"{name} is not supported by homeport; leave it out")


def _changed(spec: ServiceSpec, request: Mapping[str, Any]) -> ServiceSpec:
    """The specification with what the request says; what it leaves out stays."""
    source = request.get("SourceConfiguration", {})
    if "CodeRepository" in source:
        raise ApiError(_INVALID, "SourceConfiguration.CodeRepository is not supported: homeport runs images")
    changes: dict[str, Any] = {}
    if "AutoDeploymentsEnabled" in source:
        changes["auto_deploy"] = source["AutoDeploymentsEnabled"]
    if repository := source.get("ImageRepository"):
        changes["image"] = _image(repository["ImageIdentifier"])
        image = repository.get("ImageConfiguration", {})
        if image.get("RuntimeEnvironmentSecrets"):
            raise ApiError(_INVALID, "RuntimeEnvironmentSecrets are not supported by homeport yet")
        if "Port" in image:
            changes["port"] = _port(image["Port"])
        if "StartCommand" in image:
            changes["start_command"] = image["StartCommand"] or None
        if "RuntimeEnvironmentVariables" in image:
            changes["environment"] = _environment(image["RuntimeEnvironmentVariables"])
    instance = request.get("InstanceConfiguration", {})
    if "InstanceRoleArn" in instance:
        raise ApiError(_INVALID, "InstanceRoleArn is not supported by homeport; leave it out")
    if "Cpu" in instance:
        changes["cpu"] = _units(instance["Cpu"])
    if "Memory" in instance:
        changes["memory"] = _units(instance["Memory"])
    if "HealthCheckConfiguration" in request:
        changes["health"] = _health(request["HealthCheckConfiguration"])
    return replace(spec, **changes)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ApiError(_INVALID, f"Port is {text!r}, not a number from 1 to 65535")
    return int(text)


def _image(text: str) -> str:
    try:
        Reference.parse(text)
    except OcikitError as error:
        raise ApiError(_INVALID, f"ImageIdentifier: {error}") from error
    return text


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    """What execve(2) takes: no name with an equals sign, and a NUL nowhere."""
    for name, value in variables.items():
        if "=" in name or "\0" in name + value:
            raise ApiError(
                _INVALID, f"RuntimeEnvironmentVariables: {name!r} cannot be a variable's name or value"
            )
    return variables


def _units(text: str) -> int:
    """`1024`, `1 vCPU` or `2 GB` in thousandths, as AWS counts them: 1024 to the whole."""
    match = re.fullmatch(r"([0-9.]+) (?:vCPU|GB)", text)
    return round(float(match[1]) * 1024) if match else int(text)


def _health(request: Mapping[str, Any]) -> HealthCheck:
    default = HealthCheck()
    # It goes into a request line as it is.
    if not re.fullmatch(r"/[!-~]*", request.get("Path", default.path)):
        raise ApiError(
            _INVALID, "HealthCheckConfiguration.Path must begin with / and hold visible ASCII only"
        )
    return HealthCheck(
        protocol=request.get("Protocol", default.protocol),
        path=request.get("Path", default.path),
        interval=request.get("Interval", default.interval),
        timeout=request.get("Timeout", default.timeout),
        healthy_threshold=request.get("HealthyThreshold", default.healthy_threshold),
        unhealthy_threshold=request.get("UnhealthyThreshold", default.unhealthy_threshold),
    )


def _summary(service: Service) -> dict[str, Any]:
    return {
        "ServiceName": service.spec.name,
        "ServiceId": service.id,
        "ServiceArn": service.arn,
        "ServiceUrl": service.url,
        "CreatedAt": service.created_at,
        "UpdatedAt": service.updated_at,
        "Status": service.status.value,
    }


def _service(service: Service) -> dict[str, Any]:
    spec = service.spec
    image: dict[str, Any] = {"Port": str(spec.port), "RuntimeEnvironmentVariables": dict(spec.environment)}
    if spec.start_command is not None:
        image["StartCommand"] = spec.start_command
    return _summary(service) | {
        "DeletedAt": service.deleted_at,
        "SourceConfiguration": {
            "ImageRepository": {
                "ImageIdentifier": spec.image,
                "ImageConfiguration": image,
                "ImageRepositoryType": "ECR",
            },
            "AutoDeploymentsEnabled": spec.auto_deploy,
        },
        "InstanceConfiguration": {"Cpu": str(spec.cpu), "Memory": str(spec.memory)},
        "HealthCheckConfiguration": {
            "Protocol": spec.health.protocol,
            "Path": spec.health.path,
            "Interval": spec.health.interval,
            "Timeout": spec.health.timeout,
            "HealthyThreshold": spec.health.healthy_threshold,
            "UnhealthyThreshold": spec.health.unhealthy_threshold,
        },
        "AutoScalingConfigurationSummary": {
            "AutoScalingConfigurationName": "DefaultConfiguration",
            "AutoScalingConfigurationRevision": 1,
        },
        "NetworkConfiguration": {
            "EgressConfiguration": {"EgressType": "DEFAULT"},
            "IngressConfiguration": {"IsPubliclyAccessible": True},
        },
    }


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
