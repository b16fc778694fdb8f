"""A homeport that runs on this machine, as its owner sees it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from tagboat.edge import Edge, Visitor

BIN = Path(sys.executable).parent


class Homeport:
    """Its data are in `data`; `environment` are the AWS settings that drive it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        exports = subprocess.run(
            [BIN / "homeport", "env", "--data", data], check=True, capture_output=True, text=True
        ).stdout
        self.environment: dict[str, str] = dict(
            re.findall(r"^export (\w+)='?([^'\n]*)'?$", exports, re.MULTILINE)
        )
        self.https = json.loads((data / "homeport.json").read_text())["https_port"]

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="local-1",
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def get(self, name: str) -> str:
        """The page of the service of that name."""
        edge = Edge(f"https://{name}.localhost:{self.https}", self.data / "ca.pem")
        return Visitor(edge).get("/").text


@contextmanager
def serving_homeport(folder: Path) -> Iterator[Homeport]:
    """One of its own on free ports, as long as the context lasts."""
    data, file = folder / "port", folder / "port.log"
    free = ("--port", "0", "--https-port", "0", "--http-port", "0")
    with file.open("w") as log:
        process = subprocess.Popen([BIN / "homeport", "serve", "--data", data, *free], stderr=log)
        try:
            deadline = time.monotonic() + 180
            while not (data / "homeport.json").exists():
                assert process.poll() is None, file.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield Homeport(data)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(180) == 0
