"""What `tagboat doctor` says of things that are really broken: programs, disks, files, repositories,
endpoints, clocks and certificates.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench.serving import in_thread
from packages.tagboat.tests.certificates import Certificates, edge

from tagboat.component import Component
from tagboat.doctor import Finding, examine
from tagboat.doctor.cloud import Endpoint, cloud
from tagboat.doctor.domains import Associated, authority, domains, name_of_site
from tagboat.doctor.machine import disks, tools
from tagboat.doctor.project import project


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    """No settings of AWS but those that a test makes, and git's own alone."""
    for name in os.environ:
        if name.startswith(("AWS_", "HOMEPORT_", "TAGBOAT_", "GIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for module in ("cloud", "domains", "machine"):  # what is here answers when it comes to it
        monkeypatch.setattr(f"tagboat.doctor.{module}._TIMEOUT", 120.0)


def by_name(findings) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings}
    for finding in found.values():
        assert finding.state in ("ok", "skipped") or finding.advice, finding
    return found


def of_project(checkout) -> dict[str, Finding]:
    return by_name(project(Component.load(checkout.root / "shop")))


def test_what_is_well_is_said_to_be(checkout):
    found = of_project(checkout)
    assert {finding.state for finding in found.values()} == {"ok"}
    assert set(found) == {"variables", "lock", "repository", "git's user", "remote"}
    assert "releases are made on main" in found["remote"].found


# The machine


def test_programs_that_are_not_there_are_named_with_their_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = by_name(tools(composes=True))
    assert {name: one.state for name, one in found.items()} == {
        "tagboat": "ok",
        "git": "failed",
        "uv": "ok",
        "apt-get": "failed",
        "dpkg-deb": "failed",
        "gpgv": "failed",
        "runc": "warning",
    }
    assert found["git"].advice == "`apt-get install git`"
    assert "`apt-get install gpgv`" in found["gpgv"].advice
    assert "gpgv" not in by_name(tools(composes=False))


@pytest.mark.parametrize(
    ("says", "state"),
    [("echo git version 2.12.9", "failed"), ("echo git version 2.13.0", "ok"), ("exit 1", "failed")],
)
def test_a_git_of_another_age_is_told(monkeypatch, tmp_path, says, state):
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert by_name(tools(composes=False))["git"].state == state


def test_a_cache_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").touch()
    found = by_name(disks(tmp_path / "file" / "tagboat"))
    assert found["cache"].state == "failed"
    assert "cannot be written to" in found["cache"].found
    assert found["temporary files"].state in ("ok", "warning")


# The project


def test_a_configuration_that_is_wrong_is_told_and_the_rest_is_looked_at(checkout, tmp_path):
    checkout.write("shop/pyproject.toml", checkout.read("shop/pyproject.toml") + "speed = 11\n")
    found = by_name(examine(checkout.root / "shop", tmp_path))
    assert found["configuration"].state == "failed"
    assert "unknown key tool.tagboat.speed" in found["configuration"].found
    assert {"git", "cache", "endpoint"} <= set(found)
    assert "remote" not in found


def test_variables_that_are_not_set_are_named(checkout, monkeypatch):
    checkout.write(
        "shop/pyproject.toml",
        checkout.read("shop/pyproject.toml")
        + 'environment = { LOG = "$LOG_LEVEL" }\n[tool.tagboat.service.environment]\nKEY = "$API_KEY"\n',
    )
    told = [one for one in project(Component.load(checkout.root / "shop")) if one.name == "variables"]
    assert [(one.state, one.found) for one in told] == [
        ("failed", "not set here: LOG_LEVEL"),
        ("warning", "not set here: API_KEY"),
    ]
    monkeypatch.setenv("LOG_LEVEL", "info")
    monkeypatch.setenv("API_KEY", "x")
    assert of_project(checkout)["variables"].state == "ok"


def test_a_lock_that_lacks_a_package_is_told(checkout):
    checkout.project("1.4.0", "httpx>=1")
    assert of_project(checkout)["lock"].state == "failed"
    assert "httpx" in of_project(checkout)["lock"].found
    (checkout.root / "shop" / "requirements.lock").unlink()
    assert of_project(checkout)["lock"].state == "failed"


def test_no_repository_no_user_and_no_remote_are_told(checkout):
    checkout.git("config", "--unset", "user.email")
    assert of_project(checkout)["git's user"].advice == "`git config --global user.email …`"
    checkout.git("remote", "set-url", "origin", "https://token@127.0.0.1:1/gone.git")
    found = of_project(checkout)["remote"]
    assert found.state == "failed"
    assert "127.0.0.1" in found.found
    assert "token" not in found.found
    checkout.git("remote", "remove", "origin")
    assert of_project(checkout)["remote"].advice == "`git remote add origin ADDRESS`"
    shutil.rmtree(checkout.root / ".git")
    found = of_project(checkout)
    assert (found["repository"].state, "remote" in found) == ("failed", False)


def test_a_pipeline_that_is_out_of_date_is_told(checkout):
    checkout.write(
        "shop/pyproject.toml",
        checkout.read("shop/pyproject.toml") + '[tool.tagboat.ci]\ntest = "make test"\n',
    )
    assert "pipeline" not in of_project(checkout)
    assert checkout.tagboat("ci", "github", "shop").returncode == 0
    assert of_project(checkout)["pipeline"].state == "ok"
    file = checkout.root / ".github" / "workflows" / "release-shop.yml"
    file.write_text(file.read_text().replace("timeout-minutes: 30", "timeout-minutes: 300"))
    assert of_project(checkout)["pipeline"] == Finding(
        "pipeline", "warning", f"{file} is out of date", "`tagboat ci github`"
    )


# The cloud


@contextmanager
def answering(date: float | None) -> Iterator[str]:
    """A server that says it is that time, in seconds since 1970."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response_only(403)
            if date is not None:
                self.send_header("Date", formatdate(date, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    with in_thread(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_without_settings_there_is_no_cloud():
    found = by_name(cloud(None))
    assert (found["endpoint"].state, found["credentials"].state) == ("failed", "skipped")
    assert "homeport env" in found["endpoint"].advice


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:7070", "http://", "http://[::1", "http://x:99999"])
def test_an_endpoint_that_is_no_address_is_told(monkeypatch, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    (endpoint, credentials) = cloud(None)
    assert (endpoint.state, credentials.state) == ("failed", "skipped")
    assert "no address of a web service" in endpoint.found


def test_an_endpoint_that_is_not_there_is_told(monkeypatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        (endpoint, _) = cloud(None)
    assert "does not answer" in endpoint.found
    assert "homeport serve" in endpoint.advice
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://port.invalid")
    (endpoint, _) = cloud(None)
    assert "port.invalid is not known to DNS" in endpoint.found


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (0, "ok", "within 1 s"),
        (120, "warning", "s behind"),
        (-120, "warning", "s ahead of"),
        (3600, "failed", "s behind"),
        (None, "skipped", "does not say what time it is"),
    ],
)
def test_a_clock_that_is_wrong_is_told(monkeypatch, ahead, state, words):
    with answering(None if ahead is None else time.time() + ahead) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        found = by_name(cloud(None))
    assert found["endpoint"].state == "ok"
    if ahead != 0:  # on a machine that is held up for a second, "within" is some more
        assert words in found["clock"].found
    assert found["clock"].state == state
    assert found["credentials"].state == "failed"  # there are none


def test_a_role_without_a_token_to_take_it_with_is_told(monkeypatch):
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::000000000000:role/release-shop")
    monkeypatch.setenv("AWS_REGION", "local-1")
    with answering(time.time()) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        found = by_name(cloud(None))
    assert "`id-token: write`" in found["credentials"].advice


def test_a_profile_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    (endpoint, _) = cloud(None)
    assert "nobody" in endpoint.found
    assert endpoint.advice


def test_plain_http_is_for_this_machine_alone():
    assert Endpoint("127.0.0.1", 80, secure=False, named=True).on_loopback
    assert Endpoint("::1", 80, secure=False, named=True).on_loopback
    assert Endpoint("localhost", 80, secure=False, named=True).on_loopback
    assert not Endpoint("10.0.0.7", 80, secure=False, named=True).on_loopback
    assert not Endpoint("port.example", 80, secure=False, named=True).on_loopback


# Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("name", "days", "verdict"),
    [
        ("shop.localhost", (-1, 60), "ok: shop.localhost: good until"),
        ("shop.localhost", (-60, 3), "warning: shop.localhost: good until"),
        ("shop.localhost", (-60, -1), "failed: not trusted: certificate has expired"),
        ("shop.localhost", (1, 60), "failed: not trusted: certificate is not yet valid"),
        ("cart.localhost", (-1, 60), "failed: not trusted: Hostname mismatch"),
    ],
)
def test_the_certificate_that_visitors_see_is_looked_at(certificates, monkeypatch, name, days, verdict):
    monkeypatch.setenv("HOMEPORT_CA", str(certificates.authority))
    with edge(certificates.make("edge", name, days=days)) as port:
        found = by_name(name_of_site(f"shop.localhost:{port}"))
    assert found["DNS shop.localhost"].state == "ok"
    certificate = found["certificate shop.localhost"]
    assert f"{certificate.state}: {certificate.found}".startswith(verdict)


def test_a_certificate_of_nobody_known_and_a_port_without_one_are_told(certificates):
    with edge(certificates.make("edge", "shop.localhost", days=(-1, 60))) as port:
        (_, certificate) = name_of_site(f"shop.localhost:{port}")
    assert certificate.state == "failed"
    assert "HOMEPORT_CA" in certificate.advice
    with answering(None) as url:
        (_, certificate) = name_of_site(f"shop.localhost:{url.rpartition(':')[2]}")
    assert "does not speak TLS" in certificate.found


def test_an_endpoint_whose_certificate_is_not_trusted_is_told(certificates, monkeypatch):
    with edge(certificates.make("edge", "localhost", days=(-1, 60))) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{port}")
        (endpoint, _) = cloud(None)
        assert (endpoint.state, "its certificate is not trusted" in endpoint.found) == ("failed", True)
        assert "HOMEPORT_CA" in endpoint.advice
        monkeypatch.setenv("HOMEPORT_CA", str(certificates.authority))
        found = by_name(cloud(None))
    assert (found["endpoint"].state, found["clock"].state) == ("ok", "ok")


def test_the_authority_of_homeport_is_looked_at(certificates, monkeypatch, tmp_path):
    assert list(authority()) == []
    for file, state in (
        (certificates.authority, "ok"),
        (certificates.make("old", "old", days=(-60, -1)), "failed"),
        (tmp_path / "none.pem", "failed"),
        (Path(__file__), "failed"),
    ):
        monkeypatch.setenv("HOMEPORT_CA", str(file))
        (found,) = authority()
        assert found.state == state, found


def test_names_that_dns_does_not_know_or_knows_elsewhere_are_told(certificates):
    (found,) = name_of_site("www.shop.invalid", "port.example")
    assert (found.state, found.advice) == ("failed", "make a record: www.shop.invalid CNAME port.example")
    with edge(certificates.make("edge", "127.0.0.2", days=(-1, 60))) as port:
        (found, _) = name_of_site(f"127.0.0.2:{port}", "127.0.0.1")
    assert (found.state, found.found) == ("failed", "127.0.0.2, but 127.0.0.1 is 127.0.0.1")


def test_a_domain_that_waits_says_which_records_it_waits_for():
    record = {
        "Name": "_x.shop.example",
        "Type": "CNAME",
        "Value": "_y.acm.example",
        "Status": "PENDING_VALIDATION",
    }
    waits = {
        "DomainName": "shop.invalid",
        "EnableWWWSubdomain": False,
        "Status": "pending_certificate_dns_validation",
        "CertificateValidationRecords": [record],
    }
    found = list(domains("127.0.0.1:1", [Associated(waits, "abc.awsapprunner.com")]))
    assert found[-1].state == "warning"
    assert found[-1].advice == (
        "make these records: shop.invalid CNAME abc.awsapprunner.com; _x.shop.example CNAME _y.acm.example"
    )
    itself = record | {"Name": "shop.invalid.", "Value": "shop.localhost"}
    both = waits | {"EnableWWWSubdomain": True, "CertificateValidationRecords": [itself]}
    found = list(domains("127.0.0.1:1", [Associated(both, "shop.localhost")]))
    assert found[-1].advice.count(" A ADDRESS (of homeport's machine)") == 2
    served = both | {"Status": "active"}
    names = [one.name for one in domains("127.0.0.1:1", [Associated(served, "shop.localhost")])]
    assert names[-2:] == ["DNS shop.invalid", "DNS www.shop.invalid"]


def test_names_and_region_of_a_target_are_looked_at(checkout, tmp_path, monkeypatch):
    there = Endpoint.of_settings("eu-central-1")
    assert (there.host, there.secure) == ("sts.eu-central-1.amazonaws.com", True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    checkout.write(
        "shop/pyproject.toml",
        checkout.read("shop/pyproject.toml")
        + '[tool.tagboat.targets.production]\nkind = "lambda"\nregion = "eu-central-1"\n'
        'domain = "www.shop.invalid"\nredirects = ["shop.invalid"]\n',
    )
    found = by_name(examine(checkout.root / "shop", tmp_path, ["shop.invalid"]))
    assert found["DNS www.shop.invalid"].state == "warning"
    assert "`tagboat apply`" in found["DNS www.shop.invalid"].advice
    assert found["DNS shop.invalid"].state == "failed"  # which was asked for
    found = by_name(examine(checkout.root / "shop", tmp_path, target="staging"))
    assert found["target"] == Finding(
        "target",
        "failed",
        "there is no target staging",
        "[tool.tagboat.targets.staging]; known: production",
    )


# The command


def test_the_command_says_what_to_do_and_ends_with_one(checkout, tmp_path):
    settings = {"XDG_CACHE_HOME": str(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    done = checkout.tagboat("doctor", "shop", **settings)
    assert done.returncode == 1
    assert "ok       configuration: shop 1.4.0, " in done.stdout
    assert "FAILED   endpoint: http://127.0.0.1:1 does not answer: " in done.stdout
    assert "\n         → start it (`homeport serve`), or name another\n" in done.stdout
    assert "skipped  credentials: the endpoint does not answer" in done.stdout
    told = json.loads(checkout.tagboat("doctor", "--json", "shop", **settings).stdout)
    assert told["ok"] is False
    assert [one["name"] for one in told["findings"] if one["state"] == "failed"] == ["endpoint"]
