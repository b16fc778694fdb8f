"""Repositories: made, described, changed and deleted; their tags and policies; the token for the registry."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from homeport.aws.ecr.faults import INVALID, change, find, invalid, named, no_repository
from homeport.aws.errors import ApiError
from homeport.aws.pages import page
from homeport.catalogue import Catalogue
from homeport.credentials import CALLER, TOKEN_USER, Keyring
from homeport.place import ACCOUNT, arn
from homeport.repositories import Repositories, Repository, RepositoryExistsError

_PAGE = 100
_MOST_TAGS = 50
_ARN = arn("ecr", "repository/")


class RepositoryOperations:
    """One method an operation, named as boto3 names it. `registry` is the registry's URL."""

    def __init__(
        self, repositories: Repositories, catalogue: Catalogue, keyring: Keyring, registry: str
    ) -> None:
        self._repositories = repositories
        self._catalogue = catalogue
        self._keyring = keyring
        self._url = registry
        self._registry = registry.partition("://")[2]

    async def get_authorization_token(self, **_request: Any) -> Mapping[str, Any]:
        password, expires = self._keyring.registry_token(CALLER.get(), datetime.now(UTC))
        token = base64.b64encode(f"{TOKEN_USER}:{password}".encode()).decode()
        return {
            "authorizationData": [
                {"authorizationToken": token, "expiresAt": expires, "proxyEndpoint": self._url},
            ]
        }

    async def describe_registry(self) -> Mapping[str, Any]:
        return {"registryId": ACCOUNT, "replicationConfiguration": {"rules": []}}

    async def create_repository(self, **request: Any) -> Mapping[str, Any]:
        if "encryptionConfiguration" in request:
            raise invalid("encryptionConfiguration is not supported by homeport; leave it out")
        if request.get("imageScanningConfiguration", {}).get("scanOnPush"):
            raise invalid("imageScanningConfiguration.scanOnPush must be false: homeport scans no images")
        name, mutability = request["repositoryName"], request.get("imageTagMutability", "MUTABLE")
        exclusions = _exclusions(mutability, request)
        tags = _tags(request.get("tags", ()))
        if not self._repositories.exists(name):
            # What a deletion that was cut short has left belongs to nobody.
            await self._catalogue.storage.remove_repository(name)
        try:
            repository = await self._repositories.create(name, mutability, exclusions, tags)
        except RepositoryExistsError as error:
            raise ApiError("RepositoryAlreadyExistsException", str(error)) from error
        return {"repository": self._shown(repository)}

    async def describe_repositories(self, **request: Any) -> Mapping[str, Any]:
        if "repositoryNames" in request:
            names = request["repositoryNames"]
            found = [find(self._repositories, {**request, "repositoryName": name}) for name in names]
            return {"repositories": [self._shown(repository) for repository in found]}
        shown, token = page(
            self._repositories.list(),
            request.get("nextToken"),
            request.get("maxResults", _PAGE),
            key=lambda repository: repository.name,
            code=INVALID,
        )
        return {"repositories": [self._shown(repository) for repository in shown], "nextToken": token}

    async def delete_repository(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        images = await self._catalogue.images(repository.name)
        if images and not request.get("force", False):
            message = f"{repository.name} holds {len(images)} images; delete them, or delete it with force"
            raise ApiError("RepositoryNotEmptyException", message)
        if used := self._catalogue.used_among(images):
            message = (
                f"{repository.name} cannot be deleted: services run {', '.join(sorted(used))} or may go back"
            )
            raise ApiError("RepositoryNotEmptyException", message)
        await self._repositories.delete(repository.name)
        await self._catalogue.storage.remove_repository(repository.name)
        return {"repository": self._shown(repository)}

    async def put_image_tag_mutability(self, **request: Any) -> Mapping[str, Any]:
        repository, mutability = find(self._repositories, request), request["imageTagMutability"]
        exclusions = _exclusions(mutability, request)
        changed = await change(
            self._repositories, repository.name, mutability=mutability, exclusions=exclusions
        )
        return {**named(changed), **_mutability(changed)}

    # Tags

    async def tag_resource(self, **request: Any) -> Mapping[str, Any]:
        repository = self._by_arn(request["resourceArn"])
        tags = {**repository.tags, **_tags(request["tags"])}
        _bound(tags)
        await change(self._repositories, repository.name, tags=tags)
        return {}

    async def untag_resource(self, **request: Any) -> Mapping[str, Any]:
        repository, gone = self._by_arn(request["resourceArn"]), set(request["tagKeys"])
        tags = {key: value for key, value in repository.tags.items() if key not in gone}
        await change(self._repositories, repository.name, tags=tags)
        return {}

    async def list_tags_for_resource(self, **request: Any) -> Mapping[str, Any]:
        tags = self._by_arn(request["resourceArn"]).tags
        return {"tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}

    # The policy that says who may use a repository: kept, for here only the owner's key may.

    async def set_repository_policy(self, **request: Any) -> Mapping[str, Any]:
        repository, text = find(self._repositories, request), request["policyText"]
        try:
            statements = json.loads(text)["Statement"]
        except (ValueError, RecursionError, KeyError, TypeError):
            statements = None
        if not isinstance(statements, list | dict):
            raise invalid("policyText must be a JSON object with a Statement")
        await change(self._repositories, repository.name, policy=text)
        return {**named(repository), "policyText": text}

    async def get_repository_policy(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        return {**named(repository), "policyText": _policy(repository)}

    async def delete_repository_policy(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        text = _policy(repository)
        await change(self._repositories, repository.name, policy=None)
        return {**named(repository), "policyText": text}

    def _by_arn(self, named: str) -> Repository:
        repository = self._repositories.find(named.removeprefix(_ARN))
        if not named.startswith(_ARN) or repository is None:
            raise no_repository(named)
        return repository

    def _shown(self, repository: Repository) -> dict[str, Any]:
        return {
            "repositoryArn": f"{_ARN}{repository.name}",
            **named(repository),
            "repositoryUri": f"{self._registry}/{repository.name}",
            "createdAt": repository.created_at,
            **_mutability(repository),
            "imageScanningConfiguration": {"scanOnPush": False},
        }


def _exclusions(mutability: str, request: Mapping[str, Any]) -> tuple[str, ...]:
    exclusions = tuple(entry["filter"] for entry in request.get("imageTagMutabilityExclusionFilters", ()))
    if bool(exclusions) != mutability.endswith("_WITH_EXCLUSION"):
        raise invalid("exclusion filters go with a mutability WITH_EXCLUSION, and only with it")
    return exclusions


def _mutability(repository: Repository) -> dict[str, Any]:
    filters = [{"filterType": "WILDCARD", "filter": pattern} for pattern in repository.exclusions]
    return {
        "imageTagMutability": repository.mutability,
        "imageTagMutabilityExclusionFilters": filters or None,
    }


def _tags(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    read: dict[str, str] = {}
    for tag in tags:
        key = tag["Key"]
        if key in read or key.startswith("aws:") or not 1 <= len(key) <= 128 or len(tag["Value"]) > 256:
            raise ApiError(
                "InvalidTagParameterException", f"tags: {key!r} is there twice, or is no tag's key"
            )
        read[key] = tag["Value"]
    _bound(read)
    return read


def _bound(tags: Mapping[str, str]) -> None:
    if len(tags) > _MOST_TAGS:
        raise ApiError("TooManyTagsException", f"{len(tags)} tags are more than {_MOST_TAGS}")


def _policy(repository: Repository) -> str:
    if repository.policy is None:
        raise ApiError("RepositoryPolicyNotFoundException", f"{repository.name} has no policy")
    return repository.policy
