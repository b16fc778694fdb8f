"""The budget alarm: a mail before the month gets dear."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import DENIED, Account, AwsError
from tagboat.aws.resource import COMPONENT_TAG, Found, Resource
from tagboat.aws.tags import mapping, pairs
from tagboat.cloud import CloudError

_FILTER = "TagKeyValue"
_NONE = "NotFoundException"
_ALARMS = (("ACTUAL", 80.0), ("FORECASTED", 100.0))  # percent


class CostTagError(CloudError):
    """Costs are not seen to be kept apart by the tag of components."""


class Budget:
    """Settings: `dollars` a month, `mail`, `alarms` (how many), and `component`, whose things alone count, or
    None for all of the account.

    A filter by tag sees nothing until whoever pays for the account has activated the tag for billing, and an
    alarm that stays silent is worse than one that rings early: so one of a component is made only where the
    tag is seen to be active.
    """

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
                "component": _component(there["Budget"]),
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
        **_filter(settings["component"]),
    }


def obstacle(account: Account, resource: Resource) -> CloudError | None:
    """Why an alarm would stay silent; None where it would ring. Raises CloudError where that is not known."""
    if resource.settings["component"] is None:
        return None
    try:
        require_cost_tag(account)
    except CostTagError as error:
        return error
    return None


def require_cost_tag(account: Account) -> None:
    """Raises CostTagError unless costs are kept apart by the tag of components, as far as can be seen."""
    account_wide = 'budget-scope = "account" watches all of the account'
    try:
        found = account.call("ce", "list_cost_allocation_tags", TagKeys=[COMPONENT_TAG])["CostAllocationTags"]
    except AwsError as error:
        if error.code not in DENIED:
            raise
        raise CostTagError(
            f"only the account that pays knows whether costs are kept apart by the tag {COMPONENT_TAG}",
            hint=account_wide,
        ) from error
    if not any(one["TagKey"] == COMPONENT_TAG and one["Status"] == "Active" for one in found):
        raise CostTagError(
            f"the tag {COMPONENT_TAG} is not active for billing: an alarm by it would never ring",
            hint=f"aws ce update-cost-allocation-tags-status --cost-allocation-tags-status "
            f"TagKey={COMPONENT_TAG},Status=Active (the tag is known a day after its first use), or "
            f"{account_wide}",
        )


def _filter(component: str | None) -> dict[str, Any]:
    if component is None:
        return {}
    return {"CostFilters": {_FILTER: [f"user:{COMPONENT_TAG}${component}"]}}


def _component(budget: Mapping[str, Any]) -> str | None:
    """Whose things alone the budget watches; of a filter of somebody else's, the filter."""
    filters = budget.get("CostFilters") or {}
    named = filters.get(_FILTER, [])
    if len(filters) == len(named) == 1 and named[0].startswith(f"user:{COMPONENT_TAG}$"):
        return str(named[0].partition("$")[2])
    return json.dumps(filters, sort_keys=True) if filters else None


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
