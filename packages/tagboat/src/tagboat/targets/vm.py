"""One small machine with a homeport on it: the cheapest that is always on, and the data are on its disk.

What it makes in the account is the machine and what leads to it; the repository, the service and its names
are made on the homeport, which answers as an account of its own at `port.DOMAIN`. Its root key is made here,
in a parameter that the machine and the account's owner can read, so that nobody has to log in to fetch it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version

from tagboat.aws.policy import allow, document, taken_by
from tagboat.aws.resource import Port, Ref, Resource
from tagboat.targets import apprunner, homeport, parts
from tagboat.targets.place import Place

# Debian 12, as its cloud team publishes it ("Debian: Amazon EC2 AMIs", SSM parameters).
_IMAGE = "resolve:ssm:/aws/service/debian/release/12/latest/{architecture}"
_PACKAGES = (
    "ca-certificates", "haproxy", "iproute2", "nftables", "python3-venv", "runc", "unattended-upgrades",
)  # fmt: skip
_DISK = 20  # GiB
_OWN = 512  # MiB that the machine and its homeport take themselves
# MiB by type, of the families that burst: t4g for arm64, t3a for amd64.
_MEMORY = {"nano": 512, "micro": 1024, "small": 2048, "medium": 4096, "large": 8192, "xlarge": 16384}
_CPUS = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}
_DATA = "/var/lib/homeport"
_INSTALLED = "/opt/homeport"
_ACME = "https://acme-v02.api.letsencrypt.org/directory"


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
    if not place.target.domain:
        found.append("domain is missing: a machine is reached by name, its homeport at port.DOMAIN")
    found += place.refuse("log-days", why="the log of a homeport is bounded in size; leave it out")
    found += place.refuse(
        "min-instances",
        "max-instances",
        "concurrency",
        "scale-on",
        "scale-target",
        why="one machine runs what fits on it; leave it out, or take ecs-express",
    )
    found += homeport.service_problems(place)
    if place.target.instance_type is None and _smallest(service.cpu, service.memory) is None:
        found.append(
            f"memory = {service.memory}, cpu = {service.cpu}: no small machine has that; name an "
            "instance-type, or take kind = ecs-express"
        )
    return found


def resources(place: Place) -> list[Resource]:
    """Everything that it needs, in no order."""
    name, key = place.name, port(place).parameter
    root = Resource("ssm.root-key", key, {"type": "SecureString"}, place.tags)
    role = parts.role(
        place,
        "instance",
        taken_by("ec2.amazonaws.com"),
        {"key": document(allow(["ssm:GetParameter"], [Ref(root.key, "arn")]))},
    )
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
            "user_data": user_data(place),
            "disk": _DISK,
            "group": Ref(group.key, "id"),
            "profile": profile.name,
            "protected": True,
        },
        place.tags,
        after=(profile.key, root.key),
        data=True,
    )
    address = Resource(
        "ec2.address", name, {"instance": Ref(machine.key, "id")}, place.tags, part_of=machine.key
    )
    records = [
        record
        for host in (*place.hosts, _control(place))
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
    return [
        root,
        role,
        profile,
        group,
        machine,
        address,
        *records,
        *_on_port(place, tuple(record.key for record in records)),
        *parts.budget(place),
    ]


def port(place: Place) -> Port:
    """The homeport on the machine."""
    return Port(f"https://{_control(place)}", f"/homeport/{place.name}", f"ec2.instance/{place.name}")


def _on_port(place: Place, names: tuple[str, ...]) -> list[Resource]:
    """What is made on the homeport, once the records `names` lead there."""
    given = place.target.homeport_version
    wanted = {"version": given} if given else {"at_least": version("tagboat")}
    release = Resource(
        "homeport.release", place.name, wanted, after=names, part_of=f"ec2.instance/{place.name}"
    )
    repository = parts.repository(place)
    service = apprunner.service_resource(
        place,
        [],
        secrets=homeport.secrets(place),
        access_role=None,
        instance_role=None,
        after=(repository.key, release.key, *(one.key for one in homeport.kept(place))),
    )
    # They can be kept once the machine is there, and are missed by what runs an image alone.
    secrets = [replace(one, after=(release.key,), released=True) for one in homeport.kept(place)]
    made = [release, replace(repository, after=(release.key,)), *secrets, service]
    made += homeport.own_names(place, service.key, release.key, {"active": True})
    return [replace(one, port=port(place)) for one in made]


def _control(place: Place) -> str:
    return f"port.{place.target.domain}"


def instance_type(place: Place) -> str:
    """The one that is named, or the smallest on which the service fits."""
    if place.target.instance_type is not None:
        return place.target.instance_type
    service = place.component.config.service
    family = "t4g" if place.arm else "t3a"
    return f"{family}.{_smallest(service.cpu, service.memory)}"


def user_data(place: Place | None = None) -> str:
    """What cloud-init makes of a fresh Debian: a machine with a homeport, and security updates by themselves.

    Without a place it suits any machine whose provider takes user data; its homeport has a root key of its
    own then, and is driven from the machine.
    """
    given = place.target.homeport_version if place is not None else None
    installed = given or version("tagboat")  # which is released together with homeport
    folder = f"{_INSTALLED}/versions/{installed}"
    options = f" --control {_control(place)} --acme {_ACME}" if place is not None else ""
    unit = f"""\
[Unit]
Description=homeport
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/local/bin/homeport serve --data {_DATA} --address :: --https-port 443 --http-port 80{options}
Restart=always
RestartSec=1
KillMode=process
TimeoutStopSec=120
Delegate=yes

[Install]
WantedBy=multi-user.target
"""
    key = port(place).parameter if place is not None else ""
    region = place.region if place is not None else ""
    document = {
        "package_update": True,
        "packages": list(_PACKAGES),
        "write_files": [{"path": "/etc/systemd/system/homeport.service", "content": unit}],
        "runcmd": [
            # Versions lie side by side, so that an upgrade can be taken back.
            ["python3", "-m", "venv", folder],
            [f"{folder}/bin/pip", "install", "--only-binary", ":all:", f"homeport=={installed}"],
            ["ln", "-sfn", f"versions/{installed}", f"{_INSTALLED}/current"],
            ["ln", "-sfn", f"{_INSTALLED}/current/bin/homeport", "/usr/local/bin/homeport"],
            *([["homeport", "init", "--data", _DATA, "--key", key, "--region", region]] if key else []),
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "homeport"],
        ],
    }
    return f"#cloud-config\n{json.dumps(document, indent=1)}\n"  # JSON is YAML


def _smallest(cpu: int, memory: int) -> str | None:
    fitting = (size for size, has in _MEMORY.items() if has >= memory + _OWN and _CPUS[size] * 1024 >= cpu)
    return next(fitting, None)
