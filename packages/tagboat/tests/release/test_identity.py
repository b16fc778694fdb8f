"""Credentials of a CI job: its system's token, changed by STS for those of a role."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from tagboat.identity import IdentityError, actor, run_address, session

ROLE = "arn:aws:iam::000000000000:role/release"
CREDENTIALS = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIAKEY</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>2036-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>
"""
REFUSAL = """\
<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>another repository</Message></Error></ErrorResponse>
"""


class Issuer(ThreadingHTTPServer):
    """The runner's token service and STS at one address. (The real ones are GitHub's and AWS's.)"""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.token_status = self.sts_status = 200


class _Answers(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self):
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(("token", query | {"authorization": self.headers["Authorization"]}))
        self.answer(self.server.token_status, json.dumps({"value": "header.claims.signature"}))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.server.asked.append(("sts", form | {"signed": str("Authorization" in self.headers)}))
        self.answer(self.server.sts_status, CREDENTIALS if self.server.sts_status == 200 else REFUSAL)

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def issuer(monkeypatch):
    """An issuer, and the environment that it gives to a job of GitHub's."""
    server = Issuer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "TAGBOAT_ID_TOKEN", "OIDC_AUDIENCE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("AWS_REGION", "local-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "local-1")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{server.address}/token?api-version=2")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner")
    monkeypatch.setenv("GITHUB_REPOSITORY", "octo/shop")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def key(made: boto3.Session) -> tuple[str, str, str | None]:
    credentials = made.get_credentials().get_frozen_credentials()
    return credentials.access_key, credentials.secret_key, credentials.token


def test_a_job_of_github_gets_the_role_for_its_token(issuer):
    assert key(session()) == ("ASIAKEY", "hidden", "session")
    (_, asked), (_, given) = issuer.asked
    assert asked == {"api-version": "2", "audience": "sts.amazonaws.com", "authorization": "Bearer runner"}
    assert given["Action"] == "AssumeRoleWithWebIdentity"
    assert given["RoleArn"] == ROLE
    assert given["RoleSessionName"] == "octo.shop-7"
    assert given["WebIdentityToken"] == "header.claims.signature"
    assert given["DurationSeconds"] == "3600"
    assert given["signed"] == "False"


def test_each_command_asks_for_a_token_of_its_own(issuer):
    """A token is good for one exchange where its `jti` is looked at."""
    session()
    session()
    assert [what for what, _ in issuer.asked] == ["token", "sts"] * 2


def test_the_audience_can_be_another(issuer, monkeypatch):
    monkeypatch.setenv("OIDC_AUDIENCE", "https://port.example")
    session()
    assert issuer.asked[0][1]["audience"] == "https://port.example"


def test_other_systems_give_the_token_in_a_variable(issuer, monkeypatch):
    monkeypatch.setenv("TAGBOAT_ID_TOKEN", "from.git.lab")
    assert key(session())[0] == "ASIAKEY"
    assert [what for what, _ in issuer.asked] == ["sts"]
    assert issuer.asked[0][1]["WebIdentityToken"] == "from.git.lab"


def test_a_token_that_is_refused_is_told_without_the_token(issuer):
    issuer.sts_status = 403
    with pytest.raises(IdentityError, match="AccessDenied: another repository") as caught:
        session()
    assert "must trust this repository" in caught.value.hint
    assert "header.claims.signature" not in str(caught.value)


def test_a_job_without_the_permission_for_tokens_is_told_so(issuer):
    issuer.token_status = 403
    with pytest.raises(IdentityError, match="no identity token") as caught:
        session()
    assert "id-token: write" in caught.value.hint
    assert "runner" not in str(caught.value)


@pytest.mark.parametrize("missing", ["AWS_ROLE_ARN", "ACTIONS_ID_TOKEN_REQUEST_URL"])
def test_outside_of_such_a_job_the_shells_own_settings_hold(issuer, monkeypatch, missing):
    monkeypatch.delenv(missing)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASHELL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    assert key(session())[0] == "AKIASHELL"
    assert issuer.asked == []


def test_who_runs_it_is_what_the_system_says(issuer, monkeypatch):
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.example")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert (actor(), run_address()) == ("octocat", "https://git.example/octo/shop/actions/runs/7")
    for name in ("GITHUB_RUN_ID", "GITHUB_ACTOR"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CI_JOB_URL", "https://lab.example/jobs/9")
    monkeypatch.setenv("GITLAB_USER_LOGIN", "lab")
    assert (actor(), run_address()) == ("lab", "https://lab.example/jobs/9")


def test_the_region_is_said_by_aws_region_alone(issuer, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert session().region_name == "eu-central-1"
    monkeypatch.delenv("AWS_ROLE_ARN")
    assert session().region_name == "eu-central-1"


def test_a_profile_that_is_not_there_is_told_so(issuer, monkeypatch):
    monkeypatch.delenv("AWS_ROLE_ARN")
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(IdentityError, match="no-such-profile"):
        session()
