"""Uploads under way: the bytes of a blob that is not there yet, each in a file of its own."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from ocikit.digest import Digest
from ocikit.registry.errors import Refusal
from ocikit.registry.request import Chunk

if TYPE_CHECKING:
    from hashlib import _Hash

_IDLE = 3600.0  # seconds after which an upload is given up
_LOOK = 60.0  # seconds between two looks for such
_MAX_OPEN = 1000


class Upload:
    """One upload. What has come is in the file, whatever becomes of the server.

    Whoever writes, reads or ends it holds `claimed`: a second request to the same upload could change what
    is stored after its digest was found to be right.
    """

    def __init__(self, name: str, repository: str, path: Path, algorithm: str | None) -> None:
        self.id = name
        self.repository = repository
        self.path = path
        # Of an upload that an earlier server began, the hash is made when it ends.
        self._hash: _Hash | None = None if algorithm is None else hashlib.new(algorithm)
        self._claimed = False

    @property
    def size(self) -> int:
        return self.path.stat().st_size

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

    async def append(self, chunks: AsyncIterator[bytes], promised: Chunk | None = None) -> None:
        """Write what comes. Of a chunk that says where it belongs, all or nothing is kept; unless the
        connection breaks: then what came of it. Where there is no room, nothing of it is kept, and the
        OSError is the caller's. Raises Refusal.
        """
        size, before = self.size, self._hash.copy() if self._hash else None
        if promised is not None and promised.start != size:
            message = f"a chunk from byte {promised.start} on does not follow {size} bytes"
            raise Refusal(416, "BLOB_UPLOAD_INVALID", message, {"Range": f"0-{max(0, size - 1)}"})
        written = size
        with self.path.open("ab", buffering=0) as file:
            try:
                async for chunk in chunks:
                    written += len(chunk)
                    if promised is None or written <= promised.end:
                        self._write(file, chunk)
            except OSError:
                file.truncate(size)
                self._hash = before
                raise
            if promised is not None and written != promised.end:
                file.truncate(size)
                self._hash = before
                message = f"{written - size} bytes came as a chunk of {promised.end - promised.start}"
                raise Refusal(400, "SIZE_INVALID", message)

    def _write(self, file: FileIO, chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:  # the last that goes onto a disk may be less than was asked for
            left = left[file.write(left) :]
        if self._hash:
            self._hash.update(chunk)

    async def check(self, promised: Digest) -> None:
        """Raises Refusal when the whole does not have the digest that was promised."""
        if self._hash is not None and self._hash.name == promised.algorithm:
            found = Digest(promised.algorithm, self._hash.hexdigest())
        else:
            found = await asyncio.to_thread(self._digest, promised.algorithm)
        if found != promised:
            message = f"{self.size} bytes came with digest {found}, not {promised}"
            raise Refusal(400, "DIGEST_INVALID", message)

    def is_idle(self) -> bool:
        return not self._claimed and _idle_for(self.path) > _IDLE

    def _digest(self, algorithm: str) -> Digest:
        with self.path.open("rb") as file:
            return Digest(algorithm, hashlib.file_digest(file, algorithm).hexdigest())


class Uploads:
    """The uploads in a folder; those of a server that was killed go on at the next one.

    A file's name is made of the repository's and the upload's: who knows one and not the other finds nothing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._open: dict[Path, Upload] = {}
        self._looked = 0.0

    def begin(self, repository: str, algorithm: str = "sha256") -> Upload:
        self._give_up_idle()
        if len(self._open) >= _MAX_OPEN:
            message = f"{_MAX_OPEN} uploads are under way"
            raise Refusal(429, "TOOMANYREQUESTS", message, {"Retry-After": "5"})
        name = secrets.token_hex(16)
        path = self._path(repository, name)
        path.touch(exist_ok=False)
        upload = self._open[path] = Upload(name, repository, path, algorithm)
        return upload

    def find(self, repository: str, name: str) -> Upload:
        path = self._path(repository, name)
        if not path.exists():
            self._open.pop(path, None)
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload; begin a new one")
        return self._open.setdefault(path, Upload(name, repository, path, None))

    def end(self, upload: Upload) -> None:
        self._open.pop(upload.path, None)
        upload.path.unlink(missing_ok=True)

    def _path(self, repository: str, name: str) -> Path:
        return self._folder / hashlib.sha256(f"{repository} {name}".encode()).hexdigest()

    def _give_up_idle(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < _LOOK:
            return
        self._looked = now
        for path in list(self._folder.iterdir()):
            upload = self._open.get(path)
            if upload is not None and upload.is_idle():
                self.end(upload)
            elif upload is None and _idle_for(path) > _IDLE:
                path.unlink(missing_ok=True)


def _idle_for(path: Path) -> float:
    """Seconds since the last write; 0 where the file has just gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
