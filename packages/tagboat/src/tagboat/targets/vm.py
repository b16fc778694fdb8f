"""One small machine with a homeport on it: the cheapest that is always on, and the data are on its disk."""

from __future__ import annotations

import json

from tagboat.aws.policy import taken_by
from tagboat.aws.resource import Ref, Resource
from tagboat.targets import parts
from tagboat.targets.place import Place

# Debian 12, as its cloud team publishes it ("Debian: Amazon EC2 AMIs", SSM parameters).
_IMAGE = "resolve:ssm:/aws/service/debian/release/12/latest/{architecture}"
_MANAGED = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
_PACKAGES = (
    "ca-certificates", "haproxy", "iproute2", "nftables", "pipx", "runc", "unattended-upgrades",
)  # fmt: skip
_DISK = 20  # GiB
_OWN = 512  # MiB that the machine and its homeport take themselves
# MiB by type, of the families that burst: t4g for arm64, t3a for amd64.
_MEMORY = {"nano": 512, "micro": 1024, "small": 2048, "medium": 4096, "large": 8192, "xlarge": 16384}
_CPUS = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}
_DATA = "/var/lib/homeport"


def problems(place: Place) -> list[str]:
    """What of the configuration one machine cannot honour, and what to change."""
    service = place.component.config.service
    common = place.common_problems()
    bucket_problems = [problem for problem in common if " names the bucket " in problem]
    found = [problem for problem in common if problem not in bucket_problems]
    found += place.refuse(
        "data-bucket",
        "uploads-bucket",
        why="the port on the machine keeps the buckets itself, on its disk; leave it out",
    )
    found += place.refuse(
        "uploads-path", "cached-paths", why="there is no distribution in front of a machine; leave it out"
    )
    found += place.refuse("secrets-key", why="the homeport on it keeps its secrets itself; leave it out")
    found += place.refuse("log-days", why="the log of a homeport is bounded in size; leave it out")
    found += place.refuse(
        "min-instances",
        "max-instances",
        "concurrency",
        "scale-on",
        "scale-target",
        why="one machine runs what fits on it; leave it out, or take ecs-express",
    )
    if place.target.instance_type is None and _smallest(service.cpu, service.memory) is None:
        found.append(
            f"memory = {service.memory}, cpu = {service.cpu}: no small machine has that; name an "
            "instance-type, or take kind = ecs-express"
        )
    return found


def resources(place: Place) -> list[Resource]:
    """Everything that it needs, in no order."""
    name = place.name
    role = parts.role(place, "instance", taken_by("ec2.amazonaws.com"), managed=[_MANAGED])
    profile = Resource(
        "iam.instance-profile", f"{name}-instance", {"role": role.name}, place.tags, after=(role.key,)
    )
    group = Resource("ec2.security-group", name, {"ports": [80, 443]}, place.tags)
    machine = Resource(
        "ec2.instance",
        name,
        {
            "type": instance_type(place),
            "image": _IMAGE.format(architecture="arm64" if place.arm else "amd64"),
            "user_data": user_data(),
            "disk": _DISK,
            "group": Ref(group.key, "id"),
            "profile": profile.name,
            "protected": True,
        },
        place.tags,
        after=(profile.key,),
        data=True,
    )
    address = Resource(
        "ec2.address", name, {"instance": Ref(machine.key, "id")}, place.tags, part_of=machine.key
    )
    records = [
        record
        for host in place.hosts
        for record in (
            parts.authorities(host, parts.MACHINE_ISSUER),
            Resource(
                "route53.record",
                f"A {host}",
                {"host": host, "type": "A", "ttl": 300, "values": [Ref(address.key, "ip")]},
                visited=True,
            ),
        )
    ]
    return [role, profile, group, machine, address, *records, *parts.budget(place)]


def instance_type(place: Place) -> str:
    """The one that is named, or the smallest on which the service fits."""
    if place.target.instance_type is not None:
        return place.target.instance_type
    service = place.component.config.service
    family = "t4g" if place.arm else "t3a"
    return f"{family}.{_smallest(service.cpu, service.memory)}"


def user_data() -> str:
    """What cloud-init makes of a fresh Debian: a machine with a homeport, and security updates by themselves.

    It suits any machine whose provider takes user data.
    """
    unit = f"""\
[Unit]
Description=homeport
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/local/bin/homeport serve --data {_DATA} --https-port 443 --http-port 80
Restart=always
KillMode=process
Delegate=yes

[Install]
WantedBy=multi-user.target
"""
    document = {
        "package_update": True,
        "packages": list(_PACKAGES),
        "write_files": [{"path": "/etc/systemd/system/homeport.service", "content": unit}],
        "runcmd": [
            ["env", "PIPX_HOME=/opt/pipx", "PIPX_BIN_DIR=/usr/local/bin", "pipx", "install", "homeport"],
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "homeport"],
        ],
    }
    return f"#cloud-config\n{json.dumps(document, indent=1)}\n"  # JSON is YAML


def _smallest(cpu: int, memory: int) -> str | None:
    fitting = (size for size, has in _MEMORY.items() if has >= memory + _OWN and _CPUS[size] * 1024 >= cpu)
    return next(fitting, None)
