"""A real homeport, and apps in real git repositories, for tests of the whole way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bench.ports import free_port
from packages.tagboat.tests.app import SOURCE

from tagboat.edge import Edge, Response, Visitor

BIN = Path(sys.executable).parent

_PYPROJECT = """\
[project]
name = "{name}"
version = "{version}"
requires-python = ">=3.11"

[project.scripts]
{name} = "{name}:main"

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"

[tool.tagboat]
base = "debian:bookworm"
entrypoint = ["{name}"]
environment = {{ PYTHONUNBUFFERED = "1" }}

[tool.tagboat.service]
port = 8000
cpu = 256
memory = 512
health-path = "/health"

[tool.tagboat.service.environment]
GREETING = "${{GREETING}}"
"""


@pytest.fixture(name="free_port")
def _free_port_fixture() -> Callable[[], int]:
    return free_port


@dataclass
class Port:
    """A running `homeport serve` and the environment that drives it."""

    data: Path
    control: int
    https: int
    process: subprocess.Popen
    environment: dict[str, str] = field(default_factory=dict)

    def visitor(self, service: str) -> Visitor:
        return Visitor(Edge(f"https://{service}.localhost:{self.https}", self.data / "ca.pem"))

    def get(self, service: str, path: str = "/") -> Response:
        return self.visitor(service).get(path)


@dataclass
class App:
    """A component in a git repository of its own, with a bare origin beside it."""

    name: str
    root: Path
    port: Port

    def write(self, version: str, source: str = SOURCE) -> None:
        (self.root / "pyproject.toml").write_text(_PYPROJECT.format(name=self.name, version=version))
        (self.root / "requirements.lock").touch()
        (self.root / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version}\n\n- As it is tested.\n")
        package = self.root / "src" / self.name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(f"VERSION = {version!r}\n" + source)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")
        self.git("push", "--quiet", "origin", "main")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", self.root, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    def tagboat(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [BIN / "tagboat", *arguments],
            cwd=self.root,
            env=os.environ | self.port.environment | {"GREETING": "hello"} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def release(self, version: str, source: str = SOURCE, **environment: str) -> subprocess.CompletedProcess:
        self.write(version, source)
        self.commit()
        tagged = self.tagboat("tag")
        assert tagged.returncode == 0, tagged.stderr
        return self.tagboat("deploy", "--json", **environment)


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    data = tmp_path_factory.mktemp("port")
    control, https, http = free_port(), free_port(), free_port()
    log = data.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(BIN / "homeport", "serve", "--data", data, "--port", str(control)),
                *("--https-port", str(https), "--http-port", str(http)),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 120
        while not (data / "homeport.json").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        exports = subprocess.run(
            [BIN / "homeport", "env", "--data", data], check=True, capture_output=True, text=True
        ).stdout
        environment = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", exports, re.MULTILINE))
        yield Port(data, control, https, process, environment)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()


@pytest.fixture
def app(request: pytest.FixtureRequest, tmp_path: Path, port: Port) -> App:
    """A fresh app, named after the test so that tests share a port but no service."""
    name = "app" + str(abs(hash(request.node.name)) % 10**8)
    root = tmp_path / "checkout"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "origin.git"], check=True)
    made = App(name, root, port)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.git("config", "user.name", "Tester")
    made.git("config", "user.email", "tester@localhost")
    made.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    made.write("1.0.0")
    made.commit()
    return made


@pytest.fixture
def served(app: App) -> App:
    """The app with release 1.0.0 deployed."""
    done = app.tagboat("tag")
    assert done.returncode == 0, done.stderr
    done = app.tagboat("deploy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tag"] == f"{app.name}-v1.0.0"
    return app
