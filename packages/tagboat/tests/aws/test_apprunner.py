"""A target of the kind `apprunner`, all the way: a homeport is App Runner, with its registry and its logs, by
the words of botocore's models; roles, buckets, names and the distribution are moto's. Containers are real.
"""

import json
import time

import pytest
from packages.tagboat.tests.aws.conftest import APP, REGION, SERVICE, ci, require_own_actions
from packages.tagboat.tests.aws.wire import Behind, BehindEcr, serving

TARGETS = f"""
{SERVICE}
{ci("octo/hail")}
[tool.tagboat.targets.staging]
kind = "apprunner"
name = "hail-staging"
region = "ap-southeast-1"

[tool.tagboat.targets.production]
kind = "apprunner"
region = "ap-southeast-1"
domain = "www.hail.example"
redirects = ["hail.example"]
data-bucket = "hail-data-1f3a"
"""
STAGING, PRODUCTION = ("--target", "staging"), ("--target", "production")


@pytest.fixture
def runner(aws, homeport, monkeypatch):
    services = {
        "apprunner": Behind(homeport.client("apprunner"), REGION),
        "ecr": BehindEcr(homeport.client("ecr"), REGION),
        "logs": Behind(homeport.client("logs"), REGION),
    }
    with serving(REGION, services) as wire:
        for name in ("APPRUNNER", "ECR", "CLOUDWATCH_LOGS"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", wire.url)
        yield homeport


def test_a_service_lives_on_app_runner_from_its_plan_to_its_end(release, runner):
    aws = release.aws
    aws.zone("hail.example")
    release.begin(TARGETS, APP)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "tasks.apprunner.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    for name in ("hail-instance", "hail-staging-instance"):  # the same roles, where instances get them
        runner.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))

    code, out, err = release("plan", *PRODUCTION)
    assert code == 2, err
    assert ". apprunner.service hail  (waits for the first release)" in out
    for target in (STAGING, PRODUCTION):
        code, _, err = release("apply", *target)
        assert code == 0, err
    first = release.json("deploy", *STAGING)
    assert runner.get("hail-staging") == "info from 1.2.3"
    assert release("plan", *STAGING)[0] == 0

    promoted = release.json("promote", "--from", "staging", *PRODUCTION)
    assert promoted["digest"] == first["digest"]
    assert runner.get("hail") == "info from 1.2.3"
    code, out, _ = release("plan", *PRODUCTION)
    assert code == 0, out
    assert release("apply", *PRODUCTION)[1] == "0 created, 0 changed\n"
    (distribution,) = aws.client("cloudfront").list_distributions()["DistributionList"]["Items"]
    assert distribution["Origins"]["Items"][0]["DomainName"].startswith("hail.localhost")
    service = described(aws, "hail")
    roles = "arn:aws:iam::123456789012:role/hail-"
    assert service["InstanceConfiguration"]["InstanceRoleArn"] == f"{roles}instance"
    authentication = service["SourceConfiguration"]["AuthenticationConfiguration"]
    assert authentication["AccessRoleArn"] == f"{roles}access"

    release.called.clear()  # the first deployment made all that was missing: that is the owner's
    release.tag("1.3.0", ('LOG = "info"', 'LOG = "debug"'))
    second = release.json("deploy", *PRODUCTION)
    assert runner.get("hail") == "debug from 1.2.3"
    assert release("plan", *PRODUCTION)[0] == 0
    status = release.json("status", *PRODUCTION)
    assert (status["state"], status["tag"], status["digest"]) == ("RUNNING", "hail-v1.3.0", second["digest"])
    broken(release)
    back = release.json("rollback", *PRODUCTION)
    assert back["digest"] == second["digest"]
    back = release.json("rollback", *PRODUCTION, "--to", "1.2.3")
    assert (back["tag"], back["digest"]) == ("hail-v1.2.3", first["digest"])
    assert runner.get("hail") == "debug from 1.2.3"
    assert release("logs", *PRODUCTION)[1].endswith("  listening\n")
    assert "Deployment started" in release("logs", "--events", *PRODUCTION)[1]
    outcomes = [one["outcome"] for one in release.json("history", *PRODUCTION)]
    assert outcomes == ["succeeded", "succeeded", "failed", "failed", "succeeded", "succeeded"]
    require_own_actions(release)

    drifted_and_destroyed(release)


def broken(release):
    """A release that does not start is never served."""
    source = release.project.directory / "src" / "hail" / "__init__.py"
    whole = source.read_text()
    source.write_text("import sys\n\n\ndef main():\n    sys.exit('cannot start')\n")
    release.tag("1.4.0")
    code, _, err = release("deploy", *PRODUCTION)
    assert code == 30
    assert "the deployment ended ROLLBACK_SUCCEEDED" in err
    assert "cannot start" in err
    assert release("deploy", *PRODUCTION)[0] == 30  # again: `latest` is there already, and is tried once more
    source.write_text(whole)


def drifted_and_destroyed(release):
    aws = release.aws
    apprunner, arn = aws.client("apprunner"), described(aws, "hail")["ServiceArn"]
    instance = described(aws, "hail")["InstanceConfiguration"] | {"Cpu": "512", "Memory": "1024"}
    apprunner.update_service(ServiceArn=arn, InstanceConfiguration=instance)
    deadline = time.monotonic() + 180
    while described(aws, "hail")["Status"] != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    code, out, _ = release("drift", *PRODUCTION)
    assert code == 2
    assert "~ apprunner.service hail\n    cpu: 512 -> 256\n    memory: 1024 -> 512\n" in out
    assert release("apply", *PRODUCTION)[1] == "0 created, 1 changed\n"
    assert release("drift", *PRODUCTION)[0] == 0

    code, out, err = release("destroy", "--yes", *PRODUCTION)
    assert code == 0, err
    assert "= s3.bucket hail-data-1f3a  (stays: it holds data" in out
    assert "= ecr.repository hail  (stays: it holds " in out
    assert described(aws, "hail") is None
    assert release("status", *PRODUCTION)[0] == 32
    data = ("--delete-data", "hail", "--delete-data", "hail-data-1f3a", "--with-content")
    code, _, err = release("destroy", "--yes", *STAGING, "--delete-data", "hail-staging", "--with-content")
    assert code == 0, err
    code, _, err = release("destroy", "--yes", *PRODUCTION, *data)
    assert code == 0, err
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert aws.client("iam").list_roles()["Roles"] == []


def described(aws, name):
    """The service of that name, as App Runner describes it."""
    apprunner = aws.client("apprunner")
    for one in apprunner.list_services()["ServiceSummaryList"]:
        if one["ServiceName"] == name and one["Status"] != "DELETED":
            return apprunner.describe_service(ServiceArn=one["ServiceArn"])["Service"]
    return None
