"""The instances' network: a bridge of homeport's own, one namespace an instance, and the rules between them.

An instance reaches the world (masqueraded) and the object store on the bridge's address, nothing else: no
other instance (its bridge port is isolated, and nothing is routed from the bridge to a bridge), no service of
the host, and nothing but a name server where clouds have their metadata (link-local addresses, and more).
Nobody outside the host reaches an instance but through the edge.

Forwarding is switched on for two interfaces only, the bridge and the one with the default route. Where
homeport is the one that switched the latter on, its rules also refuse to route anything new that comes in
there, so that the host does not become a router; the last homeport of the machine to stop switches it off
again.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from homeport.command import apart, run
from homeport.errors import CommandError, NetworkError
from homeport.layout import Layout

_RANGES = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
CREDENTIALS: Final = "169.254.170.2"  # where AWS's SDKs ask for a container's credentials
_CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>
# Where clouds tell a machine who it is and what keys it has: in AWS's way, and Azure's, Alibaba's, Oracle's.
_METADATA = tuple(
    map(IPv4Network, ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"))
)
_CONNECTIONS = 4096  # of one instance that the kernel keeps track of; of all it keeps some 100,000
_NAMESPACES = Path("/run/netns")
_HOST_PORTS = "host_ports"  # the set of who may connect to what on the host
_libc = ctypes.CDLL(None, use_errno=True)
_PREFIX = "hp-"  # of every homeport's bridge on this machine


def choose_subnet(key: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """A /24 of the private ranges that overlaps none of `taken`; the same key tries the same ones first.

    Raises NetworkError when there is none.
    """
    used = list(taken)
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
    for whole in _RANGES:
        count = 1 << (24 - whole.prefixlen)
        for step in range(count):
            offset = ((start + step) % count) << 8
            subnet = IPv4Network((int(whole.network_address) + offset, 24))
            if not any(subnet.overlaps(other) for other in used):
                return subnet
    raise NetworkError("no private /24 is free for the instances: every one overlaps a route of this machine")


def nameservers(resolv_conf: str) -> list[str]:
    """The name servers of a resolv.conf that an instance can reach: not the host's own loopback."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        with suppress(ValueError):
            address = ip_address(words[1])
            if address.version == 4 and not address.is_loopback:
                found.append(str(address))
    return found


def host_resolv_conf() -> str:
    """The host's resolv.conf, or systemd-resolved's own list where the host's names only its stub on
    loopback.
    """
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        with suppress(OSError):
            text = path.read_text(errors="replace")
            if nameservers(text):
                return text
    return ""


def rules(
    key: str,
    subnet: IPv4Network,
    s3_port: int,
    *,
    guarded: Iterable[str],
    dns: Iterable[str],
    host_ports: Mapping[str, Iterable[int]],
    connections: int | None,
) -> str:
    """The nftables table of one homeport.

    `guarded`: interfaces whose forwarding homeport switched on. `host_ports`: what instances may connect to
    on the host, by their addresses. `connections`: how many an instance has at a time; None for any number.
    """
    bridge_address = subnet[1]
    ask = [f"ip daddr {server} meta l4proto {{ tcp, udp }} th dport 53 accept" for server in dns]
    listed = ", ".join(_elements(address, ports) for address, ports in host_ports.items() if ports)
    counted = f"ct state new add @connected {{ ip saddr ct count over {connections} }} goto refused"
    guards = [f'iifname "{name}" oifname != "{_PREFIX}*" ct state new drop' for name in guarded]
    return f"""
table inet {key}
delete table inet {key}
table inet {key} {{
    set {_HOST_PORTS} {{
        type ipv4_addr . inet_service
        {f"elements = {{ {listed} }}" if listed else ""}
    }}
    set connected {{
        type ipv4_addr
        size 1024
        flags dynamic
    }}
    chain refused {{
        meta l4proto tcp reject with tcp reset
        reject
    }}
    chain bounded {{
        {"" if connections is None else counted}
    }}
    chain input {{
        type filter hook input priority filter - 10; policy accept;
        iifname != "{key}" accept
        ct state established,related accept
        jump bounded
        ip saddr {subnet} ip daddr {bridge_address} tcp dport {s3_port} accept
        ip daddr {bridge_address} ip saddr . tcp dport @{_HOST_PORTS} accept
        goto refused
    }}
    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        iifname "{key}" jump egress
        oifname "{key}" ct state established,related accept
        oifname "{key}" drop
        {"; ".join(guards)}
    }}
    chain egress {{
        ip saddr != {subnet} drop
        jump bounded
        oifname "{_PREFIX}*" reject
        {"; ".join(ask)}
        ip daddr {{ {", ".join(map(str, _METADATA))} }} reject
        accept
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} oifname != "{key}" masquerade
    }}
}}
"""


