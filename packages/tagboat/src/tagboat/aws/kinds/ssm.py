"""A key that is made here and read there: a parameter of Systems Manager, which only its reader decrypts."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs


class RootKey:
    """The root key of a homeport that is to come: JSON with `access_key_id` and `secret_access_key`. It is
    made once, and its value is not looked at here. Settings: `type`, which is SecureString.
    """

    name: ClassVar[str] = "ssm.root-key"
    attributes: ClassVar[Mapping[str, str]] = {"arn": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        filters = [{"Key": "Name", "Values": [resource.name]}]
        found = account.call("ssm", "describe_parameters", ParameterFilters=filters)["Parameters"]
        if not found:
            return None
        tags = account.call("ssm", "list_tags_for_resource", **_named(resource))["TagList"]
        return Found(
            settings={"type": found[0]["Type"]},
            attributes={"arn": account.arn("ssm", f"parameter{resource.name}")},
            tags=mapping(tags),
        )

    def create(self, account: Account, resource: Resource) -> None:
        key = {
            "access_key_id": "HPROOT" + base64.b32encode(secrets.token_bytes(10)).decode(),
            "secret_access_key": secrets.token_urlsafe(30),
        }
        account.call(
            "ssm",
            "put_parameter",
            Name=resource.name,
            Description="The root key of a homeport, made by tagboat",
            Type=resource.settings["type"],
            Value=json.dumps(key),
            Tags=pairs(resource.tags),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        if "tags" in changed:
            account.call("ssm", "add_tags_to_resource", **_named(resource), Tags=pairs(resource.tags))

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("ssm", "delete_parameter", "ParameterNotFound", Name=resource.name)

    def template(self, resource: Resource) -> None:
        """CloudFormation makes no secret parameters: it is told of one that is there."""


def key_parameter(resource: Resource) -> dict[str, Any]:
    """What a template asks in the place of the root key: that it is there before the machine starts."""
    tags = " ".join(f"Key={name},Value={value}" for name, value in resource.tags.items())
    return {
        "Type": "AWS::SSM::Parameter::Name",
        "Default": resource.name,
        "AllowedValues": [resource.name],
        "Description": "The homeport's root key, which has to be there before the machine starts: "
        f"aws ssm put-parameter --type SecureString --name {resource.name} --value file://FILE --tags {tags}"
        " (FILE has JSON: access_key_id, secret_access_key).",
    }


def _named(resource: Resource) -> dict[str, Any]:
    return {"ResourceType": "Parameter", "ResourceId": resource.name}
