"""ECR's calls, made with boto3."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import bucketlog
from homeport.repositories import Repositories


@pytest.fixture
def ecr(harbour: Any) -> Any:
    return harbour.client("ecr", parameter_validation=False)


def test_a_repository_is_made_and_described(harbour: Any, ecr: Any) -> None:
    made = ecr.create_repository(repositoryName="team/blog")["repository"]
    assert made["repositoryUri"] == f"{harbour.host}/team/blog"
    assert made["repositoryArn"] == "arn:aws:ecr:local-1:000000000000:repository/team/blog"
    assert made["imageTagMutability"] == "MUTABLE"
    assert abs(datetime.now(UTC) - made["createdAt"]) < timedelta(minutes=1)
    described = ecr.describe_repositories(repositoryNames=["team/blog"])["repositories"]
    assert described == [made]


def test_release_tags_can_be_fixed_while_latest_moves(harbour: Any, ecr: Any) -> None:
    made = ecr.create_repository(
        repositoryName="blog",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[
            {"filterType": "WILDCARD", "filter": "latest"},
            {"filterType": "WILDCARD", "filter": "dev-*"},
        ],
    )["repository"]
    assert [one["filter"] for one in made["imageTagMutabilityExclusionFilters"]] == ["latest", "dev-*"]
    tags = {tag: harbour.repositories.mutable("blog", tag) for tag in ("latest", "dev-1", "v1", "latest2")}
    assert tags == {"latest": True, "dev-1": True, "v1": False, "latest2": False}


def test_exclusions_turn_mutable_around(harbour: Any, ecr: Any) -> None:
    ecr.create_repository(
        repositoryName="blog",
        imageTagMutability="MUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "v*"}],
    )
    assert harbour.repositories.mutable("blog", "latest")
    assert not harbour.repositories.mutable("blog", "v1")
    assert not harbour.repositories.mutable("no-such-repository", "latest")


def test_a_repository_is_made_once(ecr: Any) -> None:
    ecr.create_repository(repositoryName="blog")
    with pytest.raises(ecr.exceptions.RepositoryAlreadyExistsException):
        ecr.create_repository(repositoryName="blog")


def test_a_repository_that_is_not_there_is_a_typed_exception(ecr: Any) -> None:
    ecr.create_repository(repositoryName="blog")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException, match="shop"):
        ecr.describe_repositories(repositoryNames=["blog", "shop"])


def test_all_repositories_come_in_pages_by_name(ecr: Any) -> None:
    for name in ("cc", "aa", "bb"):
        ecr.create_repository(repositoryName=name)
    pages = ecr.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 2})
    names = [[one["repositoryName"] for one in page["repositories"]] for page in pages]
    assert names == [["aa", "bb"], ["cc"]]


@pytest.mark.parametrize(
    "request_",
    [
        {"repositoryName": "UPPER"},
        {"repositoryName": "../etc"},
        {"repositoryName": "a/"},
        {"repositoryName": "a"},
        {"repositoryName": "a" * 256 + "!"},
        {"repositoryName": "blog\n"},
        {},
        {"repositoryName": "blog", "imageTagMutability": "SOMETIMES"},
        {"repositoryName": "blog", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"},
        {
            "repositoryName": "blog",
            "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "a"}],
        },
        {
            "repositoryName": "blog",
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "[a]"}],
        },
        {"repositoryName": "blog", "encryptionConfiguration": {"encryptionType": "AES256"}},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(harbour: Any, request_: dict[str, Any]) -> None:
    reply = harbour.call("ecr", "CreateRepository", request_)
    assert (reply.status, reply.code) == (400, "InvalidParameterException")
    assert harbour.repositories.list() == []


def test_the_token_opens_the_registry_for_twelve_hours(harbour: Any, ecr: Any) -> None:
    (data,) = ecr.get_authorization_token()["authorizationData"]
    assert data["proxyEndpoint"] == harbour.endpoint
    assert timedelta(hours=11, minutes=59) < data["expiresAt"] - datetime.now(UTC) <= timedelta(hours=12)
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert user == "AWS"
    assert harbour.keyring.opens_registry(user, password, datetime.now(UTC))
    assert harbour.root.secret not in password


def test_a_service_gets_no_token(harbour: Any, error_of: Any) -> None:
    _, key = harbour.service_key("blog")
    assert error_of(harbour.client("ecr", key).get_authorization_token) == "AccessDeniedException"


def test_repositories_are_there_again_after_a_restart(harbour: Any, ecr: Any) -> None:
    ecr.create_repository(
        repositoryName="blog",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest"}],
    )
    ecr.create_repository(repositoryName="shop")
    with bucketlog.connect(f"file://{harbour.data / 'state'}") as database:
        assert Repositories(database).list() == harbour.repositories.list()
