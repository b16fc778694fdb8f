"""The whole job on one machine, with the commands that a user would type: see `run_demo`."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tagboat.build.debian.release import DISTRIBUTIONS, Release
from tagboat.component import Component
from tagboat.console import Steps
from tagboat.edge import Edge, Load, Visitor
from tagboat.errors import TagboatError

_RATE = 250.0  # requests a second of the client that keeps asking during the second release
_START = 120.0  # seconds that homeport may take to answer
_SEEN = 30.0  # seconds until that client must have met the second release
_STOP = 60.0  # seconds that homeport may take to stop everything
_PR_SET_PDEATHSIG = 1
_POST_TITLE = "Written before the second release"


class DemoError(TagboatError):
    """A step of the demo did not hold."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on loopback; 0 stands for a free one."""

    control: int
    https: int
    http: int

    def chosen(self) -> Ports:
        """The same with free ports in place of zeros, so that a restarted homeport gets the same ones."""
        free = iter(_free_ports(3))
        return Ports(*(port or next(free) for port in (self.control, self.https, self.http)))


@dataclass(slots=True)
class Report:
    """What `--json` writes."""

    ok: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=lambda: {"total": 0, "failed": 0})


def run_demo(source: Path, *, data: Path | None, ports: Ports, stay: bool, report: Path | None) -> int:
    """Run every step, say how each went, and leave the system up until Ctrl-C if `stay`.

    The exit code is 0 when every step held, 1 when one did not; then that step is named last.
    """
    if os.geteuid() != 0:
        raise DemoError(
            "containers and network namespaces need root", hint="run it with sudo, or `make demo`"
        )
    component = Component.load(source)
    result = Report()
    steps = Steps()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _directory(data) as directory:
        demo = _Demo(component, directory, ports.chosen(), steps, result)
        try:
            demo.run()
            result.ok = True
            if stay:
                demo.stay()
        except KeyboardInterrupt:
            steps.say("interrupted")
        except (TagboatError, OSError) as error:
            steps.say(str(error))
        finally:
            demo.close()
            result.steps = [asdict(step) for step in steps.done]
            if report is not None:
                report.write_text(json.dumps(asdict(result), indent=2) + "\n")
    failed = [step.name for step in steps.done if not step.ok]
    if result.ok and not failed:
        print("every step held", file=sys.stderr)
        return 0
    print(f"failed step: {failed[0] if failed else 'interrupted'}", file=sys.stderr)
    return 1