@dataclass(slots=True)
class Network:
    """The bridge and the namespaces of one homeport. All calls block; `open` comes first."""

    layout: Layout
    s3_port: int
    subnet: IPv4Network = field(init=False)
    _allowed: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # by instance

    @property
    def bridge(self) -> str:
        return self.layout.key

    @property
    def bridge_address(self) -> str:
        return str(self.subnet[1])

    def open(self, host_ports: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType({})) -> None:
        """Make the bridge, or take over the one that an earlier process left with instances on it.

        `host_ports` has their addresses, and which of the host's ports they may connect to.
        """
        self._allowed = {name: (address, ports) for name, (address, ports) in host_ports.items() if ports}
        with self._machine():
            self.subnet = self._adopt() or self._create()
            forwarding = _Forwarding(self.layout.run.parent)
            forwarding.enable(self.bridge)
            forwarding.enable_egress()
            try:
                self._rule(forwarding, _CONNECTIONS)
            except CommandError:
                self._rule(forwarding, None)
                print(
                    "homeport: this kernel does not count connections (nft_connlimit): one instance may have "
                    "as many as leave none for the others",
                    file=sys.stderr,
                )

    def _rule(self, forwarding: _Forwarding, connections: int | None) -> None:
        servers = nameservers(host_resolv_conf())
        text = rules(
            self.layout.key,
            self.subnet,
            self.s3_port,
            guarded=forwarding.guarded(),
            dns=[one for one in servers if any(IPv4Address(one) in few for few in _METADATA)],
            host_ports=dict(self._allowed.values()),
            connections=connections,
        )
        run("nft", "-f", "-", text=text)

    def close(self) -> None:
        """Remove everything: namespaces, bridge, rules; forwarding too when no other homeport is left."""
        for name in self.namespaces():
            self.detach(name)
        with self._machine():
            _quietly("nft", "delete", "table", "inet", self.layout.key)
            for link in _links():
                if link.startswith(self.bridge):
                    _quietly("ip", "link", "delete", link)
            others = [link for link in _links() if link.startswith(_PREFIX)]
            if not others:
                _Forwarding(self.layout.run.parent).restore()

    def free_address(self, reserved: Iterable[str]) -> str:
        """The lowest address that neither a namespace uses nor the caller has promised to an instance."""
        taken = set(reserved)
        links = set(_links())
        for host in list(self.subnet.hosts())[1:]:
            if str(host) not in taken and self._veth(str(host)) not in links:
                return str(host)
        raise NetworkError(f"all addresses of {self.subnet} are in use: too many instances on one machine")

    def namespace(self, instance: str) -> Path:
        return _NAMESPACES / f"{self.layout.key}-{instance}"

    def attach(self, instance: str, address: str, host_ports: tuple[int, ...] = ()) -> None:
        """Make the instance's namespace, with `address` on its eth0 and the bridge as its way out.

        Of the host it reaches the object store and, on the bridge's address, the TCP ports `host_ports`.

        The MAC address follows from the IP address, so an address that is used again needs no new ARP entry.
        """
        name = self.namespace(instance).name
        veth = self._veth(address)
        mac = _mac(IPv4Address(address))
        run(
            "ip", "-batch", "-",
            text=f"netns add {name}\n"
            f"link add {veth} type veth peer name eth0 address {mac} netns {name}\n"
            f"link set {veth} master {self.bridge} up\n"
            f"link set {veth} type bridge_slave isolated on\n",
        )  # fmt: skip
        inside = (
            f"addr add {address}/{self.subnet.prefixlen} dev eth0\n"
            f"addr add {CREDENTIALS}/32 dev lo\n"
            "link set lo up\nlink set eth0 up\n"
            f"route add default via {self.bridge_address}\n"
        )

        def configure() -> None:
            # Not `ip -n`, which mounts a /sys of its own and so fails in a chroot that is no mount point.
            _enter(self.namespace(instance))
            run("ip", "-batch", "-", text=inside)

        apart(configure)
        if host_ports:
            self._allowed[instance] = address, host_ports
            elements = _elements(address, host_ports)
            run("nft", f"add element inet {self.layout.key} {_HOST_PORTS} {{ {elements} }}")

    def listen(self, instance: str) -> socket.socket:
        """A socket inside the instance's namespace, where its programs look for credentials.

        It stays there: a socket belongs to the namespace that it was made in.
        """

        def open_inside() -> socket.socket:
            _enter(self.namespace(instance))
            return socket.create_server((CREDENTIALS, 80))

        try:
            return apart(open_inside)
        except OSError as error:
            raise NetworkError(f"no socket can be had in the namespace of {instance}: {error}") from error

    def detach(self, instance: str) -> None:
        """Remove the instance's namespace, and with it, a moment later, its veth; it may be gone already."""
        if (allowed := self._allowed.pop(instance, None)) is not None:
            elements = _elements(*allowed)
            _quietly("nft", f"delete element inet {self.layout.key} {_HOST_PORTS} {{ {elements} }}")
        if self.namespace(instance).exists():
            _quietly("ip", "netns", "delete", self.namespace(instance).name)

    def namespaces(self) -> list[str]:
        """The instances that have a namespace."""
        prefix = f"{self.layout.key}-"
        if not _NAMESPACES.is_dir():
            return []
        return [
            path.name.removeprefix(prefix) for path in _NAMESPACES.iterdir() if path.name.startswith(prefix)
        ]

    def _veth(self, address: str) -> str:
        return f"{self.layout.key}v{IPv4Address(address).packed[3]}"

    def _adopt(self) -> IPv4Network | None:
        if self.bridge not in _links():
            return None
        addresses = json.loads(run("ip", "-j", "-4", "addr", "show", "dev", self.bridge))[0]["addr_info"]
        if not addresses:
            run("ip", "link", "delete", self.bridge)
            return None
        return IPv4Interface(f"{addresses[0]['local']}/{addresses[0]['prefixlen']}").network

    def _create(self) -> IPv4Network:
        subnet = choose_subnet(self.layout.key, _taken())
        # With an address of its own: else the bridge takes a port's, and changes it when that port goes.
        run("ip", "link", "add", self.bridge, "address", _mac(subnet[1]), "type", "bridge")
        Path(f"/proc/sys/net/ipv6/conf/{self.bridge}/disable_ipv6").write_text("1")
        run(
            "ip", "-batch", "-",
            text=f"addr add {subnet[1]}/24 dev {self.bridge}\nlink set {self.bridge} up\n",
        )  # fmt: skip
        return subnet

    @contextmanager
    def _machine(self) -> Iterator[None]:
        self.layout.machine_lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.layout.machine_lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Forwarding:
    """Which interfaces the homeports of this machine made forward, remembered in files of `/run/homeport`."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory

    def enable(self, interface: str) -> None:
        _forwarding(interface).write_text("1")

    def enable_egress(self) -> None:
        for route in json.loads(run("ip", "-j", "-4", "route", "show", "default")):
            interface = route.get("dev")
            if interface is not None and _forwarding(interface).read_text().strip() == "0":
                self._mark(interface).touch()
                self.enable(interface)

    def guarded(self) -> list[str]:
        """None once the administrator (or Docker) has made the whole machine a router."""
        if _forwarding("all").read_text().strip() == "1":
            return []
        return sorted(path.name.removeprefix("forwarding-") for path in self._marks())

    def restore(self) -> None:
        router = _forwarding("all").read_text().strip() == "1"
        for mark in self._marks():
            if not router:
                with suppress(OSError):
                    _forwarding(mark.name.removeprefix("forwarding-")).write_text("0")
            mark.unlink()

    def _mark(self, interface: str) -> Path:
        return self._directory / f"forwarding-{interface}"

    def _marks(self) -> list[Path]:
        return list(self._directory.glob("forwarding-*"))


def _forwarding(interface: str) -> Path:
    return Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding")


def _taken() -> list[IPv4Network]:
    """What a new subnet must not hide: every route of the machine, and its name servers."""
    routes: list[dict[str, Any]] = json.loads(run("ip", "-j", "-4", "route", "show", "table", "all"))
    taken = [IPv4Network(server) for server in nameservers(host_resolv_conf())]
    for route in routes:
        if route["dst"] != "default":
            taken.append(IPv4Network(route["dst"], strict=False))
        if "gateway" in route:
            taken.append(IPv4Network(route["gateway"]))
    return taken


def _mac(address: IPv4Address) -> str:
    return "02:68:" + ":".join(f"{part:02x}" for part in address.packed)


def _links() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir()]


def _elements(address: str, ports: Iterable[int]) -> str:
    return ", ".join(f"{address} . {port}" for port in ports)


def _enter(namespace: Path) -> None:
    """Have the calling thread be in a network namespace, setns(2). Raises OSError."""
    with namespace.open() as opened:
        if _libc.setns(opened.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def _quietly(*arguments: str) -> None:
    """For what may be gone already."""
    with suppress(CommandError):
        run(*arguments)
