"""The records that names need: what is there, asked of the servers that keep them, and what should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tagboat.aws.apply import read
from tagboat.aws.kinds.dns import asked
from tagboat.aws.kinds.route53 import is_delegated, served_zone
from tagboat.aws.plan import Change, make_plan
from tagboat.aws.resource import Found, resolved
from tagboat.component import Component
from tagboat.config import Target
from tagboat.dns.caa import LETS_ENCRYPT, permission
from tagboat.dns.names import DnsError, Names
from tagboat.dns.record import ALIAS, Record
from tagboat.doctor.finding import Finding
from tagboat.errors import TagboatError
from tagboat.targets.target import Stack

_NEEDED = ("acm.certificate", "cloudfront.distribution", "ec2.address", "dns.record")


def records(component: Component, target: Target) -> Iterator[Finding]:
    """Those of a target on AWS; what of them can be made already, and is not, is a warning."""
    try:
        names, stack = Names.of_settings(), Stack.of(component, target.key)
        yield from _zones(names, stack)
        some = [one for one in stack.resources if one.kind in _NEEDED]
        found = read(stack.account, some)
    except TagboatError as error:
        yield Finding("records", "skipped", str(error))
        return
    for change in make_plan(some, found, released=True).changes:
        there = found.get(change.resource.key)
        if change.resource.asked and there is not None:
            wanted = asked(resolved(change.resource.settings, found), there)
            yield from _record(change, there, wanted)


def _record(change: Change, there: Found, wanted: Sequence[Record]) -> Iterator[Finding]:
    """What is said of one; nothing of what nobody can know yet."""
    name, servers = f"record {change.resource.name}", there.attributes["servers"]
    is_there = ", ".join(map(str, there.settings["values"])) or "nothing"
    if change.action == "keep":
        yield Finding(name, "ok", f"as it should be, at {servers}")
        return
    if not wanted:
        return
    made = "; ".join(str(one).removeprefix("; ") for one in wanted)
    advice = f"make the record {made}"
    match change.resource.settings["type"]:
        case "CAA":
            issuer = wanted[0].value.split()[-1]
            said = f"CAA at {there.attributes['at']} lets {is_there} sign, and not {issuer}"
            yield Finding(name, "failed", said, advice)
        case "name":
            options = "; `tagboat plan` has what else can be done" if wanted[0].type == ALIAS else ""
            advice = f"`tagboat cutover {wanted[0].name}` moves it: {made}{options}"
            yield Finding(name, "warning", f"{is_there}, at {servers}", advice)
        case _:
            yield Finding(name, "warning", f"{is_there}, at {servers}", advice)


def _zones(names: Names, stack: Stack) -> Iterator[Finding]:
    """Whether the public DNS goes by the account's zones: a zone that it does not go by proves nothing."""
    for host in stack.place.hosts:
        number = served_zone(stack.account, host)
        if number is None:
            continue
        try:
            zone = names.zone(host)
        except DnsError as error:
            yield Finding(f"zone of {host}", "warning", str(error), error.hint)
            continue
        servers = ", ".join(dict.fromkeys(server.name for server in zone.servers))
        if not is_delegated(stack.account, number, zone):
            yield Finding(
                f"zone of {host}",
                "failed",
                f"Route 53 of this account has it, but the public DNS goes by {servers}",
                "name the servers of the hosted zone at the registrar, or delete the hosted zone",
            )


def permissions(hosts: Sequence[str]) -> Iterator[Finding]:
    """Which of these names Let's Encrypt may not sign for, where the DNS can be asked."""
    names = Names.of_settings()
    for host in hosts:
        try:
            there = permission(names, host)
        except DnsError:
            continue
        if not there.allows(LETS_ENCRYPT):
            yield Finding(
                f"CAA {host}",
                "warning",
                f"{there.described()}, and not Let's Encrypt",
                f'if it is to: {there.at}. IN CAA 0 issue "letsencrypt.org"',
            )
