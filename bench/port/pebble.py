"""Debian's pebble, a real ACME authority, and a DNS server whose names all lead to loopback."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench.ports import free_port
from homeport.authority import Authority

__all__ = ["Pebble", "open_pebble"]

# It does not wait before it looks and refuses nothing for sport (else it does, to be like the Internet), and
# every order is looked at anew.
_QUICK: Final = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}


class Pebble:
    """The authority as far as a client speaks with it, and what its names lead to."""

    def __init__(self, folder: Path, port: int, management: int, names: int) -> None:
        self.directory = f"https://localhost:{port}/dir"
        self.trust = folder / "ca.pem"
        self._management = management
        self._names = names

    def lead(self, name: str, address: str) -> None:
        """Let DNS say it."""
        self._tell("clear-a", {"host": f"{name}."})
        self._tell("add-a", {"host": f"{name}.", "addresses": [address]})

    def root(self) -> str:
        """The certificate that its chains end in."""
        context = ssl.create_default_context(cafile=str(self.trust))
        url = f"https://localhost:{self._management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=60) as answer:
            return str(answer.read().decode())

    def _tell(self, call: str, document: dict[str, Any]) -> None:
        url = f"http://127.0.0.1:{self._names}/{call}"
        urllib.request.urlopen(url, json.dumps(document).encode(), timeout=60).close()


@contextmanager
def open_pebble(folder: Path, http_port: int, life: int = 86_400) -> Iterator[Pebble]:
    """On free ports, with its files in `folder`; it looks for answers to challenges on `http_port`.

    Its certificates are valid for `life` seconds.
    """
    acme, management, dns, names = (free_port() for _ in range(4))
    Authority(folder).ensure_leaf(folder / "leaf.pem", ["localhost"])
    settings = {
        "listenAddress": f"127.0.0.1:{acme}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "leaf.pem"),
        "privateKey": str(folder / "leaf.pem"),
        "httpPort": http_port,
        "tlsPort": 1,
        "certificateValidityPeriod": life,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    server = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{names}"]
    for unused in ("-http01", "-https01", "-tlsalpn01", "-defaultIPv6"):
        server += [unused, ""]
    server += ["-defaultIPv4", "127.0.0.1"]
    authority = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    with (folder / "log").open("wb") as log, ExitStack() as stack:
        for command in (server, authority):
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | _QUICK)
            stack.enter_context(process)
            stack.callback(process.kill)
        for port in (acme, management, names):
            _await(port)
        yield Pebble(folder, acme, management, names)


def _await(port: int) -> None:
    for _ in range(2400):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")
