"""ECR (API version 2015-09-21): repositories, and the token that opens the registry."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from homeport.aws.errors import ApiError
from homeport.aws.pages import page
from homeport.credentials import TOKEN_USER, Keyring
from homeport.place import ACCOUNT, arn
from homeport.repositories import Repositories, Repository, RepositoryExistsError

_INVALID = "InvalidParameterException"


class Ecr:
    """One method an operation, named as boto3 names it. `registry` is the registry's `host:port`."""

    def __init__(self, repositories: Repositories, keyring: Keyring, registry: str) -> None:
        self._repositories = repositories
        self._keyring = keyring
        self._registry = registry

    async def get_authorization_token(self, **_request: Any) -> Mapping[str, Any]:
        password, expires = self._keyring.registry_token(datetime.now(UTC))
        token = base64.b64encode(f"{TOKEN_USER}:{password}".encode()).decode()
        return {
            "authorizationData": [
                {
                    "authorizationToken": token,
                    "expiresAt": expires,
                    "proxyEndpoint": f"http://{self._registry}",
                }
            ]
        }

    async def create_repository(
        self,
        *,
        repositoryName: str,  # noqa: N803  AWS's member names
        imageTagMutability: Any = "MUTABLE",  # noqa: N803
        imageTagMutabilityExclusionFilters: Any = (),  # noqa: N803
        **unsupported: Any,
    ) -> Mapping[str, Any]:
        if unsupported:
            raise ApiError(_INVALID, f"{min(unsupported)} is not supported by homeport; leave it out")
        exclusions = tuple(entry["filter"] for entry in imageTagMutabilityExclusionFilters)
        if bool(exclusions) != imageTagMutability.endswith("_WITH_EXCLUSION"):
            raise ApiError(
                _INVALID, "exclusion filters go with a mutability WITH_EXCLUSION, and only with it"
            )
        try:
            repository = await self._repositories.create(repositoryName, imageTagMutability, exclusions)
        except RepositoryExistsError as error:
            raise ApiError("RepositoryAlreadyExistsException", str(error)) from error
        return {"repository": self._shown(repository)}

    async def describe_repositories(
        self,
        *,
        repositoryNames: list[str] | None = None,  # noqa: N803
        nextToken: str | None = None,  # noqa: N803
        maxResults: int = 100,  # noqa: N803
        **_request: Any,
    ) -> Mapping[str, Any]:
        if repositoryNames is None:
            shown, token = page(
                self._repositories.list(), nextToken, maxResults, key=lambda one: one.name, code=_INVALID
            )
            return {"repositories": [self._shown(repository) for repository in shown], "nextToken": token}
        found = []
        for name in repositoryNames:
            repository = self._repositories.find(name)
            if repository is None:
                raise ApiError("RepositoryNotFoundException", f"there is no repository {name}")
            found.append(self._shown(repository))
        return {"repositories": found}

    def _shown(self, repository: Repository) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "repositoryArn": arn("ecr", f"repository/{repository.name}"),
            "registryId": ACCOUNT,
            "repositoryName": repository.name,
            "repositoryUri": f"{self._registry}/{repository.name}",
            "createdAt": repository.created_at,
            "imageTagMutability": repository.mutability,
        }
        if repository.exclusions:
            shown["imageTagMutabilityExclusionFilters"] = [
                {"filterType": "WILDCARD", "filter": pattern} for pattern in repository.exclusions
            ]
        return shown
