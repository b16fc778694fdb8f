"""A service's log, read as CloudWatch Logs."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.model import LogLine


@pytest.fixture
def logs(harbour: Any) -> Any:
    return harbour.client("logs")


@pytest.fixture
def group(harbour: Any) -> str:
    """The application's log group of a service with five lines."""
    arn, _ = harbour.service_key("blog")
    lines = [LogLine(1_000 + number, f"instance/{number % 2}", f"line {number} é\t😀") for number in range(5)]
    harbour.controller.lines[arn, "application"] = lines
    harbour.controller.lines[arn, "service"] = [LogLine(1, "deployment", "came up")]
    return f"/aws/apprunner/blog/{arn.rpartition('/')[2]}/application"


def test_lines_come_oldest_first_with_time_and_stream(logs: Any, group: str) -> None:
    events = logs.filter_log_events(logGroupName=group)["events"]
    assert [event["timestamp"] for event in events] == [1000, 1001, 1002, 1003, 1004]
    assert events[3]["message"] == "line 3 é\t😀"
    assert events[3]["logStreamName"] == "instance/1"


def test_whoever_follows_can_tell_new_lines_from_old_ones(harbour: Any, logs: Any, group: str) -> None:
    arn = harbour.client("apprunner").list_services()["ServiceSummaryList"][0]["ServiceArn"]
    same = LogLine(2_000, "instance/0", "again")
    harbour.controller.lines[arn, "application"] += [same, same]
    follow = {"logGroupName": group, "startTime": 1_002, "interleaved": True}  # what `aws logs tail` asks
    before = [event["eventId"] for event in logs.filter_log_events(**follow)["events"]]
    harbour.controller.lines[arn, "application"].append(same)
    after = [event["eventId"] for event in logs.filter_log_events(**follow | {"startTime": 2_000})["events"]]
    assert len(set(before)) == 5
    assert after[:2] == before[3:]
    assert after[2] not in before


def test_each_kind_has_its_own_group(logs: Any, group: str) -> None:
    events = logs.filter_log_events(logGroupName=group.replace("application", "service"))["events"]
    assert [event["message"] for event in events] == ["came up"]


def test_only_what_came_since_can_be_asked_for(logs: Any, group: str) -> None:
    events = logs.filter_log_events(logGroupName=group, startTime=1003)["events"]
    assert [event["timestamp"] for event in events] == [1003, 1004]


def test_of_more_than_the_limit_the_newest_are_shown(logs: Any, group: str) -> None:
    events = logs.filter_log_events(logGroupName=group, limit=2)["events"]
    assert [event["timestamp"] for event in events] == [1003, 1004]


@pytest.mark.parametrize(
    "name",
    ["/aws/apprunner/blog", "/aws/lambda/blog", f"/aws/apprunner/blog/{'0' * 32}/application", "x/../../etc"],
)
def test_a_group_that_is_not_there_is_a_typed_exception(logs: Any, group: str, name: str) -> None:
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.filter_log_events(logGroupName=name)


def test_what_is_not_supported_is_refused_rather_than_ignored(logs: Any, group: str) -> None:
    with pytest.raises(logs.exceptions.InvalidParameterException, match="filterPattern is not supported"):
        logs.filter_log_events(logGroupName=group, filterPattern="ERROR")


def test_a_request_without_a_group_is_refused(harbour: Any) -> None:
    reply = harbour.call("logs", "FilterLogEvents", {})
    assert reply.code == "InvalidParameterException"
    assert "logGroupName" in reply.message
