"""A homeport: it makes buckets, roles, certificates and log groups by itself, so little has to be planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tagboat.aws.resource import Ref, Resource
from tagboat.dns.names import is_local
from tagboat.targets import apprunner, parts
from tagboat.targets.ecs_express import size_problems
from tagboat.targets.place import Place

_TO_ZERO = "homeport:scale-to-zero"
_MADE_BY_ITSELF = {
    "region": "a homeport is where AWS_ENDPOINT_URL says",
    "data-bucket": "a homeport makes the buckets of a service at their first write",
    "uploads-bucket": "a homeport makes the buckets of a service at their first write",
    "uploads-path": "the service answers for it itself",
    "cached-paths": "there is no distribution in front of a homeport",
    "budget": "a machine of your own has no bill here",
    "alert": "a machine of your own has no bill here",
    "budget-scope": "a machine of your own has no bill here",
    "log-days": "the log of a homeport is bounded in size",
    "instance-type": "kind = vm makes a machine",
    "secrets-key": "a homeport keeps its secrets itself",
}


def problems(place: Place) -> list[str]:
    """What of the configuration a homeport cannot be told, and what to change."""
    found = [
        problem
        for key, why in _MADE_BY_ITSELF.items()
        for problem in place.refuse(key, why=f"{why}; leave it out")
    ]
    found += place.host_problems() + service_problems(place)
    return found + apprunner.scaling_problems(place, "homeport")


def service_problems(place: Place) -> list[str]:
    """What is wrong with the name and the size of a service on a homeport, which takes any of App Runner's
    sizes of memory with any of CPU.
    """
    service = place.component.config.service
    memory = tuple(sorted({size for sizes in apprunner.SIZES.values() for size in sizes}))
    sizes = dict.fromkeys(apprunner.SIZES, memory)
    found = size_problems(service.cpu, service.memory, sizes, "a homeport")
    return apprunner.name_problems(place) + found


def resources(place: Place) -> list[Resource]:
    """The repository, how it scales, the service, its names, and the version of the homeport where one is
    wanted.
    """
    repository = parts.repository(place)
    scaled = apprunner.scaling(place)
    service = apprunner.service_resource(
        place, scaled, secrets=secrets(place), access_role=None, instance_role=None, after=(repository.key,)
    )
    wanted = place.target.homeport_version
    release = [Resource("homeport.release", place.name, {"version": wanted})] if wanted else []
    names = own_names(place, service.key, service.key, {})
    return [
        *release,
        repository,
        *scaled,
        *kept(place),
        replace(service, tags=tags(place)),
        *names,
        *_led(names),
    ]


def own_names(place: Place, service: str, redirected: str, settings: Mapping[str, Any]) -> list[Resource]:
    """The domain, and the hosts that redirect to it, with further `settings`: made after the resources with
    the keys `service` and `redirected`.
    """
    domain = place.target.domain
    if domain is None:
        return []
    named = {"service": place.name, **settings}
    leading = {"target": f"https://{domain}", **settings}
    return [
        Resource("apprunner.domain", domain, named, after=(service,)),
        *(
            Resource("homeport.redirect", host, leading, after=(redirected,))
            for host in place.target.redirects
        ),
    ]


def _led(names: list[Resource]) -> list[Resource]:
    """Whoever keeps the DNS is asked to lead the names here; those of this machine alone are in no DNS."""
    return [
        Resource(
            "dns.record",
            f"name {one.name}",
            {"host": one.name, "type": "name", "values": [Ref(names[0].key, "end")]},
            after=(one.key,),
            asked=True,
        )
        for one in names
        if not is_local(one.name)
    ]


def kept(place: Place) -> list[Resource]:
    """What has to be in the homeport's vault."""
    return [replace(one, kind="secretsmanager.secret") for one in parts.secrets(place)]


def secrets(place: Place) -> dict[str, str]:
    """By variable, which secret of its own the homeport puts into it."""
    return {name: secret.for_homeport for name, secret in place.secrets.items()}


def tags(place: Place) -> dict[str, str]:
    """Of the service: a homeport is told by one whether it may go down to no instance at all."""
    if place.target.min_instances is None:
        return place.tags
    return {**place.tags, _TO_ZERO: "true" if place.target.min_instances == 0 else "false"}
