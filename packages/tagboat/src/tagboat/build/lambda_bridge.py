"""Answers AWS Lambda's runtime API with an app that speaks HTTP.

This file goes into every image as `/opt/tagboat/lambda`, and runs there with nothing but the standard
library. Where Lambda starts it (as the function's entry point, with the image's own command as arguments) it
starts that command, waits until `PORT` (8080 by default) takes connections, and from then on hands each event
of a function URL, or of an HTTP API in payload format 2.0, to the app as the request that it stands for. The
app is not changed and knows nothing of it; elsewhere the image starts without this file.

Lambda knows no secrets: what `TAGBOAT_SECRETS` says is kept in Secrets Manager or in parameters of SSM is
read as the app starts, with the credentials that Lambda gives the function, and is in the app's environment
alone.

The answer is streamed as it comes, which needs `InvokeMode: RESPONSE_STREAM`; with
`TAGBOAT_LAMBDA_RESPONSE=buffer` it is one document, as HTTP APIs and function URLs without that mode want it.

Sources: the runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html), what streams add to
it (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming), the
events (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import quote, urlsplit

PLACE: Final = "opt/tagboat/lambda"
"""Where this file is in an image."""

SECRETS: Final = "TAGBOAT_SECRETS"
"""The variable that says, by variable, where a value is kept: a JSON object of [store, name or ARN, key]."""

DOMAIN: Final = "TAGBOAT_DOMAIN"
"""The variable with the domain that CloudFront has for the function. CloudFront asks with the URL's host as
Host, and says in X-Forwarded-Host what it was asked for itself. The app gets that as Host, as elsewhere,
if it is the domain: anybody may call the URL, and say what they like.
"""

_STORES: Final = {
    "secretsmanager": ("secretsmanager.GetSecretValue", "SECRETS_MANAGER"),
    "ssm": ("AmazonSSM.GetParameters", "SSM"),
}
"""The operation that reads of a store, and what variables of AWS's tools call the store."""
_PATIENCE: Final = 5  # seconds for one answer of a store's

_API: Final = "/2018-06-01/runtime"
_LOOK: Final = 0.002  # seconds between two tries to reach an app that starts
_MARGIN: Final = 0.5  # seconds before the deadline in which Lambda is still told of it
_SLOW: Final = 8.0  # seconds of a start after which the log says what it waits for; Lambda gives it ten
_END: Final = 0.2  # seconds in which an app that broke off is seen to have ended
_PIECE: Final = 64 * 1024
_PRELUDE_END: Final = bytes(8)
_DOCUMENT: Final = 6 * 1024 * 1024  # bytes of an answer that is one document

_IN_PATH: Final = "/%:@!$&'()*+,;=~"
"""What may stand in a path as it is; `%` because what is escaped already stays (RFC 3986 section 3.3)."""
_IN_QUERY: Final = _IN_PATH + '?[]|^`{}\\"<>'
"""The same of a query: what clients send in it though they should not is left as it came."""
_NO_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_OF_ONE_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that mean the connection and not the message (RFC 9110 section 7.6.1)."""


class BadEventError(Exception):
    """An event that stands for no HTTP request."""


class AppGoneError(Exception):
    """The app has ended."""


class AppError(Exception):
    """The app gave no answer, or not all of it."""


class Terminated(BaseException):
    """We are to end (SIGTERM)."""


@dataclass(frozen=True)
class Request:
    """The HTTP request that an event stands for; `target` is path and query."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, event: Any, trace: str | None = None, domain: str | None = None) -> Request:
        """Read an event of payload format 2.0, of a function with that domain; raises BadEventError."""
        try:
            context = event["requestContext"]
            method = context["http"]["method"].upper()
            query = event.get("rawQueryString")
            path = event["rawPath"]
            target = _escaped(path if path.startswith("/") else f"/{path}", _IN_PATH)
            target += f"?{_escaped(query, _IN_QUERY)}" if query else ""
            body = event.get("body") or ""
            content = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
            headers = {name.lower(): value.strip() for name, value in (event.get("headers") or {}).items()}
            if cookies := event.get("cookies"):
                headers["cookie"] = "; ".join(cookies)
            headers.setdefault("host", str(context.get("domainName") or "localhost"))
            if domain and headers.get("x-forwarded-host", "").lower() == domain:
                headers["host"] = domain
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise BadEventError(
                f"the event is no request of a function URL or an HTTP API (payload format 2.0): {error!r}"
            ) from None
        headers.pop("content-length", None)
        if content or method in ("POST", "PUT", "PATCH"):
            headers["content-length"] = str(len(content))
        if trace:
            headers["x-amzn-trace-id"] = trace
        kept = [(name, value) for name, value in headers.items() if name not in _OF_ONE_CONNECTION]
        return cls(method, target, (*kept, ("connection", "close")), content)


