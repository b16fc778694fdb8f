"""What names are, asked at the servers that keep their zones: what a cache has may be hours old."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from tagboat.dns.record import Record
from tagboat.errors import TagboatError

if TYPE_CHECKING:
    import dns.message
    import dns.rdatatype

SETTING = "TAGBOAT_RESOLVERS"
_PUBLIC = ("1.1.1.1", "8.8.8.8", "9.9.9.9")  # open to all: Cloudflare's, Google's, Quad9's
_TIMEOUT = 3.0  # seconds, of one question
_CHAIN = 8  # aliases that are followed
_HINT = f"is there a way to port 53 from here? {SETTING}=ADDRESS[:PORT],… names other resolvers"


class DnsError(TagboatError):
    """A name could not be asked for: no server answered, or no zone has it."""


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers questions, and what it is called."""

    name: str
    address: str
    port: int = 53

    def __str__(self) -> str:
        return self.name if self.name == self.address else f"{self.name} ({self.address})"


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone of the public DNS, and the servers that keep it."""

    name: str
    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server has of one name and type: records of that type or, instead, the name's CNAME.

    A TTL is what is left of it, where the server only repeats what it has heard (`cached`).
    """

    server: Server
    records: tuple[Record, ...]
    cached: bool = False


def is_local(host: str) -> bool:
    """Whether a name is of this machine alone, and so in no DNS (RFC 6761, section 6.3)."""
    return host == "localhost" or host.endswith(".localhost")


@dataclass
class Names:
    """The public DNS as it is now. Safe to share between threads; remembers which servers keep which zone.

    The servers of zones are asked at the same port as the first resolver.
    """

    resolvers: tuple[Server, ...]
    _zones: dict[str, Zone | None] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of_settings(cls) -> Names:
        """By the resolvers that TAGBOAT_RESOLVERS names, or else this machine's and some open ones."""
        said = os.environ.get(SETTING)
        if said:
            return cls(tuple(_server(text.strip()) for text in said.split(",")))
        import dns.resolver  # noqa: PLC0415  as all of that library: no other command needs it

        try:
            own = [str(one) for one in dns.resolver.Resolver().nameservers]
        except dns.resolver.NoResolverConfiguration:
            own = []
        return cls(tuple(Server(one, one) for one in dict.fromkeys([*own, *_PUBLIC])))

    def zone(self, host: str) -> Zone:
        """The closest zone that has the host. Raises DnsError where there is none."""
        labels = host.rstrip(".").lower().split(".")
        for start in range(len(labels)):
            found = self._cut(".".join(labels[start:]))
            if found is not None:
                return found
        raise DnsError(
            f"no zone of the public DNS has {host}",
            hint="is the domain registered, and does its registrar name its servers?",
        )

    def ask(self, host: str, kind: str) -> Answer:
        """What the servers of its zone have of that name and type: the first one's that answers.

        Where none of them can be reached, as behind some firewalls, what the resolvers have. Raises DnsError.
        """
        zone = self.zone(host)
        for server in zone.servers:
            answer = self.ask_at(server, host, kind)
            if answer is not None:
                return answer
        for server in self.resolvers:
            answer = self.ask_at(server, host, kind, cached=True)
            if answer is not None:
                return answer
        servers = ", ".join(map(str, zone.servers))
        raise DnsError(f"{host}: neither {servers} nor a resolver answers", hint=_HINT)

    def final(self, host: str, kind: str) -> tuple[Record, ...]:
        """The records of that type at the end of the name's aliases. Raises DnsError."""
        for _ in range(_CHAIN):
            records = self.ask(host, kind).records
            aliases = [one for one in records if one.type == "CNAME"]
            if kind == "CNAME" or not aliases:
                return records
            host = aliases[0].value
        raise DnsError(f"{host}: more than {_CHAIN} aliases lead on from one another")

    def addresses(self, host: str) -> tuple[str, ...]:
        """Of IPv4 and IPv6, in that order; none where there are none. Raises DnsError."""
        return tuple(record.value for kind in ("A", "AAAA") for record in self.final(host, kind))

    def led(self, host: str) -> tuple[Record, ...]:
        """What decides where visitors of the name go: its CNAME, or its addresses and what browsers are told
        beside these (RFC 9460). Raises DnsError.
        """
        kinds = ("A", "AAAA", "HTTPS")
        return tuple(dict.fromkeys(record for kind in kinds for record in self.ask(host, kind).records))

    def everywhere(self, host: str, kind: str) -> list[tuple[Server, Answer | None]]:
        """What each server of the zone, and then each resolver, has; None where it does not answer."""
        servers = [(one, False) for one in self.zone(host).servers] + [(one, True) for one in self.resolvers]
        with ThreadPoolExecutor(len(servers)) as pool:
            asked = [
                (one, pool.submit(self.ask_at, one, host, kind, cached=cached)) for one, cached in servers
            ]
            return [(server, answer.result()) for server, answer in asked]

    def ask_at(self, server: Server, host: str, kind: str, *, cached: bool = False) -> Answer | None:
        """What this server has; None where it does not answer, or does not keep the name's zone."""
        message = _asked(server, host, kind, recursive=cached)
        if message is None or not (cached or _is_authoritative(message)):
            return None
        return Answer(server, tuple(_records(message, host, kind)), cached)

    def _cut(self, name: str) -> Zone | None:
        with self._lock:
            if name in self._zones:
                return self._zones[name]
        zone = self._looked_up(name)
        with self._lock:
            self._zones[name] = zone
        return zone

    def _looked_up(self, name: str) -> Zone | None:
        """The zone that begins at this very name."""
        hosts = sorted(record.value for record in self._resolved(name, "NS") if record.type == "NS")
        if not hosts:
            return None
        port = self.resolvers[0].port
        found = [
            Server(host, record.value, port)
            for kind in ("A", "AAAA")
            for host in hosts
            for record in self._resolved(host, kind)
            if record.type == kind
        ]
        addresses = reachable([one.address for one in found])
        return Zone(name, tuple(one for one in found if one.address in addresses))

    def _resolved(self, name: str, kind: str) -> tuple[Record, ...]:
        for server in self.resolvers:
            answer = self.ask_at(server, name, kind, cached=True)
            if answer is not None:
                return answer.records
        resolvers = ", ".join(map(str, self.resolvers))
        raise DnsError(f"{name}: no resolver answers ({resolvers})", hint=_HINT)


