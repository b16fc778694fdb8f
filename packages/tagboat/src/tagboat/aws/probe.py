"""Asks a version of a function whether it is well, as the function's URL would, before it is served."""

from __future__ import annotations

import base64
import json
from typing import Any

from tagboat.aws.account import Account, wait_until
from tagboat.aws.kinds.logs import lines
from tagboat.cloud import DeploymentFailedError, LogLine, last_messages

STILL = "the version that served before still serves"
NOTHING = "nothing is served: `tagboat deploy` a version that works"
_PLATFORM_LINES = ("INIT_START", "START RequestId", "END RequestId", "REPORT RequestId", "EXTENSION")
_SHOWN = 20  # lines of the log


def require_well(
    account: Account, function: str, version: str, path: str | None, *, hint: str, timeout: float = 900.0
) -> None:
    """Return once Lambda can run the version and it answers at `path` (None: it is not asked).

    Raises DeploymentFailedError with the last lines that it wrote and `hint`, and CloudError after `timeout`
    seconds.
    """
    _wait(account, function, version, hint=hint, timeout=timeout)
    if path is None:
        return
    answer = account.call(
        "lambda",
        "invoke",
        FunctionName=function,
        Qualifier=version,
        LogType="Tail",
        Payload=json.dumps(_request(path)).encode(),
    )
    payload = answer["Payload"].read()
    problem = f"{answer['FunctionError']}: {_reason(payload)}" if answer.get("FunctionError") else None
    problem = problem or _problem(payload)
    if problem:
        raise DeploymentFailedError(
            f"{function}: version {version} is not well at {path}: {problem}",
            _log(account, function, answer),
            hint=hint,
        )


def log_group(function: str) -> str:
    """Where a function writes, unless it is told otherwise."""
    return f"/aws/lambda/{function}"


def is_of_platform(line: LogLine) -> bool:
    """Whether Lambda wrote the line, and not the app."""
    return line.message.startswith(_PLATFORM_LINES)


def _wait(account: Account, function: str, version: str, *, hint: str, timeout: float) -> None:
    def done() -> bool:
        there = account.call("lambda", "get_function_configuration", FunctionName=function, Qualifier=version)
        if there.get("State") == "Failed":
            raise DeploymentFailedError(
                f"{function}: Lambda cannot run version {version}: {there.get('StateReason')}", [], hint=hint
            )
        return bool(there.get("State", "Active") == "Active")

    wait_until(done, f"version {version} of {function} is not ready", timeout=timeout)


def _log(account: Account, function: str, answer: Any) -> list[str]:
    """The last lines: those that came with the answer, or else of its log group, where they come later."""
    tail = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace").splitlines()
    if tail:
        return tail[-_SHOWN:]
    return last_messages(lambda since: lines(account, log_group(function), since=since), count=_SHOWN)


def _request(path: str) -> dict[str, Any]:
    """A GET as the function's URL sends it ("Lambda function URLs: payload format 2.0")."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "localhost", "user-agent": "tagboat", "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "tagboat",
            "domainName": "localhost",
            "domainPrefix": "tagboat",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "tagboat",
            },
            "requestId": "tagboat",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "isBase64Encoded": False,
    }


def _reason(payload: bytes) -> str:
    """What Lambda says of a call that failed."""
    try:
        return str(json.loads(payload)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return repr(payload[:200])


def _problem(payload: bytes) -> str | None:
    """What is wrong with the answer of a function, buffered or streamed; None if nothing is.

    A streamed one is a JSON document, eight zero bytes and the body ("Lambda response streaming").
    """
    try:
        answer = json.loads(payload.partition(b"\0" * 8)[0])
        status = int(answer["statusCode"])
    except (ValueError, KeyError, TypeError):
        return f"its answer is none of a web page: {payload[:200]!r}"
    return f"it answers {status}" if status >= 400 else None
