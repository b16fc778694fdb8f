"""The bridge between AWS Lambda's runtime API and an app that speaks HTTP, as its own process."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.lambda_service import LambdaService, http_event, lambda_service
from bench.ports import free_port
from hypothesis import given
from hypothesis import strategies as st

from tagboat.build import lambda_bridge
from tagboat.build.lambda_bridge import BadEventError, Request

# Tells what it was asked; some paths do other things.
APP = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if self.path == "/refused":  # as servers do with bodies that are too large for them
            self.send_response(413)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/die":
            os._exit(3)
        if self.path == "/slow":
            time.sleep(120)
        self.send_response({"/teapot": 418, "/empty": 204, "/same": 304}.get(self.path, 200))
        if self.path in ("/empty", "/same"):
            self.end_headers()
            return
        if self.path in ("/endless", "/dies-midway"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"1000\\r\\n" + bytes(4096) + b"\\r\\n")
                time.sleep(0.01)
                if self.path == "/dies-midway":
                    os._exit(4)
        if self.path == "/large":
            self.send_header("Content-Length", str(20_000_000))
            self.end_headers()
            self.wfile.write(bytes(20_000_000))
            return
        if self.path == "/stream":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(3):
                self.wfile.write(b"6\\r\\npiece%d\\r\\n" % number)
                while not os.path.exists(f"{os.environ['SEEN']}/{number}"):  # it has come through
                    time.sleep(0.01)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        told = {"method": self.command, "path": self.path, "headers": dict(self.headers.items()),
                "body": body.decode("latin-1")}
        data = json.dumps(told).encode()
        self.send_header("Set-Cookie", "a=1; Path=/")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Vary", "Accept")
        self.send_header("Vary", "Cookie")
        self.send_header("Content-Length", str(len(data) + (5 if self.path == "/broken" else 0)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        if self.path == "/broken":
            self.close_connection = True

    do_GET = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", int(os.environ["PORT"])), App).serve_forever()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def service() -> Iterator[LambdaService]:
    with lambda_service() as made:
        yield made


@pytest.fixture
def start(service: LambdaService) -> Iterator[Start]:
    """Starts the bridge as Lambda would, with a Python program as the app."""
    processes: list[subprocess.Popen[str]] = []

    def start(program: str = APP, **environment: str) -> subprocess.Popen[str]:
        settings = {"AWS_LAMBDA_RUNTIME_API": service.address, "PORT": str(free_port())}
        process = subprocess.Popen(
            [sys.executable, "-I", lambda_bridge.__file__, sys.executable, "-c", program],
            env=os.environ | settings | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()
        process.communicate(timeout=180)


def told(answer: Any) -> Any:
    assert answer.error is None
    return json.loads(answer.body)


def test_an_event_reaches_the_app_as_the_request_that_it_stands_for(
    service: LambdaService, start: Start
) -> None:
    start()
    event = http_event(
        "/a b/%C3%A9/ü",
        method="POST",
        rawQueryString="q=1&q=%20",
        cookies=["a=1", "b=2"],
        body=base64.b64encode(b"\x00\xff").decode(),
        isBase64Encoded=True,
    )
    event["headers"] |= {"content-length": "99", "connection": "keep-alive", "x-name": "é"}
    request = told(service.invoke(event))
    assert request["method"] == "POST"
    assert request["path"] == "/a%20b/%C3%A9/%C3%BC?q=1&q=%20"
    assert request["body"] == "\x00\xff"
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers["host"] == "abc.lambda-url.eu-west-1.on.aws"
    assert headers["x-forwarded-for"] == "192.0.2.1"
    assert headers["cookie"] == "a=1; b=2"
    assert headers["content-length"] == "2"
    assert headers["connection"] == "close"
    assert headers["x-name"] == "é"
    assert headers["x-amzn-trace-id"].startswith("Root=1-")


def test_the_app_is_asked_for_the_domain_behind_cloudfront(service: LambdaService, start: Start) -> None:
    start(TAGBOAT_DOMAIN="www.shop.example")
    for said, host in (("WWW.shop.example", "www.shop.example"), ("evil.example", "abc.lambda-url")):
        event = http_event("/")
        event["headers"]["x-forwarded-host"] = said
        assert told(service.invoke(event))["headers"]["host"].startswith(host)


@pytest.mark.parametrize(("mode", "streamed"), [("", True), ("buffer", False)])
def test_an_answer_comes_back_with_its_status_headers_and_cookies(
    service: LambdaService, start: Start, mode: str, streamed: bool
) -> None:
    start(TAGBOAT_LAMBDA_RESPONSE=mode)
    answer = service.invoke(http_event("/teapot"))
    assert (answer.status, answer.streamed, answer.trailer) == (418, streamed, {})
    assert answer.cookies == ["a=1; Path=/", "b=2"]
    assert answer.headers["vary"] == "Accept, Cookie"
    assert told(answer)["path"] == "/teapot"
    head = service.invoke(http_event("/", method="HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert told(service.invoke(http_event("/again")))["path"] == "/again"


def test_an_answer_is_streamed_as_it_comes(service: LambdaService, start: Start, tmp_path: Path) -> None:
    service.on_piece = lambda number: (tmp_path / str(number)).touch()
    start(SEEN=str(tmp_path))
    answer = service.invoke(http_event("/stream"))
    assert answer.pieces == [b"piece0", b"piece1", b"piece2"]
    assert "transfer-encoding" not in answer.headers


def test_an_answer_that_breaks_off_is_told_in_the_trailer(service: LambdaService, start: Start) -> None:
    start()
    answer = service.invoke(http_event("/broken"))
    assert answer.trailer["Lambda-Runtime-Function-Error-Type"] == "Runtime.BrokenResponse"
    error = json.loads(base64.b64decode(answer.trailer["Lambda-Runtime-Function-Error-Body"]))
    assert error["errorMessage"] == "the answer of the app lacks 5 bytes"
    assert told(service.invoke(http_event("/next")))["path"] == "/next"


def test_a_stream_that_is_not_over_in_time_is_told_before_lambda_ends_it(
    service: LambdaService, start: Start
) -> None:
    start()
    told(service.invoke(http_event("/first")))  # which is answered when the app has started
    answer = service.invoke(http_event("/endless"), seconds=4)
    error = json.loads(base64.b64decode(answer.trailer["Lambda-Runtime-Function-Error-Body"]))
    assert error["errorMessage"] == "the answer of the app is not over as its time ends"
    assert told(service.invoke(http_event("/next")))["path"] == "/next"


def test_where_nobody_reads_on_the_answer_is_let_go_and_the_next_request_answered(
    service: LambdaService, start: Start
) -> None:
    start()
    service.hangs_up = True
    service.invoke(http_event("/endless"), seconds=60)
    service.hangs_up = False
    assert told(service.invoke(http_event("/next")))["path"] == "/next"


@pytest.mark.parametrize("mode", ["", "buffer"])
def test_large_bodies_empty_answers_and_early_refusals(
    service: LambdaService, start: Start, mode: str
) -> None:
    start(TAGBOAT_LAMBDA_RESPONSE=mode)
    body = base64.b64encode(os.urandom(4_500_000)).decode()  # 6 MB as the event that it comes in
    large = service.invoke(http_event("/", method="POST", body=body, isBase64Encoded=True))
    assert len(told(large)["body"]) == 4_500_000 if not mode else "unless it is streamed" in str(large.error)
    refused = service.invoke(http_event("/refused", method="POST", body=body, isBase64Encoded=True))
    assert (refused.status, refused.body) == (413, b"")
    for path, status in (("/empty", 204), ("/same", 304)):
        answer = service.invoke(http_event(path))
        assert (answer.status, answer.body, answer.error) == (status, b"", None)
    large = service.invoke(http_event("/large"))
    assert len(large.body) == 20_000_000 if not mode else "20000000 bytes" in str(large.error)
    broken = service.invoke(http_event("/broken"))
    assert broken.trailer if not mode else "lacks 5 bytes" in str(broken.error)
    assert told(service.invoke(http_event("/next")))["path"] == "/next"


def test_an_event_of_another_kind_is_refused_and_the_next_one_answered(
    service: LambdaService, start: Start
) -> None:
    start()
    refused = service.invoke({"source": "aws.events"})
    assert refused.error is not None
    assert refused.error["errorType"] == "BadEventError"
    assert "no request of a function URL" in refused.error["errorMessage"]
    no_header = service.invoke(http_event() | {"headers": {"x-name": "a\nb"}})
    assert no_header.error is not None
    assert no_header.error["errorType"] == "ValueError"
    assert told(service.invoke(http_event("/")))["path"] == "/"


def test_an_app_that_is_too_slow_fails_its_own_invocation_alone(service: LambdaService, start: Start) -> None:
    start()
    slow = service.invoke(http_event("/slow"), seconds=1)
    assert slow.error == {
        "errorType": "AppError",
        "errorMessage": "the app has not answered GET within 0.5 s",
    }
    assert told(service.invoke(http_event("/")))["path"] == "/"


def test_an_app_that_dies_ends_the_function_after_the_caller_was_told(
    service: LambdaService, start: Start
) -> None:
    process = start()
    assert service.invoke(http_event("/die")).error
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "the app ended with code 3" in errors


def test_an_app_that_dies_in_its_answer_costs_no_second_request(service: LambdaService, start: Start) -> None:
    process = start()
    assert service.invoke(http_event("/dies-midway")).body == bytes(4096)
    _, errors = process.communicate(timeout=180)
    assert "the app ended with code 4" in errors
    assert service.asked.qsize() == 1


def test_an_app_that_does_not_start_is_told_as_a_failed_start(service: LambdaService, start: Start) -> None:
    process = start("raise SystemExit(7)")
    failure = service.failed.get(timeout=180)
    assert failure == {"errorType": "AppGoneError", "errorMessage": "the app ended with code 7"}
    assert process.wait(timeout=180) == 1


def test_a_stop_reaches_the_app(service: LambdaService, start: Start) -> None:
    process = start()
    service.asked.get(timeout=180)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=180)
    assert process.returncode == 256 - signal.SIGTERM  # the app ended by the signal


def test_a_stop_may_come_while_the_bridge_looks_whether_the_app_has_ended() -> None:
    """Which it does under the lock that whoever waits for the app takes, too."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        app = lambda_bridge.App([sys.executable, "-c", "import time; time.sleep(300)"], free_port(), {})
        with pytest.raises(lambda_bridge.Terminated), app._process._waitpid_lock:
            signal.raise_signal(signal.SIGTERM)
        assert app.stop() == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_elsewhere_it_says_what_it_is_for() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_RUNTIME_API"}
    done = subprocess.run(
        [sys.executable, "-I", lambda_bridge.__file__, "app"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "started by AWS Lambda" in done.stderr


def test_it_needs_nothing_but_the_standard_library() -> None:
    source = Path(lambda_bridge.__file__).read_text()
    imported = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line[:5] in ("impor", "from ")
    }
    assert imported <= sys.stdlib_module_names


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_EVENTS = _JSON | st.builds(
    lambda more, method, path: (
        http_event() | more | {"rawPath": path, "requestContext": {"http": {"method": method}}}
    ),
    st.dictionaries(
        st.sampled_from(["headers", "cookies", "body", "isBase64Encoded", "rawQueryString"]),
        _JSON,
        max_size=3,
    ),
    _JSON,
    _JSON,
)


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/100%", "", "/100%25"),
        ("/a?b#c", "a=1&a=2&b=%20+%2F&c", "/a%3Fb%23c?a=1&a=2&b=%20+%2F&c"),
        ("/", "q=é x%zz&r=[]|{}", "/?q=%C3%A9%20x%25zz&r=[]|{}"),
    ],
)
def test_path_and_query_stay_as_they_came_but_for_what_may_not_stand_there(
    path: str, query: str, target: str
) -> None:
    assert Request.of(http_event(path, rawQueryString=query)).target == target


@given(_EVENTS)
def test_any_event_is_a_request_or_refused_by_name(event: Any) -> None:
    try:
        request = Request.of(event)
    except BadEventError:
        return
    assert request.target.startswith("/")
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in request.headers)


@given(st.text(), st.text(), st.binary())
def test_path_and_body_are_the_events(path: str, host: str, body: bytes) -> None:
    encoded = base64.b64encode(body).decode()
    request = Request.of(
        http_event("/" + path, headers={"Host": host}, body=encoded, isBase64Encoded=True, method="PUT")
    )
    assert request.target.isascii()
    assert " " not in request.target
    assert request.body == body
    assert ("host", host.strip()) in request.headers
