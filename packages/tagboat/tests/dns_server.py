"""Name servers on loopback: a resolver with a cache that tests fill, and servers that keep zones.

Each has an address of its own (127.0.0.1 is the resolver) and all have the same port, by UDP and by TCP.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.node
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

RESOLVER = "127.0.0.1"
SERVERS = ("127.0.0.2", "127.0.0.3")
_IN = dns.rdataclass.IN


class DnsServer:
    """Zones by the address that keeps them. Names of the servers are `ns2` for 127.0.0.2 and so on."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.zones: dict[str, dict[dns.name.Name, dns.zone.Zone]] = {}
        self.cache: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        self.silent: set[str] = set()
        self._lock = threading.RLock()
        self.reset()

    @property
    def setting(self) -> str:
        return f"{RESOLVER}:{self.port}"

    def reset(self) -> None:
        with self._lock:  # whoever gave up waiting may have left a question
            self.zones = {address: {} for address in SERVERS}
            self.cache.clear()
            self.silent.clear()
            self.zone("provider.test", "ns2 300 A 127.0.0.2\nns3 300 A 127.0.0.3\n")

    def zone(
        self, name: str, text: str, servers: tuple[str, ...] = SERVERS, names: tuple[str, ...] = ()
    ) -> None:
        """Keep a zone, or what it is now; `text` is that of a zone file without SOA and NS. `names` are those
        of the servers, if they are not the provider's.
        """
        head = "@ 3600 SOA ns2.provider.test. admin.provider.test. 1 3600 600 86400 300\n"
        named = names or tuple(f"ns{address[-1]}.provider.test" for address in servers)
        head += "".join(f"@ 3600 NS {one}.\n" for one in named)
        for address in servers:
            zone = dns.zone.from_text(head + text, origin=f"{name}.", relativize=False)
            with self._lock:
                self.zones[address][zone.origin] = zone

    def cached(self, name: str, ttl: int, kind: str, *values: str) -> None:
        """Let the resolver have heard this some time ago."""
        rrset = dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *values)
        with self._lock:
            self.cache[rrset.name, rrset.rdtype] = rrset

    def answer(self, address: str, wire: bytes) -> bytes | None:
        with self._lock:
            return self._answer(address, wire)

    def _answer(self, address: str, wire: bytes) -> bytes | None:
        if address in self.silent:
            return None
        query = dns.message.from_wire(wire)
        answer = dns.message.make_response(query)
        name, kind = query.question[0].name, query.question[0].rdtype
        if address == RESOLVER:
            assert query.flags & dns.flags.RD
            answer.flags |= dns.flags.RA
            self._resolve(answer, name, kind)
        else:
            assert not query.flags & dns.flags.RD
            self._serve(answer, self.zones[address], name, kind)
        return answer.to_wire(max_size=65535)

    def _resolve(self, answer: dns.message.Message, name: dns.name.Name, kind: int) -> None:
        for _ in range(8):
            heard = self.cache.get((name, kind)) or self.cache.get((name, dns.rdatatype.CNAME))
            if heard is None:
                part = dns.message.make_response(dns.message.make_query(name, kind))
                kept = {origin: zone for zones in self.zones.values() for origin, zone in zones.items()}
                self._serve(part, kept, name, kind)
                answer.set_rcode(part.rcode() if part.rcode() != dns.rcode.REFUSED else dns.rcode.NXDOMAIN)
                if not part.answer:
                    return
                (heard,) = part.answer
            answer.answer.append(heard)
            if heard.rdtype != dns.rdatatype.CNAME or kind == dns.rdatatype.CNAME:
                return
            name = heard[0].target

    @staticmethod
    def _serve(
        answer: dns.message.Message,
        zones: dict[dns.name.Name, dns.zone.Zone],
        name: dns.name.Name,
        kind: int,
    ) -> None:
        fitting = [origin for origin in zones if name.is_subdomain(origin)]
        if not fitting:
            answer.set_rcode(dns.rcode.REFUSED)
            return
        origin = max(fitting, key=len)
        zone = zones[origin]
        answer.flags |= dns.flags.AA
        node = zone.get_node(name) or zone.get_node(dns.name.from_text("*", origin))
        if node is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return
        for type_ in (kind, dns.rdatatype.CNAME):
            rdataset = node.get_rdataset(_IN, type_)
            if rdataset is not None:
                rrset = dns.rrset.RRset(name, _IN, type_)
                rrset.update(rdataset)
                answer.answer.append(rrset)
                return


@contextmanager
def serving() -> Iterator[DnsServer]:
    """A server on a free port, ended with the block."""
    with ExitStack() as stack:
        sockets: list[tuple[str, socket.socket]] = []
        port = _bind(stack, sockets)
        server = DnsServer(port)
        selector = stack.enter_context(selectors.DefaultSelector())
        for address, one in sockets:
            selector.register(one, selectors.EVENT_READ, address)
        ending = threading.Event()
        thread = threading.Thread(target=_loop, args=(server, selector, ending))
        thread.start()
        try:
            yield server
        finally:
            ending.set()
            thread.join()


def _bind(stack: ExitStack, sockets: list[tuple[str, socket.socket]]) -> int:
    """One port for all addresses and both protocols."""
    while True:
        with ExitStack() as attempt:
            made = []
            port = 0
            try:
                for address in (RESOLVER, *SERVERS):
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        one = attempt.enter_context(socket.socket(socket.AF_INET, kind))
                        one.bind((address, port))
                        port = one.getsockname()[1]
                        if kind == socket.SOCK_STREAM:
                            one.listen()
                        made.append((address, one))
            except OSError:  # somebody has this one
                continue
            stack.enter_context(attempt.pop_all())
            sockets.extend(made)
            return port


def _loop(server: DnsServer, selector: selectors.BaseSelector, ending: threading.Event) -> None:
    while not ending.is_set():
        for key, _ in selector.select(timeout=0.02):
            one, address = key.fileobj, key.data
            assert isinstance(one, socket.socket)
            if one.type == socket.SOCK_DGRAM:
                wire, client = one.recvfrom(4096)
                answer = server.answer(address, wire)
                if answer is not None:
                    one.sendto(answer if len(answer) <= 1232 else _cut(answer), client)
            else:
                connection, _ = one.accept()
                with (
                    connection,
                    suppress(OSError, struct.error, dns.exception.DNSException),
                ):  # it may go away
                    (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                    answer = server.answer(address, connection.recv(length, socket.MSG_WAITALL))
                    if answer is not None:
                        connection.sendall(struct.pack("!H", len(answer)) + answer)


def _cut(answer: bytes) -> bytes:
    """Only that there is more: ask by TCP."""
    message = dns.message.from_wire(answer)
    message.flags |= dns.flags.TC
    message.answer.clear()
    return message.to_wire()
