"""The images of a repository, as ECR shows, retags and deletes them; none that a service needs ever goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ocikit import (
    BytesBlob,
    ContainerConfig,
    Credentials,
    Descriptor,
    Digest,
    Image,
    Index,
    Manifest,
    Platform,
    Reference,
    Registry,
    RegistryError,
)

_OCI = "application/vnd.oci.image.manifest.v1+json"
_NO_DIGEST = "sha256:" + "0" * 64

Push = Callable[..., str]


@pytest.fixture
def ecr(harbour: Any) -> Any:
    """The owner's client, and a repository `blog`."""
    client = harbour.client("ecr", parameter_validation=False)
    client.create_repository(repositoryName="blog")
    return client


@pytest.fixture
def registry(harbour: Any) -> Iterator[Registry]:
    credentials = Credentials(harbour.root.id, harbour.root.secret)
    with Registry(harbour.host, credentials=credentials) as registry:
        yield registry


@pytest.fixture
def push(harbour: Any, registry: Registry) -> Push:
    """Push an image to `blog`; each name is another image. Returns its digest."""

    def push(name: str, *tags: str) -> str:
        image = Image.empty(Platform.host()).with_config(ContainerConfig(env=(f"NAME={name}",)))
        for tag in tags:
            registry.push(image, Reference(harbour.host, "blog", tag))
        if not tags:
            registry.push(image, Reference(harbour.host, "blog", digest=image.digest))
        return str(image.digest)

    return push


@pytest.fixture
def service(harbour: Any) -> str:
    """A running service's ARN."""
    arn, _ = harbour.service_key("blog")
    return str(arn)


def _listed(ecr: Any, **more: Any) -> set[tuple[str, str | None]]:
    listed = ecr.list_images(repositoryName="blog", **more)["imageIds"]
    return {(one["imageDigest"], one.get("imageTag")) for one in listed}


def _delete(ecr: Any, *identifiers: dict[str, str]) -> tuple[list[dict[str, str]], list[str]]:
    """What went, and the codes of the failures."""
    answer = ecr.batch_delete_image(repositoryName="blog", imageIds=list(identifiers))
    return answer["imageIds"], [failure["failureCode"] for failure in answer["failures"]]


def test_images_are_listed_by_tag_and_without(ecr: Any, push: Push) -> None:
    one, two = push("one", "v1", "latest"), push("two")
    tagged = {(one, "v1"), (one, "latest")}
    assert _listed(ecr) == {*tagged, (two, None)}
    assert _listed(ecr, filter={"tagStatus": "TAGGED"}) == tagged
    assert _listed(ecr, filter={"tagStatus": "UNTAGGED"}) == {(two, None)}
    assert _listed(ecr, filter={"imageStatus": "ARCHIVED"}) == set()


def test_a_clean_up_that_deletes_page_by_page_sees_every_image(ecr: Any, push: Push) -> None:
    made = {push(str(number), f"v{number}") for number in range(7)}
    seen: set[str] = set()
    more: dict[str, str] = {}
    while True:
        page = ecr.list_images(repositoryName="blog", maxResults=2, **more)
        seen |= {one["imageDigest"] for one in page["imageIds"]}
        assert _delete(ecr, *page["imageIds"])[1] == []
        if "nextToken" not in page:
            break
        more = {"nextToken": page["nextToken"]}
    assert seen == made
    assert _listed(ecr) == set()


def test_an_image_is_described(ecr: Any, push: Push) -> None:
    digest = push("one", "v1", "latest")
    push("two", "v2")
    (detail,) = ecr.describe_images(repositoryName="blog", imageIds=[{"imageTag": "v1"}])["imageDetails"]
    assert (detail["imageDigest"], detail["imageTags"]) == (digest, ["latest", "v1"])
    assert abs(datetime.now(UTC) - detail["imagePushedAt"]) < timedelta(minutes=1)
    assert detail["imageManifestMediaType"] == _OCI
    assert detail["artifactMediaType"] == "application/vnd.oci.image.config.v1+json"
    assert detail["imageSizeInBytes"] > 0
    pages = ecr.get_paginator("describe_images").paginate(
        repositoryName="blog", PaginationConfig={"PageSize": 1}
    )
    assert [len(page["imageDetails"]) for page in pages] == [1, 1]
    with pytest.raises(ecr.exceptions.ImageNotFoundException, match="v3"):
        ecr.describe_images(repositoryName="blog", imageIds=[{"imageTag": "v1"}, {"imageTag": "v3"}])


