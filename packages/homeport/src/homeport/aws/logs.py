"""CloudWatch Logs (API version 2014-03-28): the services' log groups, as App Runner names them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from homeport.aws.errors import ApiError
from homeport.model import Controller, LogKind, LogLine, NoSuchServiceError
from homeport.place import arn

_GROUP = re.compile(
    r"/aws/apprunner/(?P<name>[A-Za-z0-9_-]+)/(?P<id>[0-9a-f]{32})/(?P<kind>application|service|access)"
)
_LIMIT = 10_000


class Logs:
    """One method an operation, named as boto3 names it."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def filter_log_events(
        self,
        *,
        logGroupName: str = "",  # noqa: N803  AWS's member names
        startTime: int = 0,  # noqa: N803
        limit: int = _LIMIT,
        interleaved: bool = True,  # noqa: ARG002
        **unsupported: Any,
    ) -> Mapping[str, Any]:
        """Lines from `startTime` on, oldest first. Of more than `limit`, the newest: the log of one machine
        is bounded, and whoever asks wants its end. They are interleaved whatever `interleaved` says, as AWS's
        are since 2019; `aws logs tail` still says it.
        """
        if unsupported:
            code = "InvalidParameterException"
            raise ApiError(code, f"{min(unsupported)} is not supported by homeport; leave it out")
        if not logGroupName:
            raise ApiError("InvalidParameterException", "logGroupName is missing")
        match = _GROUP.fullmatch(logGroupName)
        missing = ApiError("ResourceNotFoundException", f"there is no log group {logGroupName}")
        if match is None:
            raise missing
        service = arn("apprunner", f"service/{match['name']}/{match['id']}")
        kind = cast("LogKind", match["kind"])
        try:
            lines = self._controller.logs(service, kind, since=startTime, limit=min(limit, _LIMIT))
        except NoSuchServiceError:
            raise missing from None
        return {"events": list(_events(lines))}


def _events(lines: Iterable[LogLine]) -> Iterator[dict[str, Any]]:
    """A line has the same `eventId` whenever it is asked for, so that who follows a log can pass over what
    was there already: of the same words in the same millisecond, each has its own.
    """
    seen = Counter[LogLine]()
    for line in lines:
        seen[line] += 1
        identity = f"{line.timestamp} {seen[line]} {line.stream}\n{line.message}"
        yield {
            "logStreamName": line.stream,
            "timestamp": line.timestamp,
            "ingestionTime": line.timestamp,
            "message": line.message,
            "eventId": hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:56],
        }
