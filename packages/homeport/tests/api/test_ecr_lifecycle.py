"""Lifecycle policies over ECR's API, previewed and applied to the real registry."""

from __future__ import annotations

import asyncio
import json
import os
import time
from itertools import count
from typing import Any

import pytest

import bucketlog
from homeport.expiry import expire
from homeport.repositories import Repositories
from ocikit import Digest
from ocikit.registry.storage import StoredManifest

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}


@pytest.fixture
def ecr(harbour: Any) -> Any:
    client = harbour.client("ecr")
    client.create_repository(repositoryName="blog")
    return client


@pytest.fixture
def store(harbour: Any) -> Any:
    """Put an image into `blog`, whose digest it returns; each name is another image.

    Each is a second newer than the one before: the files of two may have been written at the same time, as
    the clock of a file system goes.
    """
    began, turns = time.time(), count(1)

    def store(name: str, *tags: str, **more: Any) -> str:
        document = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": _EMPTY, "layers": []}
        data = json.dumps(document | {"annotations": {"name": name}} | more).encode()
        digest, storage = Digest.of(data), harbour.catalogue.storage

        async def put() -> None:
            await storage.add_manifest("blog", StoredManifest(digest, _MANIFEST, data))
            for tag in tags:
                await storage.set_tag("blog", tag, digest, mutable=True)

        asyncio.run(put())
        pushed = began + next(turns)
        for path in (harbour.data / "registry").rglob(digest.hex):
            os.utime(path, (pushed, pushed))
        return str(digest)

    return store


def _policy(number: int = 1, **selection: Any) -> str:
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": number, **selection}
    rule = {"rulePriority": 1, "description": "only so many", "selection": selection}
    return json.dumps({"rules": [rule | {"action": {"type": "expire"}}]})


def _digests(ecr: Any) -> set[str]:
    return {one["imageDigest"] for one in ecr.list_images(repositoryName="blog")["imageIds"]}


def _expire(harbour: Any) -> int:
    return asyncio.run(expire(harbour.repositories, harbour.catalogue))


def test_a_policy_is_kept_and_taken_away(ecr: Any, error_of: Any) -> None:
    named = {"repositoryName": "blog"}
    assert error_of(ecr.get_lifecycle_policy, **named) == "LifecyclePolicyNotFoundException"
    text = _policy()
    ecr.put_lifecycle_policy(**named, lifecyclePolicyText=text)
    got = ecr.get_lifecycle_policy(**named)
    assert (got["lifecyclePolicyText"], got["registryId"]) == (text, "000000000000")
    assert "lastEvaluatedAt" not in got
    assert ecr.delete_lifecycle_policy(**named)["lifecyclePolicyText"] == text
    assert error_of(ecr.delete_lifecycle_policy, **named) == "LifecyclePolicyNotFoundException"
    assert error_of(ecr.put_lifecycle_policy, **named, lifecyclePolicyText="x" * 100) == (
        "InvalidParameterException"
    )
    assert error_of(ecr.get_lifecycle_policy, repositoryName="shop") == "RepositoryNotFoundException"


def test_a_preview_says_what_would_go_and_removes_nothing(ecr: Any, store: Any, error_of: Any) -> None:
    named = {"repositoryName": "blog"}
    assert error_of(ecr.start_lifecycle_policy_preview, **named) == "LifecyclePolicyNotFoundException"
    assert error_of(ecr.get_lifecycle_policy_preview, **named) == "LifecyclePolicyPreviewNotFoundException"
    old = [store(f"old {number}", f"v{number}") for number in range(2)]
    untagged = store("untagged")
    new = store("new", "v9")
    started = ecr.start_lifecycle_policy_preview(**named, lifecyclePolicyText=_policy())
    assert started["status"] == "IN_PROGRESS"
    ecr.get_waiter("lifecycle_policy_preview_complete").wait(
        **named, WaiterConfig={"Delay": 0.01, "MaxAttempts": 2}
    )
    preview = ecr.get_lifecycle_policy_preview(**named)
    going = {one["imageDigest"]: one for one in preview["previewResults"]}
    assert going.keys() == {*old, untagged}
    assert preview["summary"]["expiringImageTotalCount"] == 3
    assert (going[old[1]]["imageTags"], going[old[1]]["appliedRulePriority"]) == (["v1"], 1)
    assert going[untagged]["action"] == {"type": "EXPIRE"}
    only = ecr.get_lifecycle_policy_preview(**named, filter={"tagStatus": "UNTAGGED"})["previewResults"]
    assert [one["imageDigest"] for one in only] == [untagged]
    asked = ecr.get_lifecycle_policy_preview(**named, imageIds=[{"imageTag": "v0"}, {"imageTag": "v9"}])
    assert [one["imageDigest"] for one in asked["previewResults"]] == [old[0]]
    first = ecr.get_lifecycle_policy_preview(**named, maxResults=2)
    rest = ecr.get_lifecycle_policy_preview(**named, maxResults=2, nextToken=first["nextToken"])
    assert (len(first["previewResults"]), len(rest["previewResults"])) == (2, 1)
    assert _digests(ecr) == {*old, untagged, new}


