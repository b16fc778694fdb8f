"""Who one is, by STS."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homeport.credentials import AccessKey


def test_the_root_key_is_the_account(harbour: Any) -> None:
    identity = harbour.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"


def test_a_wrong_secret_is_told_by_its_own_code(harbour: Any, error_of: Any) -> None:
    liar = harbour.client("sts", AccessKey(harbour.root.id, "not the secret"))
    assert error_of(liar.get_caller_identity) == "InvalidSignatureException"


def test_an_unknown_key_is_told_by_its_own_code(harbour: Any, error_of: Any) -> None:
    stranger = harbour.client("sts", AccessKey("HPROOTNOBODY", "any"))
    assert error_of(stranger.get_caller_identity) == "UnrecognizedClientException"


def test_another_action_is_refused_by_name(harbour: Any, error_of: Any) -> None:
    assert error_of(harbour.client("sts").get_session_token) == "InvalidAction"


def test_a_service_may_not_ask(harbour: Any, error_of: Any) -> None:
    _, key = harbour.service_key("blog")
    assert error_of(harbour.client("sts", key).get_caller_identity) == "AccessDeniedException"


def test_an_action_with_a_body_that_is_not_text_is_refused(harbour: Any) -> None:
    reply = harbour.signed("sts", "POST", "/", body=b"\xff\x00=\xfe")
    assert reply.status == 400
    assert b"<Code>InvalidAction</Code>" in reply.body


def test_a_form_without_end_is_refused_before_it_is_read(harbour: Any) -> None:
    assert harbour.send("POST", "/", body=b"a=b&" * 2000).status == 400


@pytest.mark.parametrize("form", ["RoleArn.x=1", "Tags.member.1.Key=a", "Other=1", "DurationSeconds=soon"])
def test_a_member_that_the_operation_does_not_have_is_named(harbour: Any, form: str) -> None:
    body = f"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&{form}".encode()
    reply = harbour.send("POST", "/", body=body)
    assert (reply.status, b"<Code>ValidationError</Code>" in reply.body) == (400, True)


def test_every_sdk_takes_a_role_by_two_variables_and_a_file(
    harbour: Any, trusted: Any, tmp_path: Path
) -> None:
    """As in a job that has no keys at all: the `aws` command, which asks STS by itself."""
    (tmp_path / "token").write_text(trusted.token())
    given = {
        "AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/release",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_SESSION_NAME": "job-7",
    }
    settings = {name: value for name, value in harbour.environment.items() if "_KEY" not in name}
    command = [Path(sys.executable).parent / "aws", "sts", "get-caller-identity", "--output", "json"]
    done = subprocess.run(command, env=settings | given, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["Arn"] == "arn:aws:sts::000000000000:assumed-role/release/job-7"
