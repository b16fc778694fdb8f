"""Instances: a release of a service, running in a container with a root file system and a network of its own.

Everything that an instance is made of carries its id, so that what a crash left behind can be told and
removed.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from homeport.cgroup import Cgroup
from homeport.command import run
from homeport.container import Limits, User, configuration, find_user
from homeport.errors import CommandError, ImageError
from homeport.images import LocalImage
from homeport.layout import Layout
from homeport.model import ServiceSpec
from homeport.mounting import NODEV, NOEXEC, NOSUID, mount, mount_overlay, unmount
from homeport.network import Network, host_resolv_conf, nameservers
from homeport.runtime import Runtimes

_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost\n{bridge}\thost.homeport.internal\n{address}\t{hostname}\n"
_PRIVATE_OPTIONS = "mode=700,size=16m"
_SECTOR = 512  # bytes, of stat(2)'s st_blocks
_BLOCK = 4096  # bytes that the smallest file or folder counts as
_REMOVAL = 600.0  # seconds that removing all of its files may take
_MOUNT_OPTIONS = 4000  # bytes: mount(2) passes one page


@dataclass(frozen=True, slots=True)
class Instance:
    """What runs, or ran: `digest` of the manifest and `spec` are together one release of the service."""

    id: str  # 12 hexadecimal digits
    service_id: str
    digest: str
    spec: ServiceSpec
    address: str


class Instances:
    """Makes and removes instances. All calls block."""

    def __init__(self, layout: Layout, network: Network) -> None:
        self._layout = layout
        self._network = network
        self._runtimes = Runtimes(layout)

    def start(
        self,
        instance: Instance,
        image: LocalImage,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
        listening: Callable[[socket.socket], None] | None = None,
    ) -> int:
        """Start it; returns the process id of its first process. Raises ImageError, CommandError or
        NetworkError. `listening` is given what `listen` makes, before the program runs.

        Each of the secrets is a variable and a file of `/run/secrets`. Whatever happens, `remove` takes
        away all that was made.
        """
        bundle = self.directory(instance.id)
        bundle.mkdir(mode=0o700, parents=True)
        root = bundle / "root"
        self._mount(bundle, root, image.layers)
        private = self._private(instance.id)
        private.mkdir(mode=0o700)
        mount("tmpfs", private, NOSUID | NODEV | NOEXEC, _PRIVATE_OPTIONS)
        spec = instance.spec
        self._network.attach(instance.id, instance.address, spec.host_ports)
        if listening is not None:
            listening(self.listen(instance.id))
        hostname = spec.name.lower()
        files = self._names(bundle, instance.address, hostname)
        config = image.config.config
        user = find_user(root, config.user or "")
        if secrets:
            files["/run/secrets"] = private / "secrets"
            _write_secrets(private / "secrets", secrets, user)
        written = configuration(
            root=root,
            arguments=_arguments(spec, config.entrypoint or (), config.cmd or ()),
            environment={
                **dict(entry.split("=", 1) for entry in config.env or () if "=" in entry),
                **environment,
                **secrets,
            },
            directory=config.working_dir or "/",
            user=user,
            hostname=hostname,
            network=self._network.namespace(instance.id),
            files=files,
            limits=Limits(spec.cpu, spec.memory, self._cgroup(instance.id).name),
            mounts=spec.mounts,
            volumes={
                volume.path: self._volume(spec.name, volume.name, user) for volume in spec.mounts.volumes
            },
        )
        # The environment holds keys and secrets: for root alone, on no disk, and gone once it is read.
        path = private / "config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(written))
        (bundle / path.name).symlink_to(path)
        try:
            return self._runtimes.start(instance.id, bundle, self.log(instance.id))
        finally:
            path.unlink()

    def _names(self, bundle: Path, address: str, hostname: str) -> dict[str, Path]:
        """Files by which an instance finds itself, the host and its name servers, by where it sees them."""
        hosts = _HOSTS.format(bridge=self._network.bridge_address, address=address, hostname=hostname)
        resolv_conf = host_resolv_conf()
        search = [line for line in resolv_conf.splitlines() if line.startswith(("search ", "options "))]
        servers = [f"nameserver {server}" for server in nameservers(resolv_conf)]
        texts = {"hosts": hosts, "resolv.conf": "".join(f"{line}\n" for line in (*search, *servers))}
        for name, text in texts.items():
            (bundle / name).write_text(text)
            (bundle / name).chmod(0o644)
        return {f"/etc/{name}": bundle / name for name in texts}

    def listen(self, instance: str) -> socket.socket:
        """A socket where its programs look for credentials, and nobody else. Raises NetworkError."""
        return self._network.listen(instance)

    def running(self) -> dict[str, int]:
        """Process ids of the instances that run, also those started by an earlier homeport process."""
        return self._runtimes.pids()

    def known(self) -> set[str]:
        """Every instance of which anything is left: a container, a cgroup, a namespace, a directory."""
        directories = [path.name for path in self._layout.instances.iterdir()]
        tops = self._cgroup("").directories()
        groups = [path.name for top in tops for path in top.iterdir() if path.is_dir()]
        return {*directories, *groups, *self._runtimes.names(), *self._network.namespaces()}

    def oom_kills(self, instance: str) -> int:
        """How many of its processes the kernel has killed for its limit of memory."""
        return self._cgroup(instance).oom_kills()

    def written(self, instance: str) -> int:
        """Bytes on the disk that it has written outside its volumes, its output that waits included.

        A file or a folder counts as a block at least, for inodes are what a disk may run out of too.
        Folders in one another that no path reaches count as more than any disk has.
        """
        total = 0
        with suppress(FileNotFoundError):
            total += self.log(instance).stat().st_blocks * _SECTOR
        waiting = [str(self.directory(instance) / "upper")]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as found:
                    for entry in found:
                        with suppress(FileNotFoundError):
                            blocks = entry.stat(follow_symlinks=False).st_blocks
                            total += max(blocks * _SECTOR, _BLOCK)
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
            except (FileNotFoundError, NotADirectoryError):  # it is at work meanwhile
                continue
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return sys.maxsize
                raise
        return total

    def freeze(self, instance: str) -> bool:
        """Let it stand still; False where that cannot be had now."""
        return self._cgroup(instance).freeze()

    def thaw(self, instance: str) -> None:
        """Let it go on, if it stands still."""
        self._cgroup(instance).thaw()

    def remove(self, instance: str) -> None:
        """Remove a stopped instance, or kill it; again and again does no harm."""
        self.thaw(instance)
        self._runtimes.delete(instance)
        self._cgroup(instance).clear()  # a record may be lost, then nobody was killed
        directory = self.directory(instance)
        for mounted in (directory / "root", self._private(instance)):
            while mounted.is_mount():
                unmount(mounted)
        self._network.detach(instance)
        # Not by Python, which goes no deeper than a thousand folders in one another, as an instance may.
        with suppress(CommandError):  # what is left, the next start removes
            run("rm", "-rf", "--one-file-system", "--", directory, timeout=_REMOVAL)

    def remove_cgroups(self) -> None:
        self._cgroup("").clear()

    def directory(self, instance: str) -> Path:
        return self._layout.instances / instance

    def log(self, instance: str) -> Path:
        """The file that the instance's two outputs append to."""
        return self.directory(instance) / "output"

    def _private(self, instance: str) -> Path:
        """A folder in memory for what no disk is to hold."""
        return self.directory(instance) / "private"

    def _volume(self, service: str, name: str, user: User) -> Path:
        """The folder of a volume; the first instance's user has it."""
        folder = self._layout.volume(service, name)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o755)
            os.chown(folder, user.uid, user.gid)
        return folder

    def usage(self, instance: str) -> tuple[int, float]:
        """Bytes of memory and seconds of CPU time."""
        group = self._cgroup(instance)
        return group.memory(), group.cpu()

    def _cgroup(self, instance: str) -> Cgroup:
        return Cgroup(f"/{self._layout.key}/{instance}".rstrip("/"))

    def _mount(self, bundle: Path, root: Path, layers: Sequence[Path]) -> None:
        for name in ("upper", "work", "root"):
            (bundle / name).mkdir(mode=0o755)
        # Relative to the layers' directory, as the options must fit a page; the first named is the topmost.
        lower = ":".join(layer.name for layer in reversed(layers))
        options = f"lowerdir={lower},upperdir={bundle / 'upper'},workdir={bundle / 'work'}"
        if len(options.encode()) > _MOUNT_OPTIONS:
            raise ImageError(f"the image has {len(layers)} layers, more than an overlay can be told of")
        if any(mark in str(bundle) for mark in ",:\\"):
            raise CommandError(
                f"the data directory's path may not have a comma, colon or backslash: {bundle}"
            )
        mount_overlay(root, options, self._layout.layers)
        if not (root / "tmp").is_symlink():
            with suppress(FileExistsError):
                (root / "tmp").mkdir()
                (root / "tmp").chmod(0o1777)


def _write_secrets(folder: Path, secrets: Mapping[str, str], user: User) -> None:
    """A file for each, for the instance's user alone."""
    folder.mkdir(mode=0o500)
    for name, value in secrets.items():
        path = folder / name
        path.touch(mode=0o400)
        path.write_bytes(value.encode())
        os.chown(path, user.uid, user.gid)
    os.chown(folder, user.uid, user.gid)


def _arguments(spec: ServiceSpec, entrypoint: Sequence[str], cmd: Sequence[str]) -> list[str]:
    """App Runner's start command stands for the image's entry point and arguments together."""
    arguments = shlex.split(spec.start_command) if spec.start_command else [*entrypoint, *cmd]
    if not arguments:
        raise ImageError("the image names no program to run, and the service no start command")
    return arguments
