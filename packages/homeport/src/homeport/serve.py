"""`homeport serve`: everything of one data directory, in one process, from start to stop."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import uvicorn
from obstore.store import LocalStore
from starlette.types import ASGIApp

import bucketlog
from homeport.acme import Acme
from homeport.admin import Admin, Upgrades
from homeport.api import Gate, create_app, create_s3_app
from homeport.attestation import public_pem
from homeport.audit import FOLDER, Trail
from homeport.catalogue import Catalogue
from homeport.connection import Connection
from homeport.console import ByEdge, Console
from homeport.controller import Port
from homeport.credentials import Keyring
from homeport.disk import write
from homeport.errors import HomeportError
from homeport.expiry import expire
from homeport.hosts import is_local
from homeport.instance_role import InstanceRoles
from homeport.jwks import Keys
from homeport.layout import Layout
from homeport.listeners import Listeners
from homeport.metrics import Metrics
from homeport.model import Service
from homeport.origins import Origins
from homeport.place import REGION
from homeport.repositories import Repositories
from homeport.resources import Resources
from homeport.roles import Roles
from homeport.upkeep import look_after
from homeport.vault import Vault
from ocikit import OcikitError, Reference
from ocikit.registry import RegistryApp, Storage

S3_PORT = 9000  # on the bridge's own address, so that no other homeport is in the way
LOOPBACK = "127.0.0.1"

_GRACE = 10  # seconds that requests under way get when we stop
_KEEP_ALIVE = 120  # seconds; obstore keeps idle connections for 90, and must never write into a closing one


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports, of which `control` is on loopback; 0 asks for a free one."""

    control: int
    https: int
    http: int


