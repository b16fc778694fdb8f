"""One container by runc: its configuration, and the few calls that homeport makes.

Configuration: OCI runtime specification 1.0.2. Nothing is kept from the image's word but who runs what where;
limits, isolation and mounts are homeport's.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport import seccomp
from homeport.command import run
from homeport.errors import CommandError, ImageError
from homeport.mounts import Mounts, Tmpfs

_PERIOD = 100_000  # µs, of the CPU quota
_PIDS = 1024
_TRIES = 5
_OPEN_FILES = 65_536
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ROOT = Path("/run/homeport/root")  # empty for everybody but a runc that starts in a chroot
_ENTER = 'mount --rbind / "$0" && mount --make-rprivate "$0" && exec chroot "$0" "$@"'

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
    """A runc configuration. By the path at which they are seen, `files` are host files to be read only,
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


@dataclass(frozen=True, slots=True)
class Runc:
    """runc with a root directory of its own. All calls block."""

    root: Path

    def start(self, name: str, bundle: Path, log: Path) -> int:
        """Run the bundle's container detached, both its outputs appended to `log`; returns its process id."""
        pid_file = bundle / "pid"
        runc_log = bundle / "runc.log"
        # Appending matters: the reader frees what it has read, and the writer must go on at the end.
        with log.open("ab") as output:
            arguments = ["runc", "--root", str(self.root), "--log", str(runc_log), "run", "--detach"]
            place = ["--bundle", str(bundle), "--pid-file", str(pid_file), name]
            if not _in_plain_chroot():
                _spawn([*arguments, *place], output.fileno(), runc_log)
            else:
                # runc makes the root's mounts private and pivots away from them; the kernel allows neither
                # where the root is a mere directory, and no pivot where the mount above it is shared.
                try:
                    _spawn(_entered([*arguments, "--no-pivot", *place]), output.fileno(), runc_log)
                finally:
                    _leave()
        return int(pid_file.read_text())

    def pids(self) -> dict[str, int]:
        """The running containers, frozen ones too.

        runc compares start times, so a number that was used again does not fool it.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_TRIES):
            # It fails when a record goes while it reads: a killed homeport's last runc may still be at work.
            with suppress(CommandError):
                return self._list()
        return self._list()

    def _list(self) -> dict[str, int]:
        listed = json.loads(run("runc", "--root", self.root, "list", "--format", "json")) or []
        return {row["id"]: row["pid"] for row in listed if row["status"] in ("running", "paused")}

    def names(self) -> list[str]:
        """All containers that runc has a record of."""
        return [path.name for path in self.root.iterdir()] if self.root.is_dir() else []

    def delete(self, name: str) -> None:
        """Remove a container and its cgroup, killing what is left of it."""
        if not (self.root / name).exists():
            return
        try:
            run("runc", "--root", self.root, "delete", "--force", name)
        except CommandError:
            # A record that was only half written when runc itself was killed.
            state = self.root / name / "state.json"
            if state.exists():
                raise
            with suppress(OSError):
                (self.root / name).rmdir()


def _spawn(arguments: list[str], output: int, runc_log: Path) -> None:
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60, check=False
    )
    if done.returncode != 0:
        lines = runc_log.read_text(errors="replace").splitlines() if runc_log.exists() else []
        raise CommandError(f"runc cannot run the container: {_message(lines)}")


def _message(lines: list[str]) -> str:
    for line in reversed(lines):
        if "level=error" in line and 'msg="' in line:
            return line.split('msg="', 1)[1].rstrip('"').replace('\\"', '"')
    return lines[-1] if lines else "it said nothing"


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


def _in_plain_chroot() -> bool:
    """Whether this process's root is a mere directory, no mount point."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return not any(line.split()[4] == "/" for line in mounts)


def _entered(arguments: list[str]) -> list[str]:
    """The command, run in a mount namespace of its own that has this process's root as a mount."""
    _ROOT.mkdir(mode=0o700, exist_ok=True)
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", _ENTER, str(_ROOT), *arguments]


def _leave() -> None:
    """Where mounts propagate, the one of `_entered` has come here too.

    It is made private first: else the original's mounts would go with its own.
    """
    while _ROOT.is_mount():
        run("mount", "--make-rprivate", _ROOT)
        run("umount", "--recursive", "--lazy", _ROOT)


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
