"""Records in zones that the account does not serve: looked at in the public DNS, made by others."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, ClassVar

from tagboat.aws.account import Account
from tagboat.aws.resource import Found, Resource, Unknown
from tagboat.cloud import CloudError
from tagboat.dns.caa import AMAZON, permission
from tagboat.dns.end import same_end
from tagboat.dns.names import DnsError, Names, Zone, is_local
from tagboat.dns.record import ALIAS, Record

TTL = 300  # seconds
_ISSUERS = {"amazon.com": AMAZON}  # by the first of the domains that an authority goes by


_BY_ADDRESS = "its homeport has no name of its own: an A or AAAA record is to lead to its machine's address"


class DnsRecord:
    """Settings: `host`, `type` and `values`. Of the type CNAME: the one that is to be there. CAA: the domain
    of an authority that must be let sign. `name`: the host or the address that visitors are to be led to,
    by whatever records.

    Its attributes have the zone, its servers, whether the host is the zone's own name (`apex`), and for CAA
    the name `at` which the records stand that count.
    """

    name: ClassVar[str] = "dns.record"
    attributes: ClassVar[Mapping[str, str]] = {}
    identified_by: ClassVar[frozenset[str]] = frozenset({"host", "values"})

    def read(self, account: Account, resource: Resource) -> Found | None:
        settings = resource.settings
        if isinstance(settings["host"], Unknown):
            return None
        names = account.once("names", Names.of_settings)
        host = settings["host"].rstrip(".").lower()
        zone = _zone(names, host)
        attributes = {
            "zone": zone.name,
            "servers": ", ".join(dict.fromkeys(server.name for server in zone.servers)),
            "apex": "yes" if zone.name == host else "",
        }
        values = settings["values"]
        notes: tuple[str, ...] = ()
        if settings["type"] == "CAA":
            there = permission(names, host)
            attributes["at"] = there.at or zone.name
            allowed = all(there.allows(_ISSUERS.get(one, (one,))) for one in values)
            found = values if allowed else sorted(there.issuers or ())
        elif settings["type"] == "CNAME":
            found = [one.value for one in names.ask(host, "CNAME").records]
            if found == [value.rstrip(".").lower() for value in values if isinstance(value, str)]:
                found = values
        else:
            records = names.led(host)
            local = any(isinstance(value, str) and is_local(value) for value in values)
            led = any(isinstance(value, str) and leads(names, host, value, records) for value in values)
            found = values if led or local else [one.short for one in records]
            notes = (_BY_ADDRESS,) if local and not records else ()
        settings = {"host": settings["host"], "type": settings["type"], "values": found}
        return Found(settings, attributes, notes=notes)

    def create(self, account: Account, resource: Resource) -> None:
        raise CloudError(f"{resource.name} is made by whoever keeps its DNS")

    def update(self, account: Account, resource: Resource, found: Found, changed: frozenset[str]) -> None:
        self.create(account, resource)

    def delete(self, account: Account, resource: Resource, found: Found) -> None:
        """It is taken away by whoever keeps its DNS."""

    def template(self, resource: Resource) -> None:
        """A template is about a zone of the account."""


def leads(names: Names, host: str, end: str, records: tuple[Record, ...]) -> bool:
    """Whether visitors of the host, which has these records, come to that end. Raises DnsError."""
    if any(record.value == end.lower().rstrip(".") for record in records if record.type == "CNAME"):
        return True
    addresses = [record.value for record in records if record.type in ("A", "AAAA")]
    if not addresses:
        return False
    try:
        ends = [end] if is_address(end) else names.addresses(end)
    except DnsError:  # it is new, and not known out there yet
        return False
    return all(same_end(address, ends, host) for address in addresses)


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def led_to(host: str, end: str, *, apex: bool) -> Record:
    """The record that leads visitors of the host to that end. A CNAME may not stand at an apex."""
    if is_address(end):
        return Record(host, "AAAA" if ":" in end else "A", end, TTL)
    return Record(host, ALIAS if apex else "CNAME", end, TTL)


def asked(settings: Mapping[str, Any], there: Found | None) -> list[Record]:
    """The records to be made for a resource of these settings; none while they are not known."""
    host, values = settings["host"], settings["values"]
    if there is None or any(isinstance(value, Unknown) for value in (host, *values)):
        return []
    host = host.rstrip(".").lower()
    if settings["type"] == "CAA":
        return [Record(there.attributes["at"], "CAA", f'0 issue "{value}"', TTL) for value in values]
    if settings["type"] == "CNAME":
        return [Record(host, "CNAME", value.rstrip("."), TTL) for value in values]
    return [led_to(host, value, apex=bool(there.attributes["apex"])) for value in values]


def _zone(names: Names, host: str) -> Zone:
    try:
        return names.zone(host)
    except DnsError as error:
        raise CloudError(
            f"no hosted zone of Route 53 in this account has {host}, and elsewhere: {error}",
            hint="register the domain; to keep it here: `aws route53 create-hosted-zone`, and name its "
            "servers at the registrar",
        ) from error
