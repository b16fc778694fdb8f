"""One container of an image on this machine, by runc, to try what was built.

It shares this machine's network: the app's port is open here as it will be there. Its file system is
read-only but for `/tmp` and the like, so that what would not run under a strict platform fails here already.
Configuration: OCI runtime specification 1.0.2.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from ocikit import Image, unpack
from tagboat.build.cache import Cache
from tagboat.errors import TagboatError

_GRACE = 10.0  # seconds that the app has after its stop signal
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")  # the network is shared, so its names are too
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/proc/acpi", "/proc/scsi")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")


class ContainerError(TagboatError):
    """The image cannot be run here."""


class PortError(ContainerError):
    """What was given for a pair of ports is none."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Port:
    """`here` on this machine's loopback leads to `there`, which the app listens on."""

    here: int
    there: int

    @classmethod
    def parse(cls, text: str) -> Port:
        numbers = text.split(":")
        if len(numbers) != 2 or not all(n.isdecimal() and 0 < int(n) < 65536 for n in numbers):
            raise PortError(f"{text!r} is no pair of ports", hint="write HERE:THERE, e.g. 9000:8080")
        return cls(int(numbers[0]), int(numbers[1]))


def run_image(
    image: Image,
    cache: Path,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str],
    ports: Sequence[Port] = (),
) -> int:
    """Run the image in the foreground; the exit code of its command, 128 + N when signal N ended it.

    `arguments` replace the image's own default ones. SIGINT and SIGTERM become the image's stop signal, and
    SIGKILL ten seconds later. Raises ContainerError when runc is missing or does not start it.
    """
    root = _root(image, Cache.open(cache))
    with tempfile.TemporaryDirectory(prefix="tagboat-run-") as name, ExitStack() as stack:
        directory = Path(name)
        for port in ports:
            stack.enter_context(_forwarded(port))
        document = configuration(image, root, arguments=arguments, environment=environment)
        (directory / "config.json").write_text(json.dumps(document))
        return _Runc(directory, f"tagboat-{os.getpid()}").run(_stop_signal(image))


def configuration(
    image: Image, root: Path, *, arguments: Sequence[str], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The runtime configuration. Without root, the app's user is whoever runs this, seen as 0 inside."""
    config = image.config.config
    rootless = os.geteuid() != 0
    uid, gid = (0, 0) if rootless else _user(config.user)
    inherited = dict(variable.partition("=")[::2] for variable in config.env)
    variables = {"PATH": _PATH, "HOME": "/tmp"} | inherited | dict(environment)  # noqa: S108  the container's
    command = [*config.entrypoint, *(arguments or config.cmd)]
    if not command:
        raise ContainerError("the image has neither an entry point nor a command")
    namespaces = ["pid", "ipc", "uts", "mount", *(["user"] if rootless else [])]
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    none: dict[str, list[str]] = {
        kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
    }
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": True},
        "hostname": "tagboat",
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": command,
            "env": [f"{name}={value}" for name, value in variables.items()],
            "cwd": config.working_dir or "/",
            "capabilities": none,
            "noNewPrivileges": True,
        },
        "mounts": list(_mounts(root)),
        "linux": linux,
    }


def _mounts(root: Path) -> Iterator[dict[str, Any]]:
    def mount(place: str, kind: str, *options: str, source: str | None = None) -> dict[str, Any]:
        return {"destination": place, "type": kind, "source": source or kind, "options": list(options)}

    yield mount("/proc", "proc", "nosuid", "noexec", "nodev")
    yield mount("/dev", "tmpfs", "nosuid", "mode=755", "size=65536k")
    yield mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    yield mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777")  # noqa: S108
    yield mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777")  # noqa: S108
    for file in _HOST_FILES:
        # A mount needs a file to be put on, and the image's own file system is not ours to change.
        if Path(file).is_file() and (root / file.lstrip("/")).exists():
            yield mount(
                file, "bind", "bind", "ro", "nosuid", "noexec", "nodev", source=str(Path(file).resolve())
            )