def reachable(addresses: Sequence[str]) -> tuple[str, ...]:
    """Those of a kind that this machine has a way to: many have none to IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(("2001:db8::1", 53))  # sends nothing
    except OSError:
        return tuple(one for one in addresses if ":" not in one)
    return tuple(addresses)


def _server(text: str) -> Server:
    """ADDRESS[:PORT]; of IPv6 with a port in brackets."""
    address, port = text, ""
    if text.startswith("[") or text.count(":") == 1:
        address, _, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    address = address.strip("[]")
    from ipaddress import ip_address  # noqa: PLC0415

    try:
        ip_address(address)
        number = int(port or 53)
    except ValueError as error:
        raise DnsError(f"{SETTING}: {text!r} is no ADDRESS[:PORT]") from error
    return Server(text, address, number)


def _asked(server: Server, host: str, kind: str, *, recursive: bool) -> dns.message.Message | None:
    import dns.exception  # noqa: PLC0415
    import dns.flags  # noqa: PLC0415
    import dns.message  # noqa: PLC0415
    import dns.query  # noqa: PLC0415
    import dns.rcode  # noqa: PLC0415

    question = dns.message.make_query(host, kind, use_edns=0)
    if not recursive:
        question.flags &= ~dns.flags.RD
    for _ in range(2):  # a datagram may get lost
        try:
            answer, _ = dns.query.udp_with_fallback(question, server.address, _TIMEOUT, server.port)
        except dns.exception.Timeout:
            continue
        except (OSError, dns.exception.DNSException):
            return None
        return answer if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) else None
    return None


def _is_authoritative(message: dns.message.Message) -> bool:
    import dns.flags  # noqa: PLC0415

    return bool(message.flags & dns.flags.AA)


def _records(message: dns.message.Message, host: str, kind: str) -> list[Record]:
    """Those of the name itself, and not of what its alias leads to."""
    import dns.rdatatype  # noqa: PLC0415

    name = host.rstrip(".").lower()
    found = []
    for rrset in message.answer:
        if rrset.name.to_text(omit_final_dot=True).lower() != name:
            continue
        type_ = dns.rdatatype.to_text(rrset.rdtype)
        if type_ in (kind, "CNAME"):
            found += [Record(name, type_, _value(rdata, type_), rrset.ttl) for rdata in rrset]
    return sorted(found)


def _value(rdata: Any, kind: str) -> str:
    text: str = rdata.to_text()
    return text.rstrip(".").lower() if kind in ("CNAME", "NS") else text
