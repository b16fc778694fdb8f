"""How an App Runner service scales, on AWS or on a homeport: a configuration by name, of which each change
is a revision of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs
from tagboat.cloud import CloudError

_NONE = "ResourceNotFoundException"
_DEFAULT = "DefaultConfiguration"  # what App Runner's own is called in each account


class AutoScaling:
    """Settings: `concurrency`, the requests at a time of one instance, `min` and `max` instances.

    There are five revisions at most, so those that no service has go before another one is made.
    """

    name: ClassVar[str] = "apprunner.auto-scaling"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "AutoScalingConfigurationArn"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        newest = max(
            revisions(account, resource.name),
            key=lambda one: one["AutoScalingConfigurationRevision"],
            default=None,
        )
        if newest is None:
            return None
        arn = newest["AutoScalingConfigurationArn"]
        there = account.call(
            "apprunner", "describe_auto_scaling_configuration", AutoScalingConfigurationArn=arn
        )["AutoScalingConfiguration"]
        return Found(
            settings={
                "concurrency": there["MaxConcurrency"],
                "min": there["MinSize"],
                "max": there["MaxSize"],
            },
            attributes={"arn": arn},
            tags=mapping(account.call("apprunner", "list_tags_for_resource", ResourceArn=arn)["Tags"]),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "apprunner",
            "create_auto_scaling_configuration",
            AutoScalingConfigurationName=resource.name,
            Tags=pairs(resource.tags),
            **_sizes(resource.settings),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        if changed - {"tags"}:
            remove_revisions(account, resource.name)
            self.create(account, resource)
        else:
            arn = found.attributes["arn"]
            account.call("apprunner", "tag_resource", ResourceArn=arn, Tags=pairs(resource.tags))

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find(
            "apprunner",
            "delete_auto_scaling_configuration",
            _NONE,
            AutoScalingConfigurationArn=found.attributes["arn"].rsplit("/", 2)[0],
            DeleteAllRevisions=True,
        )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::AppRunner::AutoScalingConfiguration", {
            "AutoScalingConfigurationName": resource.name,
            **_sizes(resource.settings),
            "Tags": pairs(resource.tags),
        }


def revisions(account: Account, name: str) -> list[Any]:
    """All that are there of the configuration of that name, as App Runner lists them."""
    return list(_listed(account, AutoScalingConfigurationName=name, LatestOnly=False))


def remove_revisions(account: Account, name: str) -> None:
    """Those that no service has."""
    for one in revisions(account, name):
        if not one.get("HasAssociatedService"):
            arn = one["AutoScalingConfigurationArn"]
            account.find(
                "apprunner", "delete_auto_scaling_configuration", _NONE, AutoScalingConfigurationArn=arn
            )


def is_default(summary: Mapping[str, Any]) -> bool:
    """Whether a service shows that it has what services get that name none."""
    return bool(summary.get("IsDefault")) or summary.get("AutoScalingConfigurationName") in (None, _DEFAULT)


def default_arn(account: Account) -> str:
    """Of the configuration that services get that name none."""
    for one in _listed(account):
        if is_default(one):
            return str(one["AutoScalingConfigurationArn"])
    raise CloudError("App Runner lists no default auto scaling configuration")


def _sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "MaxConcurrency": settings["concurrency"],
        "MinSize": settings["min"],
        "MaxSize": settings["max"],
    }


def _listed(account: Account, **arguments: Any) -> Iterator[Any]:
    token: dict[str, str] = {}
    while True:  # botocore has no paginator for it
        page = account.call("apprunner", "list_auto_scaling_configurations", **arguments, **token)
        yield from page["AutoScalingConfigurationSummaryList"]
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}
