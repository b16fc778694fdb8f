"""Secrets of Secrets Manager and SSM: named to the platform, read by one role alone, shown nowhere."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.lambda_service import http_event, lambda_service
from bench.ports import free_port
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from packages.tagboat.tests.aws.conftest import REGION

from tagboat.build import lambda_bridge
from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.runtime.choice import runtime_of
from tagboat.targets.place import Place

SECRETS = """
region = "ap-southeast-1"
platform = "linux/amd64"
[tool.tagboat.targets.production.secrets]
STRIPE = "secretsmanager:shop/stripe"
PASSWORD = "secretsmanager:shop/db:password"
USER = "secretsmanager:shop/db:user"
TOKEN = "ssm:/shop/token"
"""
VALUE = "v4lue-of-"


def keep(aws):
    """Let the secrets be there, and give the ARNs of the two of Secrets Manager's."""
    manager = aws.client("secretsmanager")
    database = json.dumps({"user": f"{VALUE}user", "password": f"{VALUE}password"})
    arns = [
        manager.create_secret(Name=name, SecretString=value)["ARN"]
        for name, value in (("shop/stripe", f"{VALUE}stripe"), ("shop/db", database))
    ]
    aws.client("ssm").put_parameter(Name="/shop/token", Value=f"{VALUE}token", Type="SecureString")
    return arns


def named(aws, kind, stripe, database, token):
    """Where the platform was told that the values are."""
    if kind == "ecs-express":
        (service,) = aws.wire.express.services.values()
        told = service["activeConfigurations"][0]["primaryContainer"]["secrets"]
        return {one["name"]: one["valueFrom"] for one in told}
    if kind == "apprunner":
        (service,) = aws.wire.apprunner.services.values()
        image = service["SourceConfiguration"]["ImageRepository"]
        return image["ImageConfiguration"]["RuntimeEnvironmentSecrets"]
    variables = aws.client("lambda").get_function_configuration(FunctionName="shop")["Environment"][
        "Variables"
    ]
    told = json.loads(variables["TAGBOAT_SECRETS"])
    assert told["PASSWORD"] == ["secretsmanager", "shop/db", "password"]
    assert told["TOKEN"] == ["ssm", "/shop/token", None]
    arns = {"shop/stripe": stripe, "shop/db": database, "/shop/token": token}
    return {name: arns[one] + (f":{key}::" if key else "") for name, (_, one, key) in told.items()}


@pytest.mark.parametrize(
    ("kind", "role"), [("lambda", "execution"), ("ecs-express", "execution"), ("apprunner", "instance")]
)
def test_secrets_are_named_to_the_platform_and_read_by_one_role(aws, kind, role):
    aws.configure(f'kind = "{kind}"{SECRETS}')
    aws.repository()
    aws.release()
    for command in ("plan", "apply"):
        code, out, err = aws.run(command)
        assert code == 1
        assert (
            "secretsmanager.secret shop/stripe, secretsmanager.secret shop/db, ssm.parameter /shop/token"
            in err
        )
        for name in ("shop/db", "/shop/token"):
            assert f"`tagboat secret {name} < FILE` keeps the value that is in FILE" in err
        assert not aws.calls.changing

    stripe, database = keep(aws)
    token = "arn:aws:ssm:ap-southeast-1:123456789012:parameter/shop/token"
    said = ""
    operations = set()
    for command, *options in (("apply",), ("plan", "--all", "--json"), ("drift",)):
        code, out, err = aws.run(command, *options)
        said += out + err
        operations |= {call.operation for call in aws.calls}
    assert code == 0
    assert named(aws, kind, stripe, database, token) == {
        "STRIPE": stripe,
        "PASSWORD": f"{database}:password::",
        "USER": f"{database}:user::",
        "TOKEN": token,
    }
    if kind == "apprunner":  # what `deploy` would tell it
        deployed = runtime_of(Component.load(aws.directory), None).settings("host/shop:latest")
        assert deployed.secrets == named(aws, kind, stripe, database, token)
    policy = aws.client("iam").get_role_policy(RoleName=f"shop-{role}", PolicyName="secrets")
    assert [(one["Action"], one["Resource"]) for one in policy["PolicyDocument"]["Statement"]] == [
        (["secretsmanager:GetSecretValue"], [stripe]),
        (["secretsmanager:GetSecretValue"], [database]),
        (["ssm:GetParameters"], [token]),
    ]
    assert not {"GetSecretValue", "BatchGetSecretValue", "GetParameter", "GetParameters"} & operations
    from tagboat.cli import main  # noqa: PLC0415  a command with an argument before the folder

    assert main(["export", "cloudformation", str(aws.directory)]) == 0
    said += aws.capture().out
    assert VALUE not in said
    assert aws.run("destroy", "--yes")[0] == 0
    assert len(aws.client("secretsmanager").list_secrets()["SecretList"]) == 2


