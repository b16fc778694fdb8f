"""Names that visitors come by: whether DNS knows them, and what certificate is shown there."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from tagboat.dns.names import is_local
from tagboat.doctor.finding import Finding
from tagboat.tls import connected, trusting

if TYPE_CHECKING:
    from types_boto3_apprunner.type_defs import CustomDomainTypeDef

_TIMEOUT = 5.0  # seconds
_SOON = timedelta(days=7)  # a certificate that ends by then should have been renewed


@dataclass(frozen=True, slots=True)
class Associated:
    """A domain of the service, and where its DNS record is to point."""

    domain: CustomDomainTypeDef
    target: str

    @property
    def name(self) -> str:
        return self.domain["DomainName"]

    @property
    def names(self) -> tuple[str, ...]:
        """Itself, and the one with `www.` where that is served too."""
        return (self.name, f"www.{self.name}") if self.domain["EnableWWWSubdomain"] else (self.name,)


def authority() -> Iterator[Finding]:
    """The certificate that this shell trusts beside the machine's."""
    name = os.environ.get("HOMEPORT_CA")
    if not name:
        return
    advice = 'eval "$(homeport env --data DIR)"'
    try:
        certificate = x509.load_pem_x509_certificate(Path(name).read_bytes())
    except (OSError, ValueError) as error:
        yield Finding("authority", "failed", f"HOMEPORT_CA: {name}: {error}", advice)
        return
    yield _validity("authority", name, certificate, advice)


def domains(url: str, associated: Sequence[Associated]) -> Iterator[Finding]:
    """The service's own address, HOST[:PORT], and its domains, which a homeport serves on the same port."""
    yield from name_of_site(url)
    port = url.partition(":")[2]
    for one in associated:
        if one.domain["Status"].lower() != "active":
            yield Finding(
                f"domain {one.name}",
                "failed" if one.domain["Status"].lower() == "create_failed" else "warning",
                f"its state is {one.domain['Status']}",
                _records(one),
            )
            continue
        for name in one.names:
            where = f"{name}:{port}" if port and is_local(one.target) else name
            yield from name_of_site(where, one.target)


def name_of_site(where: str, target: str | None = None) -> Iterator[Finding]:
    """HOST[:PORT]: known to DNS, there where `target` is, and with a certificate for it that is trusted."""
    host, _, given = where.partition(":")
    port = int(given) if given.isdecimal() else 443
    try:
        addresses = _addresses(host, port)
    except OSError as error:
        yield Finding(
            f"DNS {host}",
            "failed",
            f"{host} is not known: {error.strerror}",
            f"make a record: {_record(host, target)}" if target else "make a record for it, or mend the name",
        )
        return
    yield _address(host, addresses, target)
    yield _certificate(host, port, addresses[0])


def _addresses(host: str, port: int) -> list[str]:
    if is_local(host):
        return ["127.0.0.1"]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _address(host: str, addresses: list[str], target: str | None) -> Finding:
    """A homeport has no name of its own out there: wherever its domains point may be its machine."""
    name, there = f"DNS {host}", ", ".join(addresses)
    if target is None or is_local(target):
        return Finding(name, "ok", there)
    try:
        wanted = _addresses(target, 443)
    except OSError as error:
        advice = "the platform's own name is not known: check /etc/resolv.conf"
        return Finding(name, "warning", f"{there}; {target} is not known: {error.strerror}", advice)
    if set(wanted) & set(addresses):
        return Finding(name, "ok", f"{there}, where {target} is")
    return Finding(
        name,
        "failed",
        f"{there}, but {target} is {', '.join(wanted)}",
        f"{_record(host, target)}; at a bare domain: ALIAS, or A {wanted[0]}",
    )


def _record(host: str, target: str) -> str:
    """As it is to be in DNS."""
    return f"{host} A ADDRESS (of homeport's machine)" if is_local(target) else f"{host} CNAME {target}"


def _certificate(host: str, port: int, address: str) -> Finding:
    name = f"certificate {host}"
    try:
        with connected(trusting(), address, port, host, _TIMEOUT) as secure:
            shown = secure.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        advice = (
            "export HOMEPORT_CA=… (`homeport env`)"
            if is_local(host)
            else "have it renewed: is port 80 reachable, does DNS point here?"
        )
        return Finding(name, "failed", f"not trusted: {error.verify_message}", advice)
    except OSError as error:
        return Finding(
            name,
            "failed",
            f"{address}:{port} does not speak TLS: {error}",
            "is the edge up, is the port open?",
        )
    certificate = x509.load_der_x509_certificate(shown or b"")
    return _validity(name, host, certificate, "have it renewed")


def _validity(name: str, what: str, certificate: x509.Certificate, advice: str) -> Finding:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        return Finding(
            name,
            "failed",
            f"{what}: not valid before {certificate.not_valid_before_utc:%F}",
            "is the clock right?",
        )
    if end < now:
        return Finding(name, "failed", f"{what}: ended on {end:%F}", advice)
    state = "warning" if end - now < _SOON else "ok"
    return Finding(
        name,
        "ok" if state == "ok" else "warning",
        f"{what}: good until {end:%F}",
        None if state == "ok" else advice,
    )


def _records(one: Associated) -> str:
    """What is to be written into DNS. A homeport's proof is that the name itself leads to it."""
    records = [
        f"{record['Name']} {record['Type']} {record['Value']}"
        for record in one.domain.get("CertificateValidationRecords", ())
        if record.get("Status") != "SUCCESS" and not is_local(one.target)
    ]
    more = ", if they are not there; `tagboat logs --events` says what else is missing"
    return (
        "make these records: "
        + "; ".join([*(_record(name, one.target) for name in one.names), *records])
        + (more if is_local(one.target) else "")
    )
