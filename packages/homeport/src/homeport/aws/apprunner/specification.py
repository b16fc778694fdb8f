"""A service's specification, between App Runner's request and answer and homeport's own value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from homeport.aws.apprunner.faults import invalid
from homeport.model import HealthCheck, Service, ServiceSpec
from homeport.place import ACCOUNT
from homeport.vault import SecretError, SecretReference
from ocikit import OcikitError, Reference

ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/"


def changed(spec: ServiceSpec, request: Mapping[str, Any]) -> ServiceSpec:
    """The specification with what the request says; what it leaves out stays. Raises ApiError."""
    source = request.get("SourceConfiguration", {})
    if "CodeRepository" in source:
        raise invalid("SourceConfiguration.CodeRepository is not supported: homeport runs images")
    changes: dict[str, Any] = {}
    if "AutoDeploymentsEnabled" in source:
        changes["auto_deploy"] = source["AutoDeploymentsEnabled"]
    if repository := source.get("ImageRepository"):
        changes["image"] = _image(repository["ImageIdentifier"])
        changes |= _image_configuration(repository.get("ImageConfiguration", {}))
    instance = request.get("InstanceConfiguration", {})
    if "InstanceRoleArn" in instance:
        changes["role"] = _role(instance["InstanceRoleArn"])
    if "Cpu" in instance:
        changes["cpu"] = _units(instance["Cpu"])
    if "Memory" in instance:
        changes["memory"] = _units(instance["Memory"])
    if "HealthCheckConfiguration" in request:
        changes["health"] = _health(request["HealthCheckConfiguration"])
    spec = replace(spec, **changes)
    if twice := sorted(spec.environment.keys() & spec.secrets.keys()):
        raise invalid(f"{twice[0]} is in RuntimeEnvironmentVariables and in RuntimeEnvironmentSecrets")
    return spec


def shown(service: Service) -> dict[str, Any]:
    """Of the answer's service what homeport runs by."""
    spec = service.spec
    image: dict[str, Any] = {
        "Port": str(spec.port),
        "RuntimeEnvironmentVariables": dict(spec.environment),
    }
    if spec.secrets:
        image["RuntimeEnvironmentSecrets"] = dict(spec.secrets)
    if spec.start_command is not None:
        image["StartCommand"] = spec.start_command
    return summary(service) | {
        "DeletedAt": service.deleted_at,
        "SourceConfiguration": {
            "ImageRepository": {
                "ImageIdentifier": spec.image,
                "ImageConfiguration": image,
                "ImageRepositoryType": "ECR",
            },
            "AutoDeploymentsEnabled": spec.auto_deploy,
        },
        "InstanceConfiguration": {
            "Cpu": str(spec.cpu),
            "Memory": str(spec.memory),
            "InstanceRoleArn": None if spec.role is None else ROLE + spec.role,
        },
        "HealthCheckConfiguration": {
            "Protocol": spec.health.protocol,
            "Path": spec.health.path,
            "Interval": spec.health.interval,
            "Timeout": spec.health.timeout,
            "HealthyThreshold": spec.health.healthy_threshold,
            "UnhealthyThreshold": spec.health.unhealthy_threshold,
        },
    }


def summary(service: Service) -> dict[str, Any]:
    """A service, as ListServices shows it."""
    return {
        "ServiceName": service.spec.name,
        "ServiceId": service.id,
        "ServiceArn": service.arn,
        "ServiceUrl": service.url,
        "CreatedAt": service.created_at,
        "UpdatedAt": service.updated_at,
        "Status": service.status.value,
    }


def _image_configuration(image: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "Port" in image:
        changes["port"] = _port(image["Port"])
    if "StartCommand" in image:
        changes["start_command"] = image["StartCommand"] or None
    if "RuntimeEnvironmentVariables" in image:
        changes["environment"] = _environment(image["RuntimeEnvironmentVariables"])
    if "RuntimeEnvironmentSecrets" in image:
        changes["secrets"] = _secrets(image["RuntimeEnvironmentSecrets"])
    return changes


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise invalid(f"Port is {text!r}, not a number from 1 to 65535")
    return int(text)


def _image(text: str) -> str:
    try:
        Reference.parse(text)
    except OcikitError as error:
        raise invalid(f"ImageIdentifier: {error}") from error
    return text


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    """What execve(2) takes: no name with an equals sign, and a NUL nowhere."""
    for name, value in variables.items():
        if "=" in name or "\0" in name + value:
            raise invalid(f"RuntimeEnvironmentVariables: {name!r} cannot be a variable's name or value")
    return variables


def _secrets(secrets: Mapping[str, str]) -> Mapping[str, str]:
    """Each is a file too, of its variable's name."""
    for name, reference in secrets.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,199}", name):
            raise invalid(f"RuntimeEnvironmentSecrets: {name!r} cannot be a variable's name")
        try:
            SecretReference.parse(reference)
        except SecretError as error:
            raise invalid(f"RuntimeEnvironmentSecrets.{name}: {error}") from error
    return secrets


def _role(arn: str) -> str:
    """By name."""
    if not (name := arn.removeprefix(ROLE)) or name == arn or "/" in name:
        raise invalid(f"InstanceRoleArn: {arn[:200]!r} does not begin with {ROLE}, or has a path")
    return name


def _units(text: str) -> int:
    """`1024`, `1 vCPU` or `2 GB` in thousandths, as AWS counts them: 1024 to the whole."""
    match = re.fullmatch(r"([0-9.]+) (?:vCPU|GB)", text)
    return round(float(match[1]) * 1024) if match else int(text)


def _health(request: Mapping[str, Any]) -> HealthCheck:
    default = HealthCheck()
    # It goes into a request line as it is.
    if not re.fullmatch(r"/[!-~]*", request.get("Path", default.path)):
        raise invalid("HealthCheckConfiguration.Path must begin with / and hold visible ASCII only")
    return HealthCheck(
        protocol=request.get("Protocol", default.protocol),
        path=request.get("Path", default.path),
        interval=request.get("Interval", default.interval),
        timeout=request.get("Timeout", default.timeout),
        healthy_threshold=request.get("HealthyThreshold", default.healthy_threshold),
        unhealthy_threshold=request.get("UnhealthyThreshold", default.unhealthy_threshold),
    )