def test_a_key_of_ones_own_has_to_be_named(aws):
    target = f'kind = "lambda"{SECRETS}'
    aws.configure(target)
    keep(aws)
    key = "arn:aws:kms:ap-southeast-1:123456789012:key/1234-ab"
    aws.client("secretsmanager").update_secret(SecretId="shop/stripe", KmsKeyId=key)
    code, _, err = aws.run("plan")
    assert code == 1
    assert f'shop/stripe is encrypted by "{key}": the service could not read it' in err
    assert "secrets-key of the target" in err
    only = 'STRIPE = "secretsmanager:shop/stripe"\n'
    aws.configure(f'kind = "lambda"\nsecrets-key = "{key}"{SECRETS.partition("STRIPE")[0]}{only}')
    assert aws.run("plan")[0] == 2


def test_a_homeport_is_told_names_of_its_own(aws):
    aws.configure(f'kind = "homeport"{SECRETS.replace(chr(10) + "region", chr(10) + "#")}')
    request = runtime_of(Component.load(aws.directory), None).settings("host/shop:latest").request()
    image = request["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]
    assert image["RuntimeEnvironmentSecrets"] == {
        "STRIPE": "shop/stripe",
        "PASSWORD": "arn:aws:secretsmanager:::secret:shop/db:password::",
        "USER": "arn:aws:secretsmanager:::secret:shop/db:user::",
        "TOKEN": "/shop/token",
    }
    aws.repository()
    code, _, err = aws.run("plan")
    assert code == 1
    assert (
        "secretsmanager.secret shop/stripe, secretsmanager.secret shop/db, secretsmanager.secret /shop/token"
        in err
    )
    assert "`tagboat secret shop/db < FILE` keeps the value" in err


@pytest.mark.parametrize("written", ["sk_live_1234", "secretsmanager:a b", "ssm:a:b", "arn:aws:s3:::shop"])
def test_a_value_in_place_of_where_it_is_kept_is_refused_and_not_repeated(aws, written):
    aws.configure(f'kind = "lambda"{SECRETS.replace("ssm:/shop/token", written)}')
    component = Component.load(aws.directory)
    with pytest.raises(ConfigError, match=r"secrets\.TOKEN does not say where") as caught:
        _ = Place(component, component.config.targets["production"], "1", REGION).secrets
    assert written not in f"{caught.value} {caught.value.hint}"


APP = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer

class App(BaseHTTPRequestHandler):
    def do_GET(self):
        data = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

HTTPServer(("", int(os.environ["PORT"])), App).serve_forever()
"""


@pytest.mark.parametrize("missing", [None, "shop/db", "key"])
def test_a_function_reads_its_secrets_as_it_starts(aws, missing):
    keep(aws)
    told = {
        "STRIPE": ["secretsmanager", "shop/stripe", None],
        "PASSWORD": ["secretsmanager", "shop/db", "none" if missing == "key" else "password"],
        "TOKEN": ["ssm", "/shop/token", None],
    }
    if missing == "shop/db":
        aws.client("secretsmanager").delete_secret(SecretId=missing, ForceDeleteWithoutRecovery=True)
    with lambda_service() as service:
        environment = {
            "AWS_LAMBDA_RUNTIME_API": service.address,
            "TAGBOAT_SECRETS": json.dumps(told),
            "PORT": str(free_port()),
        }
        process = subprocess.Popen(
            [sys.executable, "-I", lambda_bridge.__file__, sys.executable, "-c", APP],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if missing is None:
                variables = json.loads(service.invoke(http_event("/")).body)
                assert {name: variables[name] for name in told} == {
                    "STRIPE": f"{VALUE}stripe",
                    "PASSWORD": f"{VALUE}password",
                    "TOKEN": f"{VALUE}token",
                }
                assert "TAGBOAT_SECRETS" not in variables
                assert VALUE not in Path(f"/proc/{process.pid}/environ").read_text()
                return
            failure = service.failed.get(timeout=180)
            assert failure["errorType"] == "SecretError"
            assert failure["errorMessage"].startswith("PASSWORD: secretsmanager shop/db: ")
            assert process.wait(180) == 1
            assert VALUE not in process.stderr.read() + failure["errorMessage"]
        finally:
            process.terminate()
            process.communicate(timeout=180)


@given(st.text(max_size=40), st.sampled_from([None, "token+/="]))
def test_its_signature_is_that_of_aws_own_client(text, token):
    body = json.dumps({"SecretId": text}).encode()
    request = AWSRequest("POST", "https://ssm.eu-west-1.amazonaws.com/", data=body)
    request.headers["Content-Type"] = "application/x-amz-json-1.1"
    request.headers["X-Amz-Target"] = "AmazonSSM.GetParameters"
    SigV4Auth(Credentials("key", "secret", token), "ssm", "eu-west-1").add_auth(request)
    stamp = time.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        if token:
            patch.setenv("AWS_SESSION_TOKEN", token)
        place = ("ssm", "eu-west-1", "ssm.eu-west-1.amazonaws.com")
        signed = lambda_bridge.signed_headers(place, "AmazonSSM.GetParameters", body, stamp)
    assert signed["authorization"] == request.headers["Authorization"]
