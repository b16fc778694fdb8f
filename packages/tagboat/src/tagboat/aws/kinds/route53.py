"""Records of the zones that the account serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource, Unknown
from tagboat.cloud import CloudError
from tagboat.dns.names import Zone


class Record:
    """Settings: `host` and `type`, and either `values` with `ttl` in seconds, or `alias` (a host) with
    `alias_zone`. Named `TYPE WHAT`; owned by whoever has the host in its configuration. Taken away only where
    it is still what it should be.
    """

    name: ClassVar[str] = "route53.record"
    attributes: ClassVar[Mapping[str, str]] = {}
    # Of what leads to the same end it has to be known that it does.
    identified_by: ClassVar[frozenset[str]] = frozenset({"host", "alias", "values"})

    def read(self, account: Account, resource: Resource) -> Found | None:
        settings = resource.settings
        if isinstance(settings["host"], Unknown):
            return None
        zone = zone_of(account, settings["host"])
        there = record_sets(account, zone, settings["host"])
        found = _visited(settings, there) if resource.visited else _simple(settings, there)
        return None if found is None else Found(found, {"zone": zone})

    def create(self, account: Account, resource: Resource) -> None:
        self._change(account, "UPSERT", zone_of(account, resource.settings["host"]), resource.settings)

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        self._change(account, "UPSERT", found.attributes["zone"], resource.settings)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        if found.settings == resource.settings:
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


def is_delegated(account: Account, zone: str, kept: Zone) -> bool:
    """Whether the public DNS goes by this zone of the account, where it finds `kept`."""
    there = account.call("route53", "get_hosted_zone", Id=zone)
    servers = {name.rstrip(".").lower() for name in there["DelegationSet"]["NameServers"]}
    return not servers.isdisjoint(server.name for server in kept.servers)


def record_sets(account: Account, zone: str, host: str) -> list[Any]:
    """All that the zone has of the host, as Route 53 has it."""
    name = f"{host.rstrip('.')}."
    page = account.call(
        "route53",
        "list_resource_record_sets",
        HostedZoneId=zone,
        StartRecordName=name,
        StartRecordType="A",
        MaxItems="100",
    )
    return [record for record in page["ResourceRecordSets"] if record["Name"] == name]


def zone_of(account: Account, host: str) -> str:
    """The number of the closest public zone that has the host. Raises CloudError where there is none."""
    zone = served_zone(account, host)
    if zone is None:
        raise CloudError(f"no hosted zone of Route 53 in this account has {host.rstrip('.')}")
    return zone


def served_zone(account: Account, host: str) -> str | None:
    """The number of the closest public zone of the account that has the host, None where there is none."""
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
    return None


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


def _simple(wanted: Mapping[str, Any], there: list[Any]) -> dict[str, Any] | None:
    """The settings of what is there of the type that is wanted. Beside a CNAME nothing may stand, and whoever
    asks for something else there is told what its target has (RFC 1034, section 3.6.2).
    """
    if wanted["type"] != "CNAME" and any(record["Type"] == "CNAME" for record in there):
        return dict(wanted)
    found = (_record_settings(wanted, record) for record in there if record["Type"] == wanted["type"])
    return next(found, None)


def _visited(wanted: Mapping[str, Any], there: list[Any]) -> dict[str, Any] | None:
    """The same of a name that visitors come by. What else leads them elsewhere is what is there: beside that
    nothing may be made that would take some of them along.
    """
    own = [record for record in there if record["Type"] == wanted["type"]]
    if len(own) == 1 and "SetIdentifier" not in own[0]:
        return _record_settings(wanted, own[0])
    target = wanted.get("alias", wanted.get("values"))
    others = own or [
        record
        for record in there
        if record["Type"] in ("A", "AAAA", "CNAME")
        and _record_settings(wanted, record).get("alias" if "alias" in wanted else "values") != target
    ]
    if not others:
        return None
    ends = [f"{record['Type']} {end}" for record in others for end in ends_of(record)]
    found = {"host": wanted["host"], "type": wanted["type"]}
    return found | ({"alias": ", ".join(ends)} if "alias" in wanted else {"values": ends})


def ends_of(record: Mapping[str, Any]) -> list[str]:
    """What a record set leads to: hosts without their last dot, or addresses."""
    if "AliasTarget" in record:
        return [record["AliasTarget"]["DNSName"].rstrip(".")]
    return sorted(one["Value"].rstrip(".") for one in record.get("ResourceRecords", []))


def _record_settings(wanted: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"host": wanted["host"], "type": wanted["type"]}
    if "AliasTarget" in record:
        target = record["AliasTarget"]
        return found | {"alias": target["DNSName"].rstrip("."), "alias_zone": target["HostedZoneId"]}
    values = sorted(one["Value"] for one in record.get("ResourceRecords", []))
    if "alias" in wanted:  # what the name leads to now, shown beside what it is to lead to
        return found | {"alias": ", ".join(values), "alias_zone": None}
    return found | {"ttl": record.get("TTL"), "values": values}
