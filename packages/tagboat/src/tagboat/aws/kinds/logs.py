"""Log groups: what a service writes, kept for so many days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import pairs
from tagboat.cloud import LogLine

_NONE = "ResourceNotFoundException"
# The only numbers of days that CloudWatch Logs takes (PutRetentionPolicy).
DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288,
        3653)  # fmt: skip


class LogGroup:
    """Settings: `days`."""

    name: ClassVar[str] = "logs.log-group"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "Arn", "name": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        groups = account.call("logs", "describe_log_groups", logGroupNamePrefix=resource.name)["logGroups"]
        group = next((group for group in groups if group["logGroupName"] == resource.name), None)
        if group is None:
            return None
        arn = group["arn"].removesuffix(":*")
        return Found(
            settings={"days": group.get("retentionInDays")},
            attributes={"arn": arn, "name": resource.name},
            tags=account.call("logs", "list_tags_for_resource", resourceArn=arn)["tags"],
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call("logs", "create_log_group", logGroupName=resource.name, tags=dict(resource.tags))

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        if "tags" in changed:
            arn = found.attributes["arn"]
            account.call("logs", "tag_resource", resourceArn=arn, tags=dict(resource.tags))
        if "days" in changed:
            account.call(
                "logs",
                "put_retention_policy",
                logGroupName=resource.name,
                retentionInDays=resource.settings["days"],
            )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("logs", "delete_log_group", _NONE, logGroupName=resource.name)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::Logs::LogGroup", {
            "LogGroupName": resource.name,
            "RetentionInDays": resource.settings["days"],
            "Tags": pairs(resource.tags),
        }


def lines(account: Account, group: str, *, since: int) -> Iterator[LogLine]:
    """The lines of a log group from `since` on, in milliseconds since 1970; none where there is no group."""
    token: dict[str, str] = {}
    while True:
        page = account.find("logs", "filter_log_events", _NONE, logGroupName=group, startTime=since, **token)
        for event in (page or {}).get("events", []):
            yield LogLine(event["timestamp"], event["message"].rstrip("\n"), event["eventId"])
        if not page or not page.get("nextToken"):
            return
        token = {"nextToken": page["nextToken"]}