def _root(image: Image, cache: Cache) -> Path:
    """The image's file system, unpacked once; with its owners when we are root."""
    kind = "runs" if os.geteuid() == 0 else "runs-rootless"
    root = cache.path(kind, image.digest.hex)
    with cache.locked(f"{kind}-{image.digest.hex}"):
        if not root.is_dir():
            with cache.temporary() as folder:
                made = folder / "root"
                unpack(image, made)
                for file in _HOST_FILES:
                    place = made / file.lstrip("/")
                    place.parent.mkdir(exist_ok=True)
                    if not place.is_symlink():
                        place.touch()
                made.chmod(0o755)
                made.rename(root)
    return root.resolve()


def _user(text: str) -> tuple[int, int]:
    uid, _, gid = (text or "0").partition(":")
    if not uid.isdecimal() or not (gid or "0").isdecimal():
        raise ContainerError(
            f"the image runs as user {text!r}, which is not in numbers",
            hint="an image of tagboat has numbers",
        )
    return int(uid), int(gid or 0)


def _stop_signal(image: Image) -> int:
    name = image.config.config.stop_signal or "SIGTERM"
    with suppress(ValueError):
        return int(signal.Signals(int(name)))
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise ContainerError(f"the image's stop signal {name!r} is none of Linux") from None


@dataclass(frozen=True, slots=True)
class _Runc:
    """runc with a state of its own, in the folder that is the bundle too."""

    directory: Path
    name: str

    def run(self, stop: int) -> int:
        state, log = self.directory / "state", self.directory / "log"
        command = ["runc", "--root", str(state), "--log", str(log), "--log-format", "json"]
        try:
            # In a session of its own: Ctrl-C reaches us alone, and the app gets the image's stop signal.
            process = subprocess.Popen(
                [*command, "run", "--bundle", str(self.directory), self.name], start_new_session=True
            )
        except FileNotFoundError as error:
            raise ContainerError(
                "runc is not on this machine", hint="Debian and Ubuntu: apt-get install runc"
            ) from error

        def kill(number: int) -> None:
            subprocess.run([*command, "kill", self.name, str(number)], stderr=subprocess.DEVNULL, check=False)

        try:
            with _on_signals(lambda: kill(stop), lambda: kill(signal.SIGKILL)):
                code = process.wait()
        finally:
            subprocess.run([*command, "delete", "--force", self.name], stderr=subprocess.DEVNULL, check=False)
        if code != 0 and log.exists() and (complaint := log.read_text().strip()):
            raise ContainerError(json.loads(complaint.splitlines()[-1])["msg"])
        return code


@contextmanager
def _on_signals(stop: Callable[[], None], kill: Callable[[], None]) -> Iterator[None]:
    """Answer the first SIGINT or SIGTERM with `stop`, and the next, or a long wait, with `kill`."""
    timers: list[threading.Timer] = []

    def handle(_number: int, _frame: FrameType | None) -> None:
        if timers:
            kill()
            return
        timers.append(threading.Timer(_GRACE, kill))  # before `stop`, during which the next may come
        timers[0].start()
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()


@contextmanager
def _forwarded(port: Port) -> Iterator[None]:
    """Pass on what connects to `port.here` for as long as the block runs."""
    try:
        socket.create_server(("", port.there)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ContainerError(
                f"port {port.there}, which the app would open, cannot be opened here: {error.strerror}",
                hint="the network is this machine's own: end what listens there, or let the app take another",
            ) from error
    if port.here == port.there:  # the app's own is here already
        yield
        return
    try:
        listener = socket.create_server(("127.0.0.1", port.here))
    except OSError as error:
        raise ContainerError(f"port {port.here} cannot be opened here: {error.strerror}") from error

    def accept() -> None:
        with suppress(OSError):  # closed: the end
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_pass, args=(client, port.there), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _pass(client: socket.socket, port: int) -> None:
    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    with client, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server)
        back.join()
