"""The body of an upload: bounded, held against what its headers promise, off the heap when it is large."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, cast

from starlette.requests import Request

from homeport.aws.errors import ApiError
from homeport.sigv4 import UNSIGNED_PAYLOAD

MAX_OBJECT = 5 << 30  # bytes of one PUT, as in S3
_IN_MEMORY = 8 << 20  # bytes; what is larger waits in a file without a name
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Body:
    """The content, at its start; `content` is a file when it is large. Close it after use."""

    file: tempfile.SpooledTemporaryFile[bytes]
    size: int
    md5: str

    @property
    def content(self) -> bytes | IO[bytes]:
        self.file.seek(0)
        return self.file.read() if self.size <= _IN_MEMORY else cast("IO[bytes]", self.file)


async def read_body(request: Request) -> Body:
    """Raises ApiError when the body is not what x-amz-content-sha256, Content-MD5 or a CRC32 say."""
    promised = request.headers.get("x-amz-content-sha256", "")
    if promised != UNSIGNED_PAYLOAD and not _HEX.fullmatch(promised):
        raise ApiError("NotImplemented", f"x-amz-content-sha256 {promised[:80]!r} is not supported", 501)
    spool = tempfile.SpooledTemporaryFile[bytes](max_size=_IN_MEMORY)
    try:
        sha256, md5, crc32, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0, 0
        async for chunk in request.stream():
            size += len(chunk)
            _require(size <= MAX_OBJECT, "EntityTooLarge", f"one upload has at most {MAX_OBJECT} bytes")
            spool.write(chunk)
            sha256.update(chunk)
            md5.update(chunk)
            crc32 = zlib.crc32(chunk, crc32)
        _require(
            promised in (UNSIGNED_PAYLOAD, sha256.hexdigest()),
            "XAmzContentSHA256Mismatch",
            "the body is not what x-amz-content-sha256 says",
        )
        _compare(request, "content-md5", md5.digest())
        _compare(request, "x-amz-checksum-crc32", crc32.to_bytes(4, "big"))
    except BaseException:
        spool.close()
        raise
    return Body(spool, size, md5.hexdigest())


async def read_document(request: Request, limit: int = 1 << 20) -> bytes:
    """A small body in whole."""
    body = await read_body(request)
    with body.file:
        if body.size > limit:
            raise ApiError("EntityTooLarge", f"a document has at most {limit} bytes", 400)
        body.file.seek(0)
        return body.file.read()


def _compare(request: Request, header: str, found: bytes) -> None:
    digest = base64.b64encode(found).decode()
    matches = request.headers.get(header, digest) == digest
    _require(matches, "BadDigest", f"the body is not what {header} says")


def _require(held: bool, code: str, message: str) -> None:
    if not held:
        raise ApiError(code, message, 400)


async def chunks(stream: AsyncIterator[object]) -> AsyncIterator[bytes]:
    """obstore's buffers as bytes."""
    async for chunk in stream:
        yield bytes(cast("bytes", chunk))
