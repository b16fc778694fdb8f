"""Where a name is to lead: the end of a target that serves visitors."""

from __future__ import annotations

from dataclasses import dataclass

from tagboat.aws.account import Account
from tagboat.aws.apply import read
from tagboat.aws.kinds.cloudfront import HOSTED_ZONE, host_of
from tagboat.aws.kinds.dns import TTL, is_address
from tagboat.aws.kinds.route53 import served_zone
from tagboat.cloud import Cloud
from tagboat.component import Component
from tagboat.config import Target
from tagboat.dns.record import ALIAS, Record
from tagboat.errors import ConfigError, TagboatError
from tagboat.targets.place import Place
from tagboat.targets.target import Stack, named_target


class CutoverError(TagboatError):
    """The name cannot be moved as things are; nothing was changed."""


@dataclass(frozen=True, slots=True)
class End:
    """A host or an address, what it is, and the path that it is asked for.

    `alias_zone` is Route 53's number for what an alias leads to, None where addresses lead there. `acme`: its
    certificate is had by whoever is there, once the name leads to it. `hosted` is the account's zone that has
    the name, None where that is kept elsewhere.
    """

    value: str
    said: str
    path: str
    acme: bool
    alias_zone: str | None = None
    account: Account | None = None
    hosted: str | None = None

    def records(self, name: str, addresses: tuple[str, ...], *, apex: bool) -> tuple[Record, ...]:
        """What is to lead the name here; `addresses` are the end's. No CNAME may stand at an apex."""
        if is_address(self.value) or (apex and self.alias_zone is None):
            fixed = (self.value,) if is_address(self.value) else addresses
            return tuple(Record(name, "AAAA" if ":" in one else "A", one, TTL) for one in fixed)
        if self.hosted is not None:
            return tuple(Record(name, kind, f"{ALIAS} {self.value}", TTL) for kind in ("A", "AAAA"))
        return (Record(name, ALIAS if apex else "CNAME", self.value, TTL),)


def end_of(component: Component, target: str | None, name: str) -> End:
    """That of the target called `target` (or the only one) for that name.

    Raises ConfigError where the target is not to be served under it, CutoverError where it is not there yet.
    """
    place = named_target(component, target) if component.config.targets or target is not None else None
    path = component.config.service.health_path or "/"
    if place is None or place.kind == "homeport":
        return _port(component, place, name, path)
    stack = Stack.of(component, place.key)
    if name not in stack.place.hosts:
        raise ConfigError(
            f"target {place.key} is not served as {name}",
            hint=f"`domain` or `redirects` of [tool.tagboat.targets.{place.key}], then `tagboat apply`",
        )
    said = f"target {place.key}, {place.kind}"
    account, hosted = stack.account, served_zone(stack.account, name)
    if place.kind == "vm":
        (wanted,) = [one for one in stack.wanted if one.kind == "ec2.address"]
        there = read(account, [wanted])[wanted.key]
        end, zone = (there.attributes["ip"] if there else None), None
    else:
        end, zone = host_of(account, stack.place.name), HOSTED_ZONE
    if end is None:
        raise CutoverError(
            f"{said} is not there yet: {name} has nowhere to lead", hint="`tagboat apply` first"
        )
    path = path if name == place.domain else "/"
    return End(end, said, path, place.kind == "vm", zone, account, hosted)


def _port(component: Component, target: Target | None, name: str, path: str) -> End:
    """A service on a homeport, which has to know of the domain."""
    place = Place(component, target or Target("default", "homeport"), "", "")
    cloud = Cloud()
    arn = cloud.existing_service(place.name)["ServiceArn"]
    end, domains = cloud.custom_domains(arn)
    known = {
        host
        for one in domains
        for host in (one["DomainName"], *((f"www.{one['DomainName']}",) if one["EnableWWWSubdomain"] else ()))
    }
    if name not in known:
        raise CutoverError(
            f"the service {place.name} does not answer for {name} yet",
            hint="`domain` of the target, then `tagboat apply`; or: aws apprunner associate-custom-domain "
            f"--service-arn {arn} --domain-name {name} --no-enable-www-subdomain; a name that only "
            "redirects: `redirects`, or homeport redirect add",
        )
    return End(end, f"service {place.name} of a homeport", path, acme=True)
