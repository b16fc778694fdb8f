"""AWS on loopback: moto's server, and our own for what it lacks; components with targets; calls recorded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import botocore.loaders
import botocore.session
import pytest
from bench.ports import free_port
from packages.tagboat.tests.app import SOURCE
from packages.tagboat.tests.aws.homeport import Homeport, serving_homeport
from packages.tagboat.tests.aws.wire import Wire, serving
from packages.tagboat.tests.certificates import Certificates, edge
from packages.tagboat.tests.dns_server import DnsServer
from packages.tagboat.tests.registry import serving as registry_serving

from tagboat.aws.policy import PUSH_ACTIONS
from tagboat.cli import main

REGION = "ap-southeast-1"
OLD_END, NEW_END = "127.0.0.8", "127.0.0.9"
MODELS = botocore.loaders.create_loader()  # read once, and not by each command anew
READS = ("Describe", "Get", "List", "Head", "BatchGet", "Filter", "Invoke")

APP = SOURCE.replace("GREETING", "LOG")  # which SERVICE sets
SERVICE = """\
[tool.tagboat.service]
port = 8000
cpu = 256
memory = 512
health-path = "/healthz"
environment = { LOG = "info" }
"""


def ci(repository: str) -> str:
    """The table that lets this repository release."""
    return f"""\
[tool.tagboat.ci]
github = "{repository}"
repository-id = 100200
owner-id = 300
"""


PYPROJECT = f"""\
[project]
name = "shop"
version = "1.4.0"
requires-python = ">=3.11"

[project.scripts]
shop = "shop:main"

{SERVICE}
{ci("octo/shop")}"""

COMPLETE = """
region = "ap-southeast-1"
domain = "www.shop.example"
redirects = ["shop.example"]
data-bucket = "shop-data-1f3a"
uploads-bucket = "shop-uploads-1f3a"
uploads-path = "/uploads/*"
cached-paths = ["/static/*"]
budget = 10
alert = "ops@shop.example"

[tool.tagboat.targets.production.environment]
DATABASE_URL = "s3://shop-data-1f3a/db"
UPLOADS_URL = "s3://shop-uploads-1f3a"
"""


EVERY = "".join(line + "\n" for line in COMPLETE.splitlines() if not line.startswith("cached"))
TARGETS = {
    "lambda": 'kind = "lambda"\nmin-instances = 1\nmax-instances = 10' + COMPLETE,
    "ecs-express": 'kind = "ecs-express"\nplatform = "linux/amd64"\nscale-on = "requests"\nscale-target = 500'
    + EVERY,
    "apprunner": 'kind = "apprunner"\nconcurrency = 50' + EVERY,
    "vm": """kind = "vm"
region = "ap-southeast-1"
domain = "www.shop.example"
redirects = ["shop.example"]
budget = 20
alert = "ops@shop.example"
""",
}


@dataclass(frozen=True)
class Call:
    """One call of AWS's, as the client made it."""

    service: str
    operation: str
    arguments: dict[str, Any] = field(compare=False)

    @property
    def changes(self) -> bool:
        return not self.operation.startswith(READS)


class InterruptedHere(BaseException):
    """As if the process had been killed right after a call was answered."""


class Calls(list[Call]):
    """The calls that were made; after `allowed` changing ones each further one is the last."""

    allowed: int | None = None

    @property
    def changing(self) -> list[Call]:
        return [call for call in self if call.changes]


