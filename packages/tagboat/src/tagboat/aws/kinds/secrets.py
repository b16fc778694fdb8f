"""Secrets, which their owner makes and nobody else: they are looked for, and never read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource
from tagboat.cloud import CloudError

# Keys of AWS's own, which whoever may read the secret may use.
_OWN_KEYS = (None, "alias/aws/secretsmanager", "alias/aws/ssm")


class _Given:
    """Settings: `encryption`, the ARN of the key where it is not AWS's own, and `keys`, the members of the
    JSON object that are used: the attribute `key_NAME` names one.
    """

    identified_by: ClassVar[frozenset[str]] = frozenset()

    def create(self, account: Account, resource: Resource) -> None:
        raise CloudError(f"{resource.kind} {resource.name} is not there", hint=how_to_make(resource))

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        raise CloudError(f"{resource.kind} {resource.name} is its owner's to change")

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        """It stays."""

    def template(self, resource: Resource) -> None:
        """The template refers to it."""


class Secret(_Given):
    """A secret of Secrets Manager's, by its name or ARN."""

    name: ClassVar[str] = "secretsmanager.secret"
    attributes: ClassVar[Mapping[str, str]] = {"arn": ""}

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.find(
            "secretsmanager", "describe_secret", "ResourceNotFoundException", SecretId=resource.name
        )
        if there is None or "DeletedDate" in there:
            return None
        return Found(_settings(resource, there.get("KmsKeyId")), _attributes(there["ARN"], resource))

    def keep(self, account: Account, resource: Resource, value: str) -> None:
        """Make it with that value, or give it that value."""
        name, text = resource.name, {"SecretString": value}
        key = {"KmsKeyId": resource.settings["encryption"]} if resource.settings["encryption"] else {}
        if self.read(account, resource) is None:
            account.call("secretsmanager", "create_secret", Name=name, **text, **key)
        else:
            account.call("secretsmanager", "put_secret_value", SecretId=name, **text)


class Parameter(_Given):
    """A parameter of SSM's, by its name or ARN."""

    name: ClassVar[str] = "ssm.parameter"
    attributes: ClassVar[Mapping[str, str]] = {"arn": ""}

    def read(self, account: Account, resource: Resource) -> Found | None:
        filters = [{"Key": "Name", "Option": "Equals", "Values": [_parameter_name(resource)]}]
        there = account.call("ssm", "describe_parameters", ParameterFilters=filters)["Parameters"]
        if not there:
            return None
        return Found(
            _settings(resource, there[0].get("KeyId")), {"arn": parameter_arn(account.arn, resource.name)}
        )

    def keep(self, account: Account, resource: Resource, value: str) -> None:
        """Make it with that value, or give it that value."""
        key = {"KeyId": resource.settings["encryption"]} if resource.settings["encryption"] else {}
        named = {"Name": _parameter_name(resource), "Type": "SecureString", "Overwrite": True}
        account.call("ssm", "put_parameter", **named, Value=value, **key)


def keep(account: Account, resource: Resource, value: str) -> None:
    """Let the value of a secret or a parameter be this one. Raises CloudError."""
    (Parameter() if resource.kind == Parameter.name else Secret()).keep(account, resource, value)


def parameter_arn(arn: Any, name: str) -> str:
    """Of the parameter of that name, or ARN; `arn` makes one of a service and a resource."""
    return name if name.startswith("arn:") else str(arn("ssm", f"parameter/{name.removeprefix('/')}"))


def how_to_make(resource: Resource) -> str:
    """What its owner does for it to be there."""
    return f"`tagboat secret {resource.name} < FILE` keeps the value that is in FILE"


def template_reference(resource: Resource, attribute: str) -> dict[str, str]:
    """What a template has for an attribute: the ARN, which a parameter of the template's names."""
    key = attribute.removeprefix("key_") if attribute != "arn" else None
    text = f"${{{resource.logical_name}}}:{key}::" if key else None
    return {"Fn::Sub": text} if text else {"Ref": resource.logical_name}


def _parameter_name(resource: Resource) -> str:
    name = resource.name
    if not name.startswith("arn:"):
        return name
    name = name.partition(":parameter")[2]
    return name if name.count("/") > 1 else name.removeprefix("/")


def _settings(resource: Resource, key: str | None) -> dict[str, Any]:
    wanted = resource.settings["encryption"]
    named = key in _OWN_KEYS and wanted is None
    same = wanted is not None and key is not None and wanted.rpartition("/")[2] == key.rpartition("/")[2]
    return {**resource.settings, "encryption": wanted if named or same else key}


def _attributes(arn: str, resource: Resource) -> dict[str, str]:
    return {"arn": arn, **{f"key_{key}": f"{arn}:{key}::" for key in resource.settings["keys"]}}
