"""What is said of a call that AWS refuses: which one, and what to do."""

import time
from types import SimpleNamespace

import botocore.client
import pytest
from botocore.exceptions import ClientError

TARGET = """kind = "lambda"
region = "ap-southeast-1"
data-bucket = "shop-data-1f3a"
"""
NOT_ALLOWED = "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: iam:GetRole on x"


@pytest.fixture
def refused(aws, monkeypatch):
    """Lets AWS refuse an operation with a code, a message and a status."""
    original = botocore.client.BaseClient._make_api_call

    def refuse(operation, code, message, status):
        def call(client, name, arguments):
            if name != operation:
                return original(client, name, arguments)
            answer = {"Error": {"Code": code, "Message": message}}
            raise ClientError(answer | {"ResponseMetadata": {"HTTPStatusCode": status}}, name)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    aws.configure(TARGET)
    return refuse


@pytest.mark.parametrize(
    ("operation", "refusal", "words"),
    [
        (
            "GetRole",
            ("AccessDenied", NOT_ALLOWED, 403),
            ("iam GetRole: AccessDenied", "permission iam:GetRole"),
        ),
        ("GetBucketVersioning", ("AccessDenied", "no", 403), ("no", "permission for s3:GetBucketVersioning")),
        ("HeadBucket", ("403", "Forbidden", 403), ("shop-data-1f3a is somebody else's", "choose another")),
        ("GetCallerIdentity", ("ExpiredToken", "it is", 403), ("ExpiredToken: it is", "`aws sso login`")),
        (
            "GetCallerIdentity",
            ("SignatureDoesNotMatch", "no", 403),
            ("sts Get", "secret is not that of the key"),
        ),
        (
            "GetCallerIdentity",
            ("SignatureDoesNotMatch", "Signature expired: 1", 403),
            ("sts Get", "the clock"),
        ),
        (
            "DescribeLogGroups",
            ("ThrottlingException", "Rate exceeded", 400),
            ("Rate exceeded", "in a minute"),
        ),
        ("CreateRole", ("LimitExceeded", "Cannot exceed quota", 409), ("iam CreateRole", "Service Quotas")),
    ],
)
def test_a_refused_call_is_named_with_what_to_do(aws, refused, operation, refusal, words):
    if operation == "GetBucketVersioning":
        place = {"LocationConstraint": "ap-southeast-1"}
        aws.client("s3").create_bucket(Bucket="shop-data-1f3a", CreateBucketConfiguration=place)
    refused(operation, *refusal)
    ended, out, err = aws.run("apply" if operation.startswith("Create") else "plan")
    assert (ended, out) == (1, "")
    for part, word in zip(err.strip().rsplit("\n", 1), words, strict=True):
        assert word in part


@pytest.mark.parametrize(
    "message",
    [
        "The role defined for the function cannot be assumed by Lambda.",
        "Lambda does not have permission to access the ECR image. Check the ECR permissions.",
    ],
)
def test_what_lambda_has_not_heard_of_yet_is_waited_for(aws, monkeypatch, message):
    aws.configure(TARGET)
    aws.repository()
    aws.release()
    original, refusals = botocore.client.BaseClient._make_api_call, ["once", "twice"]

    def call(client, name, arguments):
        if name == "CreateFunction" and refusals:
            refusals.pop()
            answer = {"Error": {"Code": "InvalidParameterValueException", "Message": message}}
            raise ClientError(answer | {"ResponseMetadata": {"HTTPStatusCode": 400}}, name)
        return original(client, name, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic)
    monkeypatch.setattr("tagboat.aws.account.time", clock)
    code, _, err = aws.run("apply")
    assert (code, refusals) == (0, []), err


def test_a_bucket_has_to_be_the_accounts_own(aws):
    aws.configure(TARGET)
    aws.run("plan")
    owners = {
        call.arguments.get("ExpectedBucketOwner") for call in aws.calls if call.operation == "HeadBucket"
    }
    assert owners == {"123456789012"}
