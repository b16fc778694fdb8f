"""Logging in to Amazon's registry: the real boto3 asks, and a server on loopback stands for AWS."""

import base64
import json
from urllib.parse import parse_qs

import pytest

from ocikit import Credentials, OcikitError, find_credentials
from ocikit.ecr import credentials

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
STS = """\
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>
<SecretAccessKey>s3cret</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


@pytest.fixture
def aws(fake, tmp_path, monkeypatch):
    """AWS that knows everybody, and an environment in which nobody is anybody yet."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": tmp_path / "config",
        "AWS_SHARED_CREDENTIALS_FILE": tmp_path / "credentials",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_ECR": f"http://{fake.host}",
        "AWS_ENDPOINT_URL_STS": f"http://{fake.host}",
        "DOCKER_CONFIG": tmp_path,
    }.items():
        monkeypatch.setenv(name, str(value))

    def answer(asked):
        if b"Action=AssumeRoleWithWebIdentity" in asked.body:
            return 200, {"Content-Type": "text/xml"}, STS.encode()
        assert asked.headers["X-Amz-Target"] == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
        token = base64.b64encode(b"AWS:a-token").decode()
        data = {"authorizationData": [{"authorizationToken": token, "proxyEndpoint": f"https://{HOST}"}]}
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(data).encode()

    fake.answer = answer
    return fake


def signed_by(asked):
    """The key and the region of a signature (SigV4)."""
    key, _, region, _ = asked.headers["Authorization"].partition("Credential=")[2].split("/", 3)
    return key, region


def test_variables_say_who_we_are(aws, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAVARIABLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    assert find_credentials(HOST) == Credentials("AWS", "a-token")
    assert signed_by(aws.asked[0]) == ("AKIAVARIABLE", "eu-west-1")


def test_a_profile_says_who_we_are(aws, tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text(
        "[ship]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s3cret\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "ship")
    assert find_credentials(HOST.replace("eu-west-1", "ap-southeast-1")) == Credentials("AWS", "a-token")
    assert signed_by(aws.asked[0]) == ("AKIAPROFILE", "ap-southeast-1")


def test_a_web_identity_takes_its_role(aws, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("an.identity.token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ship")
    assert find_credentials(HOST) == Credentials("AWS", "a-token")
    asked = parse_qs(aws.asked[0].body.decode())
    assert asked["WebIdentityToken"] == ["an.identity.token"]
    assert signed_by(aws.asked[1])[0] == "ASIAROLE"


def test_where_aws_is_elsewhere_its_registry_is_there_too(aws, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAVARIABLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "local-1")
    assert find_credentials(aws.host) == Credentials("AWS", "a-token")
    assert signed_by(aws.asked[0]) == ("AKIAVARIABLE", "local-1")
    assert find_credentials("127.0.0.1:1") is None


def test_who_is_nobody_is_told(aws):
    with pytest.raises(OcikitError, match=f"{HOST}: no login from AWS: Unable to locate credentials"):
        find_credentials(HOST)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"__type": "AccessDeniedException", "message": "not you"}, "AccessDeniedException.*not you"),
        (200, {"authorizationData": [{"authorizationToken": "!"}]}, "without a token"),
        (200, {"authorizationData": []}, "without a token"),
        (200, {}, "without a token"),
    ],
)
def test_a_refusal_is_said_in_aws_s_words_and_nonsense_is_no_login(aws, monkeypatch, status, body, said):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAVARIABLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    aws.answer = lambda _: (status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode())
    with pytest.raises(OcikitError, match=said) as caught:
        find_credentials(HOST)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        (HOST, True),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", True),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", True),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", False),
        (f"{HOST}.evil.example", False),
        (f"evil.example/{HOST}", False),
        ("public.ecr.aws", False),
        ("s3.eu-west-1.amazonaws.com", False),
    ],
)
def test_only_an_account_s_own_registry_is_amazon_s(aws, monkeypatch, host, is_one):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAVARIABLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    assert (credentials(host) is not None) == is_one
    assert len(aws.asked) == is_one