class _Demo:
    def __init__(
        self, component: Component, directory: Path, ports: Ports, steps: Steps, report: Report
    ) -> None:
        self._component = component
        self._ports = ports
        self._steps = steps
        self._report = report
        self._data = directory / "port"
        self._origin = directory / "origin.git"
        self._checkout = directory / "checkout"
        self._log = directory / "homeport.log"
        self._homeport: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._edge: Edge | None = None
        self._headline = ""  # of the second release

    def run(self) -> None:
        step = self._steps.step
        with step("homeport serves: registry, API, HTTPS edge"):
            self._start_homeport()
        with step("a git repository with the site in it and a bare origin"):
            folder = self._make_repository()
        with step("first release: tagboat tag, tagboat deploy"):
            self._release(folder)
        with step("the page is served over HTTPS, HTTP redirects to it"):
            self._see_page()
        with step("an author signs in, writes a post and reads it back"):
            post = self._write_post()
        with step("second release under load: no request fails"):
            self._change_site(folder)
            self._release_under_load(folder)
        with step("the post outlives the container that wrote it"):
            self._read_post(post)
        with step("homeport is killed (SIGKILL) and started again: everything is back"):
            self._kill_homeport()
            self._start_homeport()
            self._see_page()
            self._read_post(post)
            self._tagboat("deploy", folder)

    def stay(self) -> None:
        say = self._steps.say
        say(f"{self._service_edge().url} is up; its certificate is signed by {self._data / 'ca.pem'}")
        say(f'eval "$(homeport env --data {self._data})" to drive it; Ctrl-C ends it')
        signal.pause()

    def close(self) -> None:
        """Stop what was started; what homeport runs is homeport's to stop."""
        if self._homeport is None or self._homeport.poll() is not None:
            return
        self._homeport.terminate()
        try:
            self._homeport.wait(_STOP)
        except subprocess.TimeoutExpired:
            self._homeport.kill()
            self._homeport.wait()

    # The steps

    def _start_homeport(self) -> None:
        command = [
            "homeport", "serve", "--data", str(self._data), "--port", str(self._ports.control),
            "--https-port", str(self._ports.https), "--http-port", str(self._ports.http),
        ]  # fmt: skip
        self._steps.say("$ " + " ".join(command))
        with self._log.open("ab") as log:
            # Its own session: Ctrl-C reaches the demo alone, which then stops homeport properly.
            self._homeport = subprocess.Popen(
                [_program(command[0]), *command[1:]],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  there are no threads while homeport starts
            )
        deadline = time.monotonic() + _START
        while not _healthy(self._ports.control):
            if self._homeport.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"homeport did not start:\n{_tail(self._log)}")
            time.sleep(0.02)
        exports = self._run("homeport", "env", "--data", str(self._data))
        self._environment = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", exports, re.MULTILINE))

    def _make_repository(self) -> str:
        """A checkout with the component and the local packages it is built from, laid out as they were."""
        folders = self._component.source_directories
        top = Path(os.path.commonpath(folders))
        for folder in folders:
            shutil.copytree(
                folder,
                self._checkout / folder.relative_to(top),
                ignore=shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "dist"),
                dirs_exist_ok=True,
            )
        (self._checkout / ".gitignore").write_text("__pycache__/\n")
        self._fit_base(self._checkout / self._component.directory.relative_to(top))
        self._run("git", "init", "--quiet", "--bare", str(self._origin))
        self._git("init", "--quiet", "--initial-branch", "main")
        for setting in (
            "user.name=Demo",
            "user.email=demo@localhost",
            "commit.gpgsign=false",
            "tag.gpgsign=false",
        ):
            self._git("config", *setting.split("="))
        self._git("remote", "add", "origin", str(self._origin))
        self._commit("The site as it stands")
        return str(self._component.directory.relative_to(top))

    def _fit_base(self, directory: Path) -> None:
        """Where the base is a release that this machine is not, and its apt cannot compose, take its own."""
        base, ours = self._component.config.base, Release.of_this_machine()
        if ours is None or base == str(ours) or base.partition(":")[0] not in DISTRIBUTIONS:
            return
        self._steps.say(f"this machine is {ours}: it is the base here, in place of {base}")
        _substitute(directory / "pyproject.toml", r'(?m)^base = ".*"$', f'base = "{ours}"')

    def _release(self, folder: str) -> float:
        """Tag and deploy; returns when the tagging began, by time.monotonic()."""
        started = time.monotonic()
        tag = self._tagboat("tag", folder).strip()
        seconds = {"tag": time.monotonic() - started}
        deployed = json.loads(self._tagboat("deploy", folder, "--json"))
        seconds |= deployed["seconds"]
        self._steps.say(", ".join(f"{name} {took:.2f} s" for name, took in seconds.items()))
        self._edge = Edge(deployed["url"], self._data / "ca.pem")
        response = Visitor(self._edge).get("/")
        served = time.monotonic()
        _expect(response.status == 200, f"{self._edge.url} answers {response.status}")
        version = tag.rpartition("-v")[2]
        _expect(
            response.headers.get("X-Site-Version") == version,
            f"version {version} is deployed, {response.headers.get('X-Site-Version')} is served",
        )
        self._report.deployments.append(
            {
                "tag": tag,
                "digest": deployed["digest"],
                "tag_to_served_seconds": round(served - started, 3),
                "seconds": {name: round(took, 3) for name, took in seconds.items()},
            }
        )
        return started

    def _see_page(self) -> None:
        edge = self._service_edge()
        page = Visitor(edge).get("/")
        _expect(page.status == 200 and "<h1" in page.text, f"{edge.url}/ answers {page.status}")
        plain = HTTPConnection("127.0.0.1", self._ports.http, timeout=10)
        plain.request("GET", "/posts?page=1", headers={"Host": f"{edge.host}:{self._ports.http}"})
        answer = plain.getresponse()
        location = answer.headers.get("Location")
        plain.close()
        _expect(
            answer.status in (301, 308) and location == f"{edge.url}/posts?page=1",
            f"http://{edge.host}:{self._ports.http}/posts?page=1 answers {answer.status} to {location}",
        )

    def _write_post(self) -> str:
        visitor = Visitor(self._service_edge())
        signed_in = visitor.post("/login", {"user": "author"})
        _expect(signed_in.status == 200, f"signing in answers {signed_in.status}")
        written = visitor.post(
            "/posts/new", {"title": _POST_TITLE, "body": "It is *still* here.", "tags": "demo"}
        )
        _expect(
            written.status == 200 and _POST_TITLE in written.text, f"writing a post answers {written.status}"
        )
        path = "/posts/written-before-the-second-release"
        self._read_post(path)
        return path

    def _read_post(self, path: str) -> None:
        post = Visitor(self._service_edge()).get(path)
        _expect(
            post.status == 200 and _POST_TITLE in post.text and "<em>still</em>" in post.text,
            f"{path} answers {post.status}",
        )

    def _change_site(self, folder: str) -> None:
        """What a developer does between two releases: a line of the source, the version, a word about it."""
        directory = self._checkout / folder
        # Never the same twice, so that no cache of an earlier run makes the second build look fast.
        self._headline = f"Push a tag, and it is live: {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        _substitute(directory / "pyproject.toml", r'(?m)^version = "[^"]+"', 'version = "0.2.0"')
        _substitute(
            directory / "CHANGELOG.md",
            r"(?m)\A(.*\n)",
            "\\1\n## [0.2.0] - 2026-11-23\n\n- The headline says when.\n",
        )
        _substitute(
            directory / "src/company_site/pages/views.py",
            r'(?m)^HEADLINE = ".*"$',
            f'HEADLINE = "{self._headline}"',
        )
        self._commit("Say it better, as 0.2.0")

    def _release_under_load(self, folder: str) -> None:
        with Load(self._service_edge(), "/", _RATE) as load:
            time.sleep(0.5)  # the client is at full speed before anything changes
            started = self._release(folder)
            deployment = self._report.deployments[-1]
            version = deployment["tag"].rpartition("-v")[2]
            ended = time.monotonic()
            time.sleep(0.5)  # and goes on while the old container is taken away
            while version not in load.first_seen and time.monotonic() < ended + _SEEN:
                time.sleep(0.05)
        _expect(version in load.first_seen, f"no request was answered by version {version}")
        seconds = load.first_seen[version] - started
        deployment["tag_to_served_seconds"] = round(seconds, 3)
        self._report.requests = {"total": load.total, "failed": load.failed}
        self._steps.say(
            f"tag to served {seconds:.2f} s; {load.total} requests meanwhile, "
            f"{load.total / load.seconds:.0f} a second, {load.failed} failed"
        )
        page = Visitor(self._service_edge()).get("/")
        _expect(self._headline in page.text, "the new version is served, but not its new headline")
        _expect(
            load.failed == 0, f"{load.failed} of {load.total} requests failed: {'; '.join(load.failures)}"
        )

    def _kill_homeport(self) -> None:
        if self._homeport is not None:
            self._homeport.kill()
            self._homeport.wait()

    # Running things

    def _service_edge(self) -> Edge:
        if self._edge is None:
            raise DemoError("nothing is deployed yet")
        return self._edge

    def _commit(self, message: str) -> None:
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        self._git("push", "--quiet", "origin", "main")

    def _git(self, *arguments: str) -> str:
        return self._run("git", "-C", str(self._checkout), *arguments)

    def _tagboat(self, *arguments: str) -> str:
        self._steps.say("$ " + " ".join(["tagboat", *arguments]))
        return self._run("tagboat", *arguments)

    def _run(self, name: str, *arguments: str) -> str:
        directory = self._checkout if self._checkout.is_dir() else None
        done = subprocess.run(
            [_program(name), *arguments],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=directory,
            env=os.environ | self._environment | {"SITE_MODE": "demo"},
        )
        if done.returncode != 0:
            raise DemoError(
                f"`{name} {' '.join(arguments)}` ended with {done.returncode}:\n{done.stderr.strip()}"
            )
        return done.stdout


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    """The given folder, kept; or a temporary one, removed."""
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        if any(data.iterdir()):
            raise DemoError(f"{data} is not empty", hint="name a new folder: the demo starts from nothing")
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="tagboat-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _end_with_parent() -> None:
    """Between fork and exec: have the kernel ask this process to stop when the demo is killed (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _program(name: str) -> str:
    """Our own commands stand beside the interpreter that runs this; others are found on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


def _free_ports(count: int) -> list[int]:
    """Each another one."""
    with ExitStack() as open_at_once:
        found = [open_at_once.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in found]


def _healthy(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def _substitute(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text())
    _expect(count == 1, f"{path}: {count} places match {pattern}, not one")
    path.write_text(text)


def _expect(held: bool, otherwise: str) -> None:
    if not held:
        raise DemoError(otherwise)
