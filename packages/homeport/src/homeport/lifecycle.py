"""Lifecycle policies of repositories: which images expire (ECR user guide, "Lifecycle policies").

All rules look at all images. What a rule's selection matches first, by priority, is that rule's alone to
expire; images expire oldest first.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, get_args

TagStatus = Literal["tagged", "untagged", "any"]

_MOST_WILDCARDS = 4  # in one pattern
_COUNTED = ("imageCountMoreThan", "sinceImagePushed")
_MEMBERS = {"rulePriority", "description", "selection", "action"}
_SELECTION = {
    "tagStatus",
    "tagPrefixList",
    "tagPatternList",
    "storageClass",
    "countType",
    "countUnit",
    "countNumber",
}


class PolicyError(ValueError):
    """The text is no lifecycle policy, or asks for what homeport does not do; the message says where."""


class Image(Protocol):
    """What a policy looks at."""

    @property
    def digest(self) -> str: ...
    @property
    def tags(self) -> Collection[str]: ...
    @property
    def pushed_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """Of the images that have a tag for each pattern, those expire that are more than `keep`, or older than
    `days`.
    """

    priority: int
    tag_status: TagStatus
    patterns: tuple[str, ...]
    keep: int | None
    days: int | None

    def selects(self, image: Image) -> bool:
        match self.tag_status:
            case "any":
                return True
            case "untagged":
                return not image.tags
            case "tagged":
                return all(fnmatch.filter(image.tags, pattern) for pattern in self.patterns)

    def expired(self, images: Iterable[Image], now: datetime) -> set[str]:
        """Digests of the selected images that are too many or too old."""
        newest = sorted(
            (image for image in images if self.selects(image)),
            key=lambda image: (image.pushed_at, image.digest),
            reverse=True,
        )
        if self.keep is not None:
            return {image.digest for image in newest[self.keep :]}
        assert self.days is not None  # noqa: S101  a rule has one of them
        before = now - timedelta(days=self.days)
        return {image.digest for image in newest if image.pushed_at < before}


def expiring(rules: Iterable[Rule], images: Collection[Image], now: datetime) -> dict[str, int]:
    """The digests that expire, each with the priority of the rule by which it does."""
    decided: set[str] = set()
    going: dict[str, int] = {}
    for rule in sorted(rules, key=lambda rule: rule.priority):
        mine = {image.digest for image in images if rule.selects(image)} - decided
        going |= dict.fromkeys(rule.expired(images, now) & mine, rule.priority)
        decided |= mine
    return going


def read_policy(text: str) -> list[Rule]:
    """Raises PolicyError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"the policy is not JSON: {error}") from None
    if (
        not isinstance(document, dict)
        or document.keys() != {"rules"}
        or not isinstance(document["rules"], list)
    ):
        raise PolicyError('the policy must be an object with a list "rules" and nothing else')
    if not document["rules"]:
        raise PolicyError("rules is empty")
    rules = [_rule(entry, f"rules[{index}]") for index, entry in enumerate(document["rules"])]
    priorities = [rule.priority for rule in rules]
    if len(set(priorities)) < len(priorities):
        raise PolicyError("rulePriority: each rule needs a number of its own")
    for status in ("untagged", "any"):
        if len([rule for rule in rules if rule.tag_status == status]) > 1:
            raise PolicyError(f"tagStatus: only one rule may say {status}")
    last = max(rules, key=lambda rule: rule.priority)
    if any(rule.tag_status == "any" and rule is not last for rule in rules):
        raise PolicyError("rulePriority: the rule with tagStatus any needs the highest number")
    return rules


def _rule(entry: Any, where: str) -> Rule:
    members = _object(entry, _MEMBERS, where)
    action = _object(members.get("action"), {"type", "targetStorageClass"}, f"{where}.action")
    if action.get("type") != "expire":
        raise PolicyError(f"{where}.action.type must be expire: homeport has no archive")
    if not isinstance(members.get("description", ""), str):
        raise PolicyError(f"{where}.description must be a text")
    selection = _object(members.get("selection"), _SELECTION, f"{where}.selection")
    status: TagStatus | None = selection.get("tagStatus")
    if status is None or status not in get_args(TagStatus):
        raise PolicyError(f"{where}.selection.tagStatus must be tagged, untagged or any")
    if selection.get("storageClass", "standard") != "standard":
        raise PolicyError(f"{where}.selection.storageClass must be standard: homeport has no archive")
    counted, unit = selection.get("countType"), selection.get("countUnit")
    if counted not in _COUNTED:
        raise PolicyError(f"{where}.selection.countType must be {' or '.join(_COUNTED)}")
    if unit != ("days" if counted == "sinceImagePushed" else None):
        raise PolicyError(f"{where}.selection.countUnit must be days with sinceImagePushed, and only then")
    number = _number(selection.get("countNumber"), f"{where}.selection.countNumber")
    by_count = counted == "imageCountMoreThan"
    return Rule(
        priority=_number(members.get("rulePriority"), f"{where}.rulePriority"),
        tag_status=status,
        patterns=_patterns(selection, f"{where}.selection"),
        keep=number if by_count else None,
        days=None if by_count else number,
    )


def _patterns(selection: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The tags that are meant, with `*` for anything; a prefix is one that ends with it."""
    named = selection.keys() & {"tagPrefixList", "tagPatternList"}
    if len(named) != (selection["tagStatus"] == "tagged"):
        raise PolicyError(f"{where}: tagStatus tagged goes with a tagPrefixList or a tagPatternList")
    if not named:
        return ()
    (name,) = named
    texts = selection[name]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise PolicyError(f"{where}.{name} must be a list of texts")
    if name == "tagPrefixList":
        return tuple(f"{_literal(text)}*" for text in texts)
    if any(text.count("*") > _MOST_WILDCARDS for text in texts):
        raise PolicyError(f"{where}.{name}: more than {_MOST_WILDCARDS} wildcards in one text")
    return tuple("*".join(map(_literal, text.split("*"))) for text in texts)


def _literal(text: str) -> str:
    """For fnmatch, to which brackets and question marks mean something."""
    return "".join(f"[{character}]" if character in "[?*" else character for character in text)


def _object(value: Any, members: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must be an object")
    if unknown := value.keys() - members:
        raise PolicyError(f"{where}.{min(unknown)} is no member of a lifecycle policy")
    return value


def _number(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PolicyError(f"{where} must be a whole number from 1 on")
    return value
