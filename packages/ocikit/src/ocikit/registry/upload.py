"""Uploads under way: bytes of a blob that is not there yet, in files without a name."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from ocikit.blob import CHUNK
from ocikit.digest import Digest
from ocikit.registry.errors import Refusal

_IDLE = 3600.0  # seconds after which an upload is given up
_MAX_OPEN = 1000


class Upload:
    """One upload. The file has no name: a server that is killed leaves nothing behind.

    Whoever writes, reads or ends it holds `claimed`: a second request to the same upload could change what
    is stored after its digest was found to be right.
    """

    def __init__(self, repository: str) -> None:
        self.id = secrets.token_hex(16)
        self.repository = repository
        self.size = 0
        self.touched = time.monotonic()
        self._hash = hashlib.sha256()
        self._file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the upload
        self._claimed = False

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Have the upload alone. Raises Refusal while another request has it."""
        if self._claimed:
            raise Refusal(409, "BLOB_UPLOAD_INVALID", "another request to this upload is under way")
        self._claimed = True
        try:
            yield
        finally:
            self._claimed = False

    def is_idle(self, now: float) -> bool:
        return not self._claimed and now - self.touched > _IDLE

    async def append(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            self._file.write(chunk)
            self._hash.update(chunk)
            self.size += len(chunk)
            self.touched = time.monotonic()

    async def content(self, promised: Digest) -> IO[bytes]:
        """The whole, from its start. Raises Refusal when it does not have the digest that was promised."""
        found = await asyncio.to_thread(self._digest, promised.algorithm)
        if found != promised:
            raise Refusal(
                400, "DIGEST_INVALID", f"{self.size} bytes came with digest {found}, not {promised}"
            )
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        self.close()  # uploads that are under way when their server ends

    def _digest(self, algorithm: str) -> Digest:
        if algorithm == "sha256":
            return Digest(algorithm, self._hash.hexdigest())
        self._file.seek(0)
        hashed = hashlib.new(algorithm)
        while data := self._file.read(CHUNK):
            hashed.update(data)
        return Digest(algorithm, hashed.hexdigest())


class Uploads:
    """The uploads of one server process; a client that finds its upload gone begins a new one."""

    def __init__(self) -> None:
        self._open: dict[str, Upload] = {}

    def begin(self, repository: str) -> Upload:
        now = time.monotonic()
        for upload in [upload for upload in self._open.values() if upload.is_idle(now)]:
            self.end(upload)
        if len(self._open) >= _MAX_OPEN:
            raise Refusal(429, "TOOMANYREQUESTS", f"{_MAX_OPEN} uploads are under way")
        upload = Upload(repository)
        self._open[upload.id] = upload
        return upload

    def find(self, repository: str, name: str) -> Upload:
        upload = self._open.get(name)
        if upload is None or upload.repository != repository:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload; begin a new one")
        return upload

    def end(self, upload: Upload) -> None:
        self._open.pop(upload.id, None)
        upload.close()
