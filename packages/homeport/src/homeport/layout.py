"""Where a homeport keeps its files, and the one name that marks everything it makes on the machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_RUN = Path("/run/homeport")


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one homeport.

    `data` holds what must survive a reboot, `run` what must not (runtimes' records, HAProxy's sockets; short,
    for a socket's path has room for 107 bytes).
    """

    data: Path

    @property
    def key(self) -> str:
        """11 characters: the bridge, the firewall table, the cgroup, and the beginning of all other names."""
        return "hp-" + hashlib.sha256(bytes(self.data.resolve())).hexdigest()[:8]

    @property
    def run(self) -> Path:
        return _RUN / self.key

    @property
    def machine_lock(self) -> Path:
        """Held while something shared by all homeports of the machine changes: subnets, forwarding."""
        return _RUN / "lock"

    @property
    def lock(self) -> Path:
        return self.data / "lock"

    @property
    def images(self) -> Path:
        return self.data / "images"

    @property
    def layers(self) -> Path:
        return self.data / "layers"

    @property
    def instances(self) -> Path:
        return self.data / "instances"

    @property
    def secrets(self) -> Path:
        return self.data / "secrets"

    @property
    def volumes(self) -> Path:
        return self.data / "volumes"

    def volume(self, service: str, name: str) -> Path:
        """Named as its service is, so that one of that name which is made again finds it."""
        return self.volumes / service.lower() / name

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def edge(self) -> Path:
        return self.data / "edge"

    def runtime(self, program: str) -> Path:
        """Where a container runtime keeps its records."""
        return self.run / program

    @property
    def activators(self) -> Path:
        return self.run / "wake"

    @property
    def access_log(self) -> Path:
        """The socket to which the edge sends the lines of access logs."""
        return self.activators / "access"

    def activator(self, service: str) -> Path:
        """The socket on which the edge reaches the service's activator; the edge is nobody, it may pass."""
        return self.activators / service

    def create(self) -> None:
        """Make the directories; only root looks into them, and others may pass through `run`.

        So it is also where somebody has made `data` before, for everybody to look into.
        """
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = (self.data / name for name in ("state", "audit", "registry", "buckets"))
        for directory in (*kept, self.images, self.layers, self.instances, self.logs, self.edge):
            directory.mkdir(mode=0o700, exist_ok=True)
            directory.chmod(0o700)
        for directory in (_RUN, self.run, self.activators):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o711)
