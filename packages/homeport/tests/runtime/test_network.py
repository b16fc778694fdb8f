"""The instances' network: which addresses it takes, whom it may ask for names."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import NetworkError
from homeport.layout import Layout
from homeport.network import Network, choose_subnet, nameservers

networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(9, 32),
)


@pytest.fixture
def layouts(tmp_path: Path) -> Iterator[list[Layout]]:
    found = [Layout(tmp_path / name) for name in ("a", "b")]
    for layout in found:
        layout.create()
    yield found
    for layout in found:
        shutil.rmtree(layout.run)


@given(key=st.text(max_size=20), taken=st.lists(networks, max_size=20))
def test_a_subnet_is_private_and_hides_no_route(key: str, taken: list[IPv4Network]) -> None:
    subnet = choose_subnet(key, taken)
    assert subnet.prefixlen == 24
    assert subnet.is_private
    assert not any(subnet.overlaps(other) for other in taken)


def test_the_same_key_gets_the_same_subnet_and_another_key_another() -> None:
    assert choose_subnet("hp-1", []) == choose_subnet("hp-1", [])
    assert choose_subnet("hp-1", []) != choose_subnet("hp-2", [])


def test_where_10_0_0_0_is_all_routed_another_range_is_taken() -> None:
    assert choose_subnet("hp-1", [IPv4Network("10.0.0.0/8")]).overlaps(IPv4Network("172.16.0.0/12"))


def test_where_every_private_address_is_routed_the_error_says_so() -> None:
    with pytest.raises(NetworkError, match="no private /24 is free"):
        choose_subnet("hp-1", [IPv4Network("0.0.0.0/0")])


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.53\nsearch example\nnameserver 1.1.1.1 # second\n", ["10.0.0.53", "1.1.1.1"]),
        ("nameserver 127.0.0.53\noptions edns0\n", []),
        ("nameserver ::1\nnameserver\nnameserver nonsense\n", []),
    ],
)
def test_name_servers_are_those_that_an_instance_can_reach(text: str, servers: list[str]) -> None:
    assert nameservers(text) == servers


def test_two_homeports_have_networks_that_do_not_overlap_and_both_leave_nothing(
    layouts: list[Layout],
) -> None:
    networks = []
    try:
        for layout in layouts:
            network = Network(layout, 9000)
            network.open()
            networks.append(network)
        assert not networks[0].subnet.overlaps(networks[1].subnet)
        networks[0].attach("one", networks[0].free_address([]))
        assert networks[0].namespaces() == ["one"]
        assert networks[1].namespaces() == []
    finally:
        for network in networks:
            network.close()
    for layout in layouts:
        assert layout.key not in _machine()


_CONNECT = """
import socket, sys
held, refused = [], 0
for _ in range(30):
    try:
        held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 60))
    except ConnectionRefusedError:
        refused += 1
print(len(held), refused)
"""


@pytest.mark.parametrize("counted", [True, False])
def test_an_instance_has_so_many_connections_and_no_more(
    layouts: list[Layout], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], counted: bool
) -> None:
    """Else one of them fills the table of all connections of the machine, the edge's too."""
    # A kernel that cannot count refuses the rule, as it does this one.
    monkeypatch.setattr("homeport.network._CONNECTIONS", 20 if counted else "no number")
    network = Network(layouts[0], 9000)
    network.open()
    try:
        network.attach("one", network.free_address([]))
        with socket.create_server((network.bridge_address, 9000), backlog=50):
            inside = ["nsenter", f"--net={network.namespace('one')}", sys.executable, "-c", _CONNECT]
            said = subprocess.run([*inside, network.bridge_address, "9000"], capture_output=True, check=True)
    finally:
        network.close()
    assert said.stdout == (b"20 10\n" if counted else b"30 0\n")
    assert ("does not count connections" in capsys.readouterr().err) is not counted


_FORWARDING = """
import sys
from pathlib import Path
from homeport.layout import Layout
from homeport.network import Network

def forwards():
    return Path("/proc/sys/net/ipv4/conf/out0/forwarding").read_text().strip()

seen, networks = [forwards()], []
for name in ("a", "b"):
    layout = Layout(Path(sys.argv[1]) / name)
    layout.create()
    networks.append(Network(layout, 9000))
    networks[-1].open()
    seen.append(forwards())
for network in networks:
    network.close()
    seen.append(forwards())
print(*seen)
"""
_ALONE = """
mount -t sysfs sysfs /sys
mkdir -p /run/homeport
mount -t tmpfs tmpfs /run/homeport
echo 0 > /proc/sys/net/ipv4/ip_forward
ip link add out0 type veth peer name far0
ip addr add 203.0.113.1/24 dev out0
ip link set out0 up
ip link set far0 up
ip route add default via 203.0.113.2
exec "$@"
"""


def test_the_last_homeport_of_a_machine_leaves_forwarding_as_it_was(tmp_path: Path) -> None:
    """On a machine that has no other: a network and what is known of it are the test's own."""
    alone = ["unshare", "--net", "--mount", "sh", "-euc", _ALONE, "sh"]
    done = subprocess.run(
        [*alone, sys.executable, "-c", _FORWARDING, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0 1 1 1 0\n"), done.stderr


def test_a_network_that_is_there_already_is_taken_over_with_its_addresses(layouts: list[Layout]) -> None:
    layout = layouts[0]
    first = Network(layout, 9000)
    first.open()
    try:
        address = first.free_address([])
        first.attach("one", address)
        second = Network(layout, 9000)
        second.open()
        assert second.subnet == first.subnet
        assert second.namespaces() == ["one"]
        assert second.free_address([]) != address
    finally:
        first.close()


def _machine() -> str:
    commands = (["ip", "link"], ["ip", "netns"], ["nft", "list", "ruleset"])
    return "".join(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands
    )