def test_the_size_of_an_index_is_that_of_its_largest_image(
    harbour: Any, ecr: Any, registry: Registry, push: Push
) -> None:
    index, (part, *_) = _push_index(harbour, registry, push)
    described = ecr.describe_images(repositoryName="blog")["imageDetails"]
    sizes = {one["imageDigest"]: one["imageSizeInBytes"] for one in described}
    assert sizes[index] == max(sizes[part] for part in sizes if part != index) == sizes[part]


def test_a_manifest_is_read_byte_for_byte(ecr: Any, push: Push) -> None:
    digest = push("one", "v1")
    asked = [{"imageTag": "v1"}, {"imageDigest": digest}, {"imageTag": "v1", "imageDigest": digest}]
    answer = ecr.batch_get_image(repositoryName="blog", imageIds=asked)
    assert answer["failures"] == []
    for image, identifier in zip(answer["images"], asked, strict=True):
        assert str(Digest.of(image["imageManifest"].encode())) == digest
        assert image["imageId"] == identifier | {"imageDigest": digest}
        assert image["imageManifestMediaType"] == _OCI


@pytest.mark.parametrize(
    ("identifier", "code"),
    [
        ({}, "MissingDigestAndTag"),
        ({"imageDigest": "sha256:x"}, "InvalidImageDigest"),
        ({"imageTag": "-x"}, "InvalidImageTag"),
        ({"imageTag": "v2"}, "ImageNotFound"),
        ({"imageDigest": _NO_DIGEST}, "ImageNotFound"),
        ({"imageDigest": _NO_DIGEST, "imageTag": "v1"}, "ImageNotFound"),
    ],
)
def test_what_names_no_image_fails_by_itself(
    ecr: Any, push: Push, identifier: dict[str, str], code: str
) -> None:
    digest = push("one", "v1")
    for call in (ecr.batch_get_image, ecr.batch_delete_image):
        answer = call(repositoryName="blog", imageIds=[identifier])
        assert [failure["failureCode"] for failure in answer["failures"]] == [code]
        assert answer["failures"][0]["imageId"] == identifier
    assert _listed(ecr) == {(digest, "v1")}


def test_a_tag_must_be_one_of_the_digest(ecr: Any, push: Push) -> None:
    one, _ = push("one", "v1"), push("two", "v2")
    assert _delete(ecr, {"imageDigest": one, "imageTag": "v2"}) == ([], ["ImageTagDoesNotMatchDigest"])


def test_a_type_that_is_not_accepted_is_not_answered(ecr: Any, push: Push) -> None:
    push("one", "v1")
    asked = {"repositoryName": "blog", "imageIds": [{"imageTag": "v1"}]}
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    assert len(ecr.batch_get_image(**asked, acceptedMediaTypes=[docker, _OCI])["images"]) == 1
    (failure,) = ecr.batch_get_image(**asked, acceptedMediaTypes=[docker])["failures"]
    assert _OCI in failure["failureReason"]


def test_by_tag_only_the_tag_goes_and_with_the_last_one_the_image(ecr: Any, push: Push) -> None:
    digest = push("one", "v1", "latest")
    assert _delete(ecr, {"imageTag": "v1"}) == ([{"imageDigest": digest, "imageTag": "v1"}], [])
    assert _listed(ecr) == {(digest, "latest")}
    assert _delete(ecr, {"imageTag": "latest"}) == ([{"imageDigest": digest, "imageTag": "latest"}], [])
    assert _listed(ecr) == set()


