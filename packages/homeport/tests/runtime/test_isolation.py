"""What an instance may do and reach, seen from inside it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

_LISTEN = """
import socket
server = socket.create_server(("0.0.0.0", 80))
print("ready", flush=True)
while True:
    server.accept()
"""


@pytest.fixture(scope="module")
def services(shared_harbour: Any, make_image: Any) -> Any:
    """Two services on one port."""
    shared_harbour.store(make_image())
    shared_harbour.create("web")
    shared_harbour.create("other")
    return shared_harbour


@pytest.fixture(scope="module")
def bridge(services: Any) -> str:
    listed = subprocess.run(
        ["ip", "-j", "-4", "addr", "show", "dev", services.layout.key], capture_output=True, check=True
    )
    return str(json.loads(listed.stdout)[0]["addr_info"][0]["local"])


@pytest.fixture
def listen() -> Iterator[Callable[[str, int], int]]:
    """Makes a listener in this process; returns its port."""
    sockets = []

    def make(host: str, port: int = 0) -> int:
        listener = socket.create_server((host, port))
        sockets.append(listener)
        return int(listener.getsockname()[1])

    yield make
    for listener in sockets:
        listener.close()


@pytest.fixture
def outside() -> Iterator[str]:
    """A host outside that listens on port 80, made of a namespace behind an interface of this machine."""
    name = f"outside{os.getpid() % 1000}"
    link = f"{name}v"
    inside = f"nsenter --net=/run/netns/{name}"
    commands = f"""
        ip netns add {name}
        ip link add {link} type veth peer name eth0 netns {name}
        ip addr add 203.0.113.1/24 dev {link}
        ip link set {link} up
        {inside} ip addr add 203.0.113.2/24 dev eth0
        {inside} ip addr add 169.254.169.254/32 dev eth0
        {inside} ip addr add 168.63.129.16/32 dev eth0
        {inside} ip link set eth0 up
        ip route add 169.254.169.254/32 via 203.0.113.2
        ip route add 168.63.129.16/32 via 203.0.113.2
    """
    listener = None
    try:
        for command in commands.strip().splitlines():
            subprocess.run(command.split(), check=True)
        Path(f"/proc/sys/net/ipv4/conf/{link}/forwarding").write_text(
            "1"
        )  # as on the way to the default route
        command = [*inside.split(), "/usr/bin/python3", "-c", _LISTEN]
        listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        yield "203.0.113.2"
    finally:
        if listener is not None:
            listener.kill()
            listener.communicate()
        subprocess.run(["ip", "link", "delete", link], check=False)
        subprocess.run(["ip", "netns", "delete", name], check=False)


def connect(services: Any, host: str, port: int) -> str:
    return str(services.get(f"/connect?host={host}&port={port}").text)


def address(services: Any, name: str) -> str:
    """Of the instance, by its own hosts file."""
    hosts = [path.read_text() for path in services.layout.instances.glob("*/hosts")]
    text = next(text for text in hosts if text.endswith(f"\t{name}\n"))
    return str(text.split()[-2])


def test_an_instance_reaches_itself_but_not_another(services: Any) -> None:
    assert connect(services, address(services, "web"), 8080) == "connected"
    assert connect(services, address(services, "other"), 8080) != "connected"
    assert services.get("/", "other").status == 200


def test_an_instance_reaches_the_object_store_and_no_other_service_of_the_host(
    services: Any, bridge: str, listen: Any
) -> None:
    listen(bridge, services.s3_port)
    assert connect(services, bridge, services.s3_port) == "connected"
    assert connect(services, bridge, listen(bridge)) == "ConnectionRefusedError"
    everywhere = listen("0.0.0.0")
    assert connect(services, bridge, everywhere) == "ConnectionRefusedError"
    assert connect(services, "127.0.0.1", listen("127.0.0.1")) == "ConnectionRefusedError"
    for host in _host_addresses():
        assert connect(services, host, everywhere) == "ConnectionRefusedError"


def test_an_instance_reaches_those_ports_of_the_host_that_its_service_lists(
    services: Any, make_image: Any, bridge: str, listen: Any, eventually: Any
) -> None:
    listed, other = listen("0.0.0.0"), listen("0.0.0.0")
    arn = services.create("client", host_ports=[listed])
    try:
        hosts = services.get("/read?path=/etc/hosts", "client").text
        assert f"{bridge}\thost.homeport.internal\n" in hosts
        for _ in range(2):
            path = f"/connect?host={bridge}&port="
            assert services.get(f"{path}{listed}", "client").text == "connected"
            assert services.get(f"{path}{other}", "client").text == "ConnectionRefusedError"
            assert connect(services, bridge, listed) == "ConnectionRefusedError"
            services.kill()  # the next one lets it go on
            services.start()
    finally:
        services.tell("delete_service", arn=arn)
        assert services.ended(arn)["status"] == "SUCCEEDED"
    rules = ["nft", "list", "set", "inet", services.layout.key, "host_ports"]
    assert "elements" not in subprocess.run(rules, capture_output=True, text=True, check=True).stdout


def test_an_instance_reaches_the_outside_but_no_metadata_of_a_cloud(services: Any, outside: str) -> None:
    assert connect(services, outside, 80) == "connected"
    for address_of_it in ("169.254.169.254", "168.63.129.16"):  # AWS's, and Azure's
        assert connect(services, address_of_it, 80) == "ConnectionRefusedError"


def test_an_instance_is_not_root_has_no_capabilities_and_cannot_gain_any(services: Any) -> None:
    me = services.get("/self").json()
    status = dict(line.split(":\t", 1) for line in me["status"].splitlines() if ":\t" in line)
    assert (me["uid"], me["gid"], me["pid"]) == (65532, 65532, 1)
    assert {status[name] for name in status if name.startswith("Cap")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/tmp/x", "written"),  # noqa: S108 - the instance's own
        ("/etc/hosts", "OSError"),
        ("/proc/sys/kernel/hostname", "OSError"),
        ("/sys/kernel/profiling", "OSError"),
        ("/app.py", "PermissionError"),
    ],
)
def test_an_instance_writes_where_its_user_may_and_nowhere_in_the_system(
    services: Any, path: str, result: str
) -> None:
    assert services.get(f"/write?path={path}").text == result


def test_an_instance_is_told_its_port_its_key_and_its_settings(services: Any) -> None:
    environment = services.get("/env").json()
    assert environment["PORT"] == "8080"
    assert environment["AWS_ACCESS_KEY_ID"] == "key-of-web"
    assert environment["HOSTNAME"] == "web"


def test_an_instance_that_takes_too_much_memory_is_killed_and_started_again_and_the_log_says_why(
    harbour: Any, make_image: Any, eventually: Any
) -> None:
    harbour.store(make_image())
    arn = harbour.create()
    with suppress(OSError, http.client.HTTPException):
        harbour.get("/eat?mib=200")
    eventually(lambda: harbour.served() == "1")
    assert any(
        "used more than its 128 MiB of memory and was killed" in event for event in harbour.events(arn)
    )


def test_a_process_of_an_instance_that_takes_too_much_memory_is_told_of_though_the_instance_lives(
    services: Any, eventually: Any
) -> None:
    before = services.containers()
    (arn,) = (one["arn"] for one in services.tell("services") if one["spec"]["name"] == "web")
    services.get("/breed")
    told = "a process of it used more than its 128 MiB of memory and was killed"
    eventually(lambda: any(told in event for event in services.events(arn)))
    assert f"[homeport: {told}]" in services.output(arn)
    assert services.containers() == before


def test_a_neighbour_that_takes_all_it_can_does_not_sink_the_others(
    services: Any, traffic: Any, eventually: Any
) -> None:
    arn = services.create("noisy", memory=512)
    other = services.containers()
    with traffic(services) as seen:
        assert 100 < int(services.get("/spawn", "noisy").text) < 1024
        for _ in range(3):
            services.get("/burn", "noisy")
        count = seen.answers.total()
        eventually(lambda: seen.answers.total() > count + 100)
        with suppress(OSError, http.client.HTTPException):
            services.get("/eat?mib=600", "noisy")
        told = "the instance used more than its 512 MiB of memory and was killed"
        eventually(lambda: any(told in event for event in services.events(arn)))
        eventually(lambda: services.served("noisy") == "1", 60)
        with suppress(OSError, http.client.HTTPException):
            services.get("/fill?mib=80", "noisy")
        told = "the instance wrote more than 64 MiB to its disk and was killed"
        eventually(lambda: any(told in event for event in services.events(arn)))
        assert f"[homeport: {told}]" in services.output(arn)
        eventually(lambda: services.served("noisy") == "1", 60)
    services.tell("delete_service", arn=arn)
    assert services.ended(arn)["status"] == "SUCCEEDED"
    assert seen.bad == {}
    assert services.containers().items() < other.items()


def test_a_user_of_the_image_by_name_and_a_port_below_1024_work(harbour: Any, make_image: Any) -> None:
    harbour.store(make_image(user="web"))
    harbour.create(port=80)
    me = harbour.get("/self").json()
    assert (me["uid"], me["gid"]) == (1234, 1235)
    assert harbour.get("/env").json()["HOME"] == "/home/web"


def test_an_instance_gets_as_much_of_a_cpu_as_the_service_says(services: Any) -> None:
    pid = next(iter(services.containers().values()))
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    top = Path("/sys/fs/cgroup")
    if "cpu" in groups or "cpu,cpuacct" in groups:
        name = "cpu" if "cpu" in groups else "cpu,cpuacct"
        assert (top / name / groups[name].lstrip("/") / "cpu.cfs_quota_us").read_text() == "50000\n"
        assert (top / "pids" / groups["pids"].lstrip("/") / "pids.max").read_text() == "1024\n"
    else:
        assert (top / groups[""].lstrip("/") / "cpu.max").read_text() == "50000 100000\n"
        assert (top / groups[""].lstrip("/") / "pids.max").read_text() == "1024\n"


def _host_addresses() -> list[str]:
    """Of the machine itself: the bridges of other homeports come and go."""
    listed = subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout
    return [
        entry["local"]
        for link in json.loads(listed)
        if link["ifname"] != "lo" and not link["ifname"].startswith("hp-")
        for entry in link["addr_info"]
    ]
