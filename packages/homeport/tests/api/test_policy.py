"""IAM's policies: what they allow, and that what is not understood is refused when it is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.policy import Permission, PolicyError, allowed, read_permissions, read_trust

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ISSUER = "token.actions.githubusercontent.com"
GOOD = {
    "Effect": "Allow",
    "Principal": {"Federated": f"arn:aws:iam::000000000000:oidc-provider/{ISSUER}"},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {
        "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"},
        "StringLike": {f"{ISSUER}:sub": "repo:octo/shop:*"},
    },
}
CLAIMS = {"aud": "sts.amazonaws.com", "sub": "repo:octo/shop:environment:production"}


def text(*statements: Any, **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def condition(**operators: dict[str, Any]) -> dict[str, Any]:
    return GOOD | {"Condition": operators}


def aud(value: Any = "sts.amazonaws.com") -> dict[str, Any]:
    return {f"{ISSUER}:aud": value}


def sub(value: Any) -> dict[str, Any]:
    return {f"{ISSUER}:sub": value}


def test_all_conditions_must_hold() -> None:
    (way,) = read_trust(text(GOOD))
    assert way.issuer == ISSUER
    assert way.objection(CLAIMS) is None
    assert way.objection(CLAIMS | {"aud": "sts.amazonaws.com.evil.example"}) == "aud"
    assert way.objection({"aud": "sts.amazonaws.com"}) == "sub"


@pytest.mark.parametrize(
    "subject",
    ["repo:octo/shop-evil:environment:production", "repo:octo/shopX", "xrepo:octo/shop:x", "repo:octo/shop"],
)
def test_a_wildcard_reaches_no_other_repository(subject: str) -> None:
    (way,) = read_trust(text(GOOD))
    assert way.objection(CLAIMS | {"sub": subject}) == "sub"


@pytest.mark.parametrize(
    "statement",
    [
        condition(StringEquals=aud()),
        condition(StringLike=sub("repo:octo/shop:*")),
        condition(StringLike=aud("*") | sub("repo:octo/shop:*")),
        condition(StringEquals=aud(), StringLike=sub("*")),
        condition(StringEquals=aud(), StringLike=sub("repo:*")),
        condition(StringEquals=aud(), StringLike=sub("repo:octo/*")),
        condition(StringEquals=aud(), StringLike=sub("repo:octo*")),
        condition(StringEquals=aud(), StringLike=sub("repo:*/shop:*")),
        condition(StringEquals=aud(), StringLike=sub("repo:octo/sho?:*")),
        condition(StringEquals=aud(), StringLike=sub(["repo:octo/shop:*", "*"])),
        condition(StringEquals=aud(), StringLike=sub("project_path:group/*")),
        condition(StringEquals=aud(), StringLike=sub("org/1/project/*/user/2")),
        condition(StringEquals=aud() | sub([])),
        condition(StringEquals=aud() | sub(7)),
        condition(StringEquals=aud() | sub("")),
        condition(StringEquals=aud() | {"gitlab.com:sub": "repo:octo/shop:x"}),
        condition(StringNotEquals=aud() | sub("x")),
        condition(StringEqualsIgnoreCase=aud() | sub("x")),
        condition(StringEquals=aud() | sub("x"), Bool={f"{ISSUER}:email_verified": "true"}),
        condition(**{"ForAnyValue:StringEquals": aud() | sub("x")}),
        GOOD | {"Effect": "Deny"},
        GOOD | {"Action": "sts:*"},
        GOOD | {"Action": ["sts:AssumeRoleWithWebIdentity", "sts:AssumeRole"]},
        GOOD | {"Principal": "*"},
        GOOD | {"Principal": {"AWS": "*"}},
        GOOD | {"Principal": {"Federated": ISSUER}},
        GOOD | {"NotPrincipal": "x"},
        GOOD | {"Resource": "*"},
        {name: value for name, value in GOOD.items() if name != "Condition"},
    ],
)
def test_a_trust_that_would_take_others_or_is_not_understood_is_refused(statement: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        read_trust(text(statement))


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "[" * 10_000,
        '{"Version": "2008-10-17", "Statement": []}',
        '{"Version": "2012-10-17", "Statement": [[]]}',
        '{"Version": "2012-10-17"}',
        text(Extra=1),
        text(*[GOOD] * 100),
    ],
)
def test_what_is_no_policy_is_refused(document: str) -> None:
    for read in (read_trust, read_permissions):
        with pytest.raises(PolicyError):
            read(document)


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "allow"},
        {"Action": "sqs:SendMessage"},
        {"Action": "apprunner"},
        {"Action": []},
        {"Resource": []},
        {"NotAction": "ecr:*"},
        {"NotResource": "*"},
        {"Condition": {"StringEquals": {"aws:SourceIp": "10.0.0.1"}}},
        {"Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-01-01T00:00:00Z"}}},
        {"Condition": []},
    ],
)
def test_a_permission_that_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    statement = {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}
    assert read_permissions(text(statement))
    with pytest.raises(PolicyError):
        read_permissions(text(statement | change))


@pytest.mark.parametrize("time", ["soon", "2026-01-01T00:00:00", 7])
def test_a_deny_with_a_time_that_is_none_is_refused(time: Any) -> None:
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    with pytest.raises(PolicyError):
        read_permissions(text(statement | {"Condition": {"DateLessThan": {"aws:TokenIssueTime": time}}}))


def test_what_is_denied_is_not_allowed_by_anything_else() -> None:
    allow = Permission("Allow", ("ecr:*",), ("*",))
    deny = Permission("Deny", ("ecr:Delete*",), ("*",))
    assert allowed([allow, deny], "ecr:PutImage", "x", NOW)
    assert not allowed([allow, deny], "ecr:DeleteRepository", "x", NOW)
    assert not allowed([deny], "ecr:PutImage", "x", NOW)
    assert not allowed([], "ecr:PutImage", "x", NOW)


ALPHABET = st.text("ab/:*?", max_size=12)


@given(ALPHABET, st.text("ab/:", max_size=12))
def test_wildcards_mean_what_they_do_everywhere(pattern: str, value: str) -> None:
    permission = Permission("Allow", ("ecr:PutImage",), (pattern,))
    assert permission.covers("ecr:PutImage", value, NOW) is fnmatchcase(value, pattern)


def test_no_name_makes_a_pattern_take_long() -> None:
    """Tried one after the other, the places of these letters would take longer than there is time."""
    permission = Permission("Allow", ("s3:GetObject",), ("arn:aws:s3:::box/" + "*a" * 50 + "*b",))
    assert not permission.covers("s3:GetObject", "arn:aws:s3:::box/" + "a" * 1000, NOW)
    assert permission.covers("s3:GetObject", "arn:aws:s3:::box/" + "a" * 1000 + "b", NOW)
