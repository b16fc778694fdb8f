"""`tagboat doctor` against a real homeport: all well, then broken one by one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packages.tagboat.tests.dns_server import serving

BIN = Path(sys.executable).parent
BROKEN = "import sys\n\n\ndef main():\n    sys.exit('no flux capacitor')\n"


def doctor(app, *arguments, **environment):
    done = app.tagboat("doctor", "--json", *arguments, **environment)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert (done.returncode == 0) is told["ok"]
    return done.returncode, {one["name"]: one for one in told["findings"]}


def test_a_served_release_is_well_and_what_is_broken_about_it_is_told(served, tmp_path):
    name = served.name
    code, found = doctor(served, "--name", f"{name}.localhost:{served.port.https}")
    assert code == 0, found
    assert {one["state"] for one in found.values()} == {"ok"}
    assert found["credentials"]["found"] == "arn:aws:iam::000000000000:root"
    assert found["service"]["found"] == f"{name} is RUNNING"
    assert {f"DNS {name}.localhost", f"certificate {name}.localhost", "authority", "clock"} <= set(found)

    for wrong, words in (
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret is not that of the key"),
        ({"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}, "the key is not one of this cloud"),
    ):
        code, found = doctor(served, **wrong)
        assert (code, found["credentials"]["state"]) == (1, "failed")
        assert words in found["credentials"]["advice"]
        assert "wrong" not in json.dumps(found)

    def aws(*arguments):
        command = [BIN / "aws", "apprunner", *arguments, "--output", "text"]
        settings = os.environ | served.port.environment
        return subprocess.run(
            command, env=settings, check=True, capture_output=True, text=True
        ).stdout.strip()

    query = f"ServiceSummaryList[?ServiceName=='{name}'].ServiceArn"
    domain = (
        *("--service-arn", aws("list-services", "--query", query)),
        *("--domain-name", f"{name}.invalid"),
    )
    with serving() as zones:
        zones.zone(f"{name}.invalid", '@ 3600 A 127.0.0.8\n@ 60 CAA 0 issue "amazon.com"\n')
        cutover = ("cutover", f"{name}.invalid", "--json")
        done = served.tagboat(*cutover, TAGBOAT_RESOLVERS=zones.setting)
        assert (done.returncode, " ".join(domain) in done.stderr) == (1, True)
        aws("associate-custom-domain", *domain)
        done = served.tagboat(*cutover, TAGBOAT_RESOLVERS=zones.setting)
        _, found = doctor(served, TAGBOAT_RESOLVERS=zones.setting)
    assert done.returncode == 35, done.stderr
    said = json.loads(done.stdout)
    assert (said["end"], said["moved"]) == (f"{name}.localhost", False)
    assert [one["value"] for one in said["old"] + said["new"]] == ["127.0.0.8", "127.0.0.1"]
    assert found[f"CAA {name}.invalid"]["found"].startswith(f"CAA at {name}.invalid lets amazon.com sign")
    assert found[f"domain {name}.invalid"]["state"] in ("warning", "failed")
    assert f"www.{name}.invalid A ADDRESS" in found[f"domain {name}.invalid"]["advice"]
    aws("disassociate-custom-domain", *domain)
    code, found = doctor(served, HOMEPORT_CA=str(tmp_path / "none"))
    assert (code, found["authority"]["state"]) == (1, "failed")
    assert found[f"certificate {name}.localhost"]["state"] == "failed"


def test_a_service_that_never_came_up_and_one_that_is_not_there_yet(app):
    code, found = doctor(app)
    assert code == 0, found
    assert "a release makes it" in found["service"]["found"]
    assert app.release("1.0.1", BROKEN).returncode == 30
    code, found = doctor(app)
    assert (code, found["service"]["found"]) == (1, f"{app.name} is CREATE_FAILED")
    assert "`tagboat logs` what it wrote" in found["service"]["advice"]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full_is_told(app, small_disk):
    code, found = doctor(app, XDG_CACHE_HOME=str(small_disk))
    assert (code, found["cache"]["state"]) == (1, "failed")
    assert "0.0 GB are free" in found["cache"]["found"]
