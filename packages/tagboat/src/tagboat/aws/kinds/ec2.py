"""One small machine: its firewall, its address, itself."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account, wait_until
from tagboat.aws.resource import Found, Resource
from tagboat.aws.tags import mapping, pairs

_OTHER_USER_DATA = (
    "its user data are not what a new machine would start with, and only a new one reads them. Nothing is "
    "replaced, for its data are on it: bring it by hand to what `tagboat export cloud-init --target` prints"
)
# No hop more than the machine itself: its containers do not get its role.
_METADATA = {"HttpTokens": "required", "HttpEndpoint": "enabled", "HttpPutResponseHopLimit": 1}
_ALIVE = ["pending", "running", "stopping", "stopped"]


class SecurityGroup:
    """Settings: `ports` that the world may connect to; everything goes out."""

    name: ClassVar[str] = "ec2.security-group"
    attributes: ClassVar[Mapping[str, str]] = {"id": "GroupId"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        filters = [{"Name": "group-name", "Values": [resource.name]}]
        groups = account.call("ec2", "describe_security_groups", Filters=filters)["SecurityGroups"]
        if not groups:
            return None
        group = groups[0]
        return Found(
            settings={
                "ports": sorted({one["FromPort"] for one in group["IpPermissions"] if "FromPort" in one}),
            },
            attributes={
                "id": group["GroupId"],
                "arn": account.arn("ec2", f"security-group/{group['GroupId']}"),
            },
            tags=mapping(group.get("Tags")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        account.call(
            "ec2",
            "create_security_group",
            GroupName=resource.name,
            Description=f"{resource.name}, made by tagboat",
            TagSpecifications=_tags("security-group", resource),
        )

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        group = {"GroupId": found.attributes["id"]}
        if "tags" in changed:
            account.call("ec2", "create_tags", Resources=[group["GroupId"]], Tags=pairs(resource.tags))
        before, after = set(found.settings["ports"]), set(resource.settings["ports"])
        if after - before:
            permissions = [_open(port) for port in sorted(after - before)]
            account.call("ec2", "authorize_security_group_ingress", **group, IpPermissions=permissions)
        if before - after:
            permissions = [_open(port) for port in sorted(before - after)]
            account.call("ec2", "revoke_security_group_ingress", **group, IpPermissions=permissions)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        account.find("ec2", "delete_security_group", "InvalidGroup.NotFound", GroupId=found.attributes["id"])

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::EC2::SecurityGroup", {
            "GroupName": resource.name,
            "GroupDescription": f"{resource.name}, made by tagboat",
            "SecurityGroupIngress": [
                {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, family: every}
                for port in resource.settings["ports"]
                for family, every in (("CidrIp", "0.0.0.0/0"), ("CidrIpv6", "::/0"))
            ],
            "Tags": pairs({"Name": resource.name, **resource.tags}),
        }


class Instance:
    """Settings: `type`, `image` (an AMI or `resolve:ssm:…`), `user_data`, `disk` in GiB, `group` (an id),
    `profile` (a name), `protected` against termination.

    Image, user data and disk are what a new machine starts with; one that is there keeps its own, for on it
    are the port's data. User data that are others now are noted, for whoever is to bring the machine there.
    """

    name: ClassVar[str] = "ec2.instance"
    attributes: ClassVar[Mapping[str, str]] = {"id": ""}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        filters = [
            {"Name": "tag:Name", "Values": [resource.name]},
            {"Name": "instance-state-name", "Values": _ALIVE},
        ]
        reservations = account.call("ec2", "describe_instances", Filters=filters)["Reservations"]
        if not reservations:
            return None
        (machine,) = reservations[0]["Instances"]
        identity = {"InstanceId": machine["InstanceId"]}
        protected = account.call(
            "ec2", "describe_instance_attribute", **identity, Attribute="disableApiTermination"
        )
        started = account.call("ec2", "describe_instance_attribute", **identity, Attribute="userData")
        data = b64decode(started.get("UserData", {}).get("Value", "")).decode(errors="replace")
        wanted = resource.settings["user_data"]  # None of one that is only to go
        same = wanted is None or _lasting(data) == _lasting(wanted)
        groups = [group["GroupId"] for group in machine["SecurityGroups"]]
        return Found(
            settings={
                "type": machine["InstanceType"],
                "image": resource.settings["image"],
                "user_data": resource.settings["user_data"],
                "disk": resource.settings["disk"],
                "group": groups[0] if len(groups) == 1 else groups,
                "profile": machine.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2] or None,
                "protected": protected["DisableApiTermination"]["Value"],
            },
            attributes={
                "id": machine["InstanceId"],
                "arn": account.arn("ec2", f"instance/{machine['InstanceId']}"),
            },
            tags=mapping(machine.get("Tags")),
            holds="its disk",
            notes=() if same else (_OTHER_USER_DATA,),
        )

    def create(self, account: Account, resource: Resource) -> None:
        machine = account.call_with_role(
            "ec2",
            "run_instances",
            # The same call again, after an answer that was lost, starts no other machine; a later one, whose
            # firewall is another, does.
            ClientToken=f"{resource.name}-{resource.settings['group']}",
            MinCount=1,
            MaxCount=1,
            ImageId=resource.settings["image"],
            InstanceType=resource.settings["type"],
            UserData=resource.settings["user_data"],
            SecurityGroupIds=[resource.settings["group"]],
            IamInstanceProfile={"Name": resource.settings["profile"]},
            DisableApiTermination=resource.settings["protected"],
            MetadataOptions=dict(_METADATA),
            BlockDeviceMappings=_disks(resource.settings),
            TagSpecifications=[*_tags("instance", resource), *_tags("volume", resource)],
        )["Instances"][0]
        self._wait(account, machine["InstanceId"], "running")

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        identity = {"InstanceId": found.attributes["id"]}
        if "tags" in changed:
            account.call("ec2", "create_tags", Resources=[identity["InstanceId"]], Tags=pairs(resource.tags))
        if "protected" in changed:
            value = {"Value": resource.settings["protected"]}
            account.call("ec2", "modify_instance_attribute", **identity, DisableApiTermination=value)
        if "group" in changed:
            account.call("ec2", "modify_instance_attribute", **identity, Groups=[resource.settings["group"]])
        if "profile" in changed:
            account.call(
                "ec2",
                "associate_iam_instance_profile",
                **identity,
                IamInstanceProfile={"Name": resource.settings["profile"]},
            )
        if "type" in changed:  # it is away meanwhile, for a minute or two
            ids = {"InstanceIds": [identity["InstanceId"]]}
            account.call("ec2", "stop_instances", **ids)
            self._wait(account, identity["InstanceId"], "stopped")
            value = {"Value": resource.settings["type"]}
            account.call("ec2", "modify_instance_attribute", **identity, InstanceType=value)
            account.call("ec2", "start_instances", **ids)
            self._wait(account, identity["InstanceId"], "running")

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        identity = {"InstanceId": found.attributes["id"]}
        if found.settings["protected"]:
            account.call(
                "ec2", "modify_instance_attribute", **identity, DisableApiTermination={"Value": False}
            )
        account.call("ec2", "terminate_instances", InstanceIds=[identity["InstanceId"]])
        self._wait(account, identity["InstanceId"], "terminated")

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        settings = resource.settings
        image = settings["image"]
        if image.startswith("resolve:"):
            image = f"{{{{{image}}}}}"
        return "AWS::EC2::Instance", {
            "ImageId": image,
            "InstanceType": settings["type"],
            "SecurityGroupIds": [settings["group"]],
            "IamInstanceProfile": settings["profile"],
            "DisableApiTermination": settings["protected"],
            "MetadataOptions": dict(_METADATA),
            "BlockDeviceMappings": _disks(settings),
            "PropagateTagsToVolumeOnCreation": True,
            "UserData": {"Fn::Base64": settings["user_data"]},
            "Tags": pairs({"Name": resource.name, **resource.tags}),
        }

    @staticmethod
    def _wait(account: Account, identity: str, state: str) -> None:
        def done() -> bool:
            (reservation,) = account.call("ec2", "describe_instances", InstanceIds=[identity])["Reservations"]
            return bool(reservation["Instances"][0]["State"]["Name"] == state)

        wait_until(done, f"the machine {identity} is not {state}")


class Address:
    """A fixed address. Settings: `instance`, an id."""

    name: ClassVar[str] = "ec2.address"
    attributes: ClassVar[Mapping[str, str]] = {"ip": "PublicIp"}
    identified_by: ClassVar[frozenset[str]] = frozenset()

    def read(self, account: Account, resource: Resource) -> Found | None:
        filters = [{"Name": "tag:Name", "Values": [resource.name]}]
        addresses = account.call("ec2", "describe_addresses", Filters=filters)["Addresses"]
        if not addresses:
            return None
        address = addresses[0]
        allocation = address["AllocationId"]
        return Found(
            settings={"instance": address.get("InstanceId") or None},
            attributes={
                "ip": address["PublicIp"],
                "allocation": allocation,
                "association": address.get("AssociationId") or "",
                "arn": account.arn("ec2", f"elastic-ip/{allocation}"),
            },
            tags=mapping(address.get("Tags")),
        )

    def create(self, account: Account, resource: Resource) -> None:
        specification = _tags("elastic-ip", resource)
        account.call("ec2", "allocate_address", Domain="vpc", TagSpecifications=specification)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        allocation = found.attributes["allocation"]
        if "tags" in changed:
            account.call("ec2", "create_tags", Resources=[allocation], Tags=pairs(resource.tags))
        if "instance" in changed:
            account.call(
                "ec2",
                "associate_address",
                AllocationId=allocation,
                InstanceId=resource.settings["instance"],
                AllowReassociation=True,
            )

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        if found.attributes["association"]:
            account.find(
                "ec2",
                "disassociate_address",
                "InvalidAssociationID.NotFound",
                AssociationId=found.attributes["association"],
            )
        account.find(
            "ec2",
            "release_address",
            "InvalidAllocationID.NotFound",
            AllocationId=found.attributes["allocation"],
        )

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        return "AWS::EC2::EIP", {
            "Domain": "vpc",
            "InstanceId": resource.settings["instance"],
            "Tags": pairs({"Name": resource.name, **resource.tags}),
        }


def _disks(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    disk = {"VolumeSize": settings["disk"], "VolumeType": "gp3", "Encrypted": True}
    return [{"DeviceName": "/dev/xvda", "Ebs": disk}]


def _lasting(user_data: str) -> str:
    """User data but for the version that a machine starts with, which is changed in place."""
    return re.sub(r"(homeport==|versions/)[0-9][0-9a-z.]*", r"\1*", user_data)


def _open(port: int) -> dict[str, Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
        "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
    }


def _tags(kind: str, resource: Resource) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": pairs({"Name": resource.name, **resource.tags})}]
