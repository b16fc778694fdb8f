"""Records in zones that the account does not serve: whoever keeps those is asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tagboat.aws.account import Account
from tagboat.aws.kinds.route53 import served_zone
from tagboat.aws.resource import Resource


def placed(account: Account, resources: Sequence[Resource]) -> list[Resource]:
    """The same in the same order, each `route53.record` outside of the account's zones a `dns.record`."""
    renamed: dict[str, str] = {}
    found: list[Resource] = []
    for resource in resources:
        if resource.kind == "route53.record" and served_zone(account, _host(resource)) is None:
            wanted = _elsewhere(resource)
            renamed[resource.key] = wanted.key
            if all(one.key != wanted.key for one in found):  # A and AAAA are one name there
                found.append(wanted)
        else:
            found.append(replace(resource, after=tuple(renamed.get(key, key) for key in resource.after)))
    return found


def _host(resource: Resource) -> str:
    """The host that a record is about: what proves it is in its zone."""
    return resource.name.partition(" ")[2]


def _elsewhere(resource: Resource) -> Resource:
    what, _, host = resource.name.partition(" ")
    settings = resource.settings
    if what == "CAA":
        issuers = [value.split('"')[1] for value in settings["values"]]
        wanted = {"host": host, "type": "CAA", "values": issuers}
    elif what == "proof":
        wanted = {"host": settings["host"], "type": "CNAME", "values": settings["values"]}
    else:
        what = "name"
        ends = [settings["alias"]] if "alias" in settings else settings["values"]
        wanted = {"host": host, "type": "name", "values": ends}
    return Resource("dns.record", f"{what} {host}", wanted, after=resource.after, asked=True)
