"""Roles with what they may do, the issuer whose identity tokens count, and the profile of a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.policy import canonical
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs

_NONE = "NoSuchEntity"


class Role:
    """Settings: `trust` (document), `policies` (documents by name), `managed` (ARNs of policies of AWS)."""

    name: ClassVar[str] = "iam.role"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "Arn", "name": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        named = {"RoleName": resource.name}
        there = account.find("iam", "get_role", _NONE, **named)
        if there is None:
            return None
        role = there["Role"]
        policies = {
            policy: canonical(
                account.call("iam", "get_role_policy", **named, PolicyName=policy)["PolicyDocument"]
            )
            for policy in account.call("iam", "list_role_policies", **named)["PolicyNames"]
        }
        attached = account.call("iam", "list_attached_role_policies", **named)["AttachedPolicies"]
        return Found(
            settings={
                "trust": canonical(role["AssumeRolePolicyDocument"]),
                "policies": policies,
                "managed": sorted(policy["PolicyArn"] for policy in attached),
            },
            attributes={"arn": role["Arn"], "name": resource.name},
            tags=mapping(role.get("Tags")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "iam",
            "create_role",
            RoleName=resource.name,
            AssumeRolePolicyDocument=json.dumps(resource.settings["trust"]),
            Tags=pairs(resource.tags),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"RoleName": resource.name}
        if "tags" in changed:
            account.call("iam", "tag_role", **named, Tags=pairs(resource.tags))
        if "trust" in changed:
            text = json.dumps(resource.settings["trust"])
            account.call("iam", "update_assume_role_policy", **named, PolicyDocument=text)
        before = found.settings["policies"]
        for policy, wanted in resource.settings["policies"].items():
            if before.get(policy) != wanted:
                text = json.dumps(wanted)
                account.call("iam", "put_role_policy", **named, PolicyName=policy, PolicyDocument=text)
        for policy in before.keys() - resource.settings["policies"].keys():
            account.find("iam", "delete_role_policy", _NONE, **named, PolicyName=policy)
        managed = set(found.settings["managed"])
        for arn in sorted(set(resource.settings["managed"]) - managed):
            account.call("iam", "attach_role_policy", **named, PolicyArn=arn)
        for arn in sorted(managed - set(resource.settings["managed"])):
            account.find("iam", "detach_role_policy", _NONE, **named, PolicyArn=arn)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        named = {"RoleName": resource.name}
        for arn in found.settings["managed"]:
            account.find("iam", "detach_role_policy", _NONE, **named, PolicyArn=arn)
        for policy in found.settings["policies"]:
            account.find("iam", "delete_role_policy", _NONE, **named, PolicyName=policy)
        account.find("iam", "delete_role", _NONE, **named)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        properties = {
            "RoleName": resource.name,
            "AssumeRolePolicyDocument": settings["trust"],
            "Policies": [
                {"PolicyName": name, "PolicyDocument": document}
                for name, document in settings["policies"].items()
            ],
            "ManagedPolicyArns": settings["managed"],
            "Tags": pairs(resource.tags),
        }
        return "AWS::IAM::Role", {name: value for name, value in properties.items() if value}


class OidcProvider:
    """The issuer of a CI system's identity tokens; one for an account. Settings: `audiences`, and
    `roles`, the names of ours that trust it.
    """

    name: ClassVar[str] = "iam.oidc-provider"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "Arn"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        arn = _provider_arn(account, resource)
        there = account.find("iam", "get_open_id_connect_provider", _NONE, OpenIDConnectProviderArn=arn)
        if there is None:
            return None
        wanted = resource.settings["audiences"]
        audiences = sorted(there["ClientIDList"])
        return Found(  # other audiences are other people's business
            settings={
                "audiences": list(wanted) if set(wanted) <= set(audiences) else audiences,
                "roles": resource.settings["roles"],
            },
            attributes={"arn": arn},
            tags=mapping(there.get("Tags")),
            holds=self._used_by_others(account, arn, mapping(there.get("Tags")), resource),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "iam",
            "create_open_id_connect_provider",
            Url=f"https://{resource.name}",
            ClientIDList=resource.settings["audiences"],
            Tags=pairs(resource.tags),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        for audience in set(resource.settings["audiences"]) - set(found.settings["audiences"]):
            account.call(
                "iam",
                "add_client_id_to_open_id_connect_provider",
                OpenIDConnectProviderArn=found.attributes["arn"],
                ClientID=audience,
            )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        arn = found.attributes["arn"]
        account.find("iam", "delete_open_id_connect_provider", _NONE, OpenIDConnectProviderArn=arn)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::IAM::OIDCProvider", {
            "Url": f"https://{resource.name}",
            "ClientIdList": resource.settings["audiences"],
            "Tags": pairs(resource.tags),
        }

    @staticmethod
    def _used_by_others(
        account: Account, arn: str, tags: Mapping[str, str], resource: Resource
    ) -> str | None:
        """The first role of another component that trusts it; whoever did not make it leaves it, too."""
        for name, value in resource.tags.items():
            if tags.get(name) != value:
                return "trust that others rely on"
        ours = set(resource.settings["roles"])
        for page in account.pages("iam", "list_roles"):
            for role in page["Roles"]:
                if role["RoleName"] not in ours and arn in json.dumps(role["AssumeRolePolicyDocument"]):
                    return f"the trust of the role {role['RoleName']}"
        return None


class InstanceProfile:
    """What gives a machine its role. Settings: `role`, a name."""

    name: ClassVar[str] = "iam.instance-profile"
    attributes: ClassVar[Mapping[str, str]] = {"arn": "Arn", "name": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        there = account.find("iam", "get_instance_profile", _NONE, InstanceProfileName=resource.name)
        if there is None:
            return None
        profile = there["InstanceProfile"]
        roles = [role["RoleName"] for role in profile["Roles"]]
        # CloudFormation gives it no tags: the role, which is called as it is, then says whose it is.
        untagged = not profile.get("Tags") and roles == [resource.name]
        return Found(
            settings={"role": roles[0] if roles else None},
            attributes={"arn": profile["Arn"], "name": resource.name},
            tags=None if untagged else mapping(profile.get("Tags")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "iam",
            "create_instance_profile",
            InstanceProfileName=resource.name,
            Tags=pairs(resource.tags),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        named = {"InstanceProfileName": resource.name}
        if "tags" in changed:
            account.call("iam", "tag_instance_profile", **named, Tags=pairs(resource.tags))
        if "role" in changed:
            if found.settings["role"]:
                account.call(
                    "iam", "remove_role_from_instance_profile", **named, RoleName=found.settings["role"]
                )
            account.call("iam", "add_role_to_instance_profile", **named, RoleName=resource.settings["role"])

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        named = {"InstanceProfileName": resource.name}
        if found.settings["role"]:
            account.find(
                "iam", "remove_role_from_instance_profile", _NONE, **named, RoleName=found.settings["role"]
            )
        account.find("iam", "delete_instance_profile", _NONE, **named)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::IAM::InstanceProfile", {
            "InstanceProfileName": resource.name,
            "Roles": [resource.settings["role"]],
        }


def _provider_arn(account: Account, resource: Resource) -> str:
    return f"arn:aws:iam::{account.id}:oidc-provider/{resource.name}"
