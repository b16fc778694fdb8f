"""IAM's policies, as far as homeport has a use for them: who may take a role, and what the role may do.

Documents are AWS's ("IAM JSON policy elements"), so that one rule can be given to both clouds. What is not
understood is refused when it is written and never ignored: a condition that is ignored grants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from homeport.errors import HomeportError
from homeport.place import ACCOUNT

VERSION: Final = "2012-10-17"
ASSUME: Final = "sts:AssumeRoleWithWebIdentity"
TOKEN_TIME: Final = "aws:TokenIssueTime"  # noqa: S105  when a session began

PROVIDER: Final = f"arn:aws:iam::{ACCOUNT}:oidc-provider/"

INSTANCES: Final = "tasks.apprunner.amazonaws.com"  # the principal that a service's instances are
PASS: Final = "iam:PassRole"  # noqa: S105  what it takes to give a service a role

_SERVICES: Final = ("apprunner", "ecr", "logs", "s3", "secretsmanager", "sts")
_ACTION: Final = re.compile(r"\*|(?P<service>[a-z0-9]+):[A-Za-z*?]+")
_MOST: Final = 10_240  # characters of a document, as IAM has it
# How much of the subjects of GitHub, GitLab and CircleCI says whose repository it is.
_WHOSE: Final = re.compile(r"((repo|project_path):[^:*?]+:|org/[^/*?]+/project/[^/*?]+/).+")

Effect = Literal["Allow", "Deny"]


class PolicyError(HomeportError):
    """The document is not a policy, or one that homeport does not understand."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A claim must be there and be like one of the patterns; without wildcards it must be equal."""

    claim: str
    allowed: tuple[str, ...]
    wildcards: bool

    @property
    def says_whose(self) -> bool:
        """Whether a subject like this is of one repository, whatever the wildcards stand for."""
        return not self.wildcards or all(_WHOSE.fullmatch(pattern) for pattern in self.allowed)

    def holds(self, value: str | None) -> bool:
        if value is None:
            return False
        if self.wildcards:
            return any(_like(pattern, value) for pattern in self.allowed)
        return value in self.allowed


@dataclass(frozen=True, slots=True)
class Trust:
    """One way to a role: by a token of `issuer` (without its scheme) for which all conditions hold."""

    issuer: str
    conditions: tuple[Condition, ...]

    def objection(self, claims: Mapping[str, str]) -> str | None:
        """The name of a claim that is not as it has to be; None where all are."""
        return next((one.claim for one in self.conditions if not one.holds(claims.get(one.claim))), None)


@dataclass(frozen=True, slots=True)
class Permission:
    """What may be done, or may not, with what; `before` makes it hold for sessions that began before."""

    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    before: datetime | None = None

    def covers(self, action: str, resource: str, began_at: datetime) -> bool:
        return (
            (self.before is None or began_at < self.before)
            and any(_like(pattern.lower(), action.lower()) for pattern in self.actions)
            and any(_like(pattern, resource) for pattern in self.resources)
        )


def allowed(permissions: Iterable[Permission], action: str, resource: str, began_at: datetime) -> bool:
    """Whether a session that began then may do that: something allows it, and nothing denies it."""
    return effect(permissions, action, resource, began_at) == "Allow"


def effect(
    permissions: Iterable[Permission], action: str, resource: str, began_at: datetime
) -> Effect | None:
    """What is said of it: a denial stands above whatever allows it. None where nothing is said."""
    effects = {one.effect for one in permissions if one.covers(action, resource, began_at)}
    return "Deny" if "Deny" in effects else "Allow" if effects else None


def read_trust(text: str) -> tuple[Trust, ...]:
    """By which tokens a role may be taken. A way that does not pin audience and repository is refused.

    Raises PolicyError.
    """
    return tuple(_trust(one) for one in _statements(text) if not _is_for_instances(one))


def trusts_instances(text: str) -> bool:
    """Whether the instances of services may have the role. Raises PolicyError."""
    return any(_is_for_instances(one) for one in _statements(text))


@lru_cache(maxsize=1024)
def read_permissions(text: str) -> tuple[Permission, ...]:
    """Raises PolicyError."""
    return tuple(_permission(statement) for statement in _statements(text))


def _statements(text: str) -> list[dict[str, Any]]:
    if len(text) > _MOST:
        raise PolicyError(f"the policy has more than {_MOST} characters")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise PolicyError("the policy is not JSON") from None
    if not isinstance(document, dict) or document.keys() - {"Version", "Id", "Statement"}:
        raise PolicyError("a policy has Version and Statement, and nothing else")
    if document.get("Version") != VERSION:
        raise PolicyError(f"the policy's Version is not {VERSION}")
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not all(isinstance(one, dict) for one in statements):
        raise PolicyError("Statement is no list of statements")
    return statements


