"""What requests say, read once into typed values; what makes no sense is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request

from ocikit._document import MAX_DOCUMENT
from ocikit.credentials import Credentials
from ocikit.digest import Digest
from ocikit.errors import InvalidReferenceError
from ocikit.reference import check_repository, check_tag
from ocikit.registry.errors import Refusal

_COUNT = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_CONTENT_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where the bytes of a chunk belong: from `start` up to, not including, `end`."""

    start: int
    end: int


def expect(request: Request, *methods: str) -> None:
    """Refuse other methods; who takes GET takes HEAD too (RFC 9110 section 9.1)."""
    allowed = (*methods, "HEAD") if "GET" in methods else methods
    if request.method not in allowed:
        message = f"{request.method} is not for this path"
        raise Refusal(405, "UNSUPPORTED", message, {"Allow": ", ".join(allowed)})


def read_credentials(request: Request) -> Credentials | None:
    """User name and password of a Basic header (RFC 7617); None where there are none that can be read."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        username, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8 in it
        return None
    return Credentials(username, password) if colon else None


def read_digest(text: str) -> Digest:
    """The digest in a path. Raises Refusal."""
    try:
        return Digest.parse(text)
    except InvalidReferenceError as error:
        raise Refusal(400, "DIGEST_INVALID", str(error)) from error


def read_repository(name: str) -> str:
    """The repository's name in a path. Raises Refusal."""
    try:
        check_repository(name)
    except InvalidReferenceError as error:
        raise Refusal(400, "NAME_INVALID", str(error)) from error
    return name


def read_tag(tag: str) -> str:
    """The tag in a path. Raises Refusal."""
    try:
        check_tag(tag)
    except InvalidReferenceError as error:
        raise Refusal(400, "TAG_INVALID", str(error)) from error
    return tag


def read_count(request: Request) -> int | None:
    """The parameter `n`: how many are wanted at most."""
    count = request.query_params.get("n")
    if count is not None and not _COUNT.fullmatch(count):
        raise Refusal(400, "UNSUPPORTED", f"n={count[:40]!r} is no number of tags")
    return None if count is None else int(count)


def read_range(request: Request, size: int, etag: str) -> Chunk | None:
    """The part of `size` bytes that is asked for, None for all (RFC 9110 sections 13.1.5 and 14.2).

    Other units, several ranges at once, and a range of what has changed since are as if not said.
    """
    header = request.headers.get("Range", "")
    if request.method != "GET" or not header.startswith("bytes=") or "," in header:
        return None
    if request.headers.get("If-Range", etag) != etag:
        return None
    outside = {"Content-Range": f"bytes */{size}"}
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        raise Refusal(416, "UNSUPPORTED", f"Range {header[:100]!r} is no range of bytes", outside)
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    if start >= end:
        raise Refusal(416, "UNSUPPORTED", f"Range {header!r} lies outside of {size} bytes", outside)
    return Chunk(start, end)


def read_content_range(request: Request) -> Chunk | None:
    """Where a chunk says it belongs; None where it does not say."""
    header = request.headers.get("Content-Range")
    if header is None:
        return None
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]):
        raise Refusal(416, "BLOB_UPLOAD_INVALID", f"Content-Range {header[:100]!r} is not FIRST-LAST")
    chunk = Chunk(int(match[1]), int(match[2]) + 1)
    length = request.headers.get("Content-Length")
    if length is not None and int(length) != chunk.end - chunk.start:
        raise Refusal(400, "SIZE_INVALID", f"{length} bytes came as chunk {header}")
    return chunk


def matches(header: str, etag: str) -> bool:
    """Whether If-Match or If-None-Match names the entity tag (RFC 9110 section 13.1)."""
    return any(one.strip().removeprefix("W/") in ("*", etag) for one in header.split(","))


async def body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def document(request: Request) -> bytes:
    """The body, of at most 4 MiB."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_DOCUMENT:
            raise Refusal(413, "SIZE_INVALID", f"a manifest has at most {MAX_DOCUMENT} bytes")
    return bytes(data)
