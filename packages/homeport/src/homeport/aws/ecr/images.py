"""Images of a repository: listed, described, read, tagged anew and deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp

from homeport.aws.ecr.faults import INVALID, find, invalid, named
from homeport.aws.ecr.push import put_manifest
from homeport.aws.errors import ApiError
from homeport.aws.pages import page
from homeport.catalogue import Catalogue, CataloguedImage, ImageHeldError
from homeport.credentials import CALLER, TOKEN_USER, Keyring
from homeport.place import ACCOUNT
from homeport.repositories import Repositories, Repository
from ocikit import Digest, InvalidReferenceError

_PAGE = 100
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
# What ECR says of a manifest that the registry refuses.
_REFUSALS = {
    "MANIFEST_BLOB_UNKNOWN": "LayersNotFoundException",
    "TAG_INVALID": "ImageTagAlreadyExistsException",
}


class ImageOperations:
    """One method an operation, named as boto3 names it. `registry` takes the manifests of `PutImage`."""

    def __init__(
        self, repositories: Repositories, catalogue: Catalogue, keyring: Keyring, registry: ASGIApp
    ) -> None:
        self._repositories = repositories
        self._catalogue = catalogue
        self._keyring = keyring
        self._registry = registry

    async def list_images(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        images = _filtered(await self._catalogue.images(repository.name), request)
        shown, token = page(
            [identifier for image in images for identifier in _identifiers(image)],
            request.get("nextToken"),
            request.get("maxResults", _PAGE),
            key=lambda one: f"{one['imageDigest']}/{one.get('imageTag', '')}",
            code=INVALID,
        )
        return {"imageIds": shown, "nextToken": token}

    async def describe_images(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        images = await self._catalogue.images(repository.name)
        if "imageIds" in request:
            images = [_require(images, one, repository) for one in request["imageIds"]]
            return {"imageDetails": [_detail(image, repository) for image in images]}
        shown, token = page(
            _filtered(images, request),
            request.get("nextToken"),
            request.get("maxResults", _PAGE),
            key=lambda image: image.digest,
            code=INVALID,
        )
        return {"imageDetails": [_detail(image, repository) for image in shown], "nextToken": token}

    async def batch_get_image(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        images = await self._catalogue.images(repository.name)
        found, failures = [], []
        for identifier in request["imageIds"]:
            image = _resolved(images, identifier)
            if isinstance(image, CataloguedImage):
                accepted = request.get("acceptedMediaTypes", [image.media_type])
                stored = await self._catalogue.storage.find_manifest(repository.name, image.digest)
                if stored is not None and image.media_type in accepted:
                    found.append(_image(repository, identifier, image, stored.data))
                    continue
                image = ("ImageNotFound", f"it is of type {image.media_type}, which is not accepted")
            failures.append(_failure(identifier, *image))
        return {"images": found, "failures": failures}

    async def batch_delete_image(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        gone: list[dict[str, str]] = []
        failures = []
        for identifier in request["imageIds"]:
            images = await self._catalogue.images(repository.name)
            image = _resolved(images, identifier)
            if not isinstance(image, CataloguedImage):
                failures.append(_failure(identifier, *image))
                continue
            try:
                gone += await self._delete(repository.name, image, identifier, images)
            except ImageHeldError as error:
                failures.append(_failure(identifier, "ImageReferencedByManifestList", str(error)))
        return {"imageIds": gone, "failures": failures}

    async def put_image(self, **request: Any) -> Mapping[str, Any]:
        repository, tag = find(self._repositories, request), request.get("imageTag")
        manifest = request["imageManifest"].encode()
        digest = Digest.of(manifest)
        if request.get("imageDigest", str(digest)) != str(digest):
            message = f"the manifest has digest {digest}, not {request['imageDigest']}"
            raise ApiError("ImageDigestDoesNotMatchException", message)
        if tag is not None and not _TAG.fullmatch(tag):
            raise invalid(f"imageTag is {tag!r}, which is no tag")
        images = await self._catalogue.images(repository.name)
        if any(image.digest == str(digest) and tag in (None, *image.tags) for image in images):
            message = f"{repository.name} has the image {digest}{f' with tag {tag}' if tag else ''} already"
            raise ApiError("ImageAlreadyExistsException", message)
        password, _ = self._keyring.registry_token(CALLER.get(), datetime.now(UTC))
        refusal = await put_manifest(
            self._registry,
            f"/v2/{repository.name}/manifests/{tag or digest}",
            manifest,
            media_type=request.get("imageManifestMediaType"),
            credentials=(TOKEN_USER, password),
        )
        if refusal is not None:
            raise ApiError(_REFUSALS.get(refusal.code, INVALID), refusal.message)
        identifier = {"imageDigest": str(digest), **({"imageTag": tag} if tag else {})}
        stored = await self._catalogue.storage.find_manifest(repository.name, str(digest))
        media_type = stored.media_type if stored else None
        return {
            "image": {
                **named(repository),
                "imageId": identifier,
                "imageManifest": request["imageManifest"],
                "imageManifestMediaType": media_type,
            }
        }

    async def batch_check_layer_availability(self, **request: Any) -> Mapping[str, Any]:
        repository = find(self._repositories, request)
        layers, failures = [], []
        for text in request["layerDigests"]:
            try:
                digest = Digest.parse(text)
            except InvalidReferenceError as error:
                failures.append(
                    {"layerDigest": text, "failureCode": "InvalidLayerDigest", "failureReason": str(error)}
                )
                continue
            size = await self._catalogue.storage.blob_size(repository.name, digest)
            state = "UNAVAILABLE" if size is None else "AVAILABLE"
            layers.append({"layerDigest": text, "layerAvailability": state, "layerSize": size})
        return {"layers": layers, "failures": failures}

    async def _delete(
        self,
        repository: str,
        image: CataloguedImage,
        identifier: Mapping[str, str],
        images: list[CataloguedImage],
    ) -> list[dict[str, str]]:
        """By digest the image with all its tags; by tag only that one, and with the last one the image."""
        tag = identifier.get("imageTag")
        if tag is not None and len(image.tags) > 1:
            await self._catalogue.storage.remove_tag(repository, tag)
            return [{"imageDigest": image.digest, "imageTag": tag}]
        if reason := self._catalogue.held_among(images).get(image.digest):
            raise ImageHeldError(f"it cannot be deleted: {reason}")
        await self._catalogue.remove(repository, image.digest)
        return _identifiers(image)


def has_status(image: CataloguedImage, status: str) -> bool:
    """Whether it is tagged or not, as a filter's `tagStatus` asks."""
    return status == "ANY" or bool(image.tags) == (status == "TAGGED")


