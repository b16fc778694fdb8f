"""Answers of a registry: read no further than they should be, and turned into errors of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import urllib3
from urllib3.exceptions import HTTPError

from ocikit._document import MAX_DOCUMENT
from ocikit.client.address import shown
from ocikit.client.retry import PASSING, PassingError
from ocikit.errors import AuthenticationError, RegistryError, RegistryNotFoundError, TagExistsError
from ocikit.value import value

_MAX_ERROR = 64 << 10  # bytes of an error answer that are read


@value
class Answer:
    """An answer whose body, of a bounded size, has been read."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def read(answer: urllib3.BaseHTTPResponse, url: str) -> Answer:
    return Answer(answer.status, answer.headers, _bounded(answer, MAX_DOCUMENT, url))


def checked(answer: urllib3.BaseHTTPResponse, method: str, url: str) -> urllib3.BaseHTTPResponse:
    """The answer, unless it is a refusal. Raises RegistryError or, if it may pass, PassingError."""
    if answer.status < 300:
        return answer
    code, message = _first_error(_bounded(answer, _MAX_ERROR, url))
    text = f"{method} {shown(url)}: {answer.status} {code or answer.reason or ''} {message or ''}".rstrip()
    status = answer.status
    if status in (401, 403):
        raise AuthenticationError(text, status=status, code=code)
    if status == 404:
        raise RegistryNotFoundError(text, status=status, code=code)
    if method == "PUT" and (status == 409 or (code == "TAG_INVALID" and "immutable" in (message or ""))):
        raise TagExistsError(text, status=status, code=code)  # as ECR has it, and others
    error = RegistryError(text, status=status, code=code)
    if status in PASSING:
        raise PassingError(error, answer.headers.get("Retry-After"))
    raise error


def dismiss(answer: urllib3.BaseHTTPResponse) -> None:
    """Done with an answer, read or not: an unread one takes its connection with it."""
    answer.close()
    answer.release_conn()  # of one without a body, `close` closes nothing


def reason(error: Exception) -> str:
    """What a library's error says, without the addresses of its objects."""
    return re.sub(r"^.*?object at 0x\w+>:\s*", "", str(error)) or type(error).__name__


def _bounded(answer: urllib3.BaseHTTPResponse, limit: int, url: str) -> bytes:
    """The body, which is not read further than `limit`."""
    data = b""
    try:
        # Up to the read that gives nothing: only that one notices what is missing.
        while len(data) <= limit and (more := answer.read(limit + 1 - len(data), decode_content=False)):
            data += more
    except HTTPError as error:
        dismiss(answer)
        failed = RegistryError(f"{shown(url)}: the answer broke off: {reason(error)}")
        raise PassingError(failed) from error
    if len(data) > limit:
        dismiss(answer)
        raise RegistryError(f"{shown(url)}: an answer of more than {limit} bytes")
    answer.release_conn()
    return data


def _first_error(text: bytes) -> tuple[str | None, str | None]:
    """Code and message of the specification's error document, if it is one."""
    try:
        entry = json.loads(text)["errors"][0]
        return str(entry["code"]), str(entry.get("message", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None, None