@dataclass(frozen=True, slots=True)
class Front:
    """How the world sees us: the address that the edge listens on, what services' names end in, the directory
    of the authority (ACME) that signs for names which are not local, and the host of the console, at which
    registry and API answer too where `api` says so.
    """

    address: str = LOOPBACK
    domain: str = "localhost"
    acme: str | None = None
    console: str | None = None
    api: bool = False

    def registry(self, control: str, https_port: int) -> str:
        """The registry's URL in answers, where the control port is at `control`."""
        if not self.api:
            return f"http://{control}"
        return f"https://{self.console}{'' if https_port == 443 else f':{https_port}'}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """What `homeport.json` holds: where a running homeport is found, and by which process."""

    endpoint: str
    registry: str
    https_port: int
    http_port: int
    pid: int
    version: str = ""  # of whom it has written; empty before versions did

    @classmethod
    def of(cls, control: str, registry: str, edge: Ports, pid: int, *, version: str) -> Addresses:
        registry_host = registry.partition("://")[2]
        return cls(f"http://{control}", registry_host, edge.https, edge.http, pid, version)

    @classmethod
    def read(cls, data: Path) -> Addresses:
        """Raises HomeportError when nothing was ever served from this directory."""
        path = data / "homeport.json"
        try:
            document = json.loads(path.read_text())
            known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
            return cls(**known)
        except FileNotFoundError:
            raise HomeportError(f"{path} is not there; start `homeport serve --data {data}` first") from None
        except OSError as error:
            raise HomeportError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError) as error:
            raise HomeportError(f"{path} is damaged: {error}") from None

    def write(self, data: Path) -> None:
        partial = data / ".homeport.json"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(data / "homeport.json")


async def serve(
    data: Path, ports: Ports, front: Front, listeners: Listeners, backup: str | None = None
) -> bool:
    """Serve the folder `data` until SIGTERM or SIGINT, then stop what was started. Raises HomeportError.

    Where a `backup` is named, it is brought up to date once a day.
    SIGUSR2 is for another version that has been installed: True is returned while everything runs on, and
    `listeners` listen, for whoever serves the folder next.
    """
    orders, ours = _Orders(), version("homeport")
    control = listeners.tcp(LOOPBACK, ports.control)
    at_loopback = f"{LOOPBACK}:{control.getsockname()[1]}"
    keyring = Keyring.open(data)
    images = Storage(LocalStore(data / "registry", mkdir=True))
    with bucketlog.connect(f"file://{data / 'state'}") as database, ExitStack() as held:
        edge = _edge_ports(data, ports, listeners, held)
        registry_url = front.registry(at_loopback, edge.https)
        port: Port
        roles: Roles | None = None  # until the directory is ours
        port = Port(
            data,
            database=database,
            images=images,
            registry_hosts=(at_loopback, registry_url.partition("://")[2]),
            https_port=edge.https,
            http_port=edge.http,
            s3_port=S3_PORT,
            environment=lambda service: _store_access(keyring, port, service),
            address=front.address,
            domain=front.domain,
            issuer=None if front.acme is None else Acme(front.acme, data / "acme"),
            console=front.console,
            listeners=listeners,
            roles=InstanceRoles(keyring, lambda name: None if roles is None else roles.find(name)),
        )
        await port.start()
        # From here on the directory is ours alone; before, another process may be at work in it.
        try:
            roles = Roles(database)
            apps = _Apps.of(
                data,
                port,
                database=database,
                images=images,
                keyring=keyring,
                roles=roles,
                registry_url=registry_url,
                ours=ours,
            )
            write(data / "origin.pub", public_pem(keyring.attestation_key), mode=0o644)
            write(data / "metrics-token", keyring.metrics_token.encode(), mode=0o600)
            servers = [
                _Server(apps.s3, listeners.tcp(port.bridge_address, S3_PORT)),
                _Server(apps.admin, control),
            ]
            if front.console is not None:
                by_edge = ByEdge(apps.admin if front.api else apps.console)
                servers.append(_Server(by_edge, port.console_listener()))
            tasks = [asyncio.create_task(server.run()) for server in servers]
            keeping = asyncio.create_task(apps.trail.keep())
            upkeep = asyncio.create_task(look_after(data, apps.registry, apps.expire, backup))
            _announce(data, Addresses.of(at_loopback, registry_url, edge, os.getpid(), version=ours), front)
            told = asyncio.create_task(orders.told.wait())
            await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
            _say("making room for another version" if orders.leave else "stopping")
            upkeep.cancel()
        finally:
            # Instances first: until they are gone they may need the object store.
            if orders.leave:
                await port.leave()
            else:
                await port.stop()
                (data / "homeport.json").unlink(missing_ok=True)
        apps.console.close()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
        keeping.cancel()  # the last calls are written
        await asyncio.gather(keeping, upkeep, return_exceptions=True)
    return orders.leave


@dataclass(frozen=True, slots=True)
class _Apps:
    """What answers of a directory that is ours, and what it takes to look after that: the `trail` of calls,
    the `registry`, and what lets images `expire`.
    """

    s3: ASGIApp
    admin: Admin
    console: Console
    trail: Trail
    registry: RegistryApp
    expire: Callable[[], Awaitable[int]]

    @classmethod
    def of(
        cls,
        data: Path,
        port: Port,
        *,
        database: bucketlog.Connection,
        images: Storage,
        keyring: Keyring,
        roles: Roles,
        registry_url: str,
        ours: str,
    ) -> _Apps:
        """Of the folder `data`; `ours` is the version that answers."""
        gate, trail = Gate(keyring, port, roles), Trail(data / FOLDER)
        repositories, catalogue = Repositories(database), Catalogue(images, port.digests)
        s3 = create_s3_app(data / "buckets", gate)
        app = create_app(
            port,
            gate=gate,
            keyring=keyring,
            roles=roles,
            keys=Keys(),
            origins=Origins(database),
            repositories=repositories,
            resources=Resources(database),
            catalogue=catalogue,
            vault=Vault(Layout(data).secrets),
            registry_url=registry_url,
            s3=s3,
            trail=trail,
        )
        console = Console(port, trail, data / FOLDER, keyring.is_root, partial(_tags, catalogue))
        admin = Admin(
            app,
            console,
            gate=gate,
            ingress=port.ingress,
            metrics=Metrics(port, trail.counts, ours),
            token=keyring.metrics_token,
            upgrades=Upgrades(data, ours, trail),
        )
        return cls(s3, admin, console, trail, app.registry, partial(expire, repositories, catalogue))


def _store_access(keyring: Keyring, port: Port, service: Service) -> Mapping[str, str]:
    """The variables by which an instance of the service finds the object store, and may use it."""
    key = keyring.service_key(service.spec.name, service.id)
    return {
        "AWS_ENDPOINT_URL": f"http://{port.bridge_address}:{S3_PORT}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
    }


async def _tags(catalogue: Catalogue, service: Service) -> dict[str, list[str]]:
    """Which tags of the service's repository name which digest; none of one in another registry."""
    found: dict[str, list[str]] = {}
    with suppress(OcikitError):
        for tag, digest in await catalogue.tags(Reference.parse(service.spec.image).repository):
            found.setdefault(str(digest), []).append(tag)
    return found


