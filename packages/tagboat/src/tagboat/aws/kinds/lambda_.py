"""A function from an image, the alias that is served, its URL, and who may call that.

What is served is a published version, which never changes, and the alias `live` that names it. So a change of
the settings is a new version too, and the alias moves when it is ready.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tagboat.aws.account import Account, wait_until
from tagboat.aws.kinds.ecr import released_image, template_image
from tagboat.aws.probe import NOTHING, STILL, require_well
from tagboat.aws.resource import Found, Resource, logical_name
from tagboat.cloud import CloudError

ALIAS = "live"
_NONE = "ResourceNotFoundException"


class Function:
    """Settings: `repository` that its image is in, `role`, `memory` in MiB, `timeout` in seconds,
    `architecture`, `command` in place of the image's entry point, `environment`, `reserved`, the most
    instances (None: the account's limit), and `health_path`, which is asked before a version is served.

    Which image it is, is no setting: that is what `tagboat deploy` changes.
    """

    name: ClassVar[str] = "lambda.function"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "Arn", "name": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        served = account.find("lambda", "get_function", _NONE, FunctionName=resource.name, Qualifier=ALIAS)
        there = served or account.find("lambda", "get_function", _NONE, FunctionName=resource.name)
        if there is None:
            return None
        configuration = there["Configuration"]
        arn = configuration["FunctionArn"]
        if served is not None:  # the version's: tags and limits are the function's
            arn = arn.rpartition(":")[0] if arn.count(":") > 6 else arn
        reserved = account.call("lambda", "get_function_concurrency", FunctionName=resource.name)
        return Found(
            settings={
                "repository": resource.settings["repository"],
                "role": configuration["Role"],
                "architecture": configuration["Architectures"][0],
                **own_settings(configuration),
                "health_path": resource.settings["health_path"],
                "reserved": reserved.get("ReservedConcurrentExecutions"),
            },
            attributes={"arn": arn, "name": resource.name},
            tags=account.call("lambda", "list_tags", Resource=arn)["Tags"],
        )

    def create(self, account: Account, resource: Resource) -> None:
        arguments = {
            "FunctionName": resource.name,
            "PackageType": "Image",
            "Code": {"ImageUri": released_image(account, resource.settings["repository"])},
            "Architectures": [resource.settings["architecture"]],
            "Tags": dict(resource.tags),
            "Publish": True,
            "Role": resource.settings["role"],
            **own_configuration(resource.settings),
        }
        account.call_with_role("lambda", "create_function", **arguments)
        ready(account, resource.name)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"FunctionName": resource.name}
        if "tags" in changed:
            account.call("lambda", "tag_resource", Resource=found.attributes["arn"], Tags=dict(resource.tags))
        if "reserved" in changed and resource.settings["reserved"] is None:
            account.call("lambda", "delete_function_concurrency", **named)
        elif "reserved" in changed:
            account.call(
                "lambda",
                "put_function_concurrency",
                **named,
                ReservedConcurrentExecutions=resource.settings["reserved"],
            )
        if "architecture" in changed:
            raise CloudError(
                f"{resource.name} runs images for {found.settings['architecture']}, and that comes with the "
                "image",
                hint="`tagboat deploy` brings an image for the other architecture",
            )
        if changed - {"tags", "reserved"}:
            ready(account, resource.name)
            account.call(
                "lambda",
                "update_function_configuration",
                **named,
                Role=resource.settings["role"],
                **own_configuration(resource.settings),
            )
            ready(account, resource.name)
            version = account.call("lambda", "publish_version", **named)["Version"]
            if account.find("lambda", "get_alias", _NONE, **named, Name=ALIAS) is None:
                return  # it is made of a version that is well
            require_well(account, resource.name, version, resource.settings["health_path"], hint=STILL)
            account.call("lambda", "update_alias", **named, Name=ALIAS, FunctionVersion=version)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("lambda", "delete_function", _NONE, FunctionName=resource.name)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        properties: dict[str, Any] = {
            "FunctionName": resource.name,
            "PackageType": "Image",
            "Code": {"ImageUri": template_image(settings["repository"])},
            "Architectures": [settings["architecture"]],
            "MemorySize": settings["memory"],
            "Timeout": settings["timeout"],
            "Role": settings["role"],
            "ImageConfig": {"EntryPoint": settings["command"]},
            "Environment": {"Variables": settings["environment"]},
            "Tags": [{"Key": key, "Value": value} for key, value in resource.tags.items()],
        }
        if settings["reserved"] is not None:
            properties["ReservedConcurrentExecutions"] = settings["reserved"]
        return "AWS::Lambda::Function", properties


class Alias:
    """The version that is served; which one, `tagboat deploy` says. Settings: `function`, `health_path`,
    which the first version has to answer at before the alias is there, and `provisioned`, the instances that
    are kept ready whether or not anybody asks.
    """

    name: ClassVar[str] = "lambda.alias"
    attributes: ClassVar[Mapping[str, str]] = {"arn": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        named = {"FunctionName": resource.settings["function"], "Name": ALIAS}
        there = account.find("lambda", "get_alias", _NONE, **named)
        if there is None:
            return None
        provisioned = account.find(
            "lambda",
            "get_provisioned_concurrency_config",
            "ProvisionedConcurrencyConfigNotFoundException",
            FunctionName=named["FunctionName"],
            Qualifier=ALIAS,
        )
        return Found(
            {
                **resource.settings,
                "provisioned": (provisioned or {}).get("RequestedProvisionedConcurrentExecutions", 0),
            },
            {"arn": there["AliasArn"]},
        )

    def create(self, account: Account, resource: Resource) -> None:
        named = {"FunctionName": resource.settings["function"]}
        versions = [
            version["Version"]
            for page in account.pages("lambda", "list_versions_by_function", **named)
            for version in page["Versions"]
            if version["Version"] != "$LATEST"
        ]
        version = (
            max(versions, key=int)
            if versions
            else account.call("lambda", "publish_version", **named)["Version"]
        )
        path = resource.settings["health_path"]
        require_well(account, named["FunctionName"], version, path, hint=NOTHING)
        account.call("lambda", "create_alias", **named, Name=ALIAS, FunctionVersion=version)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        if resource.settings["provisioned"]:
            account.call(
                "lambda",
                "put_provisioned_concurrency_config",
                **_qualified(resource),
                ProvisionedConcurrentExecutions=resource.settings["provisioned"],
            )
        else:
            account.call("lambda", "delete_provisioned_concurrency_config", **_qualified(resource))

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        named = {"FunctionName": resource.settings["function"], "Name": ALIAS}
        account.find("lambda", "delete_alias", _NONE, **named)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        provisioned = resource.settings["provisioned"]
        ready = {"ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": provisioned}}
        return "AWS::Lambda::Alias", {
            **(ready if provisioned else {}),
            "FunctionName": resource.settings["function"],
            "FunctionVersion": {
                "Fn::GetAtt": [
                    f"{logical_name('lambda.function', resource.settings['function'])}Version",
                    "Version",
                ]
            },
            "Name": ALIAS,
        }


class FunctionUrl:
    """Where the alias answers HTTPS. Settings: `function`, `auth`, `mode`."""

    name: ClassVar[str] = "lambda.url"
    attributes: ClassVar[Mapping[str, str]] = {"url": "FunctionUrl", "host": "FunctionUrl"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.find("lambda", "get_function_url_config", _NONE, **_qualified(resource))
        if there is None:
            return None
        url = there["FunctionUrl"].rstrip("/")
        return Found(
            settings={
                "function": resource.settings["function"],
                "auth": there["AuthType"],
                "mode": there.get("InvokeMode", "BUFFERED"),
            },
            attributes={"url": url, "host": urlsplit(url).netloc},
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "lambda", "create_function_url_config", **_qualified(resource), **_answers(resource.settings)
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        account.call(
            "lambda", "update_function_url_config", **_qualified(resource), **_answers(resource.settings)
        )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("lambda", "delete_function_url_config", _NONE, **_qualified(resource))

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::Lambda::Url", {
            "TargetFunctionArn": resource.settings["function"],
            "Qualifier": ALIAS,
            **_answers(resource.settings),
        }


class Permission:
    """Who may call the alias. Settings: `function`, `action`, `principal`."""

    name: ClassVar[str] = "lambda.permission"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.find("lambda", "get_policy", _NONE, **_qualified(resource))
        statements = json.loads(there["Policy"])["Statement"] if there else []
        # CloudFormation gives statements names of its own: one that says the same counts as this one.
        statement = next((one for one in statements if one.get("Sid") == _statement_id(resource)), None)
        statement = statement or next((one for one in statements if _says(one, resource.settings)), None)
        if statement is None:
            return None
        return Found(
            {
                "function": resource.settings["function"],
                "action": statement["Action"],
                "principal": _principal(statement),
            },
            {"statement": statement["Sid"]},
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "lambda",
            "add_permission",
            **_qualified(resource),
            StatementId=_statement_id(resource),
            Action=resource.settings["action"],
            Principal=resource.settings["principal"],
            **_through_url(resource.settings),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        self.delete(account, resource, found)
        self.create(account, resource)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        statement = {"StatementId": found.attributes["statement"]}
        account.find("lambda", "remove_permission", _NONE, **_qualified(resource), **statement)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        return "AWS::Lambda::Permission", {
            "FunctionName": {"Ref": logical_name("lambda.alias", f"{settings['function']}/{ALIAS}")},
            "Action": settings["action"],
            "Principal": settings["principal"],
            **_through_url(settings),
        }


def ready(account: Account, function: str) -> None:
    """Return once the function has taken the last change. Raises CloudError where it cannot."""

    def done() -> bool:
        there = account.call("lambda", "get_function_configuration", FunctionName=function)
        if "Failed" in (there.get("State"), there.get("LastUpdateStatus")):
            reason = there.get("LastUpdateStatusReason") or there.get("StateReason")
            raise CloudError(f"the function {function} does not take it: {reason}")
        return there.get("State", "Active") in ("Active", "Inactive") and (
            there.get("LastUpdateStatus", "Successful") == "Successful"
        )

    wait_until(done, f"the function {function} is not ready")


def own_settings(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, as the configuration of a version has them, that every deployment brings along."""
    image = configuration.get("ImageConfigResponse", {}).get("ImageConfig", {})
    return {
        "memory": configuration["MemorySize"],
        "timeout": configuration["Timeout"],
        "command": image.get("EntryPoint", []),
        "environment": configuration.get("Environment", {}).get("Variables", {}),
    }


def own_configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same in Lambda's words."""
    return {
        "MemorySize": settings["memory"],
        "Timeout": settings["timeout"],
        "ImageConfig": {"EntryPoint": settings["command"]},
        "Environment": {"Variables": settings["environment"]},
    }


def _qualified(resource: Resource) -> dict[str, str]:
    return {"FunctionName": resource.settings["function"], "Qualifier": ALIAS}


def _answers(settings: Mapping[str, Any]) -> dict[str, str]:
    return {"AuthType": settings["auth"], "InvokeMode": settings["mode"]}


def _statement_id(resource: Resource) -> str:
    return resource.name.rpartition("/")[2]


def _says(statement: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a statement of a policy permits just this, through the URL alone."""
    (wanted,) = _through_url(settings).items()
    conditions = {
        name.rpartition(":")[2].casefold(): str(value).casefold()
        for operator in statement.get("Condition", {}).values()
        for name, value in operator.items()
    }
    return (
        statement["Effect"] == "Allow"
        and statement["Action"] == settings["action"]
        and _principal(statement) == settings["principal"]
        and conditions == {wanted[0].casefold(): str(wanted[1]).casefold()}
    )


def _principal(statement: Mapping[str, Any]) -> Any:
    principal = statement["Principal"]
    return principal.get("AWS") if isinstance(principal, Mapping) else principal


def _through_url(settings: Mapping[str, Any]) -> dict[str, Any]:
    """That the permission is for calls by the URL alone, as each of the two actions has it."""
    if settings["action"] == "lambda:InvokeFunctionUrl":
        return {"FunctionUrlAuthType": "NONE"}
    return {"InvokedViaFunctionUrl": True}
