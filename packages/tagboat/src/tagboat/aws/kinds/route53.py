"""Records of the zones that the account serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource, Unknown
from tagboat.cloud import CloudError


class Record:
    """Settings: `host` and `type`, and either `values` with `ttl` in seconds, or `alias` (a host) with
    `alias_zone`. Named `TYPE WHAT`; owned by whoever has the host in its configuration. Taken away only where
    it is still what it should be.
    """

    name: ClassVar[str] = "route53.record"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset({"host"})

    def read(self, account: Account, resource: Resource) -> Found | None:
        settings = resource.settings
        if isinstance(settings["host"], Unknown):
            return None
        host = f"{settings['host'].rstrip('.')}."
        zone = zone_of(account, host)
        page = account.call(
            "route53",
            "list_resource_record_sets",
            HostedZoneId=zone,
            StartRecordName=host,
            StartRecordType=settings["type"],
            MaxItems="1",
        )
        for record in page["ResourceRecordSets"]:
            if record["Name"] == host and record["Type"] == settings["type"]:
                return Found(_record_settings(settings, record), {"zone": zone})
        return None

    def create(self, account: Account, resource: Resource) -> None:
        self._change(account, "UPSERT", zone_of(account, resource.settings["host"]), resource.settings)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        self._change(account, "UPSERT", found.attributes["zone"], resource.settings)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        self._change(account, "DELETE", found.attributes["zone"], found.settings)

    def template(self, resource: Resource) -> tuple[str, dict[str, Any]] | None:
        settings = resource.settings
        if not isinstance(settings["host"], str):  # what proves a certificate: CloudFormation's own business
            return None
        described = _record(settings)
        properties = {
            "HostedZoneId": "${HostedZone}",
            "Name": described["Name"],
            "Type": described["Type"],
        }
        if "AliasTarget" in described:
            target = described["AliasTarget"]
            properties["AliasTarget"] = {
                "DNSName": target["DNSName"],
                "HostedZoneId": target["HostedZoneId"],
                "EvaluateTargetHealth": False,
            }
        else:
            properties["TTL"] = str(described["TTL"])
            properties["ResourceRecords"] = [one["Value"] for one in described["ResourceRecords"]]
        return "AWS::Route53::RecordSet", properties

    @staticmethod
    def _change(account: Account, action: str, zone: str, settings: Mapping[str, Any]) -> None:
        change = {"Action": action, "ResourceRecordSet": _record(settings)}
        account.call(
            "route53",
            "change_resource_record_sets",
            HostedZoneId=zone,
            ChangeBatch={"Comment": "made by tagboat", "Changes": [change]},
        )


def zone_of(account: Account, host: str) -> str:
    """The number of the closest public zone that has the host. Raises CloudError where there is none."""
    zones = account.once(
        "public zones",
        lambda: {
            zone["Name"]: zone["Id"]
            for page in account.pages("route53", "list_hosted_zones")
            for zone in page["HostedZones"]
            if not zone["Config"]["PrivateZone"]
        },
    )
    labels = host.rstrip(".").split(".")
    for start in range(len(labels) - 1):
        zone = zones.get(".".join(labels[start:]) + ".")
        if zone is not None:
            return str(zone)
    apex = host.rstrip(".").removeprefix("www.")
    raise CloudError(
        f"no hosted zone of Route 53 in this account has {host.rstrip('.')}",
        hint=f"aws route53 create-hosted-zone --name {apex} --caller-reference {apex}, and set its name "
        "servers at the registrar",
    )


def _record(settings: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"Name": settings["host"], "Type": settings["type"]}
    if "alias" in settings:
        return record | {
            "AliasTarget": {
                "HostedZoneId": settings["alias_zone"],
                "DNSName": settings["alias"],
                "EvaluateTargetHealth": False,
            }
        }
    values = [{"Value": value} for value in settings["values"]]
    return record | {"TTL": settings["ttl"], "ResourceRecords": values}


def _record_settings(wanted: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"host": wanted["host"], "type": wanted["type"]}
    if "AliasTarget" in record:
        target = record["AliasTarget"]
        return found | {"alias": target["DNSName"].rstrip("."), "alias_zone": target["HostedZoneId"]}
    values = sorted(one["Value"] for one in record.get("ResourceRecords", []))
    if "alias" in wanted:  # what the name leads to now, shown beside what it is to lead to
        return found | {"alias": ", ".join(values), "alias_zone": None}
    return found | {"ttl": record.get("TTL"), "values": values}
