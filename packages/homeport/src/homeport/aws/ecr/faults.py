"""The errors of ECR's operations, and what all of them ask first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.errors import ApiError
from homeport.place import ACCOUNT
from homeport.repositories import NoSuchRepositoryError, Repositories, Repository

INVALID = "InvalidParameterException"


def invalid(message: str) -> ApiError:
    """The request makes no sense, or not here."""
    return ApiError(INVALID, message)


def no_repository(name: str) -> ApiError:
    return ApiError("RepositoryNotFoundException", f"there is no repository {name}")


def find(repositories: Repositories, request: Mapping[str, Any]) -> Repository:
    """The repository that a request names. Raises ApiError."""
    name = request["repositoryName"]
    repository = repositories.find(name)
    if repository is None or request.get("registryId", ACCOUNT) != ACCOUNT:
        raise no_repository(name)
    return repository


async def change(repositories: Repositories, name: str, **changes: Any) -> Repository:
    """Raises ApiError where it has just been deleted."""
    try:
        return await repositories.change(name, **changes)
    except NoSuchRepositoryError:
        raise no_repository(name) from None


def named(repository: Repository) -> dict[str, str]:
    """The members that most answers begin with."""
    return {"registryId": ACCOUNT, "repositoryName": repository.name}
