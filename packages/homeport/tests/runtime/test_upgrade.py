"""Another version of homeport takes the running one's place, and nobody who asks for something notices."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from homeport.credentials import Keyring
from homeport.errors import HomeportError
from homeport.installation import Installation, InstallationError, is_version
from homeport.listeners import Listeners
from homeport.place import REGION
from homeport.upgrade import Progress


def repeat(ask: Callable[[], object], seen: Counter[object], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            seen[ask()] += 1
        except OSError as error:
            seen[repr(error)] += 1
        stop.wait(0.02)


def test_an_upgrade_loses_no_request_whether_warm_held_frozen_or_to_the_api(
    serving: Any, make_image: Any, traffic: Any, eventually: Any
) -> None:
    for name, variables in (("warm", {}), ("zero", {"START_DELAY": "0.3"}), ("cold", {})):
        serving.store(make_image(VERSION=name, **variables), repository=name)
    idle = {"homeport:idle-seconds": "1"}
    serving.make("warm", {})
    serving.make("zero", {"homeport:scale-to-zero": "true", **idle})
    serving.make("cold", {"homeport:freeze": "true", **idle})
    address, pid = serving.address, serving.process.pid

    def api() -> object:
        with socket.create_connection(address, 30) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return connection.makefile("rb").readline()

    eventually(lambda: len(serving.containers()) == 2, 60)  # none for `zero`
    before = serving.containers()
    stop = threading.Event()
    answers: dict[str, Counter[object]] = {name: Counter() for name in ("zero", "cold", "api")}
    asks: dict[str, Callable[[], object]] = {
        "zero": lambda: serving.get("/", "zero").text,
        "cold": lambda: serving.get("/", "cold").text,
        "api": api,
    }
    with traffic(serving, name="warm") as seen, ThreadPoolExecutor(3) as clients:
        try:
            for name, ask in asks.items():
                clients.submit(repeat, ask, answers[name], stop)
            eventually(lambda: seen.answers.total() > 10, 60)
            upgraded = subprocess.run(
                [sys.executable, "-m", "homeport", "upgrade", "--data", serving.data],
                capture_output=True,
                text=True,
                check=False,
            )
            count = answers["zero"]["zero"]
            eventually(lambda: answers["zero"]["zero"] > count + 1, 60)
        finally:
            stop.set()
    assert upgraded.returncode == 0, upgraded.stderr
    assert upgraded.stderr.startswith("homeport: the installed version serves, after ")
    assert seen.bad == {}
    assert {name: set(counted) for name, counted in answers.items()} == {
        "zero": {"zero"},
        "cold": {"cold"},
        "api": {b"HTTP/1.1 200 OK\r\n"},
    }
    assert before.items() <= serving.containers().items()
    assert serving.process.poll() is None
    assert (serving.address, serving.process.pid) == (address, pid)


def test_where_no_homeport_serves_an_upgrade_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "homeport", "upgrade", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"start `homeport serve --data {tmp_path}` first" in done.stderr


def test_a_listener_goes_on_when_what_was_given_out_is_closed(tmp_path: Path) -> None:
    listeners = Listeners()
    given = listeners.tcp("127.0.0.1", 0)
    address = given.getsockname()
    given.close()
    path = tmp_path / "socket"
    listeners.unix(path).close()
    waiting = socket.create_connection(address, 10)
    (descriptors,) = listeners.leave().values()
    successor = Listeners(os.dup(int(word)) for word in descriptors.split())
    listeners.close_all()
    assert successor.inherited
    taken = successor.tcp("127.0.0.1", 0)
    assert taken.getsockname() == address
    accepted, peer = taken.accept()
    assert peer == waiting.getsockname()
    again = successor.unix(path)
    assert again.getsockname() == str(path)
    successor.close(path)
    assert not path.exists()
    for one in (waiting, accepted, taken, again):
        one.close()
    successor.close_all()


def test_an_address_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HomeportError, match=f"127.0.0.1:{port} cannot be listened on"):
            Listeners().tcp("127.0.0.1", port)


class Owner:
    """Calls at the edge's host for API and console, signed as its clients sign them."""

    def __init__(self, homeport: Any, host: str) -> None:
        self.port = homeport.addresses["https_port"]
        self.host = host
        self.key = Keyring.load(homeport.data).root
        self.pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1",
            self.port,
            server_hostname=host,
            assert_hostname=host,
            ca_certs=str(homeport.data / "ca.pem"),
        )

    def __call__(self, method: str, document: object = None, service: str = "homeport") -> tuple[int, Any]:
        body = b"" if document is None else json.dumps(document).encode()
        url = f"https://{self.host}:{self.port}/_homeport/version"
        request = AWSRequest(method, url, data=body)
        SigV4Auth(Credentials(self.key.id, self.key.secret), service, REGION).add_auth(request)
        headers = {**dict(request.headers), "Host": f"{self.host}:{self.port}"}
        answer = self.pool.request(method, "/_homeport/version", body=body, headers=headers)
        return answer.status, answer.json()


