"""Which authorities may sign for a name (RFC 8659)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tagboat.dns.names import DnsError, Names
from tagboat.dns.record import Record

AMAZON = ("amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com")  # "Configure a CAA record", ACM
LETS_ENCRYPT = ("letsencrypt.org",)
_CRITICAL = 128
_KNOWN = ("issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc")


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may sign: the CAA records that count, and the name that they stand at, if there are any."""

    at: str | None = None
    records: tuple[Record, ...] = ()

    @property
    def issuers(self) -> frozenset[str] | None:
        """The domains of those who may sign for the name; None: anybody may."""
        said = [_parsed(record.value) for record in self.records]
        if any(flags & _CRITICAL and tag not in _KNOWN for flags, tag, _ in said):
            return frozenset()
        issuers = [value for _, tag, value in said if tag == "issue"]
        if not issuers:
            return None
        return frozenset(name for value in issuers if (name := value.partition(";")[0].strip(" \t").lower()))

    def allows(self, names: Sequence[str]) -> bool:
        """Whether an authority that goes by these domains may."""
        issuers = self.issuers
        return issuers is None or not issuers.isdisjoint(names)

    def described(self) -> str:
        """Who may, in words."""
        issuers = self.issuers
        if issuers is None:
            return "any authority may sign"
        who = ", ".join(sorted(issuers)) or "nobody"
        return f"CAA at {self.at} lets {who} sign"


def permission(names: Names, host: str) -> Permission:
    """The CAA records that count for the host: its own, or the closest name's above. Raises DnsError."""
    labels = host.rstrip(".").split(".")
    for start in range(len(labels)):
        name = ".".join(labels[start:])
        try:
            names.zone(name)
        except DnsError:  # above all zones: the root itself says nothing of this
            break
        records = names.final(name, "CAA")
        if records:
            return Permission(name, records)
    return Permission()


def _parsed(value: str) -> tuple[int, str, str]:
    """Flags, tag and value of a CAA record as it stands in a zone file."""
    import dns.rdata  # noqa: PLC0415  no other command needs it
    import dns.rdataclass  # noqa: PLC0415
    import dns.rdatatype  # noqa: PLC0415

    read = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.CAA, value)
    return read.flags, read.tag.decode().lower(), read.value.decode(errors="replace")  # type: ignore[attr-defined]
