"""`promote` between a machine and a function: the homeport, its containers and the registry behind ECR are
real; in the machine's place, as test_machine.py starts it, there is a homeport that runs here.
"""

import io
import json
import sys
import uuid

import pytest
from packages.tagboat.tests.aws.conftest import APP, SERVICE

from homeport.vault import Vault
from tagboat.aws.resource import Port
from tagboat.targets.place import Place

TARGETS = f"""
{SERVICE}
[tool.tagboat.targets.staging]
kind = "vm"
region = "ap-southeast-1"
platform = "linux/amd64"
domain = "www.hail.localhost"
secrets = {{ MOOD = "secretsmanager:hail/mood:now" }}

[tool.tagboat.targets.port]
kind = "homeport"

[tool.tagboat.targets.production]
kind = "lambda"
name = "live-UNIQUE"
region = "ap-southeast-1"
platform = "linux/amd64"
"""
STAGING, PRODUCTION = ("--target", "staging"), ("--target", "production")


@pytest.fixture
def machine(aws, homeport, monkeypatch):
    """The homeport of the target that is a machine; its root key is where an earlier `apply` made it."""
    settings = homeport.environment
    key = {
        "access_key_id": settings["AWS_ACCESS_KEY_ID"],
        "secret_access_key": settings["AWS_SECRET_ACCESS_KEY"],
    }
    tags = [{"Key": "tagboat:component", "Value": "hail"}, {"Key": "tagboat:target", "Value": "staging"}]
    aws.client("ssm").put_parameter(
        Name="/homeport/hail", Type="SecureString", Value=json.dumps(key), Tags=tags
    )

    def port(place: Place) -> Port:
        return Port(settings["AWS_ENDPOINT_URL"], f"/homeport/{place.name}", f"ec2.instance/{place.name}")

    monkeypatch.setattr("tagboat.targets.vm.port", port)
    return homeport


def served(release):
    """The digest of what the function serves."""
    name = f"live-{release.unique}"
    code = release.aws.client("lambda").get_function(FunctionName=name, Qualifier="live")["Code"]
    return code["ImageUri"].rpartition("@")[2]


def given_its_secret(release, machine, monkeypatch):
    """What the service on the machine lacks is told before anything is rolled out, and how it gets there."""
    for command in ("plan", "apply", "deploy"):
        code, _, err = release(command, *STAGING)
        assert code == 1
        assert "secretsmanager.secret hail/mood: not there, and the service needs it" in err
        assert "`tagboat secret hail/mood < FILE` keeps the value that is in FILE" in err
    for value, expected in ((b"calm", 2), (b'{"now": "calm"}\n', 0)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(value)))
        code, out, err = release("secret", "hail/mood", *STAGING)
        assert code == expected
        assert "calm" not in out + err
    assert err == ""
    assert Vault(machine.data / "secrets").resolve({"MOOD": "hail/mood"}) == {"MOOD": '{"now": "calm"}'}
    code, _, err = release("secret", "hail/mode", *STAGING)
    assert (code, "names hail/mood" in err) == (2, True)


def promoted_from_a_homeport(release, machine, monkeypatch):
    """One that is no machine of the account's, and is reached by a profile of AWS's configuration file."""
    settings, file = machine.environment, machine.data / "config"
    file.write_text(
        "[profile port]\nregion = local-1\n"
        f"endpoint_url = {settings['AWS_ENDPOINT_URL']}\n"
        f"aws_access_key_id = {settings['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {settings['AWS_SECRET_ACCESS_KEY']}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    back = release.json("rollback", *STAGING)  # that homeport is this one, too
    promoted = release.json("promote", "--from", "port", "--from-profile", "port", *PRODUCTION)
    assert (promoted["tag"], promoted["digest"]) == ("hail-v1.2.3", back["digest"])
    assert served(release) == back["digest"]
    code, _, err = release("promote", "--from", "port", "--from-profile", "none", *PRODUCTION)
    assert (code, "[profile none] in ~/.aws/config" in err) == (1, True), err


def test_a_release_goes_from_a_machine_to_a_function_and_back(release, machine, monkeypatch):
    release.unique = uuid.uuid4().hex[:8]
    release.aws.zone("hail.localhost")
    release.begin(TARGETS.replace("UNIQUE", release.unique), APP)
    for target in (STAGING, PRODUCTION):
        code, _, err = release("apply", *target)
        assert code == 0, err
    code, _, err = release("promote", "--from", "staging", *PRODUCTION)
    assert (code, "there is no service hail" in err) == (32, True), err
    given_its_secret(release, machine, monkeypatch)

    first = release.json("deploy", *STAGING)
    assert machine.get("hail") == "info from 1.2.3"
    promoted = release.json("promote", "--from", "staging", *PRODUCTION)
    assert (promoted["tag"], promoted["digest"]) == ("hail-v1.2.3", first["digest"])
    assert served(release) == first["digest"]

    release.tag("1.3.0", ('LOG = "info"', 'LOG = "debug"'))
    second = release.json("deploy", *PRODUCTION)
    promoted = release.json("promote", "--from", "production", *STAGING)
    assert (promoted["tag"], promoted["digest"]) == ("hail-v1.3.0", second["digest"])
    assert machine.get("hail") == "debug from 1.2.3"  # with the settings of the target
    status = release.json("status", *STAGING)
    assert (status["state"], status["tag"], status["digest"]) == ("RUNNING", "hail-v1.3.0", second["digest"])
    assert [one["action"] for one in release.json("history", *STAGING)] == ["promote", "deploy"]
    for target in (STAGING, PRODUCTION):
        assert release("plan", *target)[0] == 0

    promoted_from_a_homeport(release, machine, monkeypatch)
    production = f'name = "live-{release.unique}"\nregion = "ap-southeast-1"\nplatform = "linux/'
    release.change(f"{production}amd64", f"{production}arm64")
    code, _, err = release("promote", "--from", "staging", *PRODUCTION)
    assert (code, "the image is for linux/amd64, and" in err) == (2, True), err
