"""A custom domain and its www: from the call to the moment that both are served with them."""

from __future__ import annotations

import socket
import statistics
import time
from pathlib import Path
from typing import Final

from bench.port.harbour import Harbour, Images, until
from bench.port.pebble import open_pebble
from bench.row import Row

__all__ = ["issuance"]

_TIMES: Final = 3


def issuance(folder: Path, images: Images) -> list[Row]:
    """By Debian's pebble."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        http = free.getsockname()[1]
    seconds = []
    with (
        open_pebble(folder, http) as pebble,
        Harbour.start(
            folder / "port",
            *("--http-port", str(http), "--acme", pebble.directory),
            SSL_CERT_FILE=str(pebble.trust),
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
