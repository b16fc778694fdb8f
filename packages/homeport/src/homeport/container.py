"""One container's configuration: who runs what, with which limits, and apart from what.

Configuration: OCI runtime specification 1.0.2. Nothing is kept from the image's word but who runs what where;
limits, isolation and mounts are homeport's.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport import seccomp
from homeport.errors import ImageError
from homeport.mounts import Mounts, Tmpfs

_PERIOD = 100_000  # µs, of the CPU quota
_PIDS = 1024
_OPEN_FILES = 65_536
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class User:
    """Who a container's process is: numbers, and the home directory its passwd file gives."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Limits:
    cpu: int  # 1024 a CPU
    memory: int  # MiB
    cgroup: str  # absolute below each controller's root


def find_user(root: Path, text: str) -> User:
    """Who `user`, `user:group`, `uid` or `uid:gid` of an image's configuration is, by the image's own files.

    An empty text is root, as the image specification has it. Raises ImageError for a name that the image
    lacks.
    """
    name, _, group = text.partition(":")
    name = name or "0"
    passwd = [line.split(":") for line in _lines(root, "passwd")]
    groups = [line.split(":") for line in _lines(root, "group")]
    user = None
    for row in passwd:
        if len(row) >= 6 and name in (row[0], row[2]):
            uid, gid = _number(row[2]), _number(row[3])
            if uid is not None and gid is not None:
                user = User(uid, gid, _memberships(groups, row[0]), row[5] or "/")
                break
    if user is None:
        uid = _number(name)
        if uid is None:
            raise ImageError(f"the image runs as user {name!r}, which its /etc/passwd does not have")
        user = User(uid, 0)
    if not group:
        return user
    gid = _number(next((row[2] for row in groups if len(row) >= 3 and row[0] == group), group))
    if gid is None:
        raise ImageError(f"the image runs as group {group!r}, which its /etc/group does not have")
    return User(user.uid, gid, user.groups, user.home)


def configuration(
    *,
    root: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    user: User,
    hostname: str,
    network: Path,
    files: Mapping[str, Path],
    limits: Limits,
    mounts: Mounts,
    volumes: Mapping[str, Path],
) -> dict[str, Any]:
    """A runtime's configuration. By the path at which they are seen, `files` are host files to be read only,
    `volumes` folders of the host that can be written to.
    """
    variables = {"PATH": _PATH, "HOME": user.home, "HOSTNAME": hostname, **environment}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": mounts.read_only},
        "hostname": hostname,
        "process": {
            "terminal": False,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
            "args": list(arguments),
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": directory or "/",
            "capabilities": {
                kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": _open_files(), "soft": _open_files()},
                {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
            ],
            "noNewPrivileges": True,
            "oomScoreAdj": 500,  # before homeport and its edge, should the whole machine run out
        },
        "mounts": [
            *_mounts(),
            *(_memory(one) for one in mounts.in_memory),
            *(_bind(source, target, "rw") for target, source in volumes.items()),
            *(_bind(source, target, "ro", "noexec") for target, source in files.items()),
        ],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
                {"type": "network", "path": str(network)},
            ],
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},  # port 80 without a capability
            "cgroupsPath": limits.cgroup,
            "resources": {
                "devices": [{"allow": False, "access": "rwm"}],
                "memory": {"limit": limits.memory << 20, "swap": limits.memory << 20},
                "cpu": {
                    "quota": max(limits.cpu * _PERIOD // 1024, 1000),
                    "period": _PERIOD,
                    "shares": max(limits.cpu, 2),
                },
                "pids": {"limit": _PIDS},
            },
            "seccomp": seccomp.profile(),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def _lines(root: Path, name: str) -> list[str]:
    """The lines of an image's /etc file. No link is followed: at its other end is the host."""
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            etc = os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        finally:
            os.close(top)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=etc)
        finally:
            os.close(etc)
    except OSError:
        return []
    with os.fdopen(file, "rb") as opened:
        return opened.read(1 << 20).decode(errors="replace").splitlines()


def _memberships(groups: Sequence[Sequence[str]], user: str) -> tuple[int, ...]:
    found = (_number(row[2]) for row in groups if len(row) >= 4 and user in row[3].split(","))
    return tuple(number for number in found if number is not None)


def _number(text: str) -> int | None:
    """A user or group id, which has 32 bits and whose last value means none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    number = int(text)
    return number if number < 2**32 - 1 else None


def _open_files() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)


def _memory(folder: Tmpfs) -> dict[str, Any]:
    return {
        "destination": folder.path,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "nodev", "mode=1777", f"size={folder.size}m"],
    }


def _bind(source: Path, target: str, *options: str) -> dict[str, Any]:
    return {
        "destination": target,
        "type": "bind",
        "source": str(source),
        "options": ["bind", "nosuid", "nodev", *options],
    }


def _mounts() -> list[dict[str, Any]]:
    def mount(target: str, kind: str, *options: str) -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": kind, "options": list(options)}

    return [
        mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),  # noqa: S108
        mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
    ]