@dataclass
class Aws:
    """An account with nothing in it, and the component's folder."""

    directory: Path
    wire: Wire
    calls: Calls
    capture: Callable[[], Any]
    moto: str

    def begin_anew(self) -> None:
        """Let nothing be in the account."""
        _post(f"{self.moto}/moto-api/reset")
        _post(f"{self.moto}/moto-api/config", {"lambda": {"use_docker": False}})
        self.wire.reset()

    def configure(self, target: str) -> None:
        """Make `target` the table of the target `production`."""
        text = f"{PYPROJECT}\n[tool.tagboat.targets.production]\n{target}"
        (self.directory / "pyproject.toml").write_text(text)

    def change(self, old: str, new: str) -> None:
        file = self.directory / "pyproject.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def client(self, service: str, region: str = REGION) -> Any:
        return boto3.client(service, region_name=region)

    def run(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of a tagboat command, run in this process."""
        self.calls.clear()
        code = main([command, *arguments, str(self.directory)])
        out, err = self.capture()
        return code, out, err

    def repository(self, region: str = REGION) -> None:
        """Make the component's repository, as an earlier `apply` did."""
        tags = [{"Key": "tagboat:component", "Value": "shop"}]
        self.client("ecr", region).create_repository(repositoryName="shop", tags=tags)

    def answer(self, *documents: Any) -> None:
        """What functions answer when they are invoked, one after the other."""
        results = [json.dumps(document) for document in documents]
        body = {"results": results, "region": REGION}
        _post(f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/static/lambda-simple/response", body)

    def release(self, digit: str = "1", region: str = REGION) -> str:
        """Let `latest` of the repository be an image, and give its digest."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": 2,
                "digest": f"sha256:{digit * 64}",
            },
            "layers": [],
        }
        put = self.client("ecr", region).put_image(
            repositoryName="shop", imageManifest=json.dumps(manifest), imageTag="latest"
        )
        return str(put["image"]["imageId"]["imageDigest"])

    def zone(self, name: str = "shop.example") -> str:
        made = self.client("route53").create_hosted_zone(Name=name, CallerReference=name)
        return str(made["HostedZone"]["Id"])


@pytest.fixture(scope="session")
def images() -> Iterator[str]:
    """The address of the registry behind ECR."""
    with registry_serving() as address:
        yield address


@pytest.fixture(scope="session")
def moto(images: str, name_server: DnsServer) -> Iterator[str]:
    """The address of moto's server, a process of its own."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("moto_server.py"), "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ
        | {
            "MOTO_ACM_VALIDATION_WAIT": "0",
            "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
            "REGISTRY": images,
            "TAGBOAT_RESOLVERS": name_server.setting,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10):
                    break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    with serving(REGION) as made:
        yield made


@pytest.fixture(autouse=True)
def _public_dns(zones: DnsServer) -> None:
    """Whatever is asked of the DNS is asked on loopback."""


@pytest.fixture
def aws(
    moto: str,
    wire: Wire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Aws:
    """A fresh account for the test, with the component `shop` and nothing else."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": moto,
        "AWS_ENDPOINT_URL_ECS": wire.url,
        "AWS_ENDPOINT_URL_APPRUNNER": wire.url,
        "AWS_ENDPOINT_URL_BUDGETS": wire.url,
        "AWS_ENDPOINT_URL_COST_EXPLORER": wire.url,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(botocore.session, "create_loader", lambda *_: MODELS)
    calls = Calls()
    original = botocore.client.BaseClient._make_api_call

    def recorded(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        call = Call(client.meta.service_model.service_name, operation, arguments)
        calls.append(call)
        answer = original(client, operation, arguments)
        if call.changes and calls.allowed is not None and len(calls.changing) > calls.allowed:
            raise InterruptedHere
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    directory = tmp_path / "shop"
    (directory / "src" / "shop").mkdir(parents=True)
    (directory / "src" / "shop" / "__init__.py").touch()
    account = Aws(directory, wire, calls, capsys.readouterr, moto)
    account.begin_anew()
    return account


@pytest.fixture
def homeport(tmp_path: Path) -> Iterator[Homeport]:
    with serving_homeport(tmp_path) as made:
        yield made


class Page(BaseHTTPRequestHandler):
    """A site that is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Serves a name at the old end and at the new one, each with a certificate of its own."""
    certificates = Certificates(tmp_path)
    monkeypatch.setenv("HOMEPORT_CA", str(certificates.authority))
    monkeypatch.setattr("tagboat.dns.end._TIMEOUT", 60.0)
    with ExitStack() as stack:

        def serve(name: str) -> None:
            port = 0
            for address in (OLD_END, NEW_END):
                shown = certificates.make(address, name, days=(-1, 30))
                port = stack.enter_context(edge(shown, Page, address=address, port=port))
            monkeypatch.setattr("tagboat.dns.end.HTTPS", port)

        yield serve


@pytest.fixture
def without_homeport(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine as far as AWS has to do with it: what is on it needs one that runs, as in test_machine.py."""
    monkeypatch.setattr("tagboat.targets.vm._on_port", lambda *_: [])


def _post(url: str, body: Any = None) -> None:
    data = json.dumps(body).encode() if body is not None else b""
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=180) as answer:
        answer.read()


_ACTIONS = {"Invoke": "InvokeFunction"}


class Release:
    """The component `hail` in a git repository, with one target."""

    def __init__(self, aws, project, cache, monkeypatch):
        self.aws, self.project = aws, project
        aws.directory = project.directory
        home = project.root.parent / "home"
        home.mkdir()
        (home / "tagboat").symlink_to(cache)
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        self.called = set()

    def begin(self, text, source):
        """Version 1.2.3 of an app with this configuration and this source."""
        self.text = text
        self.project.git("init", "--quiet")
        file = self.project.directory / "src" / "hail" / "__init__.py"
        file.write_text(f'VERSION = "1.2.3"\n{source}')
        self.tag("1.2.3")

    def change(self, old, new):
        """Change the configuration, and release nothing."""
        assert old in self.text
        self.text = self.text.replace(old, new)
        self.project.configure(self.text)

    def target(self, kind):
        self.text = f"""
repository = "live-{uuid.uuid4().hex[:8]}"

{SERVICE}
{ci("octo/hail")}
[tool.tagboat.targets.production]
kind = "{kind}"
region = "ap-southeast-1"
platform = "linux/amd64"
"""
        self.project.configure(self.text)
        self.project.git("init", "--quiet")
        self.tag("1.2.3")

    def tag(self, version, replace=("", "")):
        """Release `version`, with something of the configuration replaced."""
        self.text = self.text.replace(*replace) if replace[0] else self.text
        self.project.configure(self.text)
        file = self.project.pyproject
        file.write_text(file.read_text().replace('version = "1.2.3"', f'version = "{version}"'))
        source = self.project.directory / "src" / "hail" / "__init__.py"
        source.write_text(f"{source.read_text()}\n# {version}\n")
        self.project.git("add", "--all")
        self.project.git("commit", "--quiet", "--message", version)
        self.project.git("tag", f"hail-v{version}")

    def __call__(self, command, *arguments):
        done = self.aws.run(command, *arguments)
        if command in ("deploy", "rollback", "status", "logs", "history"):
            self.called.update(
                f"{call.service}:{_ACTIONS.get(call.operation, call.operation)}"
                for call in self.aws.calls
                if call.service != "sts"
            )
        return done

    def json(self, command, *arguments):
        code, out, err = self(command, "--json", *arguments)
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def release(aws, project, build_cache, monkeypatch):
    return Release(aws, project, build_cache, monkeypatch)


def require_own_actions(release):
    """The release role's actions are those that the commands called, those of the registry's protocol, and
    the passing of roles; and each is on what is this component's.
    """
    document = release.aws.client("iam").get_role_policy(RoleName="hail-release", PolicyName="release")[
        "PolicyDocument"
    ]
    allowed = {action for statement in document["Statement"] for action in statement["Action"]}
    assert allowed - {"iam:PassRole"} == release.called | {f"ecr:{action}" for action in PUSH_ACTIONS}
    for statement in document["Statement"]:
        if statement["Resource"] != ["*"]:
            assert all("hail" in resource or "live-" in resource for resource in statement["Resource"])