def _escaped(text: str, safe: str) -> str:
    """What may not stand in a request's first line escaped, and the rest as it is."""
    return quote(_NO_ESCAPE.sub("%25", text), safe=safe)


class SecretError(Exception):
    """A secret that cannot be had. The message never has a value in it."""


def secrets(text: str) -> dict[str, str]:
    """The values, by variable, of what is kept where `text` says. SecretError names the variable."""
    values: dict[str, str] = {}
    known: dict[tuple[str, str], str] = {}
    for variable, (store, name, key) in json.loads(text).items():
        try:
            if (store, name) not in known:
                known[store, name] = _kept(store, name)
            values[variable] = _member(known[store, name], key) if key else known[store, name]
        except (SecretError, OSError, HTTPException) as error:
            raise SecretError(f"{variable}: {store} {name}: {error}") from None
    return values


def _kept(store: str, name: str) -> str:
    if store == "ssm":
        found = _call(store, name, {"Names": [name], "WithDecryption": True})["Parameters"]
        if not found:
            raise SecretError("it is not there")
        return str(found[0]["Value"])
    found = _call(store, name, {"SecretId": name})
    if "SecretString" not in found:
        raise SecretError("its value is no text")
    return str(found["SecretString"])


def _member(value: str, key: str) -> str:
    try:
        found = json.loads(value)[key]
    except (ValueError, KeyError, TypeError):
        raise SecretError(f"it is no JSON object with a {key!r}") from None
    return found if isinstance(found, str) else json.dumps(found)


def _call(store: str, name: str, request: dict[str, Any]) -> Any:
    """One operation of AWS's JSON protocol, signed by the function's role (Signature Version 4)."""
    operation, called = _STORES[store]
    region = name.split(":")[3] if name.startswith("arn:") else os.environ["AWS_REGION"]
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    default = f"https://{store}.{region}.{suffix}"
    url = os.environ.get(f"AWS_ENDPOINT_URL_{called}") or os.environ.get("AWS_ENDPOINT_URL") or default
    parts = urlsplit(url)
    body = json.dumps(request).encode()
    headers = signed_headers((store, region, parts.netloc), operation, body, time.gmtime())
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=_PATIENCE)
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except ValueError:
        raise SecretError(f"{parts.netloc} does not answer as AWS does") from None
    finally:
        connection.close()
    if response.status != 200:
        code = str(answer.get("__type", response.status)).rpartition("#")[2]
        raise SecretError(f"{code}: {answer.get('message') or answer.get('Message')}")
    return answer


