"""A month on each target, and on what it replaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tagboat.cost.bill import Bill, Line
from tagboat.cost.bucket import requests
from tagboat.cost.prices import Prices
from tagboat.cost.usage import HOURS, REQUESTS_PER_VIEW, Usage

_IMAGES_GB = 0.5  # of twenty releases, which share most of their layers
_STARTS = 30  # of instances that stay: releases, and machines that are replaced
_COLD_EVERY = 0.25  # hours without a request after which Lambda has forgotten the app
_COLD_SECONDS = 1.5  # that a start takes
_HOST_MIB = 350  # of a machine's memory for Debian and homeport
_HOST_GB = 5.0  # of a machine's disk, for the same and for images
_SMALLEST_DISK_GB = 10.0
_LCU_VIEWS = (
    90_000  # an LCU is 25 new connections a second, or 1 GB an hour: of a month's views, an hour of it
)

# Memory in MiB by CPU in 1/1024 of a vCPU (App Runner's and ECS' developer guides).
_APPRUNNER = {
    256: (512, 1024),
    512: (1024,),
    1024: (2048, 3072, 4096),
    2048: (4096, 6144),
    4096: (8192, 10240, 12288),
}
_FARGATE = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}
# Memory in MiB, and the vCPU that may be used for ever (EC2's user guide, burstable instances).
_MACHINES = {"micro": (1024, 0.2), "small": (2048, 0.4), "medium": (4096, 0.4), "large": (8192, 0.6)}
_LAMBDA_MIB = (128, 10_240)


def bills(usage: Usage, prices: Prices) -> list[Bill]:
    """All of them, the cheapest first; those that cannot be had last."""
    made = [make(usage, prices) for make in TARGETS.values()]
    return sorted(made, key=lambda bill: (bill.dollars is None, bill.dollars or 0.0))


def vm(usage: Usage, prices: Prices) -> Bill:
    """homeport on one machine, the data on its disk."""
    means = "homeport on one EC2 machine, the data on its disk"
    memory = usage.memory * usage.instances + _HOST_MIB
    load = usage.busy_seconds / (HOURS * 3600) * usage.vcpu
    fit = [name for name, (mib, vcpu) in _MACHINES.items() if mib >= memory and vcpu >= load]
    if not fit:
        return Bill("vm", means, problem=f"{usage.instances} instances are more than a t4g.large bears")
    disk = max(_SMALLEST_DISK_GB, _HOST_GB + usage.storage_gb)
    lines = (
        Line(f"t4g.{fit[0]}", HOURS, prices[f"t4g-{fit[0]}-hour"]),
        Line("address", HOURS, prices["ipv4-hour"]),
        Line("disk", disk, prices["gp3-gb"]),
        *_data_out(usage, prices),
    )
    return Bill("vm", means, lines, note="one machine: while it is restarted, nothing is served")


def lambda_(usage: Usage, prices: Prices) -> Bill:
    """A function behind CloudFront, which scales to nothing."""
    means = "Lambda behind CloudFront, the data in S3"
    if usage.memory > _LAMBDA_MIB[1]:
        return Bill("lambda", means, problem=f"{usage.memory} MiB are more than a function may have")
    gb = max(usage.memory, _LAMBDA_MIB[0]) / 1024
    starts = min(usage.views, usage.active / _COLD_EVERY)
    seconds = prices.beyond_free("lambda-gb-seconds", (usage.busy_seconds + starts * _COLD_SECONDS) * gb)
    asked = prices.beyond_free("cloudfront-requests", usage.views * REQUESTS_PER_VIEW)
    lines = (
        Line("time", seconds, prices["lambda-gb-second"]),
        Line(
            "invocations",
            prices.beyond_free("lambda-requests", usage.views) / 1e6,
            prices["lambda-million-requests"],
        ),
        Line("CloudFront requests", asked / 1e4, prices["cloudfront-ten-thousand-requests"]),
        Line("data out", prices.beyond_free("cloudfront-gb", usage.out_gb), prices["cloudfront-gb"]),
        *_bucket(usage, prices, starts),
        *_images_and_zone(prices),
    )
    return Bill("lambda", means, lines)


def ecs_express(usage: Usage, prices: Prices) -> Bill:
    """ECS Express Mode: Fargate tasks (ARM) behind a load balancer with an address in each of two zones."""
    means = "ECS Express Mode: Fargate (ARM) and a load balancer, the data in S3"
    size = _fitting(usage, _FARGATE)
    if size is None:
        return Bill("ecs-express", means, problem="no Fargate task is that large")
    vcpu, gb = size
    hours = _instance_hours(usage)
    lines = (
        Line("vCPU", vcpu * hours, prices["fargate-arm-vcpu-hour"]),
        Line("memory", gb * hours, prices["fargate-arm-gb-hour"]),
        Line("load balancer", HOURS / usage.shared_by, prices["alb-hour"]),
        Line("load balancer's capacity", _lcu_hours(usage), prices["alb-lcu-hour"]),
        Line("addresses", HOURS * 2 / usage.shared_by + hours, prices["ipv4-hour"]),
        *_data_out(usage, prices),
        *_bucket(usage, prices, _STARTS),
        *_images_and_zone(prices),
    )
    return Bill("ecs-express", f"{means}; {_size(size)}", lines)


def apprunner(usage: Usage, prices: Prices) -> Bill:
    """App Runner: memory always, CPU while it is asked."""
    means = "App Runner, the data in S3"
    size = _fitting(usage, _APPRUNNER)
    if size is None:
        return Bill("apprunner", means, problem="no instance of App Runner is that large")
    vcpu, gb = size
    lines = (
        Line("memory", gb * _instance_hours(usage), prices["apprunner-gb-hour"]),
        Line("vCPU", vcpu * usage.active * usage.instances, prices["apprunner-vcpu-hour"]),
        Line("deployments by tag", 1, prices["apprunner-auto-deploy"]),
        *_data_out(usage, prices),
        *_bucket(usage, prices, _STARTS),
        *_images_and_zone(prices),
    )
    note = "closed to new customers since 2026-04-30"
    return Bill("apprunner", f"{means}; {_size(size)}", lines, note=note)


def load_balancers(usage: Usage, prices: Prices) -> Bill:
    """The old way: a machine behind an ALB, with an NLB before it for an address that stays."""
    lines = (
        *_machines_of_old(usage, prices),
        Line("load balancers", HOURS, prices["alb-hour"]),
        Line("load balancers", HOURS, prices["nlb-hour"]),
        Line("load balancers' capacity", _lcu_hours(usage), prices["alb-lcu-hour"]),
        Line("load balancers' capacity", usage.out_gb, prices["nlb-lcu-hour"]),
        Line("addresses", HOURS * 4, prices["ipv4-hour"]),
        *_data_out(usage, prices),
    )
    return Bill("ec2+alb+nlb", "the old way: t3.small behind an ALB and an NLB", lines)


def kubernetes(usage: Usage, prices: Prices) -> Bill:
    """The old way, the modern one: EKS, a node, and an ALB."""
    lines = (
        Line("control plane", HOURS, prices["eks-hour"]),
        *_machines_of_old(usage, prices),
        Line("load balancer", HOURS, prices["alb-hour"]),
        Line("load balancer's capacity", _lcu_hours(usage), prices["alb-lcu-hour"]),
        Line("addresses", HOURS * 3, prices["ipv4-hour"]),
        *_data_out(usage, prices),
    )
    return Bill("eks", "the old way: Kubernetes, with one t3.small and an ALB", lines)


TARGETS: Mapping[str, Callable[[Usage, Prices], Bill]] = {
    "lambda": lambda_,
    "vm": vm,
    "apprunner": apprunner,
    "ecs-express": ecs_express,
    "ec2+alb+nlb": load_balancers,
    "eks": kubernetes,
}


def _machines_of_old(usage: Usage, prices: Prices) -> Iterator[Line]:
    yield Line("t3.small", HOURS * usage.instances, prices["t3-small-hour"])
    yield Line("disk", (19.0 + usage.storage_gb) * usage.instances, prices["gp3-gb"])


def _data_out(usage: Usage, prices: Prices) -> Iterator[Line]:
    yield Line("data out", prices.beyond_free("data-out-gb", usage.out_gb), prices["data-out-gb"])


def _bucket(usage: Usage, prices: Prices, starts: float) -> Iterator[Line]:
    asked = requests(usage, starts)
    yield Line("storage", usage.storage_gb, prices["s3-gb"])
    yield Line("database requests", (asked.puts + asked.lists) / 1000, prices["s3-thousand-puts"])
    yield Line("database requests", asked.gets / 1000, prices["s3-thousand-gets"])


def _images_and_zone(prices: Prices) -> Iterator[Line]:
    yield Line("images", _IMAGES_GB, prices["ecr-gb"])
    yield Line("zone", 1, prices["route53-zone"])  # a bare domain can only point there by Route 53's ALIAS


def _instance_hours(usage: Usage) -> float:
    """One instance always, more of them in the hours in which anybody asks."""
    return HOURS + (usage.instances - 1) * usage.active


def _lcu_hours(usage: Usage) -> float:
    return max(usage.views / _LCU_VIEWS, usage.out_gb)


def _size(size: tuple[float, float]) -> str:
    return f"{size[0]:g} vCPU, {size[1]:g} GB"


def _fitting(usage: Usage, sizes: Mapping[int, tuple[int, ...]]) -> tuple[float, float] | None:
    """The smallest size that is as large as what is asked for: vCPU and GB."""
    for cpu, memories in sizes.items():
        for memory in memories:
            if cpu >= usage.cpu and memory >= usage.memory:
                return cpu / 1024, memory / 1024
    return None
