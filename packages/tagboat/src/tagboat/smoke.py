"""The smoke test of a release: what is served answers, and says the version that was released."""

from __future__ import annotations

import http.client
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from tagboat.edge import Edge
from tagboat.errors import ConfigError, TagboatError

_IN_A_ROW = 3  # good answers: the first may be luck while old and new instances change places
_PAUSE = 0.2  # seconds
_TIMEOUT = 10.0  # seconds, of one request


class SmokeError(TagboatError):
    """What is served is not the release, or not well."""

    exit_code: ClassVar[int] = 34


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer to `path` must be: below 400, and with `version` in the header, if one is named."""

    path: str
    version_header: str | None
    version: str


def smoke_test(url: str, expected: Expected, *, timeout: float, progress: Callable[[str], None]) -> None:
    """Ask until the answer is as expected three times in a row. Raises SmokeError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    good, said = 0, ""
    while good < _IN_A_ROW:
        problem = _problem(url, expected)
        good = 0 if problem else good + 1
        if problem and problem != said:
            progress(said := problem)
        if problem and time.monotonic() > deadline:
            raise SmokeError(f"{problem}, for {timeout:.0f} s")
        if good < _IN_A_ROW:
            time.sleep(_PAUSE)


def _problem(url: str, expected: Expected) -> str | None:
    """What is wrong with one answer, None if nothing is."""
    address = f"{url.rstrip('/')}{expected.path}"
    connection = _connection(url)
    try:
        connection.request("GET", f"{urlsplit(url).path.rstrip('/')}{expected.path}")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{address} does not answer: {error}"
    finally:
        connection.close()
    if answer.status >= 400:
        return f"{address} answers {answer.status}"
    if expected.version_header:
        served = answer.getheader(expected.version_header)
        if served != expected.version:
            return f"{address} is served by version {served}, not {expected.version}"
    return None


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise ConfigError(f"{url!r} is no address of a web service", hint="https://HOST[:PORT]")
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
    authority = os.environ.get("HOMEPORT_CA")  # beside those that the machine trusts
    if authority and parts.hostname.endswith(".localhost"):
        return Edge(url, Path(authority)).connect()
    context = ssl.create_default_context()
    if authority:
        context.load_verify_locations(authority)
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=_TIMEOUT, context=context)