def test_by_digest_an_image_goes_with_all_its_tags(ecr: Any, push: Push) -> None:
    one, two = push("one", "v1", "latest"), push("two")
    gone, failures = _delete(ecr, {"imageDigest": one}, {"imageDigest": two})
    assert failures == []
    assert gone == [
        {"imageDigest": one, "imageTag": "latest"},
        {"imageDigest": one, "imageTag": "v1"},
        {"imageDigest": two},
    ]


def test_what_a_service_runs_or_may_go_back_to_cannot_be_deleted(
    harbour: Any, ecr: Any, registry: Registry, push: Push, service: str
) -> None:
    now, before, free = push("now", "v2"), push("before", "v1"), push("free", "v0")
    harbour.controller.serve(service, now, before)
    asked = [{"imageDigest": now}, {"imageTag": "v2"}, {"imageTag": "v1"}, {"imageTag": "v0"}]
    answer = ecr.batch_delete_image(repositoryName="blog", imageIds=asked)
    assert answer["imageIds"] == [{"imageDigest": free, "imageTag": "v0"}]
    assert [one["failureCode"] for one in answer["failures"]] == ["ImageReferencedByManifestList"] * 3
    assert all("may go back to it" in one["failureReason"] for one in answer["failures"])
    for force in (False, True):
        with pytest.raises(ecr.exceptions.RepositoryNotEmptyException):
            ecr.delete_repository(repositoryName="blog", force=force)
    with pytest.raises(RegistryError, match="may go back to it"):
        registry.delete(Reference(harbour.host, "blog", digest=Digest.parse(before)))
    assert _listed(ecr) == {(now, "v2"), (before, "v1")}


def test_what_an_index_names_stays_as_long_as_the_index(
    harbour: Any, ecr: Any, registry: Registry, push: Push, service: str
) -> None:
    index, parts = _push_index(harbour, registry, push)
    assert _delete(ecr, {"imageDigest": parts[0]}) == ([], ["ImageReferencedByManifestList"])
    with pytest.raises(RegistryError, match="is an index that names it"):
        registry.delete(Reference(harbour.host, "blog", digest=Digest.parse(parts[0])))
    harbour.controller.serve(service, index)
    gone, failures = _delete(ecr, *({"imageDigest": digest} for digest in (index, *parts)))
    assert (gone, len(failures)) == ([], 3)
    harbour.controller.serve(service, _NO_DIGEST)
    gone, failures = _delete(ecr, *({"imageDigest": digest} for digest in (index, *parts)))
    assert (len(gone), failures) == (3, [])


def test_an_image_is_given_another_tag_without_a_pull(
    harbour: Any, ecr: Any, push: Push, error_of: Any
) -> None:
    digest = push("one", "v1")
    (image,) = ecr.batch_get_image(repositoryName="blog", imageIds=[{"imageTag": "v1"}])["images"]
    again = {"repositoryName": "blog", "imageManifest": image["imageManifest"], "imageTag": "latest"}
    put = ecr.put_image(**again)["image"]
    assert put["imageId"] == {"imageDigest": digest, "imageTag": "latest"}
    assert _listed(ecr) == {(digest, "v1"), (digest, "latest")}
    assert harbour.controller.pushed[-1] == ("blog", "latest", digest), "who watches the tag is told"
    assert error_of(ecr.put_image, **again) == "ImageAlreadyExistsException"
    assert (
        error_of(ecr.put_image, **again | {"imageDigest": _NO_DIGEST}) == "ImageDigestDoesNotMatchException"
    )
    assert error_of(ecr.put_image, **again | {"imageTag": "no tag"}) == "InvalidParameterException"


