"""A homeport: it makes buckets, roles, certificates and log groups by itself, so little has to be planned."""

from __future__ import annotations

from tagboat.aws.resource import Resource
from tagboat.targets import apprunner, parts
from tagboat.targets.place import Place

_MADE_BY_ITSELF = {
    "region": "a homeport is where AWS_ENDPOINT_URL says",
    "data-bucket": "a homeport makes the buckets of a service at their first write",
    "uploads-bucket": "a homeport makes the buckets of a service at their first write",
    "uploads-path": "the service answers for it itself",
    "cached-paths": "there is no distribution in front of a homeport",
    "domain": "domains of a homeport are set there, not here",
    "redirects": "redirects of a homeport are set there, not here",
    "budget": "a machine of your own has no bill here",
    "alert": "a machine of your own has no bill here",
    "log-days": "the log of a homeport is bounded in size",
    "min-instances": "scaling of a homeport's services is set there, not here",
    "max-instances": "scaling of a homeport's services is set there, not here",
    "instance-type": "kind = vm makes a machine",
}


def problems(place: Place) -> list[str]:
    """What of the configuration a homeport cannot be told, and what to change."""
    return [
        problem
        for key, why in _MADE_BY_ITSELF.items()
        for problem in place.refuse(key, why=f"{why}; leave it out")
    ]


def resources(place: Place) -> list[Resource]:
    """The repository and the service."""
    repository = parts.repository(place)
    return [
        repository,
        apprunner.service_resource(place, access_role=None, instance_role=None, after=(repository.key,)),
    ]