class _Orders:
    """What this process is told by signals. The first one counts."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.leave = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.told.set)
        loop.add_signal_handler(signal.SIGUSR2, self._leave)

    def _leave(self) -> None:
        if not self.told.is_set():
            self.leave = True
            self.told.set()


class _Server(uvicorn.Server):
    """uvicorn on a socket of ours; signals are the whole process's to handle, not one of its servers'."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                reset_contextvars=True,  # who asks is known of one request and not of the next
                access_log=False,
                log_level="error",
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # nobody in front of us says who asks
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._listener = listener

    async def run(self) -> None:  # type: ignore[override]
        await self.serve([self._listener])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def environment_of(data: Path) -> dict[str, str]:
    """What the clients of a homeport are told by: AWS's usual variables, and the CA of its edge."""
    addresses = Addresses.read(data)
    root = Keyring.load(data).root
    return {
        "AWS_ENDPOINT_URL": addresses.endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": root.id,
        "AWS_SECRET_ACCESS_KEY": root.secret,
        "AWS_ALLOW_HTTP": "true",  # what obstore, and so bucketlog, needs for an endpoint without TLS
        "HOMEPORT_CA": str(data.resolve() / "ca.pem"),
    }


def _edge_ports(data: Path, ports: Ports, listeners: Listeners, held: ExitStack) -> Ports:
    """Free ones where none are said: those of the predecessor, if there is one.

    Until `held` ends nobody but the edge can have them, also when it has to be started again.
    """
    if listeners.inherited:
        before = Addresses.read(data)
        return Ports(0, ports.https or before.https_port, ports.http or before.http_port)
    return Ports(0, ports.https or _hold_port(held), ports.http or _hold_port(held))


def _announce(data: Path, addresses: Addresses, front: Front) -> None:
    try:
        addresses.write(data)
    except OSError as error:  # whoever asks for a service need not know where homeport is found
        _say(f"{data / 'homeport.json'} is not written: {error.strerror}")
    _say(f"registry and AWS API at {addresses.endpoint}")
    suffix = "" if addresses.https_port == 443 else f":{addresses.https_port}"
    trusted = f", trusted by {data / 'ca.pem'}" if is_local(front.domain) else ""
    _say(f"services at https://NAME.{front.domain}{suffix}{trusted}")
    console = f"https://{front.console}{suffix}/" if front.console else f"{addresses.endpoint}/"
    _say(f"console at {console}, for whoever has the root key")
    _say(f'to drive it: eval "$(homeport env --data {shlex.quote(str(data))})"')


def _hold_port(held: ExitStack) -> int:
    """A free port that the kernel gives to nobody else: it is for who asks for this one, and is willing to
    share it, as HAProxy is (socket(7)). What does not listen is given no connection.
    """
    holder = held.enter_context(socket.socket())
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        holder.setsockopt(socket.SOL_SOCKET, option, 1)
    holder.bind((LOOPBACK, 0))
    port: int = holder.getsockname()[1]
    return port


def _say(line: str) -> None:
    print(f"homeport: {line}", file=sys.stderr, flush=True)
