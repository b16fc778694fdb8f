"""`deploy`, `rollback`, `status`, `logs` on targets: real images, a real registry, moto and our own ECS."""

import re
import time
import uuid

from packages.tagboat.tests.aws.conftest import require_own_actions

from tagboat.cli import main


def served_by_lambda(aws):
    code = aws.client("lambda").get_function(FunctionName="hail", Qualifier="live")["Code"]
    return code["ImageUri"].rpartition("@")[2]


def test_a_release_is_a_version_and_the_alias_moves_to_it_when_it_is_well(release):
    aws = release.aws
    release.target("lambda")
    code, _, err = release("deploy")
    assert code == 1
    assert "`tagboat apply --target production` makes it, and all else" in err
    assert release("status")[0] == 32
    assert release("apply")[0] == 0

    aws.answer({"statusCode": 500})
    code, _, err = release("deploy")
    assert code == 30
    assert "hail: version 1 is not well at /healthz: it answers 500" in err
    assert "the app says why" in err  # the log that came with the answer
    assert "nothing is served" in err
    assert not aws.client("lambda").list_aliases(FunctionName="hail")["Aliases"]
    aws.answer({"statusCode": 500})
    assert release("apply")[0] == 30  # nor does that make it served
    assert release("status")[0] == 32
    aws.answer({"statusCode": 200})
    first = release.json("deploy")
    assert first["tag"] == "hail-v1.2.3"
    assert re.match(r"https://\w+\.lambda-url\.ap-southeast-1\.on\.aws$", first["url"])
    assert served_by_lambda(aws) == first["digest"]
    assert release("plan")[0] == 0
    assert release.json("deploy")["digest"] == first["digest"]  # again: nothing to do
    assert [call for call in aws.calls.changing if call.service == "lambda"] == []

    release.called.clear()  # the first deployment made all that was missing: that is the owner's
    release.tag("1.3.0", ('LOG = "info"', 'LOG = "debug"'))
    aws.answer({"statusCode": 204})
    second = release.json("deploy")
    assert served_by_lambda(aws) == second["digest"] != first["digest"]
    live = aws.client("lambda").get_function_configuration(FunctionName="hail", Qualifier="live")
    assert live["Environment"]["Variables"] == {"PORT": "8000", "LOG": "debug"}
    assert release("plan")[0] == 0
    release.tag("1.4.0")
    aws.answer({"statusCode": 503})
    code, _, err = release("deploy")
    assert code == 30
    assert "is not well at /healthz: it answers 503" in err
    assert "the version that served before still serves" in err
    assert served_by_lambda(aws) == second["digest"]
    status = release.json("status")
    assert (status["state"], status["tag"], status["digest"]) == ("RUNNING", "hail-v1.3.0", second["digest"])
    assert sum(operation["status"] == "SERVED" for operation in status["operations"]) == 1

    aws.answer({"statusCode": 200})
    back = release.json("rollback")
    assert (back["tag"], back["digest"]) == ("hail-v1.2.3", first["digest"])
    assert served_by_lambda(aws) == first["digest"]
    assert [one["outcome"] for one in release.json("history")] == [
        "succeeded", "failed", "succeeded", "succeeded", "failed",
    ]  # fmt: skip

    logs = aws.client("logs")
    logs.create_log_stream(logGroupName="/aws/lambda/hail", logStreamName="one")
    logs.put_log_events(
        logGroupName="/aws/lambda/hail",
        logStreamName="one",
        logEvents=[
            {"timestamp": now(), "message": "START RequestId: 1"},
            {"timestamp": now() + 1, "message": "hello\n"},
        ],
    )
    assert release("logs")[1].endswith("  hello\n")
    assert "START RequestId" in release("logs", "--events")[1]
    require_own_actions(release)


