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
        {"repositoryName": "blog", "imageScanningConfiguration": {"scanOnPush": True}},
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


def test_mutability_can_be_changed_later(harbour: Any, ecr: Any, error_of: Any) -> None:
    ecr.create_repository(repositoryName="blog")
    filters = [{"filterType": "WILDCARD", "filter": "latest"}]
    changed = ecr.put_image_tag_mutability(
        repositoryName="blog",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=filters,
    )
    assert changed["imageTagMutabilityExclusionFilters"] == filters
    assert [harbour.repositories.mutable("blog", tag) for tag in ("v1", "latest")] == [False, True]
    changed = ecr.put_image_tag_mutability(repositoryName="blog", imageTagMutability="IMMUTABLE")
    assert "imageTagMutabilityExclusionFilters" not in changed
    assert not harbour.repositories.mutable("blog", "latest")
    nowhere = {"repositoryName": "nowhere", "imageTagMutability": "MUTABLE"}
    assert error_of(ecr.put_image_tag_mutability, **nowhere) == "RepositoryNotFoundException"
    useless = {"repositoryName": "blog", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}
    assert error_of(ecr.put_image_tag_mutability, **useless) == "InvalidParameterException"


def test_a_repository_has_tags(ecr: Any, error_of: Any) -> None:
    tags = [{"Key": "team", "Value": "web"}]
    arn = ecr.create_repository(repositoryName="blog", tags=tags)["repository"]["repositoryArn"]
    ecr.tag_resource(resourceArn=arn, tags=[{"Key": "a", "Value": ""}])
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "a", "Value": ""}, *tags]
    ecr.untag_resource(resourceArn=arn, tagKeys=["team", "not there"])
    assert ecr.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "a", "Value": ""}]
    many = [{"Key": str(number), "Value": ""} for number in range(50)]
    assert error_of(ecr.tag_resource, resourceArn=arn, tags=many) == "TooManyTagsException"
    for wrong in ([{"Key": "aws:x", "Value": ""}], [{"Key": "", "Value": ""}], tags * 2):
        assert error_of(ecr.tag_resource, resourceArn=arn, tags=wrong) == "InvalidTagParameterException"
    for nowhere in (f"{arn}s", "blog"):
        code = error_of(ecr.list_tags_for_resource, resourceArn=nowhere)
        assert code == "RepositoryNotFoundException"


def test_a_repositorys_policy_is_kept(ecr: Any, error_of: Any) -> None:
    ecr.create_repository(repositoryName="blog")
    named = {"repositoryName": "blog"}
    assert error_of(ecr.get_repository_policy, **named) == "RepositoryPolicyNotFoundException"
    text = '{"Version": "2012-10-17", "Statement": []}'
    ecr.set_repository_policy(**named, policyText=text)
    assert ecr.get_repository_policy(**named)["policyText"] == text
    for wrong in ("", "[]", "{}", '{"Statement": 1}'):
        assert error_of(ecr.set_repository_policy, **named, policyText=wrong) == "InvalidParameterException"
    assert ecr.delete_repository_policy(**named)["policyText"] == text
    assert error_of(ecr.delete_repository_policy, **named) == "RepositoryPolicyNotFoundException"


def test_the_registry_is_the_accounts_own(ecr: Any, error_of: Any) -> None:
    assert ecr.describe_registry()["registryId"] == "000000000000"
    ecr.create_repository(repositoryName="blog")
    other = {"repositoryName": "blog", "registryId": "123456789012"}
    assert error_of(ecr.list_images, **other) == "RepositoryNotFoundException"
    assert ecr.list_images(**other | {"registryId": "000000000000"})["imageIds"] == []
