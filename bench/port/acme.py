"""A custom domain and its www: from the call to the moment that both are served with them."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.port.harbour import Harbour, Images, until
from bench.row import Row
from homeport.authority import Authority

__all__ = ["issuance"]

_TIMES: Final = 3


def issuance(folder: Path, images: Images) -> list[Row]:
    """By Debian's pebble, which does not wait before it looks (else it does, to be like the Internet)."""
    folder.mkdir()
    acme, dns, names, http = _free_ports(4)
    seconds = []
    with (
        _pebble(folder, acme, dns, names, http),
        Harbour.start(
            folder / "port",
            *("--http-port", str(http), "--acme", f"https://localhost:{acme}/dir"),
            SSL_CERT_FILE=str(folder / "ca.pem"),
        ) as harbour,
    ):
        arn = harbour.create("answer", images.version("issued"))
        apprunner = harbour.client("apprunner")

        def active(number: int) -> bool:
            shown = apprunner.describe_custom_domains(ServiceArn=arn)["CustomDomains"]
            return bool(shown[number]["Status"] == "ACTIVE")

        for turn in range(_TIMES):
            started = time.monotonic()
            apprunner.associate_custom_domain(ServiceArn=arn, DomainName=f"shop{turn}.example")
            until(lambda turn=turn: active(turn))  # type: ignore[misc]
            seconds.append(time.monotonic() - started)
    return [Row("port", "two names issued by ACME and served", statistics.median(seconds), "s", goal=3)]


@contextmanager
def _pebble(folder: Path, acme: int, dns: int, names: int, http: int) -> Iterator[None]:
    """On these ports; all names lead to loopback, and are looked at on the port `http`."""
    Authority(folder).ensure_leaf(folder / "leaf.pem", ["localhost"])
    settings = {
        "listenAddress": f"127.0.0.1:{acme}",
        "certificate": str(folder / "leaf.pem"),
        "privateKey": str(folder / "leaf.pem"),
        "httpPort": http,
        "tlsPort": 1,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    server = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{names}"]
    server += [
        "-http01",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
        "-defaultIPv4",
        "127.0.0.1",
        "-defaultIPv6",
        "",
    ]
    authority = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    quick = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with ExitStack() as stack:
        for command in (server, authority):
            quiet = subprocess.DEVNULL
            process = stack.enter_context(subprocess.Popen(command, stdout=quiet, stderr=quiet, env=quick))
            stack.callback(process.terminate)
        until(lambda: all(_listens(port) for port in (acme, names)))
        yield


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in found]
