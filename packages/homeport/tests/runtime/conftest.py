"""What the runtime's tests share: an image to run, and a port in a thread of its own to run it."""

from __future__ import annotations

import asyncio
import compileall
import http.client
import json
import os
import py_compile
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import pytest
from bench.port import pebble
from bench.ports import free_port
from botocore import xform_name
from obstore.store import LocalStore

from homeport.authority import Authority
from homeport.credentials import Keyring
from homeport.edge import Binding, Edge, Names, Route
from homeport.layout import Layout
from homeport.place import REGION
from homeport.runtime import Runtimes
from ocikit import Blob, BytesBlob, ContainerConfig, Digest, History, Image, Layer, LayerWriter, Platform
from ocikit import Layout as OciLayout
from ocikit.registry import Storage
from ocikit.registry.storage import StoredManifest

_APP = Path(__file__).parent / "app.py"
_PORT = Path(__file__).parent / "port_process.py"
_REGISTRY = "127.0.0.1:5000"
_PATIENCE = 60.0  # seconds that an answer may take on a machine that has other things to do
_PRINT_FILES = "print(sys.executable, *(getattr(one, '__file__', '') for one in sys.modules.values()))"
_NEEDED = (
    "base64, encodings.idna, hashlib, http.server, json, signal, socket, threading, urllib.parse, pathlib"
)


