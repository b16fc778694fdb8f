"""The same resources as a template of CloudFormation, for whoever wants AWS to apply them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tagboat.aws.account import GLOBAL_REGION
from tagboat.aws.kinds import KINDS
from tagboat.aws.kinds.secrets import template_reference
from tagboat.aws.kinds.ssm import RootKey, key_parameter
from tagboat.aws.resource import Ref, Resource, refs

ACCOUNT = "${AWS::AccountId}"
REGION = "${AWS::Region}"
_VARIABLE = re.compile(r"\$\{(?=(?:AWS::\w+|Release|HostedZone)\})")
_RELEASED = "Released"
_CONDITION = {"Fn::Not": [{"Fn::Equals": [{"Ref": "Release"}, ""]}]}
_PARAMETERS = {
    "Release": {
        "Type": "String",
        "Default": "",
        "Description": "Tag of the image that is served: `latest`, once a release is in the repository that "
        "the stack makes. What runs an image is made then, by an update of the stack.",
    },
    "HostedZone": {"Type": "AWS::Route53::HostedZone::Id", "Description": "Zone that the domain is in."},
    "Certificate": {
        "Type": "String",
        "Description": "ARN of the domain's certificate in us-east-1, where CloudFront looks for it.",
    },
}


def template(resources: Sequence[Resource], description: str, *, region: str) -> dict[str, Any]:
    """The template for `region`; `resources`, in order, are of an account called ACCOUNT and a region called
    REGION. As with `apply`, what runs an image waits for a release: the parameter `Release` names it.

    Raises ConfigError for what CloudFormation has no words for.
    """
    writer = _Writer(resources, own_certificate=region == GLOBAL_REGION)
    written: dict[str, Any] = {}
    for resource in resources:
        written.update(writer.written(resource))
    used = _variables(written)
    parameters = _PARAMETERS | {
        one.logical_name: {"Type": "String", "Description": f"ARN of {one.kind} {one.name}."}
        for one in resources
        if one.given
    }
    parameters |= {one.logical_name: key_parameter(one) for one in resources if one.kind == RootKey.name}
    waits = any("Condition" in one for one in written.values())
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": description,
        "Parameters": {name: text for name, text in parameters.items() if name in used},
        **({"Conditions": {_RELEASED: _CONDITION}} if waits else {}),
        "Resources": written,
    }


class _Writer:
    """Writes resources that refer to each other by their logical names."""

    def __init__(self, resources: Sequence[Resource], *, own_certificate: bool) -> None:
        self._resources = {resource.key: resource for resource in resources}
        self._own_certificate = own_certificate
        self._waiting: set[str] = set()
        for resource in resources:
            if resource.released or not self._waiting.isdisjoint(resource.needs):
                self._waiting.add(resource.key)

    def written(self, resource: Resource) -> dict[str, Any]:
        """The resource by its logical name, and what belongs to it; nothing where CloudFormation has none."""
        described = self._described(resource)
        if described is None:
            return {}
        kind, properties = described
        condition = {"Condition": _RELEASED} if resource.key in self._waiting else {}
        document: dict[str, Any] = {"Type": kind, **condition}
        referred = {ref.resource for ref in refs(resource.settings)}
        after = [
            self._resources[key].logical_name
            for key in resource.after
            if key not in referred and self._described(self._resources[key]) is not None
        ]
        if after:
            document["DependsOn"] = after
        if resource.data:
            document |= {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
        document["Properties"] = self._value(properties)
        found = {resource.logical_name: document}
        if resource.kind == "lambda.function":
            version = {"FunctionName": {"Ref": resource.logical_name}}
            document = {"Type": "AWS::Lambda::Version", **condition, "Properties": version}
            found[f"{resource.logical_name}Version"] = document
        return found

    def _described(self, resource: Resource) -> tuple[str, dict[str, Any]] | None:
        if resource.port is not None or (resource.kind == "acm.certificate" and not self._own_certificate):
            return None
        return KINDS[resource.kind].template(resource)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Ref):
            return self._reference(value)
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, list | tuple):
            return [self._value(one) for one in value]
        if isinstance(value, Mapping):
            return {name: self._value(one) for name, one in value.items()}
        return value

    def _reference(self, ref: Ref) -> Any:
        resource = self._resources[ref.resource]
        if resource.given or resource.kind == RootKey.name:
            return _of_parameter(resource, ref.attribute)
        if resource.kind == "acm.validation":  # CloudFormation waits for it with the certificate
            if not self._own_certificate:
                return {"Ref": "Certificate"}
            return self._reference(resource.settings["certificate"])
        name = KINDS[resource.kind].attributes[ref.attribute]
        if name == "ARN":  # a distribution has none to CloudFormation
            return {"Fn::Sub": f"arn:aws:cloudfront::{ACCOUNT}:distribution/${{{resource.logical_name}}}"}
        found = {"Fn::GetAtt": [resource.logical_name, name]} if name else {"Ref": resource.logical_name}
        if ref.attribute == "host" and name in (
            "FunctionUrl",
            "Endpoint",
        ):  # a URL, of which the host is wanted
            return {"Fn::Select": [2, {"Fn::Split": ["/", found]}]}
        return found


def _of_parameter(resource: Resource, attribute: str) -> Any:
    """What is there before the stack, and named by a parameter of its template."""
    if resource.given:
        return template_reference(resource, attribute)
    return {"Fn::Sub": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter${{{resource.logical_name}}}"}


def _text(text: str) -> Any:
    """A string with CloudFormation's variables in it, and `${` of its own kept as it is."""
    if not _VARIABLE.search(text):
        return text
    if re.fullmatch(r"\$\{\w+\}", text):
        return {"Ref": text[2:-1]}
    parts = _VARIABLE.split(text)
    return {"Fn::Sub": "${".join(part.replace("${", "${!") for part in parts)}


def _variables(value: Any) -> set[str]:
    """The parameters that are used anywhere in a value."""
    if isinstance(value, Mapping):
        named = {value["Ref"]} if isinstance(value.get("Ref"), str) else set()
        return named.union(*(_variables(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(_variables(one) for one in value))
    return set(re.findall(r"\$\{(\w+)\}", value)) if isinstance(value, str) else set()