def test_the_owner_alone_asks_for_an_upgrade_and_for_nothing_but_a_version(open_homeport: Any) -> None:
    homeport = open_homeport("--control", "port.localhost")
    owner = Owner(homeport, "port.localhost")
    eventually_certified(owner)
    assert owner("GET") == (200, {"version": version("homeport"), "upgrade": None})
    for wrong in ("--pre", "git+https://x.example/x", "1.0; rm", "1.*", ">=2", "../x.whl", "", "1" * 50):
        status, said = owner("POST", {"version": wrong})
        assert status == 400
        assert "is no version of a release" in said["message"]
    status, said = owner("POST", {"version": "9.9.9"})
    assert status == 400
    assert "do it as you installed it, then `homeport upgrade --data DIR`" in said["message"]
    assert owner("POST", {"index": "https://x.example"})[0] == 400
    assert owner("POST", {"version": "9.9.9"}, service="apprunner")[0] == 403
    owner.key = replace(owner.key, secret="another")
    assert owner("POST", {"version": "9.9.9"})[0] == 403
    deadline = time.monotonic() + 60  # the trail is written a moment after the answer
    audit = ("homeport", "audit", "--data", str(homeport.data), "--since", "1h")
    while "homeport:Upgrade  9.9.9  Installation" not in homeport.run(*audit):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    data = homeport.by_boto3("ecr", "GetAuthorizationToken")["authorizationData"][0]
    assert data["proxyEndpoint"] == f"https://port.localhost:{owner.port}"
    owner.pool.close()


def eventually_certified(owner: Owner) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            owner("GET")
        except urllib3.exceptions.HTTPError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("text", ["0.4.0", "1", "2.0rc1", "1.2.post3", "1.2.dev4"])
def test_versions_of_releases_are_known(text: str) -> None:
    assert is_version(text)
    assert not is_version(f" {text}")
    assert not is_version(f"{text}+local")
    assert not is_version(f"v{text}")


def test_versions_lie_side_by_side_and_one_that_cannot_be_had_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = Installation(tmp_path)
    for name in ("1.0", "2.0", "3.0"):
        (tmp_path / "versions" / name).mkdir(parents=True)
    installation.activate("1.0")
    installation.activate("2.0")
    assert (installation.current, (tmp_path / "current").resolve().name) == ("2.0", "2.0")
    installation.keep("2.0", "3.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InstallationError, match=r"^homeport 9\.9\.9 cannot be installed: .*9\.9\.9"):
        installation.install("9.9.9")
    assert sorted(path.name for path in (tmp_path / "versions").iterdir()) == ["2.0", "3.0"]
    assert installation.current == "2.0"


def test_an_upgrade_that_ends_while_it_is_looked_at_is_told_as_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress("0.3.0", "replacing", "2026-11-30T00:00:00Z")
    progress.write(tmp_path)
    found = Progress.read(tmp_path)
    assert found is not None
    assert (found.state, found.message) == ("failed", "it was cut short; begin it again")
    ended = replace(progress, state="succeeded")
    monkeypatch.setattr("homeport.upgrade._under_way", ended.write)
    assert Progress.read(tmp_path) == ended