def signed_headers(
    place: tuple[str, str, str], operation: str, body: bytes, now: time.struct_time
) -> dict[str, str]:
    """The headers of a POST to `/`, signed with the credentials of the environment; `place` is service,
    region and host.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    service, region, host = place
    stamp = time.strftime("%Y%m%dT%H%M%SZ", now)
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-target": operation,
    }
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return headers


def _terminated(_number: int, _frame: object) -> None:
    """Wait for nothing here: what is interrupted may hold the lock that waiting for the app takes."""
    raise Terminated


class App:
    """The app: a process that listens on `port` of this machine's loopback, with `variables` beside ours."""

    def __init__(self, command: list[str], port: int, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(command, env=os.environ | {"PORT": str(port), **variables})
        self._port = port
        signal.signal(signal.SIGTERM, _terminated)

    def stop(self) -> int:
        """Have it end, and wait for that: its exit code."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is being told
        self._process.terminate()
        return self._process.wait()

    def wait(self) -> None:
        """Return when it takes connections; raises AppGoneError."""
        told = time.monotonic() + _SLOW
        while True:
            self.check()
            if time.monotonic() > told:
                told = float("inf")
                print(
                    f"lambda: after {_SLOW:.0f} s nothing listens on port {self._port} yet: "
                    "the app has to listen on $PORT, of 127.0.0.1 or all addresses",
                    file=sys.stderr,
                    flush=True,
                )
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except OSError:
                time.sleep(_LOOK)
            else:
                return

    def check(self, seconds: float = 0) -> None:
        """Raise AppGoneError when it has ended, or does so within some seconds."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AppGoneError(f"the app ended with code {code}")

    def ask(self, request: Request, deadline: float) -> Answer:
        """The head of its answer, the body still to be read; `deadline` is of the clock `time.time`.

        Raises AppError, and ValueError for a method or header that HTTP does not have.
        """
        seconds = max(_MARGIN, deadline - time.time())
        connection = HTTPConnection("127.0.0.1", self._port, timeout=seconds)
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers:
            connection.putheader(name, value.encode("latin-1", "replace"))
        try:
            # It may answer before it has read all, as with 413, and hang up.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(request.body)
            return Answer(connection.sock, connection.getresponse(), deadline)
        except TimeoutError:
            raise AppError(f"the app has not answered {request.method} within {seconds:.1f} s") from None
        except (OSError, HTTPException) as error:
            raise AppError(f"the app does not answer: {type(error).__name__}: {error}") from error


class Answer:
    """An answer of the app's of which the head is there, and the body comes."""

    def __init__(self, sock: socket.socket, response: HTTPResponse, deadline: float) -> None:
        self._socket, self._response, self._deadline = sock, response, deadline

    @property
    def head(self) -> dict[str, Any]:
        return head_of(self._response)

    def pieces(self) -> Generator[bytes, None, None]:
        """The body as it comes. Raises AppError where it breaks off, or is not over at the deadline."""
        response = self._response
        with response:
            try:
                while piece := self._read():
                    yield piece
            except TimeoutError:
                raise AppError("the answer of the app is not over as its time ends") from None
            except (OSError, HTTPException) as error:
                raise AppError(
                    f"the answer of the app breaks off: {type(error).__name__}: {error}"
                ) from error
            if response.length:  # what was announced and did not come
                raise AppError(f"the answer of the app lacks {response.length} bytes")

    def _read(self) -> bytes:
        seconds = self._deadline - time.time()
        if seconds <= 0:
            raise TimeoutError
        if self._socket.fileno() >= 0:  # http.client closes it when all is there
            self._socket.settimeout(seconds)
        return self._response.read1(_PIECE)


class Runtime:
    """Lambda's runtime API, over one connection for as long as it lasts."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection = HTTPConnection(address)

    def next(self) -> tuple[HTTPMessage, Any]:
        """The next invocation, when there is one: its headers and its event."""
        self._connection.request("GET", f"{_API}/invocation/next")
        response = self._connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise RuntimeError(f"the runtime API answers {response.status}")
        return response.headers, json.loads(data)

    def fail(self, place: str, error: BaseException) -> None:
        """Tell that an invocation, or the start, failed."""
        kind = type(error).__name__
        body = json.dumps({"errorType": kind, "errorMessage": str(error)})
        headers = {"Lambda-Runtime-Function-Error-Type": kind, "Content-Type": "application/json"}
        self._send(f"{_API}/{place}/error", body.encode(), headers)

    def respond(self, invocation: str, answer: Answer) -> None:
        """Give the whole answer as one document. Raises AppError."""
        body = b"".join(answer.pieces())
        document = {**answer.head, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        data = json.dumps(document).encode()
        if len(data) > _DOCUMENT:
            raise AppError(
                f"the answer of the app has {len(body)} bytes, {len(data)} as a document, and Lambda takes "
                f"{_DOCUMENT} unless it is streamed"
            )
        place = f"{_API}/invocation/{invocation}/response"
        self._send(place, data, {"Content-Type": "application/json"})

    def stream(self, invocation: str, answer: Answer) -> None:
        """Give the answer as it comes. Where it breaks off Lambda is told so, in the trailer, and AppError is
        raised. Where Lambda takes no more, because nobody reads it any longer, the rest is let go.
        """
        try:
            failure = self._streamed(invocation, answer)
        except (OSError, HTTPException):
            self._connection.close()  # the next request opens it again
            return
        if failure is not None:
            raise failure

    def _streamed(self, invocation: str, answer: Answer) -> AppError | None:
        connection = self._connection
        connection.putrequest("POST", f"{_API}/invocation/{invocation}/response")
        connection.putheader("Content-Type", "application/vnd.awslambda.http-integration-response")
        connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader(
            "Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
        )
        connection.endheaders()
        connection.send(_chunk(json.dumps(answer.head).encode() + _PRELUDE_END))
        trailer, failure = b"", None
        try:
            with closing(answer.pieces()) as pieces:
                for piece in pieces:
                    connection.send(_chunk(piece))
        except AppError as error:
            failure = error
            document = json.dumps({"errorType": type(error).__name__, "errorMessage": str(error)}).encode()
            trailer = (
                b"Lambda-Runtime-Function-Error-Type: Runtime.BrokenResponse\r\n"
                b"Lambda-Runtime-Function-Error-Body: " + base64.b64encode(document) + b"\r\n"
            )
        connection.send(b"0\r\n" + trailer + b"\r\n")
        connection.getresponse().read()
        return failure

    def _send(self, place: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._connection.request("POST", place, body, dict(headers))
        self._connection.getresponse().read()


def head_of(response: HTTPResponse) -> dict[str, Any]:
    """Status, headers and cookies as a function URL wants them: one header a name, cookies apart."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.getheaders():
        key = name.lower()
        if key == "set-cookie":
            cookies.append(value)
        elif key not in _OF_ONE_CONNECTION:
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return {"statusCode": response.status, "headers": headers, "cookies": cookies}


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def serve(runtime: Runtime, app: App, *, streams: bool, domain: str | None) -> None:
    """Answer invocations until the app ends, which raises AppGoneError after the caller was told."""
    while True:
        headers, event = runtime.next()
        invocation = headers["Lambda-Runtime-Aws-Request-Id"]
        deadline = int(headers["Lambda-Runtime-Deadline-Ms"]) / 1e3 - _MARGIN
        try:
            request = Request.of(event, headers.get("Lambda-Runtime-Trace-Id"), domain)
            answer = app.ask(request, deadline)
            if not streams:
                runtime.respond(invocation, answer)
        except (BadEventError, AppError, ValueError) as error:
            runtime.fail(f"invocation/{invocation}", error)
            app.check(_END if isinstance(error, AppError) else 0)
            continue
        if streams:
            try:
                runtime.stream(invocation, answer)
            except AppError as error:
                print(f"lambda: {error}", file=sys.stderr, flush=True)
                app.check(_END)
        app.check()  # one that has ended takes no further request


def main() -> None:
    """`lambda COMMAND [ARGUMENT ...]`, with `AWS_LAMBDA_RUNTIME_API` in the environment."""
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API")
    if address is None or not sys.argv[1:]:
        sys.exit(
            "usage: lambda COMMAND [ARGUMENT ...], started by AWS Lambda (AWS_LAMBDA_RUNTIME_API is not set)"
        )
    runtime = Runtime(address)
    try:
        variables = secrets(kept) if (kept := os.environ.pop(SECRETS, None)) else {}
        app = App(sys.argv[1:], int(os.environ.get("PORT", "8080")), variables)
    except (SecretError, OSError, ValueError) as error:
        runtime.fail("init", error)
        sys.exit(f"lambda: {error}")
    try:
        _run(runtime, app)
    except Terminated:
        sys.exit(app.stop())


def _run(runtime: Runtime, app: App) -> None:
    try:
        app.wait()
    except AppGoneError as error:
        runtime.fail("init", error)
        sys.exit(f"lambda: {error}")
    try:
        streams = os.environ.get("TAGBOAT_LAMBDA_RESPONSE") != "buffer"
        serve(runtime, app, streams=streams, domain=os.environ.get(DOMAIN))
    except AppGoneError as error:
        sys.exit(f"lambda: {error}")


if __name__ == "__main__":
    main()