def test_a_manifest_that_cannot_be_put_is_refused_as_by_ecr(ecr: Any, push: Push, error_of: Any) -> None:
    push("one", "v1")
    push("two", "v2")
    (image,) = ecr.batch_get_image(repositoryName="blog", imageIds=[{"imageTag": "v1"}])["images"]
    ecr.put_image_tag_mutability(repositoryName="blog", imageTagMutability="IMMUTABLE")
    fixed = {"repositoryName": "blog", "imageManifest": image["imageManifest"], "imageTag": "v2"}
    assert error_of(ecr.put_image, **fixed) == "ImageTagAlreadyExistsException"
    ecr.create_repository(repositoryName="shop")
    elsewhere = {**fixed, "repositoryName": "shop"}
    assert error_of(ecr.put_image, **elsewhere) == "LayersNotFoundException"
    nonsense = {"repositoryName": "blog", "imageManifest": "{}"}
    assert error_of(ecr.put_image, **nonsense) == "InvalidParameterException"
    nowhere = {**nonsense, "repositoryName": "nowhere"}
    assert error_of(ecr.put_image, **nowhere) == "RepositoryNotFoundException"


def test_layers_that_are_there_need_not_be_sent(ecr: Any, push: Push) -> None:
    push("one", "v1")
    (image,) = ecr.batch_get_image(repositoryName="blog", imageIds=[{"imageTag": "v1"}])["images"]
    config = json.loads(image["imageManifest"])["config"]
    answer = ecr.batch_check_layer_availability(
        repositoryName="blog", layerDigests=[config["digest"], _NO_DIGEST, "nonsense"]
    )
    found = {one["layerDigest"]: one for one in answer["layers"]}
    assert found[config["digest"]]["layerSize"] == config["size"]
    assert [one["layerAvailability"] for one in answer["layers"]] == ["AVAILABLE", "UNAVAILABLE"]
    assert [one["failureCode"] for one in answer["failures"]] == ["InvalidLayerDigest"]


def test_a_repository_goes_empty_or_by_force_and_leaves_nothing(
    harbour: Any, ecr: Any, push: Push, error_of: Any
) -> None:
    push("one", "v1")
    assert error_of(ecr.delete_repository, repositoryName="blog") == "RepositoryNotEmptyException"
    gone = ecr.delete_repository(repositoryName="blog", force=True)["repository"]
    assert gone["repositoryName"] == "blog"
    assert error_of(ecr.list_images, repositoryName="blog") == "RepositoryNotFoundException"
    assert harbour.repositories.list() == []
    ecr.create_repository(repositoryName="blog")
    assert _listed(ecr) == set()
    ecr.delete_repository(repositoryName="blog")


def test_a_signature_is_shown_with_what_it_is_about(
    harbour: Any, ecr: Any, registry: Registry, push: Push
) -> None:
    digest = push("one", "v1")
    _sign(harbour, registry, digest)
    details = ecr.describe_images(repositoryName="blog")["imageDetails"]
    assert [one.get("subjectManifestDigest") for one in details if "imageTags" not in one] == [digest]


def _push_index(harbour: Any, registry: Registry, push: Push) -> tuple[str, list[str]]:
    """An index of two images with tag `multi`: its digest and theirs, the larger first."""
    parts = [push("a part that is longer" * 10), push("part")]
    found = [registry.manifest(Reference(harbour.host, "blog", digest=Digest.parse(part))) for part in parts]
    index = Index(
        tuple(
            Descriptor(_OCI, Digest.parse(part), len(manifest.to_bytes()))
            for part, manifest in zip(parts, found, strict=True)
        )
    )
    return str(registry.push_manifest(Reference(harbour.host, "blog", "multi"), index)), parts


def _sign(harbour: Any, registry: Registry, digest: str) -> str:
    about = registry.manifest(Reference(harbour.host, "blog", digest=Digest.parse(digest)))
    blob = BytesBlob(b"{}")
    empty = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(b"{}"), 2)
    subject = Descriptor(_OCI, Digest.parse(digest), len(about.to_bytes()))
    signature = Manifest(empty, (empty,), subject=subject, artifact_type="application/vnd.example.signature")
    reference = Reference(harbour.host, "blog", digest=Digest.of(signature.to_bytes()))
    return str(registry.push_manifest(reference, signature, {empty.digest: blob}))
