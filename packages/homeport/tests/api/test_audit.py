"""The audit trail: each call is in it, none of its secrets is, and who polls fills it with nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

import bucketlog
from homeport import audit
from homeport.audit import FOLDER, Call, Trail, read_calls, subject
from homeport.cli import main
from homeport.credentials import AccessKey
from homeport.witness import Witness

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def _calls(harbour: Any, *, reads: bool = False) -> list[Call]:
    asyncio.run(harbour.trail.write())
    return list(read_calls(harbour.data / FOLDER, _LONG_AGO, reads=reads))


def _short(calls: list[Call]) -> list[tuple[str, str, str, str]]:
    return [(call.who, call.operation, call.about, call.result) for call in calls]


def _call(operation: str = "apprunner:DeleteService", **more: Any) -> Call:
    said = {"at": datetime.now(UTC), "who": "root", "about": "x", "source": "127.0.0.1", "result": "OK"}
    return Call(operation=operation, **said | more)


def test_a_call_is_noted_with_who_what_when_and_how_it_ended(harbour: Any) -> None:
    arn, key = harbour.service_key("blog")
    harbour.call("apprunner", "DeleteService", {"ServiceArn": arn})
    harbour.call("apprunner", "DeleteService", {"ServiceArn": arn})
    harbour.call("apprunner", "DeleteService", {"ServiceArn": arn}, key=key)
    service = arn.rpartition(":")[2]
    calls = _calls(harbour)
    assert _short(calls) == [
        ("root", "apprunner:CreateService", "blog", "OK"),
        ("root", "apprunner:DeleteService", service, "OK"),
        ("root", "apprunner:DeleteService", service, "InvalidStateException"),
        ("service/blog", "apprunner:DeleteService", "", "AccessDeniedException"),
    ]
    assert {call.source for call in calls} == {"127.0.0.1"}
    assert all(datetime.now(UTC) - call.at < timedelta(minutes=1) for call in calls)


def test_what_only_reads_is_counted_and_shown_when_asked_for(harbour: Any) -> None:
    for _ in range(3):
        harbour.call("apprunner", "ListServices", {})
    asyncio.run(harbour.trail.write())
    harbour.call("apprunner", "ListServices", {})
    assert _calls(harbour) == []
    assert [call.count for call in _calls(harbour, reads=True)] == [3, 1]


def test_who_is_not_known_is_counted_too(harbour: Any) -> None:
    stranger = AccessKey("HPROOTX", "wrong")
    for _ in range(3):
        harbour.call("apprunner", "DeleteService", {"ServiceArn": "x"}, key=stranger)
        harbour.send("POST", "/", {"X-Amz-Target": "Nonsense.Nothing"})
        harbour.send("POST", "/", {}, b"Action=AssumeRole")
        harbour.send("PUT", "/v2/blog/manifests/v1", {}, b"{}")
        harbour.send("PUT", "/stolen")
    assert _calls(harbour) == []
    assert {(call.who, call.operation, call.about, call.count) for call in _calls(harbour, reads=True)} == {
        ("unknown", "apprunner:DeleteService", "", 3),
        ("unknown", "unknown", "", 3),
        ("unknown", "sts:AssumeRole", "", 3),
        ("unknown", "registry:PutManifest", "", 3),
        ("unknown", "s3:CreateBucket", "", 3),
    }


def test_pushes_and_buckets_are_calls_too(harbour: Any, s3: Any) -> None:
    user, password = harbour.root.id, harbour.root.secret
    basic = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    harbour.send("PUT", "/v2/blog/manifests/v1", basic, b"{}")
    harbour.send("GET", "/v2/blog/manifests/sha256:" + "0" * 64, basic)
    s3.put_object(Bucket="box", Key="key", Body=b"content")
    s3.delete_object(Bucket="box", Key="key")
    s3.delete_bucket(Bucket="box")
    assert _short(_calls(harbour)) == [
        ("root", "s3:CreateBucket", "box", "OK"),
        ("root", "registry:PutManifest", "blog:v1", "HTTP 404"),
        ("root", "s3:DeleteBucket", "box", "OK"),
    ]
    assert ("root", "registry:GetManifest") in [
        (call.who, call.operation) for call in _calls(harbour, reads=True)
    ]


def test_a_call_is_noted_before_its_answer_goes_out(tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    noted: list[int] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(_: Message) -> None:
        noted.append(trail.counts["s3:CreateBucket", "OK"])

    async def receive() -> Message:
        raise AssertionError

    scope = {"type": "http", "path": "/box", "method": "PUT", "query_string": b"", "client": ("127.0.0.1", 1)}
    asyncio.run(Witness(app, trail)(scope, receive, send))
    assert noted == [1, 1]


def test_the_token_for_the_registry_is_no_mere_read(harbour: Any) -> None:
    harbour.call("ecr", "GetAuthorizationToken", {})
    assert [call.operation for call in _calls(harbour)] == ["ecr:GetAuthorizationToken"]


def test_what_a_request_names_is_kept_and_what_it_holds_is_not(harbour: Any) -> None:
    arn, _ = harbour.service_key("blog")
    image = {"ImageConfiguration": {"RuntimeEnvironmentVariables": {"PASSWORD": "hunter2"}}}
    image |= {"ImageIdentifier": "h:1/blog", "ImageRepositoryType": "ECR"}
    harbour.call(
        "apprunner", "UpdateService", {"ServiceArn": arn, "SourceConfiguration": {"ImageRepository": image}}
    )
    tags = [{"Key": "homeport:rollback", "Value": "hunter2"}]
    harbour.call("apprunner", "TagResource", {"ResourceArn": arn, "Tags": tags})
    harbour.call("ecr", "BatchDeleteImage", {"repositoryName": "blog", "imageIds": [{"imageTag": "v1"}]})
    name = arn.rpartition(":")[2]
    assert [call.about for call in _calls(harbour)[1:]] == [name, f"{name} +homeport:rollback", "blog v1"]
    everything = b"".join(file.read_bytes() for file in (harbour.data / FOLDER).rglob("*") if file.is_file())
    assert b"hunter2" not in everything
    assert b"homeport:rollback" in everything


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        1,
        {"imageIds": 1, "Tags": {}, "TagKeys": "x"},
        {"Tags": [1, {}], "imageIds": [{"imageTag": 1}]},
    ],
)
def test_no_request_is_too_strange_to_be_noted(request_: Any) -> None:
    assert subject(request_) in ("", "+None")
    assert len(subject({"ServiceName": "é\n\ud800" * 1000})) == 200
    assert subject({"ServiceName": "a\nb\x1b"}).isprintable()


def test_what_cannot_be_written_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trail = Trail(tmp_path)

    def fail(_location: str) -> None:
        raise bucketlog.StoreError("no space left")

    async def run() -> None:
        for operation in ("DeleteService", "ListServices", "ListServices"):
            trail.note(_call(f"apprunner:{operation}"))
        with monkeypatch.context() as patch:
            patch.setattr(bucketlog, "connect", fail)
            await trail.write()
        assert "2 calls are not in the audit trail yet: no space left" in caplog.text
        keeping = asyncio.create_task(trail.keep())
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(run())
    found = list(read_calls(tmp_path, _LONG_AGO, reads=True))
    assert sorted((call.operation, call.count) for call in found) == [
        ("apprunner:DeleteService", 1),
        ("apprunner:ListServices", 2),
    ]


def test_changes_are_written_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_SOON", 0.01)
    trail, written = Trail(tmp_path), asyncio.Semaphore(0)

    async def write() -> None:
        await Trail.write(trail)
        written.release()

    async def run() -> None:
        monkeypatch.setattr(trail, "write", write)
        keeping = asyncio.create_task(trail.keep())
        for _ in range(2):
            trail.note(_call())
            await asyncio.wait_for(written.acquire(), 60)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(run())
    assert len(list(read_calls(tmp_path, _LONG_AGO))) == 2


def test_thirteen_months_are_kept(tmp_path: Path) -> None:
    trail = Trail(tmp_path)
    months = [datetime(2026, month, 3, tzinfo=UTC) for month in range(1, 13)]
    months += [datetime(2027, month, 3, tzinfo=UTC) for month in range(1, 4)]

    async def run() -> None:
        for at in months:
            trail.note(_call(at=at))
            await trail.write()

    asyncio.run(run())
    assert [call.at for call in read_calls(tmp_path, _LONG_AGO)] == months[-13:]
    assert [call.at for call in read_calls(tmp_path, months[-2])] == months[-2:]


def test_a_month_that_was_only_just_begun_is_empty(tmp_path: Path) -> None:
    bucketlog.connect(f"file://{tmp_path / '2026-11'}").close()
    assert list(read_calls(tmp_path, _LONG_AGO, reads=True)) == []


def test_the_command_prints_it(harbour: Any, capsys: pytest.CaptureFixture[str]) -> None:
    harbour.service_key("blog")
    harbour.call("apprunner", "ListServices", {})
    harbour.call("apprunner", "ListServices", {})
    asyncio.run(harbour.trail.write())
    data = str(harbour.data)
    assert main(["audit", "--data", data]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("  ")[1:] == ["root", "127.0.0.1", "apprunner:CreateService", "blog", "OK"]
    assert main(["audit", "--data", data, "--since", "1h", "--reads", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["operation"], one["count"]) for one in shown] == [
        ("apprunner:CreateService", 1),
        ("apprunner:ListServices", 2),
    ]
    assert main(["audit", "--data", data, "--since", "2999-01-01"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("since", ["soon", "", "s", "1y", "2026-13-01", "9" * 20 + "d"])
def test_what_is_no_time_is_refused(harbour: Any, since: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["audit", "--data", str(harbour.data), "--since", since])
    assert "is no time and no duration" in capsys.readouterr().err


def test_a_directory_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--data", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not there" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    assert main(["audit", "--data", str(tmp_path)]) == 0
