"""The body of an upload: bounded, held against what its headers promise, in a file and not on the heap."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from starlette.requests import Request

from homeport.aws.errors import ApiError
from homeport.s3.chunks import MODES, Encoded
from homeport.sigv4 import UNSIGNED_PAYLOAD, Chain

MAX_OBJECT = 5 << 30  # bytes of one PUT, as in S3
_PATIENCE = 60.0  # seconds
_DOCUMENT = 2 << 20  # bytes of a document
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
async def received(request: Request, folder: Path, chain: Chain) -> AsyncIterator[Body]:
    """The body, in a file in `folder` for as long as this lasts. `chain` is for a body signed in chunks.

    Raises ApiError when it is not what x-amz-content-sha256, Content-MD5, or a SHA-256 or CRC32 say.
    """
    check = _Check(request, also=MODES)
    encoded = Encoded(request.headers, chain) if check.promised in MODES else None
    with temporary(folder) as (file, path):
        async for arrived in _chunks(request):
            for piece in encoded.decode(arrived) if encoded else (arrived,):
                check.update(piece)
                file.write(piece)
        file.flush()
        yield Body(path, check.finish(encoded.finish() if encoded else {}))


async def read_document(request: Request) -> bytes:
    """A small body in whole. Raises ApiError as `received`."""
    check = _Check(request)
    document = bytearray()
    async for chunk in _chunks(request):
        check.update(chunk)
        document += chunk
        _require(len(document) <= _DOCUMENT, "EntityTooLarge", f"a document has at most {_DOCUMENT} bytes")
    check.finish({})
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

    def __init__(self, request: Request, *, also: frozenset[str] = frozenset()) -> None:
        self._headers = request.headers
        self.promised = request.headers.get("x-amz-content-sha256", "")
        self._unhashed = self.promised in also | {UNSIGNED_PAYLOAD}
        if not self._unhashed and not _HEX.fullmatch(self.promised):
            message = f"x-amz-content-sha256 {self.promised[:80]!r} is not supported"
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

    def finish(self, trailer: Mapping[str, str]) -> str:
        """The MD5, in hexadecimal. `trailer` has what was promised after the body."""
        _require(
            self._unhashed or self.promised == self._sha256.hexdigest(),
            "XAmzContentSHA256Mismatch",
            "the body is not what x-amz-content-sha256 says",
        )
        for promises in (self._headers, trailer):
            _compare(promises, "content-md5", self._md5.digest())
            _compare(promises, "x-amz-checksum-sha256", self._sha256.digest())
            _compare(promises, "x-amz-checksum-crc32", self._crc32.to_bytes(4, "big"))
        return self._md5.hexdigest()


def _compare(promises: Mapping[str, str], header: str, found: bytes) -> None:
    digest = base64.b64encode(found).decode()
    _require(promises.get(header, digest) == digest, "BadDigest", f"the body is not what {header} says")


def _require(held: bool, code: str, message: str) -> None:
    if not held:
        raise ApiError(code, message, 400)
