"""What a container adds to the start of a process, and what freezing one costs whoever asks first.

The peers run the very same files: a process in a chroot, which is what a systemd unit with `RootDirectory=`
starts, and Debian's podman, on the host's network and with runc.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from obstore.store import LocalStore

from bench.port.harbour import Harbour, Images, until
from bench.ports import free_port
from bench.row import Row
from homeport.images import Images as Unpacked
from homeport.images import LocalImage
from homeport.instance import Instance, Instances
from homeport.layout import Layout
from homeport.model import ServiceSpec
from homeport.network import Network
from ocikit.registry import Storage

__all__ = ["cold_start", "frozen"]

_TIMES: Final = 11
_ADDED: Final = 45.0  # ms
_S3: Final = 9000


def cold_start(folder: Path, harbour: Harbour, images: Images, name: str, digest: str) -> list[Row]:
    """Of the image that the service `name` of `harbour` runs, in turn with the peers."""
    layout = Layout(folder)
    layout.create()
    network = Network(layout, _S3)
    network.open()
    instances = Instances(layout, network)
    registry = harbour.addresses.registry
    storage = Storage(LocalStore(harbour.data / "registry"))
    spec = ServiceSpec(name, f"{registry}/{name}:latest")
    image = Unpacked(layout, storage, registry).pull(spec.image, digest)
    ours, bare, podman = [], [], []
    try:
        with _instance(instances, network, spec, digest, image) as (kept, _), _podman(folder, images) as run:
            root = instances.directory(kept) / "root"
            for _ in range(_TIMES):
                started = time.monotonic()
                with _instance(instances, network, spec, digest, image) as (_, address):
                    ours.append(_answered(address, spec.port, started))
                bare.append(_chrooted(root, image))
                if run is not None:
                    with suppress(RuntimeError):  # a peer that does not answer is left out
                        podman.append(run())
    finally:
        network.close()
        instances.remove_cgroups()
        shutil.rmtree(layout.run, ignore_errors=True)
    milliseconds, process = statistics.median(ours) * 1e3, statistics.median(bare) * 1e3
    rows = [
        Row("port", "cold start", milliseconds, "ms", process, "the process alone", process + _ADDED),
        Row("port", "cold start: added by us", milliseconds - process, "ms", goal=_ADDED),
    ]
    if podman:
        rows.append(
            Row("port", "cold start", milliseconds, "ms", statistics.median(podman) * 1e3, "podman run")
        )
    return rows


def frozen(harbour: Harbour, images: Images) -> list[Row]:
    """From the request to an instance that stands still to its answer, on a connection that is open."""
    before = {path.name for path in Layout(harbour.data).instances.iterdir()}
    tags = {"homeport:freeze": "true", "homeport:idle-seconds": "1"}
    harbour.create("cold", images.version("cold"), tags)
    (name,) = {path.name for path in Layout(harbour.data).instances.iterdir()} - before
    group = f"{Layout(harbour.data).key}/{name}"
    files = [
        Path("/sys/fs/cgroup") / one for one in (f"freezer/{group}/freezer.state", f"{group}/cgroup.freeze")
    ]

    def stands() -> bool:
        return any(file.exists() and file.read_text().strip() in ("FROZEN", "1") for file in files)

    connection = harbour.connect()

    def ask() -> float:
        started = time.monotonic()
        connection.request("GET", "/", headers={"Host": "cold.localhost"})
        if connection.getresponse().read() != b"cold":
            raise RuntimeError("a frozen service did not answer")
        return time.monotonic() - started

    thawed, warm = [], []
    ask()
    for _ in range(_TIMES):
        until(stands)
        thawed.append(ask())
        warm.append(statistics.median(ask() for _ in range(20)))
    connection.close()
    return [
        Row(
            *("port", "frozen to answered", statistics.median(thawed) * 1e3, "ms"),
            *(statistics.median(warm) * 1e3, "warm", 5.0),
        )
    ]


@contextmanager
def _instance(
    instances: Instances, network: Network, spec: ServiceSpec, digest: str, image: LocalImage
) -> Iterator[tuple[str, str]]:
    """An instance as homeport starts it; yields its id and its address."""
    address = network.free_address([])
    instance = Instance(secrets.token_hex(6), "bench", digest, spec, address)
    pid = instances.start(instance, image, {"PORT": str(spec.port)}, {})
    try:
        yield instance.id, address
    finally:
        os.kill(pid, signal.SIGKILL)
        instances.remove(instance.id)


def _chrooted(root: Path, image: LocalImage) -> float:
    """Seconds until the image's program answers, started in its files and nothing else."""
    config = image.config.config
    port = free_port()
    environment = {**dict(one.split("=", 1) for one in config.env or ()), "PORT": str(port)}
    command = [
        "/usr/sbin/chroot",
        "--userspec=65532:65532",
        str(root),
        *(config.entrypoint or ()),
        *(config.cmd or ()),
    ]
    started = time.monotonic()
    with subprocess.Popen(command, env=environment) as process:
        try:
            return _answered("127.0.0.1", port, started)
        finally:
            process.kill()


@contextmanager
def _podman(folder: Path, images: Images) -> Iterator[Callable[[], float] | None]:
    """A start by podman, in seconds until it answers; None where podman is not installed or cannot run."""
    if shutil.which("podman") is None:
        yield None
        return
    store = ["--root", str(folder / "podman"), "--runroot", "/run/bench-podman", "--events-backend", "file"]
    podman = ["podman", *store, "--runtime", "runc", "--cgroup-manager", "cgroupfs"]

    def start() -> float:
        port = free_port()
        # Of podman's own limits some machines allow none that are above the ones there are.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"]
        started = time.monotonic()
        subprocess.run(
            [*podman, "run", "--detach", "--network", "host", *limits, "--env", f"PORT={port}",
             "--name", "bench", identity],
            check=True, capture_output=True,
        )  # fmt: skip
        try:
            return _answered("127.0.0.1", port, started)
        finally:
            subprocess.run(
                [*podman, "rm", "--force", "--time", "0", "bench"], check=True, capture_output=True
            )

    try:
        subprocess.run([*podman, "pull", f"oci:{images.folder / 'image'}"], check=True, capture_output=True)
        listed = subprocess.run([*podman, "images", "--format", "json"], check=True, capture_output=True)
        identity = str(json.loads(listed.stdout)[0]["Id"])
        start()
    except subprocess.CalledProcessError:
        yield None
    else:
        yield start
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], check=False, capture_output=True)
        shutil.rmtree("/run/bench-podman", ignore_errors=True)


def _answered(address: str, port: int, started: float) -> float:
    deadline = started + 30
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address, port), 5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: cold\r\n\r\n")
            if connection.recv(100):
                return time.monotonic() - started
        time.sleep(0.001)
    raise RuntimeError(f"{address}:{port} did not answer")
