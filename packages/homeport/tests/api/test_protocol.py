"""The wire protocol of AWS's JSON services, whatever the service."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import given
from hypothesis import strategies as st

from homeport.aws.errors import ApiError
from homeport.aws.protocol import JsonService, readable, service_model
from homeport.errors import HomeportError

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class _Echo:
    """Two operations of CloudTrail and Kinesis, for the types that homeport's own services lack."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    async def lookup_events(self, **request: Any) -> Mapping[str, Any]:
        self.asked = request
        return {"Events": [{"EventTime": request["StartTime"]}]}

    async def put_record(self, **request: Any) -> Mapping[str, Any]:
        self.asked = request
        return {"ShardId": "1", "SequenceNumber": "0"}


def _answer(service: str, operation: str, request: object) -> tuple[dict[str, Any], Any]:
    echo = _Echo()
    answer = asyncio.run(JsonService(service, echo).answer(operation, json.dumps(request).encode()))
    return echo.asked, json.loads(answer)


def test_times_are_seconds_on_the_wire_and_values_inside() -> None:
    when = datetime(2026, 7, 1, 12, 30, tzinfo=UTC)
    asked, answer = _answer("cloudtrail", "LookupEvents", {"StartTime": when.timestamp()})
    assert asked == {"StartTime": when}
    assert answer == {"Events": [{"EventTime": when.timestamp()}]}


@pytest.mark.parametrize("value", [1e300, float("inf"), float("nan"), -(10**30), "2026-07-01", True])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ApiError, match="StartTime is n"):
        _answer("cloudtrail", "LookupEvents", {"StartTime": value})


def test_bytes_are_base64_on_the_wire_and_values_inside() -> None:
    asked, _ = _answer("kinesis", "PutRecord", {"Data": "AP8=", "PartitionKey": "a", "StreamName": "s"})
    assert asked["Data"] == b"\x00\xff"
    with pytest.raises(ApiError, match="Data is not base64"):
        _answer("kinesis", "PutRecord", {"Data": "no base64!", "PartitionKey": "a", "StreamName": "s"})


def test_every_operation_of_app_runner_is_answered(harbour: Any) -> None:
    """Some with an error, for what they are about is not there; none as one that is not known."""
    assert harbour.answered["apprunner"] == service_model("apprunner").operation_names
    for operation in harbour.answered["apprunner"]:
        reply = harbour.call("apprunner", operation, {})
        assert reply.status == 200 or reply.code == "InvalidRequestException", (operation, reply.body)


def test_every_pattern_of_awss_models_is_one_that_we_can_hold_requests_against(harbour: Any) -> None:
    def patterns(shape: Shape) -> list[str]:
        match shape:
            case StructureShape():
                return [found for member in shape.members.values() for found in patterns(member)]
            case ListShape():
                return patterns(shape.member)
            case MapShape():
                return patterns(shape.key) + patterns(shape.value)
        return [shape.metadata["pattern"]] if "pattern" in shape.metadata else []

    for name, operations in harbour.answered.items():
        for operation in operations:
            shape = service_model(name).operation_model(operation).input_shape
            for pattern in patterns(shape) if shape else ():
                re.compile(readable(pattern))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        ("StartImageScan", "homeport does not answer ecr StartImageScan"),
        ("Nonsense", "ecr has no operation Nonsense"),
        ("", "ecr has no operation"),
        ("__init__", "ecr has no operation __init__"),
    ],
)
def test_an_operation_that_is_not_answered_is_named(harbour: Any, operation: str, message: str) -> None:
    reply = harbour.call("ecr", operation, {})
    assert (reply.status, reply.code) == (400, "UnknownOperationException")
    assert message in reply.message


