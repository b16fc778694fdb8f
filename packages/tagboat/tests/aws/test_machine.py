"""A target of the kind `vm`, from an empty account to a page that is served: the machine starts with the user
data that `apply` has given it, and is changed in place from then on.
"""

import base64
import json
import socket
import ssl
import sys
import threading
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from packages.tagboat.tests.aws.conftest import APP, SERVICE
from packages.tagboat.tests.aws.machine import Machine

TARGET = f"""
{SERVICE}
[tool.tagboat.targets.production]
kind = "vm"
region = "ap-southeast-1"
platform = "linux/amd64"
domain = "www.shop.localhost"
redirects = ["shop.localhost"]
homeport-version = "0.2.0"
"""
BROKEN = """

async def serve(*_: object) -> bool:
    raise HomeportError("this version does not start")
"""

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the machine's Python, Debian's, runs what this one has installed"
)


@pytest.fixture
def machine(aws, tmp_path, monkeypatch):
    """The machine that the account gets, which is switched on as soon as it is there; names lead to it."""
    made = Machine(tmp_path / "machine")
    trusted = tmp_path / "trusted.pem"
    system = ssl.get_default_verify_paths().cafile or ssl.get_default_verify_paths().openssl_cafile
    trusted.write_text(Path(system).read_text())
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(trusted))
    resolve = socket.getaddrinfo

    def led(host, *arguments, **more):
        ours = isinstance(host, str) and host.endswith("shop.localhost")
        if ours and not made.on:
            raise socket.gaierror(socket.EAI_NONAME, "nobody is there yet")
        return resolve(made.address if ours else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", led)
    monkeypatch.setattr("tagboat.aws.account._STARTING", 600.0)
    failures = []
    over = threading.Event()
    ec2 = aws.client("ec2")  # here: threads that make clients at once get in each other's way

    def switch_on():
        try:
            while not (there := ec2.describe_instances()["Reservations"]):
                if over.wait(0.2):
                    return
            identity = there[0]["Instances"][0]["InstanceId"]
            data = ec2.describe_instance_attribute(InstanceId=identity, Attribute="userData")
            role = {"AWS_ACCESS_KEY_ID": "role", "AWS_SECRET_ACCESS_KEY": "role"}
            moto = {"AWS_ENDPOINT_URL": aws.moto}
            made.start(base64.b64decode(data["UserData"]["Value"]).decode(), identity, role | moto)
            while not (made.data / "homeport.json").exists():
                if over.wait(0.1):
                    return
            with trusted.open("a") as file:
                file.write((made.data / "ca.pem").read_text())
        except BaseException as error:
            failures.append(error)
            raise

    power = threading.Thread(target=switch_on)
    power.start()
    yield made
    over.set()
    power.join()
    made.stop()
    assert not failures


def get(url):
    with urllib.request.urlopen(url, timeout=120) as answer:
        return answer.read().decode()


def redirected(url):
    """Where one lands."""
    with urllib.request.urlopen(url, timeout=120) as answer:
        return answer.url


@contextmanager
def visitor():
    """Somebody who asks again and again, and the answers."""
    seen, over = Counter(), threading.Event()

    def ask():
        while not over.wait(0.02):
            try:
                seen[get("https://www.shop.localhost/")] += 1
            except OSError as error:
                seen[repr(error)] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_a_machine_is_made_deployed_to_and_changed_in_place(release, machine):
    aws = release.aws
    zone = aws.zone("shop.localhost")
    release.begin(TARGET, APP)
    code, out, _ = release("plan")
    assert code == 2
    assert "+ homeport.release hail\n" in out
    assert ". apprunner.domain www.shop.localhost  (waits for the first release)" in out
    assert release("status")[0] == 32
    code, out, err = release("apply")
    assert code == 0, err + (machine.folder / "boot.log").read_text()
    assert "waiting for homeport at https://port.www.shop.localhost" in err
    assert (machine.folder / "systemctl").read_text() == "daemon-reload\nenable --now homeport\n"
    records = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert "port.www.shop.localhost." in [one["Name"] for one in records if one["Type"] == "A"]
    assert release("apply")[1] == "0 created, 0 changed\n"

    # A release: pushed over HTTPS to the machine, from which the account's owner has the key.
    first = release.json("deploy")
    assert first["url"].startswith("https://hail.localhost")
    assert get("https://www.shop.localhost/") == "info from 1.2.3"
    assert release("plan")[0] == 0
    code, out, _ = release("apply")
    assert out == "0 created, 0 changed\n"
    assert not [call for call in aws.calls.changing if call.service != "sts"]
    assert release.json("status")["tag"] == "hail-v1.2.3"
    assert "listening" in release("logs")[1]

    assert redirected("https://shop.localhost/a?b") == "https://www.shop.localhost/a?b"

    with visitor() as seen:
        upgraded_in_place(release, machine)
        release.tag("1.3.0")
        assert release.json("deploy")["digest"] != first["digest"]
        assert release.json("rollback")["digest"] == first["digest"]
    assert set(seen) == {"info from 1.2.3"}
    assert seen.total() > 20
    data_are_guarded(release)


def upgraded_in_place(release, machine):
    """The version of homeport follows the configuration; one that does not start is taken back."""
    running = instances(machine)
    release.change("0.2.0", "0.3.0")
    code, out, _ = release("plan")
    assert code == 2
    assert '~ homeport.release hail\n    version: "0.2.0" -> "0.3.0"\n' in out
    assert "user data" not in out
    code, out, err = release("apply")
    assert (code, out) == (0, "0 created, 1 changed\n"), err + (machine.data / "upgrade.log").read_text()
    assert release("plan")[0] == 0
    assert json.loads((machine.data / "homeport.json").read_text())["version"] == "0.3.0"

    machine.publish("0.4.0", serve=BROKEN)
    release.change("0.3.0", "0.4.0")
    code, _, err = release("apply")
    assert code == 1
    assert "the upgrade rolled back: homeport 0.4.0 ended before it served" in err
    assert "version 0.3.0 serves again" in err
    assert "this version does not start" in (machine.folder / "journal").read_text()
    release.change("0.4.0", "0.3.0")
    assert release("plan")[0] == 0
    assert instances(machine) == running

    # What only a new machine would read is told, and nothing is replaced.
    identity = release.aws.client("ec2").describe_instances()["Reservations"][0]["Instances"][0]["InstanceId"]
    release.aws.client("ec2").modify_instance_attribute(
        InstanceId=identity, Attribute="userData", Value=base64.b64encode(b"#cloud-config\n").decode()
    )
    code, out, _ = release("drift")
    assert code == 2
    assert "? ec2.instance hail: its user data are not what a new machine would start with" in out
    assert release("apply")[1] == "0 created, 0 changed\n"


def instances(machine):
    """The containers that run, by what started them."""
    return sorted(path.name for path in (machine.data / "instances").iterdir())


def data_are_guarded(release):
    """`destroy` leaves the machine, and what is on it, until it is named."""
    code, out, _ = release("destroy", "--yes")
    assert code == 0
    assert "= ec2.instance hail  (stays: it holds data; --delete-data hail" in out
    assert "= ecr.repository hail  (stays: it holds " in out
    (reservation,) = release.aws.client("ec2").describe_instances()["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "running"
    code, _, err = release("destroy", "--yes", "--delete-data", "hail", "--with-content")
    assert code == 0, err
    (reservation,) = release.aws.client("ec2").describe_instances()["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "terminated"
    assert release.aws.client("ssm").describe_parameters()["Parameters"] == []
