"""What is said of a call that AWS refuses: which one, and what to do."""

import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError

from tagboat.aws.account import Account
from tagboat.cloud import Cloud, CloudError

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


class Stranger(BaseHTTPRequestHandler):
    """A web server that has nothing to do with AWS."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        page = f"<!DOCTYPE html>\n<html>\n<title>No\x1b[1m page\n here</title>\n{'<p>more</p>' * 5000}"
        self.send_response(403)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page.encode())

    do_POST = do_GET  # noqa: N815  the name is the server's

    def log_message(self, *_):
        pass


@pytest.fixture
def stranger():
    """Its address."""
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("service", "operation", "words"),
    [
        ("ecr", "describe_repositories", "403 No[1m page here"),
        ("lambda", "list_functions", "403 No[1m page here"),
        ("sts", "get_caller_identity", r"No\x1b[1m page\n here"),  # botocore cannot read it, and quotes it
        ("s3", "list_buckets", "403 Forbidden"),  # botocore drops it
    ],
)
def test_a_page_in_place_of_an_answer_is_told_in_a_line(stranger, service, operation, words):
    account = Account("us-east-1", endpoint=stranger, session_of_another=boto3.Session("a", "b"))
    with pytest.raises(CloudError) as refused:
        account.call(service, operation)
    assert str(refused.value).endswith(f": the answer is not AWS's: {words}")
    assert "AWS_ENDPOINT_URL" in refused.value.hint


def test_a_release_is_told_so_too(stranger):
    cloud = Cloud("us-east-1", endpoint=stranger, owner=boto3.Session("a", "b"))
    with pytest.raises(CloudError, match=r"^ListServices: the answer is not AWS's: 403 No\[1m page here$"):
        cloud.service("shop")
    with pytest.raises(CloudError, match=r"^the answer is not AWS's: No.* page.* here$"):
        cloud.identity()