def test_a_service_that_is_not_here_is_named(harbour: Any, error_of: Any) -> None:
    assert error_of(harbour.client("dynamodb").list_tables) == "UnknownOperationException"
    reply = harbour.send("POST", "/", {"X-Amz-Target": "Nonsense"})
    assert (reply.status, reply.code) == (400, "UnknownOperationException")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b"\x00",
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'{"NextToken": "' + b"x" * 100,
    ],
)
def test_what_is_not_json_is_refused(harbour: Any, body: bytes) -> None:
    reply = harbour.call("apprunner", "ListServices", body)
    assert (reply.status, reply.code) == (400, "SerializationException")


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"', b"NaN", b'{"MaxResults": NaN}', b"[[[]]]"])
def test_json_of_another_shape_is_refused(harbour: Any, body: bytes) -> None:
    reply = harbour.call("apprunner", "ListServices", body)
    assert (reply.status, reply.code) == (400, "InvalidRequestException")


def test_no_body_stands_for_no_members(harbour: Any) -> None:
    assert harbour.call("apprunner", "ListServices", b"").status == 200


def test_half_a_surrogate_pair_is_refused(harbour: Any) -> None:
    body = (
        b'{"ServiceName": "blog", "SourceConfiguration": {"ImageRepository": {"ImageRepositoryType": "ECR", '
    )
    body += b'"ImageIdentifier": "h/blog", "ImageConfiguration": {"StartCommand": "\\ud800"}}}}'
    reply = harbour.call("apprunner", "CreateService", body)
    assert (reply.status, reply.code) == (400, "InvalidRequestException")
    assert "surrogate" in reply.message


def test_a_request_that_is_too_large_is_refused_unread(harbour: Any) -> None:
    reply = harbour.call("apprunner", "ListServices", b" " * ((1 << 20) + 1))
    assert reply.status == 413
    assert harbour.call("apprunner", "ListServices", b"{}" + b" " * ((1 << 20) - 2)).status == 200


@given(request=_json)
def test_no_json_makes_a_service_stumble(request: Any) -> None:
    class Deaf:
        async def create_service(self, **_: Any) -> Mapping[str, Any]:
            raise AssertionError("nothing of the sort is a request that makes sense")

    with pytest.raises(ApiError):
        asyncio.run(JsonService("apprunner", Deaf()).answer("CreateService", json.dumps(request).encode()))


def test_an_unsigned_call_is_refused(harbour: Any) -> None:
    reply = harbour.send("POST", "/", {"X-Amz-Target": "AppRunner.ListServices"}, b"{}")
    assert (reply.status, reply.code) == (403, "MissingAuthenticationTokenException")


def test_a_call_signed_for_one_service_does_not_reach_another(harbour: Any) -> None:
    headers = {"X-Amz-Target": f"{service_model('ecr').metadata['targetPrefix']}.DescribeRepositories"}
    reply = harbour.signed("apprunner", "POST", "/", headers=headers, body=b"{}")
    assert (reply.status, reply.code) == (403, "InvalidSignatureException")


def test_a_body_that_was_not_signed_is_refused(harbour: Any) -> None:
    target = {"X-Amz-Target": "AppRunner.ListServices"}
    signed = harbour.sign("apprunner", "POST", "/", headers=target, body=b"{}")
    reply = harbour.send("POST", "/", signed, b'{"MaxResults": 1}')
    assert (reply.status, reply.code) == (403, "InvalidSignatureException")
    unsigned = {**target, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    reply = harbour.signed("apprunner", "POST", "/", headers=unsigned, body=b"{}")
    assert (reply.status, reply.code) == (403, "InvalidSignatureException")


def test_a_failure_below_is_told_without_what_it_says_of_the_machine(
    harbour: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise HomeportError("/secret/path is broken")

    monkeypatch.setattr(harbour.controller, "services", fail)
    reply = harbour.call("apprunner", "ListServices", {})
    assert (reply.status, reply.code) == (500, "InternalFailure")
    assert b"/secret/path" not in reply.body
    assert "apprunner ListServices: HomeportError: /secret/path is broken" in capfd.readouterr().err


def test_it_says_that_it_is_well(harbour: Any) -> None:
    assert harbour.send("GET", "/healthz").body == b'{"status":"ok"}'
