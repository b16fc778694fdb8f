"""What a call is about, in the terms of IAM: which actions on which resources a role must allow for it.

"Actions, resources, and condition keys" of each service in the Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from homeport.place import arn
from homeport.policy import PASS
from homeport.vault import SecretError, SecretReference
from ocikit import OcikitError, Reference
from ocikit.registry import Action

Need = tuple[str, str]  # an action and the ARN of a resource, or `*`

_READ: Final = "ecr:BatchGetImage"
_SECRET: Final = "secretsmanager:GetSecretValue"  # noqa: S105
_TAG: Final = "apprunner:TagResource"
_ACTING: Final = "homeport:"  # begins the tags that say how a service runs
_REGISTRY: Final[Mapping[Action, str]] = {
    "pull": _READ,
    "push": "ecr:PutImage",
    "delete": "ecr:BatchDeleteImage",
}


def needs(service: str, operation: str, request: Any) -> list[Need]:
    """All that must be allowed for a call; `request` is its document, checked or not."""
    action = f"{service}:{operation}"
    document = request if isinstance(request, dict) else {}
    named = list(_resources(service, operation, document))
    found = [(action, one) for one in named or ["*"]]
    if service == "apprunner":
        found += [(_READ, one) for one in _images(document)]
        found += [(PASS, one) for one in _roles(document)]
        found += [(_SECRET, one) for one in _secrets(document)]
        if operation == "CreateService" and _acts(document):
            found += [(_TAG, one) for one in named]
    return found


def registry_need(action: Action, repository: str | None) -> Need | None:
    """What the registry's own protocol needs; nothing for the question whether one is let in at all."""
    return None if repository is None else (_REGISTRY[action], _repository(repository))


def _resources(service: str, operation: str, request: Mapping[str, Any]) -> Iterator[str]:
    match service:
        case "ecr":
            names = request.get("repositoryNames")
            for name in (request.get("repositoryName"), *(names if isinstance(names, list) else ())):
                if name is not None:
                    yield _repository(name)
            if "resourceArn" in request:
                yield str(request["resourceArn"])
        case "logs":
            if "logGroupName" in request:
                yield arn("logs", f"log-group:{request['logGroupName']}")
            if "logGroupIdentifier" in request:
                yield str(request["logGroupIdentifier"])
        case "secretsmanager":
            for member in ("SecretId", "Name"):
                if member in request:
                    yield _secret(request[member])
        case _:
            yield from (str(value) for name, value in request.items() if name.endswith("Arn"))
            if operation == "CreateService":
                yield arn("apprunner", f"service/{request.get('ServiceName')}/*")


def _repository(name: object) -> str:
    return arn("ecr", f"repository/{name}")


def _roles(request: Mapping[str, Any]) -> Iterator[str]:
    """The role that a service's instances are to have: whoever sets it can do what it may."""
    instance = request.get("InstanceConfiguration")
    if isinstance(instance, dict) and "InstanceRoleArn" in instance:
        yield str(instance["InstanceRoleArn"])


def _images(request: Mapping[str, Any]) -> Iterator[str]:
    """The repository of the image that a service is to run, wherever it is: who sets that can read it."""
    image = _repository_of(request).get("ImageIdentifier")
    if image is None:
        return
    try:
        yield _repository(Reference.parse(str(image)).repository)
    except OcikitError:
        yield "*"


def _secrets(request: Mapping[str, Any]) -> Iterator[str]:
    """The secrets that a service's instances are to get: who runs an image there can read them."""
    configuration = _repository_of(request).get("ImageConfiguration")
    secrets = configuration.get("RuntimeEnvironmentSecrets") if isinstance(configuration, dict) else None
    for text in secrets.values() if isinstance(secrets, dict) else ():
        yield _secret(text)


def _secret(text: object) -> str:
    try:
        return arn("secretsmanager", f"secret:{SecretReference.parse(str(text)).name}")
    except SecretError:
        return "*"


def _repository_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        repository = request["SourceConfiguration"]["ImageRepository"]
    except (KeyError, TypeError):
        return {}
    return repository if isinstance(repository, dict) else {}


def _acts(request: Mapping[str, Any]) -> bool:
    """Whether a new service comes with tags that open the host's ports to it, say, or set no policy."""
    tags = request.get("Tags")
    return isinstance(tags, list) and any(
        isinstance(tag, dict) and str(tag.get("Key")).startswith(_ACTING) for tag in tags
    )
