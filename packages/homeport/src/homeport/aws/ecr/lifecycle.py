"""Lifecycle policies, and previews of what they would remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from homeport.aws.ecr.faults import INVALID, change, find, invalid, named
from homeport.aws.ecr.images import has_status
from homeport.aws.errors import ApiError
from homeport.aws.pages import page
from homeport.catalogue import Catalogue, CataloguedImage
from homeport.expiry import due
from homeport.lifecycle import PolicyError, Rule, read_policy
from homeport.repositories import Repositories, Repository

_PAGE = 100


@dataclass(frozen=True, slots=True)
class _Preview:
    policy: str
    going: list[tuple[CataloguedImage, int]]  # each with its rule's priority


class LifecycleOperations:
    """One method an operation, named as boto3 names it. Previews last as long as the process."""

    def __init__(self, repositories: Repositories, catalogue: Catalogue) -> None:
        self._repositories = repositories
        self._catalogue = catalogue
        self._previews: dict[str, _Preview] = {}

    async def put_lifecycle_policy(self, **request: Any) -> Mapping[str, Any]:
        repository, text = find(self._repositories, request), request["lifecyclePolicyText"]
        _rules(text)
        await change(self._repositories, repository.name, lifecycle_policy=text, evaluated_at=None)
        return {**named(repository), "lifecyclePolicyText": text}

    async def get_lifecycle_policy(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        return _shown(repository, _policy(repository))

    async def delete_lifecycle_policy(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        text = _policy(repository)
        await change(self._repositories, repository.name, lifecycle_policy=None, evaluated_at=None)
        return _shown(repository, text)

    async def start_lifecycle_policy_preview(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        text = request.get("lifecyclePolicyText") or _policy(repository)
        going = await due(self._catalogue, repository.name, _rules(text), datetime.now(UTC))
        self._previews = {
            name: preview for name, preview in self._previews.items() if self._repositories.exists(name)
        } | {repository.name: _Preview(text, going)}
        # Done already; but its clients wait for it to change.
        return {**named(repository), "lifecyclePolicyText": text, "status": "IN_PROGRESS"}

    async def get_lifecycle_policy_preview(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        preview = self._previews.get(repository.name)
        if preview is None:
            message = f"no preview of {repository.name} was started"
            raise ApiError("LifecyclePolicyPreviewNotFoundException", message)
        status = request.get("filter", {}).get("tagStatus", "ANY")
        wanted = request.get("imageIds")
        chosen = [
            (image, priority)
            for image, priority in preview.going
            if has_status(image, status) and (wanted is None or any(_is(image, one) for one in wanted))
        ]
        shown, token = page(
            chosen,
            request.get("nextToken"),
            request.get("maxResults", _PAGE),
            key=lambda going: going[0].digest,
            code=INVALID,
        )
        return {
            **named(repository),
            "lifecyclePolicyText": preview.policy,
            "status": "COMPLETE",
            "nextToken": token,
            "previewResults": [_result(image, priority) for image, priority in shown],
            "summary": {"expiringImageTotalCount": len(preview.going)},
        }


def _rules(text: str) -> list[Rule]:
    try:
        return read_policy(text)
    except PolicyError as error:
        raise invalid(f"lifecyclePolicyText: {error}") from error


def _policy(repository: Repository) -> str:
    if repository.lifecycle_policy is None:
        raise ApiError("LifecyclePolicyNotFoundException", f"{repository.name} has no lifecycle policy")
    return repository.lifecycle_policy


def _shown(repository: Repository, text: str) -> dict[str, Any]:
    return {
        **named(repository),
        "lifecyclePolicyText": text,
        "lastEvaluatedAt": repository.evaluated_at,
    }


def _is(image: CataloguedImage, identifier: Mapping[str, str]) -> bool:
    tag, digest = identifier.get("imageTag"), identifier.get("imageDigest")
    return digest in (None, image.digest) and (tag is None or tag in image.tags)


def _result(image: CataloguedImage, priority: int) -> dict[str, Any]:
    return {
        "imageTags": list(image.tags) or None,
        "imageDigest": image.digest,
        "imagePushedAt": image.pushed_at,
        "action": {"type": "EXPIRE"},
        "appliedRulePriority": priority,
    }