def _filtered(images: Iterable[CataloguedImage], request: Mapping[str, Any]) -> list[CataloguedImage]:
    wanted = request.get("filter", {})
    if wanted.get("imageStatus", "ANY") not in ("ANY", "ACTIVE"):
        return []  # there is no archive
    return [image for image in images if has_status(image, wanted.get("tagStatus", "ANY"))]


def _resolved(
    images: Iterable[CataloguedImage], identifier: Mapping[str, str]
) -> CataloguedImage | tuple[str, str]:
    """The image that an identifier names, or why there is none: code and reason."""
    digest, tag = identifier.get("imageDigest"), identifier.get("imageTag")
    if digest is None and tag is None:
        return "MissingDigestAndTag", "neither a digest nor a tag is given"
    if digest is not None:
        try:
            Digest.parse(digest)
        except InvalidReferenceError as error:
            return "InvalidImageDigest", str(error)
    if tag is not None and not _TAG.fullmatch(tag):
        return "InvalidImageTag", f"{tag!r} is no tag"
    for image in images:
        if digest in (None, image.digest) and (tag is None or tag in image.tags):
            return image
    if digest is not None and tag is not None and any(digest == image.digest for image in images):
        return "ImageTagDoesNotMatchDigest", f"the tag {tag} is not one of {digest}"
    return "ImageNotFound", "the repository has no such image"


def _require(
    images: Iterable[CataloguedImage], identifier: Mapping[str, str], repository: Repository
) -> CataloguedImage:
    image = _resolved(images, identifier)
    if isinstance(image, CataloguedImage):
        return image
    raise ApiError("ImageNotFoundException", f"{repository.name}: {dict(identifier)}: {image[1]}")


def _identifiers(image: CataloguedImage) -> list[dict[str, str]]:
    tagged = [{"imageDigest": image.digest, "imageTag": tag} for tag in image.tags]
    return tagged or [{"imageDigest": image.digest}]


def _failure(identifier: Mapping[str, str], code: str, reason: str) -> dict[str, Any]:
    return {"imageId": identifier, "failureCode": code, "failureReason": reason}


def _image(
    repository: Repository, identifier: Mapping[str, str], image: CataloguedImage, manifest: bytes
) -> dict[str, Any]:
    return {
        **named(repository),
        "imageId": {**identifier, "imageDigest": image.digest},
        "imageManifest": manifest.decode(),
        "imageManifestMediaType": image.media_type,
    }


def _detail(image: CataloguedImage, repository: Repository) -> dict[str, Any]:
    return {
        "registryId": ACCOUNT,
        "repositoryName": repository.name,
        "imageDigest": image.digest,
        "imageTags": list(image.tags) or None,
        "imageSizeInBytes": image.size,
        "imagePushedAt": image.pushed_at,
        "imageManifestMediaType": image.media_type,
        "artifactMediaType": image.artifact_type or None,
        "subjectManifestDigest": image.subject,
        "imageStatus": "ACTIVE",
    }
