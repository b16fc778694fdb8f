"""ECR (API version 2015-09-21): repositories, their images, and what cleans them up."""

from __future__ import annotations

from starlette.types import ASGIApp

from homeport.aws.ecr.images import ImageOperations
from homeport.aws.ecr.lifecycle import LifecycleOperations
from homeport.aws.ecr.repositories import RepositoryOperations
from homeport.catalogue import Catalogue
from homeport.credentials import Keyring
from homeport.repositories import Repositories


def operations(
    repositories: Repositories,
    catalogue: Catalogue,
    keyring: Keyring,
    *,
    registry: ASGIApp,
    registry_url: str,
) -> tuple[object, ...]:
    """All operations that are answered, in classes of one method an operation, named as boto3 names it."""
    return (
        RepositoryOperations(repositories, catalogue, keyring, registry_url),
        ImageOperations(repositories, catalogue, keyring, registry),
        LifecycleOperations(repositories, catalogue),
    )