@pytest.fixture(name="free_port")
def _free_port() -> Callable[[], int]:
    return free_port


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    """The distribution's own Python with the few modules that the test application needs, compiled."""
    directory = tmp_path_factory.mktemp("base")
    root = directory / "root"
    script = f"import sys, {_NEEDED}\n" + _PRINT_FILES
    listed = subprocess.run(
        ["/usr/bin/python3", "-S", "-I", "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    files = {Path(name) for name in listed.stdout.split()}
    binaries = [file for file in files if file.suffix != ".py"]
    linked = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    files |= {Path(name) for name in re.findall(r"/\S+\.so[^\s:]*", linked)}
    for file in files:
        target = root / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file.resolve(), target)
    # By hash and unchecked, for a layer's files are all of one time.
    checked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(root, quiet=1, invalidation_mode=checked)
    with LayerWriter(directory / "base.tar.gz", compression_level=1) as writer:
        writer.tree(".", root)
        return writer.finish()


@pytest.fixture(scope="session")
def make_image(base: Layer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Image]:
    """Makes an image of the test application; each set of variables is another image."""

    def make(*, user: str = "65532:65532", **environment: str) -> Image:
        with LayerWriter(tmp_path_factory.mktemp("app") / "app.tar.gz") as writer:
            writer.file("app.py", _APP)
            writer.directory("etc")
            writer.file("etc/passwd", b"root:x:0:0::/:/x\nweb:x:1234:1235::/home/web:/x\n")
            top = writer.finish()
        config = ContainerConfig(
            user=user,
            env=tuple(f"{name}={value}" for name, value in environment.items()),
            entrypoint=("/usr/bin/python3", "-S", "-I"),
            cmd=("/app.py",),
        )
        history = History(created_by="the tests")
        return Image.empty(Platform.host()).append(base, history).append(top, history).with_config(config)

    return make


@dataclass(frozen=True)
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Harbour:
    """A port in a process of its own, driven by lines of JSON, and what is needed to see its services."""

    def __init__(self, data: Path, log: Path | None = None) -> None:
        self.data = data
        self.log = log or data.parent / "port.log"
        self.layout = Layout(data)
        self.https_port, self.http_port, self.s3_port = free_port(), free_port(), 9000
        self.storage = open_storage(data / "registry")
        self.process: subprocess.Popen[str] | None = None
        self.acme: str | None = None  # the directory of an authority

    def start(self) -> dict[str, Any]:
        arguments = [str(self.data), str(self.https_port), str(self.http_port), str(self.s3_port)]
        arguments += [self.acme] if self.acme else []
        with (self.log).open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, _PORT, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        return self._answer()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._wait()

    def stop(self) -> None:
        if self.process is None:
            return
        self.tell("stop")
        self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.wait(120)
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None

    def tell(self, call: str, **arguments: Any) -> Any:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError((self.log).read_text())
        answer = json.loads(line)
        if "error" in answer:
            raise AssertionError(f"{answer['error']}: {answer['message']}")
        return answer["result"]

    def store(self, image: Image, tag: str = "latest", repository: str = "web") -> str:
        """Put an image into the port's registry without telling the port."""
        return store_image(self.storage, image, repository, tag)

    def push(self, image: Image, tag: str = "latest", repository: str = "web") -> str:
        digest = self.store(image, tag, repository)
        self.tell("image_pushed", repository=repository, tag=tag, digest=digest)
        return digest

    def begin(self, name: str = "web", **more: Any) -> tuple[str, str]:
        """Create a service; returns its ARN and the operation's id."""
        spec = {"name": name, "image": f"{_REGISTRY}/web:latest", "cpu": 512, "memory": 128, **more}
        made = self.tell("create_service", spec=spec)
        return made["service"]["arn"], made["operation"]["id"]

    def create(self, name: str = "web", **more: Any) -> str:
        arn, operation = self.begin(name, **more)
        ended = self.ended(arn, operation)
        assert ended["status"] == "SUCCEEDED", ended["reason"]
        return arn

    def ended(self, arn: str, operation: str | None = None, seconds: float = 120) -> dict[str, Any]:
        """The operation, or the newest, once it has ended."""
        found: dict[str, Any] = {}

        def done() -> bool:
            nonlocal found
            operations = self.tell("operations", arn=arn)
            found = next(one for one in operations if operation in (None, one["id"]))
            return found["ended_at"] is not None

        eventually(done, seconds)
        return found

    def service(self, arn: str) -> dict[str, Any]:
        return self.tell("service", arn=arn)

    def events(self, arn: str) -> list[str]:
        return [line["message"] for line in self.tell("logs", arn=arn, kind="service")]

    def output(self, arn: str) -> list[str]:
        return [line["message"] for line in self.tell("logs", arn=arn, kind="application")]

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """That trusts the port's authority."""
        return ssl.create_default_context(cafile=str(self.data / "ca.pem"))

    def client(self, name: str = "web") -> http.client.HTTPSConnection:
        """To the service's name by TLS and Host, verified by the port's authority; to loopback by address."""
        connection = _Loopback(f"{name}.localhost", self.https_port, context=self.tls, timeout=_PATIENCE)
        connection.tls = self.tls
        return connection

    def get(self, path: str = "/", name: str = "web", headers: dict[str, str] | None = None) -> Response:
        connection = self.client(name)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def served(self, name: str = "web") -> str | None:
        """What the service answers, None where it does not."""
        try:
            answer = self.get("/", name)
        except OSError:
            return None
        return answer.text if answer.status == 200 else None

    def containers(self) -> dict[str, int]:
        return Runtimes(self.layout).pids()

    def let_go(self) -> None:
        """Let the instance that waits for it (MODE=waits) listen, as soon as there is one."""
        eventually(self.containers)
        for pid in self.containers().values():
            Path(f"/proc/{pid}/root/tmp/go").touch()

    def open_requests(self) -> int:
        """At the services' instances, or held for them, by the edge's word."""
        with socket.socket(socket.AF_UNIX) as edge:
            edge.connect(str(self.layout.run / "edge.sock"))
            edge.sendall(b"show servers conn\n")
            with edge.makefile() as said:
                answer = said.read()
        columns, *rows = (line.lstrip("# ").split() for line in answer.splitlines() if line.strip())
        used = columns.index("used_cur")
        return sum(int(row[used]) for row in rows)

    def remains(self) -> list[str]:
        """Everything on the machine that carries the port's name."""
        key = self.layout.key
        lines = []
        for command in (
            ["ip", "link"],
            ["ip", "netns"],
            ["nft", "list", "ruleset"],
            ["mount"],
            ["ps", "-eww", "-o", "args"],
        ):
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            lines += [line for line in out.splitlines() if key in line or str(self.data) in line]
        # Not by Path.glob, which fails when a group of somebody else goes while it looks.
        lines += [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if Path(folder).name == key]
        lines += [str(path) for path in Path("/run/homeport").glob(key)]
        return [*lines, *(str(path) for path in self.layout.instances.glob("*"))]


class Serving(Harbour):
    """A real `homeport serve`, driven by AWS's client."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.control_port = free_port()

    def start(self) -> dict[str, Any]:
        ports = [
            *("--port", str(self.control_port)),
            *("--https-port", str(self.https_port), "--http-port", str(self.http_port)),
        ]
        with (self.log).open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "homeport", "serve", "--data", self.data, *ports],
                stderr=log,
                start_new_session=True,
                text=True,
            )
        eventually((self.data / "homeport.json").exists)
        return dict(json.loads((self.data / "homeport.json").read_text()))

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(120) == 0

    def _wait(self) -> None:
        assert self.process is not None
        self.process.wait(120)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.control_port

    def start_again(self) -> None:
        """After a kill: it serves when it has written where it is found."""
        before = (self.data / "homeport.json").stat().st_ino
        self.start()
        eventually(lambda: (self.data / "homeport.json").stat().st_ino != before)

    def aws(self, service: Any) -> Any:
        """AWS's client, as the owner."""
        root = Keyring.load(self.data).root
        return boto3.client(
            service,
            endpoint_url="http://{}:{}".format(*self.address),
            region_name=REGION,
            aws_access_key_id=root.id,
            aws_secret_access_key=root.secret,
        )

    def make(self, name: str, tags: dict[str, str], **more: Any) -> None:
        """A running service of the image `NAME:latest`."""
        apprunner = self.aws("apprunner")
        image = {
            "ImageIdentifier": "{}:{}/{}:latest".format(*self.address, name),
            "ImageRepositoryType": "ECR",
        }
        arn = apprunner.create_service(
            ServiceName=name,
            SourceConfiguration={"ImageRepository": image},
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            **more,
        )["Service"]["ServiceArn"]
        eventually(lambda: apprunner.describe_service(ServiceArn=arn)["Service"]["Status"] == "RUNNING")
        apprunner.close()


class _Loopback(http.client.HTTPSConnection):
    tls: ssl.SSLContext

    def connect(self) -> None:
        self.sock = connected(self.port, self.tls, self.host)


def connected(
    port: int, tls: ssl.SSLContext | None, name: str | None, source: str | None = None
) -> socket.socket:
    """To loopback. It is wrapped before it is connected: `wrap_socket` leaves one open that has been cut."""
    connection = socket.socket()
    if tls is not None:
        connection = tls.wrap_socket(connection, server_hostname=name)
    try:
        connection.settimeout(_PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            connection.bind((source, 0))
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


def open_storage(directory: Path) -> Storage:
    return Storage(LocalStore(directory, mkdir=True))


def store_image(storage: Storage, image: Image, repository: str, tag: str) -> str:
    """Put an image into a registry's storage, as a push over HTTP would."""

    async def store() -> None:
        manifest = image.manifest
        blobs: dict[Digest, Blob] = {layer.descriptor.digest: layer.blob for layer in image.layers}
        blobs[manifest.config.digest] = BytesBlob(image.config_bytes)
        with tempfile.TemporaryDirectory(dir=storage.folder) as folder:
            for digest, blob in blobs.items():
                file = Path(folder) / digest.hex
                with blob.open() as content:
                    file.write_bytes(content.read())
                await storage.add_blob(repository, digest, file)
        data = image.manifest_bytes
        await storage.add_manifest(repository, StoredManifest(image.digest, manifest.media_type, data))
        await storage.set_tag(repository, tag, image.digest, mutable=True)

    asyncio.run(store())
    return str(image.digest)


def eventually(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually


class Front:
    """An edge without a port: HAProxy for what the test says, in front of what the test runs."""

    def __init__(self, data: Path, address: str = "127.0.0.1") -> None:
        self.layout = Layout(data)
        self.layout.create()
        self.http_port, self.https_port = free_port(), free_port()
        self._runner = asyncio.Runner()
        self.binding = Binding(address, self.http_port, self.https_port)
        self.edge = Edge(self.layout, Authority(data), self.binding)

    def start(self, routes: dict[str, Route] | None = None, names: Names | None = None) -> None:
        self.do(self.edge.start(routes or {}, names or Names()))

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def stop(self) -> None:
        self.do(self.edge.stop())
        self._runner.close()
        shutil.rmtree(self.layout.run)

    def raw(
        self,
        *,
        tls: bool = True,
        name: str = "web.localhost",
        source: str | None = None,
        protocol: str = "http/1.1",
    ) -> socket.socket:
        """A connection, its TLS handshake done."""
        if not tls:
            return self._connect(None, name, source)
        context = ssl.create_default_context(cafile=str(self.layout.data / "ca.pem"))
        context.set_alpn_protocols([protocol])
        return self._connect(context, name, source)

    def ask(
        self,
        host: str,
        target: str = "/",
        method: str = "GET",
        *,
        tls: bool = False,
        source: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One request on a connection of its own; the certificate is not looked at."""
        context = None
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self._connect(context, host or None, source) as connection:
            head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
            connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode("latin-1"))
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            return Response(answer.status, answer.headers, answer.read())

    def _connect(self, tls: ssl.SSLContext | None, name: str | None, source: str | None) -> socket.socket:
        return connected(self.http_port if tls is None else self.https_port, tls, name, source)


@pytest.fixture(scope="module")
def open_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Front]]:
    """Starts edges; stops them at the end of the module."""
    opened: list[Front] = []

    def start(routes: dict[str, Route] | None = None, names: Names | None = None, **more: Any) -> Front:
        front = Front(tmp_path_factory.mktemp("front"), **more)
        opened.append(front)
        front.start(routes, names)
        return front

    yield start
    for front in opened:
        front.stop()


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    """A port that runs; stopped, and proved to have left nothing, at the end of the test."""
    yield from _harbour(tmp_path)


@pytest.fixture
def small_harbour(tmp_path: Path) -> Iterator[Harbour]:
    """A port whose data are on a disk of 192 MiB."""
    (tmp_path / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", tmp_path / "data"], check=True)
    try:
        (tmp_path / "data" / "data").mkdir()
        yield from _running(Harbour(tmp_path / "data" / "data", tmp_path / "port.log"))
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "data"], check=True)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A homeport that serves; stopped, and proved to have left nothing, at the end of the test."""
    (tmp_path / "data").mkdir()
    serving = Serving(tmp_path / "data")
    serving.start()
    try:
        yield serving
    finally:
        serving.stop()
    assert serving.remains() == []


@pytest.fixture(scope="module")
def shared_harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """One port for the tests of a module that do not disturb one another."""
    yield from _harbour(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def cleared_harbour(shared_harbour: Harbour) -> Iterator[Harbour]:
    """The module's port, running, and without services again at the end of each test."""
    yield shared_harbour
    for service in shared_harbour.tell("services"):
        shared_harbour.tell("delete_service", arn=service["arn"])
        assert shared_harbour.ended(service["arn"])["status"] == "SUCCEEDED"
    assert shared_harbour.containers() == {}


def _harbour(directory: Path) -> Iterator[Harbour]:
    (directory / "data").mkdir()
    yield from _running(Harbour(directory / "data"))


def _running(harbour: Harbour) -> Iterator[Harbour]:
    harbour.start()
    try:
        yield harbour
    finally:
        if harbour.process is None:  # the test has killed it
            harbour.start()
        harbour.stop()
    assert harbour.remains() == []


class Homeport:
    """A homeport that runs, as its owner sees it."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        command = [sys.executable, "-m", "homeport", "serve", "--data", str(data)]
        for option in ("--port", "--https-port", "--http-port"):
            command += [option, str(free_port())]
        command += options
        self._session = boto3.session.Session()
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._log = (data.parent / "serve.log").open("w")
        self.process = subprocess.Popen(command, stderr=self._log)
        self.until((data / "homeport.json").exists)
        self.addresses = json.loads((data / "homeport.json").read_text())
        key = json.loads((data / "credentials.json").read_text())
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(data.parent),
            "AWS_ENDPOINT_URL": self.addresses["endpoint"],
            "AWS_DEFAULT_REGION": "local-1",
            "AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "REGISTRY_AUTH_FILE": str(data.parent / "auth.json"),
        }

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0
        self._log.close()

    def until(self, condition: Callable[[], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, (self.data.parent / "serve.log").read_text()
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.05)

    def client(self, service: str) -> Any:
        """Closed with the harbour."""
        with self._lock:
            return self._client(service)

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self.addresses["endpoint"],
                region_name="local-1",
                aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            )
        return self._clients[service]

    def by_boto3(self, service: str, operation: str, **members: Any) -> Any:
        return getattr(self.client(service), xform_name(operation))(**members)

    def by_aws(self, service: str, operation: str, **members: Any) -> Any:
        command = ["aws", service, xform_name(operation, "-"), "--cli-input-json", json.dumps(members)]
        done = self.run(*command, "--output", "json")
        return json.loads(done) if done.strip() else {}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, host: str, path: str = "/") -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.data / "ca.pem"))
        with connected(self.addresses["https_port"], context, host) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read().decode()

    def control(self, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.addresses["registry"], timeout=_PATIENCE)
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def push(self, image: Image, repository: str, tag: str = "latest") -> str:
        """With skopeo, as `docker login` and `docker push` do; returns the digest."""
        token = self.by_boto3("ecr", "GetAuthorizationToken")["authorizationData"][0]["authorizationToken"]
        with tempfile.TemporaryDirectory() as layout:
            OciLayout(Path(layout)).write(image, "it")
            self.run(
                "skopeo", "copy", "--quiet", "--dest-tls-verify=false",
                "--dest-creds", b64decode(token).decode(),
                f"oci:{layout}:it", f"docker://{self.addresses['registry']}/{repository}:{tag}",
            )  # fmt: skip
        return str(image.digest)

    def create(self, name: str, **members: Any) -> str:
        """A service of the image that the repository of its name has, once it serves; returns its ARN."""
        image = f"{self.addresses['registry']}/{name}:latest"
        source = {"ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"}}
        made = self.by_boto3(
            "apprunner", "CreateService", ServiceName=name, SourceConfiguration=source, **members
        )
        arn: str = made["Service"]["ServiceArn"]
        self.until(lambda: self.status(arn) == "RUNNING")
        return arn

    def status(self, arn: str) -> str:
        return str(self.by_boto3("apprunner", "DescribeService", ServiceArn=arn)["Service"]["Status"])


@pytest.fixture(scope="module")
def open_homeport(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Homeport]]:
    """Starts the real `homeport serve`; stops it at the end of the module."""
    opened: list[Homeport] = []

    def start(*options: str) -> Homeport:
        data = tmp_path_factory.mktemp("serve") / "port"
        data.mkdir()
        opened.append(Homeport(data, *options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@dataclass
class Traffic:
    """What a continuous client has seen: answers by status and body, failures by what they were."""

    _answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, status: int, body: str) -> None:
        with self._lock:
            self._answers[status, body] += 1

    def failed(self, error: Exception) -> None:
        with self._lock:
            self.failures[repr(error)] += 1

    @property
    def answers(self) -> Counter[tuple[int, str]]:
        """Those until now; the clients go on meanwhile."""
        with self._lock:
            return self._answers.copy()

    @property
    def bad(self) -> dict[object, int]:
        wrong = {answer: count for answer, count in self.answers.items() if answer[0] != 200}
        return {**wrong, **self.failures}


@pytest.fixture
def traffic() -> Callable[..., AbstractContextManager[Traffic]]:
    """Clients that ask without a pause to speak of, each on a connection that it keeps."""

    @contextmanager
    def run(
        harbour: Harbour, clients: int = 2, pause: float = 0.005, path: str = "/", name: str = "web"
    ) -> Iterator[Traffic]:
        seen = Traffic()
        stop = threading.Event()

        def ask() -> None:
            connection = harbour.client(name)
            while not stop.is_set():
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    seen.answered(answer.status, answer.read().decode())
                except (OSError, http.client.HTTPException) as error:
                    seen.failed(error)
                    connection.close()
                stop.wait(pause)
            connection.close()

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    return run


@pytest.fixture(scope="module")
def open_pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., pebble.Pebble]]:
    with ExitStack() as stack:

        def start(http_port: int, life: int = 86_400) -> pebble.Pebble:
            folder = tmp_path_factory.mktemp("pebble")
            return stack.enter_context(pebble.open_pebble(folder, http_port, life))

        yield start
