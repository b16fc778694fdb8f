"""App Runner, for accounts that have it: AWS takes no new customers since 2026-04-30."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tagboat.aws.policy import Document, allow, document, pulls, taken_by
from tagboat.aws.resource import Ref, Resource
from tagboat.targets import parts
from tagboat.targets.ecs_express import size_problems
from tagboat.targets.place import Place

# App Runner's pairs of CPU and memory ("CreateService", InstanceConfiguration), MiB by 1/1024 vCPU.
SIZES: dict[int, tuple[int, ...]] = {
    256: (512, 1024),
    512: (1024,),
    1024: (2048, 3072, 4096),
    2048: (4096, 6144),
    4096: (8192, 10240, 12288),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{3,39}")
# What App Runner's own configuration has, and the most instances that it takes ("App Runner quotas").
_CONCURRENCY, _MOST = 100, 25
_ACTIONS = ("DescribeService", "ListOperations", "StartDeployment", "UpdateService")


def name_problems(place: Place) -> list[str]:
    """What App Runner's API, which a homeport has too, says against the service's name ("CreateService")."""
    if _NAME.fullmatch(place.name):
        return []
    takes = "a service has 4 to 40 letters, digits, - and _ there"
    return [f"name = {place.name}: {takes}; give it another name in [tool.tagboat.service]"]


def problems(place: Place) -> list[str]:
    """What of the configuration App Runner cannot honour, and what to change."""
    service = place.component.config.service
    found = place.common_problems() + name_problems(place)
    found += place.refuse("homeport-version", why="there is no homeport; leave it out")
    found += place.refuse("instance-type", why="App Runner has no machines; leave it out")
    found += scaling_problems(place, "App Runner")
    if place.target.min_instances == 0:
        found.append(
            "min-instances = 0: App Runner keeps one instance at least; take kind = lambda to scale to zero"
        )
    found += place.refuse(
        "log-days", why="App Runner makes its log groups itself and keeps them; leave it out"
    )
    found += size_problems(service.cpu, service.memory, SIZES, "App Runner")
    if place.target.platform == "linux/arm64":
        found.append("platform = linux/arm64: App Runner runs linux/amd64 alone; leave it out")
    return found


def resources(place: Place) -> list[Resource]:
    """Everything that it needs, in no order."""
    repository = parts.repository(place)
    access = parts.role(
        place, "access", taken_by("build.apprunner.amazonaws.com"), {"pull": pulls(place.repository_arn)}
    )
    instance = parts.role(
        place,
        "instance",
        taken_by("tasks.apprunner.amazonaws.com"),
        {**parts.bucket_policies(place), **parts.secret_policies(place)},
    )
    scaled = scaling(place)
    service = service_resource(
        place,
        scaled,
        secrets=parts.secret_refs(place),
        access_role=Ref(access.key, "arn"),
        instance_role=Ref(instance.key, "arn"),
        after=(repository.key, *(f"s3.bucket/{bucket}" for bucket in place.buckets)),
    )
    return [
        repository,
        *parts.releases(place, release_actions(place)),
        *parts.buckets(place),
        *parts.secrets(place),
        access,
        instance,
        *scaled,
        service,
        *parts.front(place, Ref(service.key, "host")),
        *parts.budget(place),
    ]


def scaling_problems(place: Place, whose: str) -> list[str]:
    """What of the scaling cannot be where App Runner's API is spoken."""
    target = place.target
    found = place.refuse(
        "scale-on", "scale-target", why=f"{whose} scales on requests at a time: concurrency says how many"
    )
    least, most = target.min_instances or 1, target.max_instances or _MOST
    found += [f"min-instances = {least}: {whose} takes {_MOST} at most"] if least > _MOST else []
    found += [f"max-instances = {most}: {whose} takes {_MOST} at most"] if most > _MOST else []
    found += [f"min-instances = {least} is more than max-instances = {most}"] if least > most else []
    return found


def scaling(place: Place) -> list[Resource]:
    """The auto scaling configuration, where the target says anything of it."""
    target = place.target
    if target.min_instances is None and target.max_instances is None and target.concurrency is None:
        return []
    settings = {
        "concurrency": target.concurrency or _CONCURRENCY,
        "min": target.min_instances or 1,
        "max": target.max_instances or _MOST,
    }
    return [Resource("apprunner.auto-scaling", place.name, settings, place.tags)]


def service_resource(
    place: Place,
    scaled: list[Resource],
    *,
    secrets: Mapping[str, Any],
    access_role: Any,
    instance_role: Any,
    after: tuple[str, ...],
) -> Resource:
    """The service itself, on App Runner or on a homeport. Both set PORT themselves."""
    service = place.component.config.service
    environment = {name: value for name, value in place.environment.items() if name != "PORT"}
    return Resource(
        "apprunner.service",
        place.name,
        {
            "repository": place.repository,
            "port": service.port,
            "cpu": service.cpu,
            "memory": service.memory,
            "health_path": service.health_path,
            "environment": environment,
            "secrets": secrets,
            "access_role": access_role,
            "instance_role": instance_role,
            "scaling": Ref(scaled[0].key, "arn") if scaled else None,
            "old_revisions": 0,
        },
        place.tags,
        after=after,
        released=True,
    )


def release_actions(place: Place) -> Document:
    """What `tagboat deploy`, `rollback`, `status` and `logs` call, on what they call it."""
    service = place.arn("apprunner", f"service/{place.name}/*")
    roles = [place.role_arn(f"{place.name}-{suffix}") for suffix in ("access", "instance")]
    passed = {
        "StringEquals": {
            "iam:PassedToService": ["build.apprunner.amazonaws.com", "tasks.apprunner.amazonaws.com"]
        }
    }
    return document(
        *parts.registry_actions(place),
        allow(["apprunner:ListServices"], ["*"]),
        allow([f"apprunner:{action}" for action in _ACTIONS], [service]),
        allow(["iam:PassRole"], roles, passed),
        parts.reads_log(place, f"/aws/apprunner/{place.name}/*"),
        *parts.finds_secrets(place),
    )