def test_what_the_policy_says_leaves_the_registry(harbour: Any, ecr: Any, store: Any) -> None:
    old, new = store("old", "v1", "stable"), store("new", "v2")
    ecr.put_lifecycle_policy(repositoryName="blog", lifecyclePolicyText=_policy())
    assert _expire(harbour) == 1
    assert _digests(ecr) == {new} != {old}
    assert "lastEvaluatedAt" in ecr.get_lifecycle_policy(repositoryName="blog")
    assert _expire(harbour) == 0


def test_without_a_policy_nothing_expires(harbour: Any, ecr: Any, store: Any) -> None:
    made = {store("old"), store("new")}
    assert _expire(harbour) == 0
    assert _digests(ecr) == made


def test_what_a_service_runs_or_may_go_back_to_never_expires(harbour: Any, ecr: Any, store: Any) -> None:
    before, now = store("before", "v1"), store("now", "v2")
    store("between", "v3")
    new = store("new", "v4")
    arn, _ = harbour.service_key("blog")
    harbour.controller.serve(arn, now, before)
    ecr.put_lifecycle_policy(repositoryName="blog", lifecyclePolicyText=_policy())
    preview = {"repositoryName": "blog"}
    ecr.start_lifecycle_policy_preview(**preview)
    assert len(ecr.get_lifecycle_policy_preview(**preview)["previewResults"]) == 1
    assert _expire(harbour) == 1
    assert _digests(ecr) == {before, now, new}


def test_an_index_and_what_it_names_go_in_this_order(harbour: Any, ecr: Any, store: Any) -> None:
    part = store("part")
    media_type = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": _MANIFEST, "digest": part, "size": 1}
    data = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}).encode()
    manifest = StoredManifest(Digest.of(data), media_type, data)
    asyncio.run(harbour.catalogue.storage.add_manifest("blog", manifest))
    new = store("new")
    ecr.put_lifecycle_policy(repositoryName="blog", lifecyclePolicyText=_policy())
    assert _expire(harbour) == 1
    assert _digests(ecr) == {part, new}
    assert _expire(harbour) == 1
    assert _digests(ecr) == {new}


def test_a_signature_goes_with_what_it_signs_and_not_before(harbour: Any, ecr: Any, store: Any) -> None:
    old, new = store("old", "v1"), store("new", "v2")
    subject = {"mediaType": _MANIFEST, "size": 1}
    signatures = {digest: store("sign", subject={**subject, "digest": digest}) for digest in (old, new)}
    untagged = _policy(1, tagStatus="untagged", countType="sinceImagePushed", countUnit="days")
    ecr.put_lifecycle_policy(repositoryName="blog", lifecyclePolicyText=untagged)
    assert _expire(harbour) == 0
    ecr.put_lifecycle_policy(repositoryName="blog", lifecyclePolicyText=_policy())
    assert _expire(harbour) == 2
    assert _digests(ecr) == {new, signatures[new]}


def test_everything_said_of_a_repository_is_there_again_after_a_restart(harbour: Any, ecr: Any) -> None:
    ecr.put_lifecycle_policy(repositoryName="blog", lifecyclePolicyText=_policy())
    _expire(harbour)
    ecr.set_repository_policy(repositoryName="blog", policyText='{"Statement": []}')
    ecr.tag_resource(
        resourceArn="arn:aws:ecr:local-1:000000000000:repository/blog", tags=[{"Key": "a", "Value": "b"}]
    )
    ecr.put_image_tag_mutability(
        repositoryName="blog",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest"}],
    )
    with bucketlog.connect(f"file://{harbour.data / 'state'}") as database:
        assert Repositories(database).list() == harbour.repositories.list()
    ecr.delete_lifecycle_policy(repositoryName="blog")
    ecr.delete_repository_policy(repositoryName="blog")
    ecr.put_image_tag_mutability(repositoryName="blog", imageTagMutability="MUTABLE")
    with bucketlog.connect(f"file://{harbour.data / 'state'}") as database:
        (again,) = Repositories(database).list()
    assert again == harbour.repositories.find("blog")
    assert (again.policy, again.lifecycle_policy, again.exclusions) == (None, None, ())
