"""The body of an upload: bounded, held against what its headers promise, in a file and not on the heap."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from starlette.requests import Request

from homeport.aws.errors import ApiError
from homeport.sigv4 import UNSIGNED_PAYLOAD

MAX_OBJECT = 5 << 30  # bytes of one PUT, as in S3
_PATIENCE = 60.0  # seconds
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Body:
    """An upload that arrived whole, in a file that is its receiver's to move away."""

    path: Path
    md5: str


@contextmanager
def temporary(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in `folder`, which may be moved away from there and is removed in the end if it was not."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
        try:
            yield cast("BinaryIO", file), path
        finally:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def received(request: Request, folder: Path) -> AsyncIterator[Body]:
    """The body, in a file in `folder` for as long as this lasts.

    Raises ApiError when it is not what x-amz-content-sha256, Content-MD5, or a SHA-256 or CRC32 say.
    """
    check = _Check(request)
    with temporary(folder) as (file, path):
        async for chunk in _chunks(request):
            check.update(chunk)
            file.write(chunk)
        file.flush()
        yield Body(path, check.finish())


async def read_document(request: Request, limit: int = 1 << 20) -> bytes:
    """A small body in whole. Raises ApiError as `received`."""
    check = _Check(request)
    document = bytearray()
    async for chunk in _chunks(request):
        check.update(chunk)
        document += chunk
        _require(len(document) <= limit, "EntityTooLarge", f"a document has at most {limit} bytes")
    check.finish()
    return bytes(document)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """What arrives; who stops sending is not waited for, for each upload under way is a file of ours."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_PATIENCE):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError("RequestTimeout", f"nothing arrived for {_PATIENCE} s", 400) from None
        yield chunk


class _Check:
    """What the headers promise of a body, and what it turns out to be."""

    def __init__(self, request: Request) -> None:
        self._headers = request.headers
        self._promised = request.headers.get("x-amz-content-sha256", "")
        if self._promised != UNSIGNED_PAYLOAD and not _HEX.fullmatch(self._promised):
            message = f"x-amz-content-sha256 {self._promised[:80]!r} is not supported"
            raise ApiError("NotImplemented", message, 501)
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32 = 0
        self._size = 0

    def update(self, chunk: bytes) -> None:
        self._size += len(chunk)
        _require(self._size <= MAX_OBJECT, "EntityTooLarge", f"one upload has at most {MAX_OBJECT} bytes")
        self._sha256.update(chunk)
        self._md5.update(chunk)
        self._crc32 = zlib.crc32(chunk, self._crc32)

    def finish(self) -> str:
        """The MD5, in hexadecimal."""
        _require(
            self._promised in (UNSIGNED_PAYLOAD, self._sha256.hexdigest()),
            "XAmzContentSHA256Mismatch",
            "the body is not what x-amz-content-sha256 says",
        )
        self._compare("content-md5", self._md5.digest())
        self._compare("x-amz-checksum-sha256", self._sha256.digest())
        self._compare("x-amz-checksum-crc32", self._crc32.to_bytes(4, "big"))
        return self._md5.hexdigest()

    def _compare(self, header: str, found: bytes) -> None:
        digest = base64.b64encode(found).decode()
        matches = self._headers.get(header, digest) == digest
        _require(matches, "BadDigest", f"the body is not what {header} says")


def _require(held: bool, code: str, message: str) -> None:
    if not held:
        raise ApiError(code, message, 400)
