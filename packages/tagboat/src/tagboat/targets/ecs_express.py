"""ECS Express Mode: containers on Fargate behind a load balancer that AWS makes and scales."""

from __future__ import annotations

from tagboat.aws.kinds.logs import DAYS
from tagboat.aws.policy import Document, allow, document, pulls, taken_by, writes_log
from tagboat.aws.resource import Ref, Resource
from tagboat.targets import parts
from tagboat.targets.place import Place

_INFRASTRUCTURE = "arn:aws:iam::aws:policy/service-role/AmazonECSInfrastructureRoleforExpressGatewayServices"
# Fargate's pairs of CPU and memory ("Amazon ECS task definition parameters for Fargate"), MiB by 1/1024 vCPU.
SIZES: dict[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}
_METRICS = {"cpu": "AVERAGE_CPU", "memory": "AVERAGE_MEMORY", "requests": "REQUEST_COUNT_PER_TARGET"}
_SCALE_TARGET = 60  # percent of its CPU, which is ECS's own default
_INSTANCES = 4  # at most, unless the configuration says otherwise


def problems(place: Place) -> list[str]:
    """What of the configuration ECS Express Mode cannot honour, and what to change."""
    service = place.component.config.service
    found = place.common_problems()
    found += place.refuse("homeport-version", why="there is no homeport; leave it out")
    found += place.refuse("instance-type", why="Fargate has no machines; leave it out")
    found += size_problems(service.cpu, service.memory, SIZES, "Fargate")
    if service.health_path is None:
        found.append("health-path is missing: its load balancer asks a path; name one that answers 200")
    if place.target.min_instances == 0:
        found.append(
            "min-instances = 0: nothing would wake it on a request; take kind = lambda to scale to zero"
        )
    if minimum(place) > maximum(place):
        found.append(f"min-instances = {minimum(place)} is more than max-instances = {maximum(place)}")
    found += place.refuse(
        "concurrency",
        why='ECS counts requests by the minute; scale-on = "requests" and scale-target, or leave it out',
    )
    if place.target.scale_on != "requests" and scale_target(place) > 100:
        found.append(f"scale-target = {scale_target(place)}: of CPU and memory it is in percent")
    if place.target.scale_on == "requests" and place.target.scale_target is None:
        found.append('scale-on = "requests": scale-target says how many a minute are one instance\'s')
    if place.target.log_days not in DAYS:
        found.append(f"log-days = {place.target.log_days}: CloudWatch Logs takes {', '.join(map(str, DAYS))}")
    return found


def size_problems(cpu: int, memory: int, sizes: dict[int, tuple[int, ...]], whose: str) -> list[str]:
    """What is wrong with a pair of CPU and memory, with the closest pairs that are right."""
    if memory in sizes.get(cpu, ()):
        return []
    if cpu not in sizes:
        return [f"cpu = {cpu}: {whose} has {', '.join(map(str, sizes))}"]
    return [f"memory = {memory}: with cpu = {cpu} {whose} has {', '.join(map(str, sizes[cpu]))}"]


def minimum(place: Place) -> int:
    return place.target.min_instances or 1


def maximum(place: Place) -> int:
    return place.target.max_instances or max(_INSTANCES, minimum(place))


def scale_target(place: Place) -> int:
    return place.target.scale_target or _SCALE_TARGET


def log_group(place: Place) -> str:
    return f"/ecs/{place.name}"


def resources(place: Place) -> list[Resource]:
    """Everything that it needs, in no order."""
    service = place.component.config.service
    repository = parts.repository(place)
    group = parts.log_group(place, log_group(place))
    execution = parts.role(
        place,
        "execution",
        taken_by("ecs-tasks.amazonaws.com", account=place.account),
        {
            "pull": pulls(place.repository_arn),
            "log": writes_log(place.arn("logs", f"log-group:{group.name}")),
            **parts.secret_policies(place),
        },
    )
    infrastructure = parts.role(
        place, "infrastructure", taken_by("ecs.amazonaws.com"), managed=[_INFRASTRUCTURE]
    )
    task = parts.role(
        place,
        "task",
        taken_by("ecs-tasks.amazonaws.com", account=place.account),
        parts.bucket_policies(place),
    )
    express = Resource(
        "ecs.express-service",
        place.name,
        {
            "repository": place.repository,
            "port": service.port,
            "cpu": service.cpu,
            "memory": service.memory,
            "architecture": "ARM64" if place.arm else "X86_64",
            "health_path": service.health_path,
            "environment": place.environment,
            "secrets": parts.secret_refs(place),
            "execution_role": Ref(execution.key, "arn"),
            "infrastructure_role": Ref(infrastructure.key, "arn"),
            "task_role": Ref(task.key, "arn"),
            "log_group": group.name,
            "min": minimum(place),
            "max": maximum(place),
            "scale_on": _METRICS[place.target.scale_on or "cpu"],
            "scale_target": scale_target(place),
        },
        place.tags,
        after=(repository.key, group.key, *(f"s3.bucket/{bucket}" for bucket in place.buckets)),
        released=True,
    )
    return [
        repository,
        *parts.releases(place, release_actions(place)),
        *parts.buckets(place),
        *parts.secrets(place),
        group,
        execution,
        infrastructure,
        task,
        express,
        *parts.front(place, Ref(express.key, "host")),
        *parts.budget(place),
    ]


def release_actions(place: Place) -> Document:
    """What `tagboat deploy`, `rollback`, `status` and `logs` call, on what they call it."""
    service = place.arn("ecs", f"service/default/{place.name}")
    roles = [place.role_arn(f"{place.name}-{suffix}") for suffix in ("execution", "task")]
    return document(
        *parts.registry_actions(place),
        allow(
            ["ecs:DescribeExpressGatewayService", "ecs:UpdateExpressGatewayService"],
            [service],
        ),
        allow(
            ["ecs:DescribeServiceDeployments", "ecs:ListServiceDeployments"],
            [service, place.arn("ecs", f"service-deployment/default/{place.name}/*")],
        ),
        allow(["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
        *parts.front_actions(place),
        parts.reads_log(place, log_group(place)),
        *parts.finds_secrets(place),
    )
