"""A service of App Runner's, on AWS or on a homeport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account, wait_until
from tagboat.aws.kinds.ecr import repository_uri, template_image
from tagboat.aws.kinds.scaling import default_arn, is_default, remove_revisions, revisions
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs
from tagboat.cloud import CloudError

_NONE = "ResourceNotFoundException"


class AppRunnerService:
    """Settings: `repository` whose `latest` is served, `port`, `cpu` in 1/1024 of a vCPU, `memory` in MiB,
    `health_path` (None: a connection is enough), `environment`, `secrets` (ARNs), `access_role` and
    `instance_role` (ARNs; None on a homeport, which needs neither), `scaling` (ARN of a revision, None for
    the account's default), and `old_revisions` of it (none).
    """

    name: ClassVar[str] = "apprunner.service"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "ServiceArn", "host": "ServiceUrl"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        arn = service_arn(account, resource.name)
        if arn is None:
            return None
        service = account.call("apprunner", "describe_service", ServiceArn=arn)["Service"]
        source = service["SourceConfiguration"]
        image = source.get("ImageRepository", {})
        configuration = image.get("ImageConfiguration", {})
        instance = service["InstanceConfiguration"]
        health = service.get("HealthCheckConfiguration", {})
        scaling = service["AutoScalingConfigurationSummary"]
        return Found(
            settings={
                "repository": image.get("ImageIdentifier", "").partition("/")[2].rpartition(":")[0],
                "port": int(configuration.get("Port", "8080")),
                "cpu": int(instance["Cpu"]),
                "memory": int(instance["Memory"]),
                "health_path": health.get("Path") if health.get("Protocol") == "HTTP" else None,
                "environment": configuration.get("RuntimeEnvironmentVariables", {}),
                "secrets": configuration.get("RuntimeEnvironmentSecrets", {}),
                "access_role": source.get("AuthenticationConfiguration", {}).get("AccessRoleArn"),
                "instance_role": instance.get("InstanceRoleArn"),
                "scaling": None if is_default(scaling) else scaling["AutoScalingConfigurationArn"],
                "old_revisions": _old_revisions(account, resource),
            },
            attributes={"arn": arn, "host": service["ServiceUrl"]},
            tags=mapping(account.call("apprunner", "list_tags_for_resource", ResourceArn=arn)["Tags"]),
        )

    def create(self, account: Account, resource: Resource) -> None:
        arn = account.call_with_role(
            "apprunner",
            "create_service",
            ServiceName=resource.name,
            Tags=pairs(resource.tags),
            **request(_latest(account, resource), resource.settings),
        )["Service"]["ServiceArn"]
        self._settled(account, arn)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        arn = found.attributes["arn"]
        if "tags" in changed:
            account.call("apprunner", "tag_resource", ResourceArn=arn, Tags=pairs(resource.tags))
        if changed - {"tags", "old_revisions"}:
            self._settled(account, arn)
            wanted = request(_latest(account, resource), resource.settings)
            if "scaling" in changed and resource.settings["scaling"] is None:
                wanted["AutoScalingConfigurationArn"] = default_arn(account)
            account.call("apprunner", "update_service", ServiceArn=arn, **wanted)
            self._settled(account, arn)
        if changed & {"scaling", "old_revisions"} and resource.settings["scaling"] is not None:
            remove_revisions(account, resource.name)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        arn = found.attributes["arn"]
        self._settled(account, arn, failed=True)
        account.find("apprunner", "delete_service", _NONE, ServiceArn=arn)
        # It may go between two calls of `read`.
        name = resource.name
        wait_until(lambda: service_arn(account, name) is None, f"the service {name} is not gone")

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        image = template_image(settings["repository"])
        described = request(image, settings)
        source = described["SourceConfiguration"]
        variables = source["ImageRepository"]["ImageConfiguration"]
        variables["RuntimeEnvironmentVariables"] = [
            {"Name": name, "Value": value} for name, value in settings["environment"].items()
        ]
        if settings["secrets"]:
            variables["RuntimeEnvironmentSecrets"] = [
                {"Name": name, "Value": arn} for name, arn in settings["secrets"].items()
            ]
        return "AWS::AppRunner::Service", {
            "ServiceName": resource.name,
            **described,
            "Tags": pairs(resource.tags),
        }

    @staticmethod
    def _settled(account: Account, arn: str, *, failed: bool = False) -> None:
        """Wait for the operation that is under way. Raises CloudError where the service does not run then."""

        def done() -> bool:
            service = account.call("apprunner", "describe_service", ServiceArn=arn)["Service"]
            if service["Status"] != "OPERATION_IN_PROGRESS" and not failed and service["Status"] != "RUNNING":
                raise CloudError(f"the service {service['ServiceName']} is {service['Status']}")
            return bool(service["Status"] != "OPERATION_IN_PROGRESS")

        wait_until(done, "the service's operation is not over", timeout=1800)


def request(image: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What CreateService and UpdateService share."""
    source: dict[str, Any] = {
        "ImageRepository": {
            "ImageIdentifier": image,
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {
                "Port": str(settings["port"]),
                "RuntimeEnvironmentVariables": dict(settings["environment"]),
                **({"RuntimeEnvironmentSecrets": dict(settings["secrets"])} if settings["secrets"] else {}),
            },
        },
        "AutoDeploymentsEnabled": True,
    }
    instance = {"Cpu": str(settings["cpu"]), "Memory": str(settings["memory"])}
    if settings["access_role"] is not None:
        source["AuthenticationConfiguration"] = {"AccessRoleArn": settings["access_role"]}
    if settings["instance_role"] is not None:
        instance["InstanceRoleArn"] = settings["instance_role"]
    path = settings["health_path"]
    scaling = settings["scaling"]
    return {
        **({"AutoScalingConfigurationArn": scaling} if scaling is not None else {}),
        "SourceConfiguration": source,
        "InstanceConfiguration": instance,
        "HealthCheckConfiguration": {"Protocol": "HTTP", "Path": path} if path else {"Protocol": "TCP"},
    }


def _old_revisions(account: Account, resource: Resource) -> int:
    """How many there are of its auto scaling configuration beside the newest."""
    if resource.settings["scaling"] is None:
        return 0
    return max(0, len(revisions(account, resource.name)) - 1)


def service_arn(account: Account, name: str) -> str | None:
    """The ARN of the service of that name, None where there is none or only a deleted one."""
    token: dict[str, str] = {}
    while True:  # botocore has no paginator for it
        page = account.call("apprunner", "list_services", **token)
        for summary in page["ServiceSummaryList"]:
            if summary["ServiceName"] == name and summary["Status"] != "DELETED":
                return str(summary["ServiceArn"])
        if not page.get("NextToken"):
            return None
        token = {"NextToken": page["NextToken"]}


def _latest(account: Account, resource: Resource) -> str:
    return f"{repository_uri(account, resource.settings['repository'])}:latest"
