"""A service of ECS Express Mode: AWS brings the load balancer, the certificate and the scaling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tagboat.aws.account import Account, wait_until
from tagboat.aws.kinds.ecr import released_image, template_image
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, small_pairs
from tagboat.cloud import CloudError
from tagboat.errors import ConfigError

_GONE = ("ServiceNotFoundException", "ResourceNotFoundException", "ClusterNotFoundException")
_STREAM = "app"
_UNDER_WAY = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")


class ExpressService:
    """Settings: `repository`, `port`, `cpu` in 1/1024 of a vCPU, `memory` in MiB, `architecture`,
    `health_path`, `environment`, `secrets` (ARNs), `execution_role`, `infrastructure_role`, `task_role`,
    `log_group`, `min` and `max` tasks, `scale_on` (a metric, in ECS's words) and its `scale_target`.

    Which image it is, is no setting: that is what `tagboat deploy` changes.
    """

    name: ClassVar[str] = "ecs.express-service"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "ServiceArn", "host": "Endpoint"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        service = described(account, resource.name)
        if service is None:
            return None
        configuration = active(service)
        container = configuration["primaryContainer"]
        scaling = configuration["scalingTarget"]
        return Found(
            settings={
                "repository": resource.settings["repository"],
                "port": container["containerPort"],
                "cpu": int(configuration["cpu"]),
                "memory": int(configuration["memory"]),
                "architecture": configuration.get("cpuArchitecture", "X86_64"),
                "health_path": configuration["healthCheckPath"],
                "environment": {one["name"]: one["value"] for one in container.get("environment", [])},
                "secrets": {one["name"]: one["valueFrom"] for one in container.get("secrets", [])},
                "execution_role": configuration["executionRoleArn"],
                "infrastructure_role": service["infrastructureRoleArn"],
                "task_role": configuration.get("taskRoleArn"),
                "log_group": container.get("awsLogsConfiguration", {}).get("logGroup"),
                "min": scaling["minTaskCount"],
                "max": scaling["maxTaskCount"],
                "scale_on": scaling.get("autoScalingMetric"),
                "scale_target": scaling.get("autoScalingTargetValue"),
            },
            attributes={
                "arn": service["serviceArn"],
                "host": endpoint(service),
                "image": container["image"],
            },
            tags=mapping(service.get("tags")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call_with_role(
            "ecs",
            "create_express_gateway_service",
            serviceName=resource.name,
            infrastructureRoleArn=resource.settings["infrastructure_role"],
            tags=small_pairs(resource.tags),
            **request(resource.settings, released_image(account, resource.settings["repository"])),
        )
        require_success(resource.name, steady(account, resource.name)[1])

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        arn = found.attributes["arn"]
        if "infrastructure_role" in changed:
            raise CloudError(
                f"the infrastructure role of {resource.name} cannot be changed",
                hint="`tagboat destroy`, then `tagboat apply`",
            )
        if "tags" in changed:
            account.call("ecs", "tag_resource", resourceArn=arn, tags=small_pairs(resource.tags))
        if changed - {"tags"}:
            account.call(
                "ecs",
                "update_express_gateway_service",
                serviceArn=arn,
                **request(resource.settings, found.attributes["image"]),
            )
            require_success(resource.name, steady(account, resource.name)[1])

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        arn = found.attributes["arn"]
        account.find("ecs", "delete_express_gateway_service", *_GONE, serviceArn=arn)
        wait_until(
            lambda: described(account, resource.name) is None,
            f"the service {resource.name} is not gone",
            timeout=1800,
        )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        image = template_image(settings["repository"])
        wanted = request(settings, image)
        if wanted.pop("cpuArchitecture") != "X86_64":
            raise ConfigError(
                "CloudFormation's AWS::ECS::ExpressGatewayService knows no architecture",
                hint='platform = "linux/amd64" in the target, or `tagboat apply`',
            )
        wanted |= {
            "serviceName": resource.name,
            "infrastructureRoleArn": settings["infrastructure_role"],
            "tags": [{"Key": key, "Value": value} for key, value in resource.tags.items()],
        }
        return "AWS::ECS::ExpressGatewayService", _capitalised(wanted)


def arn_of(account: Account, name: str) -> str:
    return account.arn("ecs", f"service/default/{name}")


def described(account: Account, name: str) -> Any:
    """The service as ECS describes it, None where there is none."""
    there = account.find(
        "ecs",
        "describe_express_gateway_service",
        *_GONE,
        serviceArn=arn_of(account, name),
        include=["TAGS"],
    )
    if there is None or there["service"]["status"]["statusCode"] == "INACTIVE":
        return None
    return there["service"]


def active(service: Mapping[str, Any]) -> Any:
    """The newest configuration of a service."""
    return max(service["activeConfigurations"], key=lambda one: one["createdAt"])


def endpoint(service: Mapping[str, Any]) -> str:
    """The host that it is served at; empty as long as there is none."""
    paths = active(service).get("ingressPaths", [])
    public = [one["endpoint"] for one in paths if one["accessType"] == "PUBLIC"]
    return (urlsplit(public[0]).netloc or public[0]) if public else ""


def deployment(account: Account, service: Mapping[str, Any]) -> str | None:
    """The status of the newest deployment of a service, in ECS's words; None where there was none."""
    arn = service.get("currentDeployment")
    if not arn:
        return None
    there = account.call("ecs", "describe_service_deployments", serviceDeploymentArns=[arn])
    (found,) = there["serviceDeployments"]
    return str(found["status"])


def steady(account: Account, name: str, *, timeout: float = 1800.0) -> tuple[Any, str | None]:
    """The service once no deployment of it is under way, and how the last one ended."""
    seen: dict[str, Any] = {}

    def done() -> bool:
        service = described(account, name)
        if service is None:
            raise CloudError(f"the service {name} went away")
        status = deployment(account, service)
        seen.update(service=service, status=status)
        return service["status"]["statusCode"] == "ACTIVE" and status not in _UNDER_WAY

    wait_until(done, f"the service {name} is not steady", timeout=timeout)
    return seen["service"], seen["status"]


def require_success(name: str, status: str | None) -> None:
    """Raises CloudError unless the deployment that ended like this succeeded."""
    if status not in (None, "SUCCESSFUL"):
        raise CloudError(
            f"the service {name} does not come up: its deployment ended {status}",
            hint="`tagboat logs` shows what it wrote",
        )


def request(settings: Mapping[str, Any], image: str) -> dict[str, Any]:
    """What CreateExpressGatewayService and UpdateExpressGatewayService share."""
    request: dict[str, Any] = {
        "executionRoleArn": settings["execution_role"],
        "taskRoleArn": settings["task_role"],
        "healthCheckPath": settings["health_path"],
        "cpu": str(settings["cpu"]),
        "memory": str(settings["memory"]),
        "cpuArchitecture": settings["architecture"],
        "primaryContainer": {
            "image": image,
            "containerPort": settings["port"],
            "awsLogsConfiguration": {"logGroup": settings["log_group"], "logStreamPrefix": _STREAM},
            "environment": [
                {"name": name, "value": value} for name, value in sorted(settings["environment"].items())
            ],
        },
        "scalingTarget": {
            "minTaskCount": settings["min"],
            "maxTaskCount": settings["max"],
            "autoScalingMetric": settings["scale_on"],
            "autoScalingTargetValue": settings["scale_target"],
        },
    }
    if settings["secrets"]:
        request["primaryContainer"]["secrets"] = [
            {"name": name, "valueFrom": arn} for name, arn in sorted(settings["secrets"].items())
        ]
    return request


def _capitalised(value: Any) -> Any:
    """CloudFormation's names for ECS's own."""
    if isinstance(value, Mapping) and not {"Key", "Value"} & set(value):
        return {f"{name[0].upper()}{name[1:]}": _capitalised(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_capitalised(one) for one in value]
    return value
