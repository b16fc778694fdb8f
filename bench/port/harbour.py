"""A real `homeport serve` on free ports, AWS's own client for it, and images of the app to push."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any, Final

import boto3

from bench.ports import free_port
from homeport.serve import Addresses
from ocikit import Credentials, History, Image, Layer, LayerWriter, Layout, Reference, Registry

__all__ = ["Harbour", "Images", "until"]

_BIN: Final = Path(sys.executable).parent
_APP: Final = Path(__file__).parent / "app.py"
_PROJECT: Final = """\
[project]
name = "answer"
version = "1.0.0"
requires-python = ">=3.11"

[project.scripts]
answer = "answer:start"

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"

[tool.tagboat]
base = "debian:bookworm"
entrypoint = ["answer"]
"""


@dataclass(frozen=True, slots=True)
class Images:
    """Images of the app that differ in what they answer."""

    folder: Path
    image: Image

    @classmethod
    def build(cls, folder: Path) -> Images:
        """By tagboat, on Debian's packages: about 17 MB as it travels."""
        package = folder / "answer" / "src" / "answer"
        package.mkdir(parents=True)
        shutil.copy(_APP, package / "__init__.py")
        (folder / "answer" / "pyproject.toml").write_text(_PROJECT)
        (folder / "answer" / "requirements.lock").touch()
        subprocess.run(
            [_BIN / "tagboat", "build", folder / "answer", "--output", f"oci:{folder / 'image'}"],
            check=True,
            capture_output=True,
        )
        return cls(folder, Layout(folder / "image").image())

    def version(self, name: str, *, padding: int = 0) -> Image:
        """The image that answers `name`; `padding` bytes that do not compress are in its own layer."""
        made = self.image.append(self._layer(name, padding), History(created_by="the benchmark"))
        assert isinstance(made, Image)
        return made

    def _layer(self, name: str, padding: int) -> Layer:
        with LayerWriter(self.folder / f"{name}.tar.gz", compression_level=1) as writer:
            writer.file("version", name.encode())
            writer.file("padding", os.urandom(padding))
            return writer.finish()


@dataclass(slots=True)
class Harbour:
    """A running homeport with its data in a folder."""

    data: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    addresses: Addresses

    @classmethod
    @contextmanager
    def start(cls, data: Path, *options: str, **variables: str) -> Iterator[Harbour]:
        """Until the block ends; services end with it. Raises RuntimeError when it does not start.

        `options` are more of `homeport serve`, `variables` of its environment.
        """
        data.mkdir(exist_ok=True)
        ports = (free_port(), free_port(), free_port())
        process = _launch(data, *ports, options=options, variables=variables)
        try:
            until((data / "homeport.json").exists, alive=lambda: process.poll() is None)
            exports = subprocess.run(
                [_BIN / "homeport", "env", "--data", data], check=True, capture_output=True, text=True
            ).stdout
            environment = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", exports, re.MULTILINE))
            started = cls(data, process, environment, Addresses.read(data))
            yield started
            process = started.process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)

    def kill(self) -> None:
        """SIGKILL to homeport, and to nothing that it has started."""
        self.process.kill()
        self.process.wait()

    def again(self) -> None:
        """Start it after a kill, on the ports that it had. Returns before it serves."""
        control = int(self.addresses.registry.rpartition(":")[2])
        self.process = _launch(self.data, control, self.addresses.https_port, self.addresses.http_port)

    def client(self, service: Any, **more: Any) -> Any:
        """boto3's client for a service of AWS."""
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            **more,
        )

    def create(self, name: str, image: Image, tags: dict[str, str] | None = None, **more: Any) -> str:
        """A running service of the image; returns its ARN."""
        self.client("ecr").create_repository(repositoryName=name)
        self.push(name, image)
        arn = str(
            self.client("apprunner").create_service(
                ServiceName=name,
                SourceConfiguration={
                    "ImageRepository": {
                        "ImageIdentifier": f"{self.addresses.registry}/{name}:latest",
                        "ImageRepositoryType": "ECR",
                        "ImageConfiguration": {"Port": "8080"},
                    },
                    "AutoDeploymentsEnabled": True,
                },
                HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/"},
                Tags=[{"Key": key, "Value": value} for key, value in (tags or {}).items()],
                **more,
            )["Service"]["ServiceArn"]
        )
        self.settle(arn)
        return arn

    def push(self, name: str, image: Image, tag: str = "latest") -> None:
        """Push, which deploys when the tag is `latest`."""
        token = self.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        host = self.addresses.registry
        with Registry(host, credentials=Credentials(user, password)) as registry:
            registry.push(image, Reference(host, name, tag))

    def settle(self, arn: str) -> None:
        """Wait until no operation is under way. Raises RuntimeError when the service does not run then."""
        apprunner = self.client("apprunner")

        def settled() -> bool:
            return bool(self._status(apprunner, arn) != "OPERATION_IN_PROGRESS")

        until(settled)
        if (status := self._status(apprunner, arn)) != "RUNNING":
            raise RuntimeError(f"{arn} is {status}")

    def answer(self, name: str) -> str:
        """What the service answers by HTTPS."""
        return self.ask(name)[1]

    def ask(self, name: str) -> tuple[int, str]:
        """The status and the text of the service's answer by HTTPS."""
        connection = self.connect()
        try:
            connection.request("GET", "/", headers={"Host": f"{name}.localhost"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def connect(self) -> HTTPSConnection:
        """To the edge."""
        context = ssl.create_default_context(cafile=str(self.data / "ca.pem"))
        context.check_hostname = False  # the connection is to loopback by address
        return HTTPSConnection("127.0.0.1", self.addresses.https_port, context=context, timeout=30)

    @staticmethod
    def _status(apprunner: Any, arn: str) -> str:
        return str(apprunner.describe_service(ServiceArn=arn)["Service"]["Status"])


def _launch(
    data: Path,
    control: int,
    https: int,
    http: int,
    *,
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    ports = ("--port", str(control), "--https-port", str(https), "--http-port", str(http))
    command = [str(_BIN / "homeport"), "serve", "--data", str(data), *ports, *options]
    with (data.parent / f"{data.name}.log").open("ab") as log:
        return subprocess.Popen(command, stderr=log, env={**os.environ, **(variables or {})})


def until(
    condition: Callable[[], bool], seconds: float = 120, *, alive: Callable[[], bool] = lambda: True
) -> None:
    """Ask every 10 ms. Raises RuntimeError when it does not come true in time, or never can."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or not alive():
            raise RuntimeError("what was waited for did not happen")
        time.sleep(0.01)
