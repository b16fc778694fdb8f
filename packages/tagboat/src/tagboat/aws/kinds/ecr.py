"""The image repository: release tags never move, `latest` does, old releases go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.policy import canonical
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs
from tagboat.cloud import CloudError

_NONE = "RepositoryNotFoundException"


class EcrRepository:
    """Settings: `movable` tags (patterns), `scan` on push, `lifecycle` as ECR's document, and, where somebody
    else reads, the `policy` that lets them.
    """

    name: ClassVar[str] = "ecr.repository"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "Arn", "uri": "RepositoryUri"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.find("ecr", "describe_repositories", _NONE, repositoryNames=[resource.name])
        if there is None:
            return None
        (repository,) = there["repositories"]
        policy = account.find(
            "ecr", "get_lifecycle_policy", "LifecyclePolicyNotFoundException", repositoryName=resource.name
        )
        readers = account.find(
            "ecr", "get_repository_policy", "RepositoryPolicyNotFoundException", repositoryName=resource.name
        )
        filters = repository.get("imageTagMutabilityExclusionFilters", [])
        immutable = repository["imageTagMutability"].startswith("IMMUTABLE")
        images = account.call("ecr", "list_images", repositoryName=resource.name)["imageIds"]
        tags = account.call("ecr", "list_tags_for_resource", resourceArn=repository["repositoryArn"])["tags"]
        return Found(
            settings={
                "movable": sorted(one["filter"] for one in filters) if immutable else ["*"],
                "scan": repository.get("imageScanningConfiguration", {}).get("scanOnPush", False),
                "lifecycle": json.loads(policy["lifecyclePolicyText"]) if policy else None,
                "policy": canonical(readers["policyText"]) if readers else None,
            },
            attributes={"arn": repository["repositoryArn"], "uri": repository["repositoryUri"]},
            tags=mapping(tags),
            holds=f"{len(images)} images" if images else None,
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "ecr",
            "create_repository",
            repositoryName=resource.name,
            tags=pairs(resource.tags),
            imageScanningConfiguration={"scanOnPush": resource.settings["scan"]},
            **_mutability(resource.settings),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"repositoryName": resource.name}
        if "movable" in changed:
            account.call("ecr", "put_image_tag_mutability", **named, **_mutability(resource.settings))
        if "scan" in changed:
            account.call(
                "ecr",
                "put_image_scanning_configuration",
                **named,
                imageScanningConfiguration={"scanOnPush": resource.settings["scan"]},
            )
        if "lifecycle" in changed:
            text = json.dumps(resource.settings["lifecycle"])
            account.call("ecr", "put_lifecycle_policy", **named, lifecyclePolicyText=text)
        if "policy" in changed:
            text = json.dumps(resource.settings["policy"])
            account.call("ecr", "set_repository_policy", **named, policyText=text)
        if "tags" in changed:
            account.call(
                "ecr", "tag_resource", resourceArn=found.attributes["arn"], tags=pairs(resource.tags)
            )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find(
            "ecr", "delete_repository", _NONE, repositoryName=resource.name, force=found.holds is not None
        )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        mutability = _mutability(resource.settings)
        filters = [
            {"ImageTagMutabilityExclusionFilterType": one["filterType"],
             "ImageTagMutabilityExclusionFilterValue": one["filter"]}
            for one in mutability["imageTagMutabilityExclusionFilters"]
        ]  # fmt: skip
        readers = resource.settings.get("policy")
        return "AWS::ECR::Repository", {
            **({"RepositoryPolicyText": readers} if readers else {}),
            "RepositoryName": resource.name,
            "ImageTagMutability": mutability["imageTagMutability"],
            "ImageTagMutabilityExclusionFilters": filters,
            "ImageScanningConfiguration": {"ScanOnPush": resource.settings["scan"]},
            "LifecyclePolicy": {"LifecyclePolicyText": json.dumps(resource.settings["lifecycle"])},
            "Tags": pairs(resource.tags),
        }


def latest_digest(account: Account, repository: str) -> str | None:
    """The digest of the image that is released, None before the first release."""
    there = account.find(
        "ecr",
        "describe_images",
        _NONE,
        "ImageNotFoundException",
        repositoryName=repository,
        imageIds=[{"imageTag": "latest"}],
    )
    return str(there["imageDetails"][0]["imageDigest"]) if there else None


def released_image(account: Account, repository: str) -> str:
    """The image that is released, by its digest. Raises CloudError before the first release."""
    digest = latest_digest(account, repository)
    if digest is None:
        raise CloudError(f"the repository {repository} has no `latest`", hint="`tagboat deploy` first")
    return f"{repository_uri(account, repository)}@{digest}"


def repository_uri(account: Account, repository: str) -> str:
    (there,) = account.call("ecr", "describe_repositories", repositoryNames=[repository])["repositories"]
    return str(there["repositoryUri"])


def template_image(repository: str) -> str:
    """The image of a template: its parameter `Release` names the tag."""
    return f"${{AWS::AccountId}}.dkr.ecr.${{AWS::Region}}.${{AWS::URLSuffix}}/{repository}:${{Release}}"


def _mutability(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [
            {"filterType": "WILDCARD", "filter": pattern} for pattern in settings["movable"]
        ],
    }
