"""The budget alarm: a mail before the month gets dear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs

_NONE = "NotFoundException"
# Of the whole account: a filter by tag sees nothing until somebody activates the tag for billing, and an
# alarm that stays silent is worse than one that rings early.
_ALARMS = (("ACTUAL", 80.0), ("FORECASTED", 100.0))  # percent


class Budget:
    """Settings: `dollars` a month, `mail`."""

    name: ClassVar[str] = "budgets.budget"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        named = {"AccountId": account.id, "BudgetName": resource.name}
        there = account.find("budgets", "describe_budget", _NONE, **named)
        if there is None:
            return None
        alarms = account.call("budgets", "describe_notifications_for_budget", **named)["Notifications"]
        mails = {
            subscriber["Address"]
            for alarm in alarms
            for subscriber in account.call(
                "budgets",
                "describe_subscribers_for_notification",
                **named,
                Notification={name: alarm[name] for name in _notification(*_ALARMS[0])},
            )["Subscribers"]
        }
        arn = f"arn:aws:budgets::{account.id}:budget/{resource.name}"
        tags = account.call("budgets", "list_tags_for_resource", ResourceARN=arn).get("ResourceTags")
        return Found(
            settings={
                "dollars": int(float(there["Budget"]["BudgetLimit"]["Amount"])),
                "mail": next(iter(mails)) if len(mails) == 1 else sorted(mails),
                "alarms": len(alarms),
            },
            tags=mapping(tags),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "budgets",
            "create_budget",
            AccountId=account.id,
            Budget=_budget(resource, resource.settings),
            NotificationsWithSubscribers=_alarms(resource.settings),
            ResourceTags=pairs(resource.tags),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        # It has no state of its own, and its alarms can only be changed one by one.
        self.delete(account, resource, found)
        self.create(account, resource)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("budgets", "delete_budget", _NONE, AccountId=account.id, BudgetName=resource.name)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::Budgets::Budget", {
            "Budget": _budget(resource, resource.settings),
            "NotificationsWithSubscribers": _alarms(resource.settings),
            "ResourceTags": pairs(resource.tags),
        }


def _budget(resource: Resource, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "BudgetName": resource.name,
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": str(settings["dollars"]), "Unit": "USD"},
    }


def _alarms(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    subscriber = {"SubscriptionType": "EMAIL", "Address": settings["mail"]}
    return [{"Notification": _notification(*alarm), "Subscribers": [subscriber]} for alarm in _ALARMS]


def _notification(kind: str, percent: float) -> dict[str, Any]:
    return {
        "NotificationType": kind,
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": percent,
        "ThresholdType": "PERCENTAGE",
    }
