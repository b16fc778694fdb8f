"""Reading a blob: a download that breaks goes on where it broke."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, cast

import urllib3
from urllib3.exceptions import HTTPError

from ocikit.blob import CHUNK, PieceReader
from ocikit.client.address import shown
from ocikit.client.answer import dismiss, reason
from ocikit.client.retry import ATTEMPTS, wait
from ocikit.client.session import Session
from ocikit.digest import Digest
from ocikit.errors import RegistryError, RegistryNotFoundError
from ocikit.manifest import Descriptor


def blob_url(session: Session, repository: str, digest: Digest) -> str:
    """Where the blob is, without looking."""
    return f"{session.base}/{repository}/blobs/{digest}"


def has_blob(session: Session, repository: str, digest: Digest) -> bool:
    """Whether the repository has the blob (end-2). Raises RegistryError."""
    try:
        session.request("HEAD", blob_url(session, repository, digest), repository)
    except RegistryNotFoundError:
        return False
    return True


def open_blob(session: Session, repository: str, descriptor: Descriptor) -> BinaryIO:
    """The blob's bytes as they come, not yet compared with its digest (end-2).

    Raises RegistryError, also while they are read.
    """
    url = blob_url(session, repository, descriptor.digest)

    def fetch(offset: int) -> urllib3.BaseHTTPResponse:
        return session.stream(url, repository, {"Range": f"bytes={offset}-"} if offset else {})

    return cast("BinaryIO", io.BufferedReader(_Download(fetch, descriptor.size, shown(url)), CHUNK))


class _Download(PieceReader):
    """A blob's bytes; a connection that is lost is made again, for what is missing."""

    def __init__(self, fetch: Callable[[int], urllib3.BaseHTTPResponse], size: int, what: str) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._what = what
        self._read = 0
        self._failures = 0
        self._answer = fetch(0)

    def _next(self, size: int) -> bytes:
        while True:
            try:
                piece = self._answer.read(size, decode_content=False)
            except HTTPError as error:
                self._again(error)
            else:
                self._read += len(piece)
                return piece

    def _again(self, error: Exception) -> None:
        dismiss(self._answer)
        self._failures += 1
        failed = RegistryError(f"GET {self._what}: broken off after {self._read} bytes: {reason(error)}")
        if self._failures == ATTEMPTS or self._read >= self._size:
            raise failed from error
        wait(self._failures)
        self._answer = self._fetch(self._read)
        if self._read and self._answer.status != 206:
            raise failed from error  # this registry cannot continue

    def close(self) -> None:
        dismiss(self._answer)
        super().close()