def test_ecs_rolls_a_release_out_and_back_by_itself(release):
    aws = release.aws
    release.target("ecs-express")
    assert release("apply")[0] == 0
    first = release.json("deploy")
    assert first["url"] == "https://hail.ecs.ap-southeast-1.on.aws"
    assert release("plan")[0] == 0
    key = aws.client("secretsmanager").create_secret(Name="hail/key", SecretString="value")["ARN"]
    token = "arn:aws:ssm:ap-southeast-1:123456789012:parameter/hail/token"
    aws.client("ssm").put_parameter(Name="/hail/token", Value="value", Type="SecureString")
    secrets = 'secrets = { KEY = "secretsmanager:hail/key", TOKEN = "ssm:/hail/token" }'
    release.tag("1.3.0", ('{ LOG = "info" }', f'{{ LOG = "debug" }}\n{secrets}'))
    assert release("apply")[0] == 0
    release.called.clear()
    release.tag("1.3.1", ('LOG = "debug"', 'LOG = "more"'))
    second = release.json("deploy")
    (service,) = aws.wire.express.services.values()
    container = service["activeConfigurations"][0]["primaryContainer"]
    assert container["image"].endswith(second["digest"])
    assert {"name": "LOG", "value": "more"} in container["environment"]
    assert container["secrets"] == [
        {"name": "KEY", "valueFrom": key}, {"name": "TOKEN", "valueFrom": token},
    ]  # fmt: skip
    assert release("plan")[0] == 0
    status = release.json("status")
    assert (status["state"], status["tag"]) == ("RUNNING", "hail-v1.3.1")

    release.tag("1.4.0")
    aws.wire.express.broken = True
    code, _, err = release("deploy")
    assert code == 30
    assert "the deployment ended ROLLBACK_SUCCESSFUL" in err
    aws.wire.express.broken = False
    assert release.json("rollback")["digest"] == first["digest"]
    group = {"logGroupName": "/ecs/hail", "logStreamName": "one"}
    aws.client("logs").create_log_stream(**group)
    aws.client("logs").put_log_events(**group, logEvents=[{"timestamp": now(), "message": "hello"}])
    assert release("logs")[1].endswith("  hello\n")
    assert "deployment ROLLBACK_SUCCESSFUL" in release("logs", "--events")[1]
    assert service["activeConfigurations"][0]["primaryContainer"]["image"].endswith(first["digest"])
    require_own_actions(release)


def test_what_one_target_serves_is_promoted_to_another(release):
    release.target("ecs-express")
    staging = f"live-{uuid.uuid4().hex[:8]}"
    other = f"""[tool.tagboat.targets.staging]
kind = "lambda"
name = "{staging}"
region = "ap-southeast-1"
platform = "linux/amd64"

"""
    production = "[tool.tagboat.targets.production]"
    release.tag("1.3.0", (production, other + production))
    code, _, err = release("deploy")
    assert code == 2
    assert "has 2 targets: production, staging" in err
    for target in ("staging", "production"):
        assert release("apply", "--target", target)[0] == 0
    deployed = release.json("deploy", "--target", "staging")
    assert release("status", "--target", "production")[0] == 32
    promoted = release.json("promote", "--from", "staging", "--target", "production")
    assert promoted == {
        "tag": "hail-v1.3.0",
        "digest": deployed["digest"],
        "url": "https://hail.ecs.ap-southeast-1.on.aws",
    }
    assert release.json("status", "--target", "production")["digest"] == deployed["digest"]
    assert release.json("history", "--target", "production")[0]["action"] == "promote"
    for target in ("staging", "production"):
        assert release("plan", "--target", target)[0] == 0


def test_an_image_for_another_architecture_is_refused(release, built, capsys):
    release.target("lambda")
    assert release("apply")[0] == 0
    release.tag("1.3.0", ("linux/amd64", "linux/arm64"))
    code = main(["deploy", "--image", f"oci:{built.layout}", str(release.project.directory)])
    assert code == 2
    assert "the image is for linux/amd64, and hail runs linux/arm64" in capsys.readouterr().err


def now():
    return int(time.time() * 1000)