def _is_for_instances(statement: dict[str, Any]) -> bool:
    """Raises PolicyError where it is for a service, and says something else."""
    principal = statement.get("Principal")
    if not isinstance(principal, dict) or "Service" not in principal:
        return False
    _known_members(statement, "Principal")
    said = (statement.get("Effect"), *_texts(statement, "Action"), *principal, *_texts(principal, "Service"))
    if said != ("Allow", "sts:AssumeRole", "Service", INSTANCES):
        raise PolicyError(f"a service in Principal is {INSTANCES}, and is allowed sts:AssumeRole")
    return True


def _trust(statement: dict[str, Any]) -> Trust:
    _known_members(statement, "Principal", "Condition")
    if statement.get("Effect") != "Allow" or _texts(statement, "Action") != (ASSUME,):
        raise PolicyError(f"a trust policy allows {ASSUME}, and nothing else")
    principal = statement.get("Principal")
    if not isinstance(principal, dict) or principal.keys() != {"Federated"}:
        raise PolicyError("Principal is not {Federated: the ARN of an OpenID Connect provider}")
    provider = str(principal["Federated"])
    issuer = provider.removeprefix(PROVIDER)
    if issuer == provider:
        raise PolicyError(f"{provider[:200]} does not begin with {PROVIDER}")
    conditions = tuple(_conditions(statement.get("Condition", {}), issuer))
    if not any(one.claim == "aud" and not one.wildcards for one in conditions):
        raise PolicyError(f"no condition StringEquals on {issuer}:aud: tokens for others would do")
    if not any(one.claim == "sub" and one.says_whose for one in conditions):
        raise PolicyError(
            f"no condition on {issuer}:sub that says whose repository it is, without wildcards there"
        )
    return Trust(issuer, conditions)


def _conditions(block: Any, issuer: str) -> Iterable[Condition]:
    for operator, entries in _members(block):
        if operator not in ("StringEquals", "StringLike"):
            raise PolicyError(f"the condition operator {operator[:50]} is not understood here")
        for key, value in _members(entries):
            provider, _, claim = key.rpartition(":")
            if provider != issuer or not claim:
                raise PolicyError(f"the condition key {key[:200]} is not a claim of {issuer}")
            values = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
            if not values or not all(isinstance(one, str) and one for one in values):
                raise PolicyError(f"{key[:200]}: not a text or a list of texts")
            yield Condition(claim, values, operator == "StringLike")


def _permission(statement: dict[str, Any]) -> Permission:
    _known_members(statement, "Resource", "Condition")
    effect = statement.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError("Effect is neither Allow nor Deny")
    actions = _texts(statement, "Action")
    for action in actions:
        match = _ACTION.fullmatch(action)
        if action != PASS and (match is None or match["service"] not in (None, *_SERVICES)):
            raise PolicyError(f"{action[:100]!r} is no action of {', '.join(_SERVICES)}, nor {PASS}")
    before = None
    for operator, entries in _members(statement.get("Condition", {})):
        entry = dict(_members(entries))
        if operator != "DateLessThan" or effect != "Deny" or entry.keys() != {TOKEN_TIME}:
            raise PolicyError(f"of conditions only a Deny with DateLessThan {TOKEN_TIME} is understood here")
        try:
            before = datetime.fromisoformat(entry[TOKEN_TIME])
        except (ValueError, TypeError):
            raise PolicyError(f"{TOKEN_TIME} is no time in ISO 8601") from None
        if before.tzinfo is None:
            raise PolicyError(f"{TOKEN_TIME} says no time zone")
    return Permission(effect, actions, _texts(statement, "Resource"), before)


def _known_members(statement: dict[str, Any], *more: str) -> None:
    unknown = statement.keys() - {"Sid", "Effect", "Action", *more}
    if unknown:
        raise PolicyError(f"{min(unknown)[:100]} in a statement is not understood here")


def _texts(statement: dict[str, Any], member: str) -> tuple[str, ...]:
    value = statement.get(member)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) and one for one in values):
        raise PolicyError(f"{member} is no text or list of texts")
    return tuple(values)


def _members(block: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(block, dict):
        raise PolicyError("a condition is no object")
    return block.items()


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    """IAM's wildcards: `*` is any text, `?` one character.

    What stands between two `*` is taken where it comes first, and never looked for anew: that finds a match
    wherever there is one, in no more steps than pattern times text, whatever somebody has called a thing.
    """
    first, *others = (
        "".join("." if one == "?" else re.escape(one) for one in part) for part in pattern.split("*")
    )
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(f"{first}{''.join(f'(?>.*?{part})' for part in middle)}.*{last}", re.DOTALL)


def _like(pattern: str, text: str) -> bool:
    return _pattern(pattern).fullmatch(text) is not None
