"""The edge to the object store: reading entries, and the create-only PUT that is a commit."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import unquote, urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import HTTPStore, MemoryStore, from_url

from bucketlog.directory import DirectoryStore
from bucketlog.errors import FormatError, StoreError, UncertainError, UnsafeStoreError, brief
from bucketlog.log import PREFIX, Entry, decode_entry, encode_entry, key_of, t_of
from bucketlog.requests import MeteredStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

__all__ = ["LogStore", "ObjectStore", "open_store"]

_ATTEMPTS: Final = 8
_READERS: Final = 256
"""Reads at once of listed entries: as many as there are between two snapshots, so one round trip does."""
_GUESSES: Final = 64  # reads at once of entries that may not be there
_LAG: Final = (0.02, 0.1, 0.5)  # seconds between reads of what was listed and is not found
_READ_ONLY: Final = (PermissionDeniedError, UnauthenticatedError, NotSupportedError)
_REFUSALS: Final = (
    *_READ_ONLY,
    InvalidPathError,
    FileNotFoundError,  # the bucket itself is absent
)


class ObjectStore(Protocol):
    """What bucketlog asks of a store; every store of obstore fits."""

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        """Write an object; with `mode="create"` raise `AlreadyExistsError` when there is one."""

    def get(self, path: str) -> Any:
        """Read an object; `FileNotFoundError` when there is none."""

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        """Iterate over batches of `{"path": …}` of the objects below `prefix` after `offset`."""

    def delete(self, paths: Any) -> Any:
        """Delete objects; those that are not there are none."""


_RETRIES: Final[RetryConfig] = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}

_memory_stores: dict[str, MemoryStore] = {}
_memory_lock = threading.Lock()


def open_store(url: str) -> ObjectStore:
    """The store at `url`.

    That is `file:///directory` (made when absent), `memory://name` (one a process and name), or what obstore
    opens (`s3://`, `gs://`, `az://`), with settings from the environment (`AWS_ENDPOINT_URL`, …), or a plain
    `https://` address whose objects can only be read.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        with _memory_lock:
            return cast("ObjectStore", _memory_stores.setdefault(parts.netloc + parts.path, MemoryStore()))
    try:
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                raise StoreError(f"{url}: a file URL has three slashes, as in file:///srv/database")
            return DirectoryStore(Path(unquote(parts.path)))
        if parts.scheme in ("http", "https"):
            http: ClientConfig = {"allow_http": parts.scheme == "http"}
            return cast("ObjectStore", HTTPStore.from_url(url, client_options=http, retry_config=_RETRIES))
        if not parts.scheme:
            raise StoreError(
                f"{url} is no URL: a directory is {Path(url).absolute().as_uri()}, a bucket s3://…"
            )
        _require_allowed(parts.scheme)
        store = from_url(url, retry_config=_RETRIES)
    except (BaseError, ValueError, OSError) as error:
        raise StoreError(f"cannot open {url}: {brief(error)}") from error
    return cast("ObjectStore", store)


def _require_allowed(scheme: str) -> None:
    """Raises StoreError for an endpoint without TLS that nobody has allowed: obstore says `builder error`."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    if scheme == "s3" and endpoint.startswith("http://") and not os.environ.get("AWS_ALLOW_HTTP"):
        raise StoreError(f"the endpoint {endpoint} has no TLS; AWS_ALLOW_HTTP=true allows that")


class LogStore:
    """A log in a bucket. Safe to use from any thread.

    The log of a branch goes on where it left its `parent`: after transaction `fork`.
    """

    def __init__(
        self, store: MeteredStore, prefix: str = "", *, parent: LogStore | None = None, fork: int = -1
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._parent = parent
        self._fork = fork

    def key(self, t: int) -> str:
        """The key of the entry whose first transaction is `t`."""
        return self._prefix + key_of(t)

    def read(self, t: int) -> Entry | None:
        """The entry whose first transaction is `t`, `None` when there is none (yet)."""
        if self._parent is not None and t <= self._fork:
            entry = self._parent.read(t)
            return None if entry is None else entry.until(self._fork)
        key = self.key(t)
        try:
            data = self._store.get(key)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot read {key}: {brief(error)}") from error
        return decode_entry(key, data)

    def read_after(self, t: int, *, guesses: int = 0) -> Iterator[Entry]:
        """All entries after the one that ends with transaction `t`, in order: one listing, then concurrent
        reads.

        Beside the listing the next `guesses` keys are read, those that follow if every entry holds one
        transaction, whether they are there or not.
        """
        if self._parent is not None and t < self._fork:
            for entry in self._parent.read_after(t, guesses=guesses):
                yield entry.until(self._fork)
                t = min(entry.last_t, self._fork)
                if t == self._fork:
                    break
        if self._store.can_list:
            yield from self._listed(t, guesses)
        else:
            yield from self.walk(t, max(1, guesses))

    def keys_after(self, t: int) -> list[int]:
        """The first transactions of the entries after transaction `t`, in order; none of a parent's."""
        try:
            batches = self._store.list(self._prefix + PREFIX, offset=self.key(t) if t >= 0 else None)
            paths = [item["path"].removeprefix(self._prefix) for batch in batches for item in batch]
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot list {self._prefix}{PREFIX}: {brief(error)}") from error
        return sorted(n for path in paths if (n := t_of(path)) is not None)

    def _listed(self, t: int, guesses: int) -> Iterator[Entry]:
        expected = t + 1
        with ThreadPoolExecutor(_READERS, "bucketlog-read") as pool:
            listed = pool.submit(self.keys_after, t)
            guessed = {n: pool.submit(self.read, n) for n in range(expected, expected + guesses)}
            found = listed.result()
            for first, read in zip(found, self._read_ahead(pool, found, guessed), strict=True):
                # A directory listed while it grows may show a later entry without an earlier one.
                while expected < first and (skipped := self._read_surely(expected)) is not None:
                    yield skipped
                    expected = skipped.last_t + 1
                entry = read or self._read_surely(first)
                if entry is None or first != expected:
                    raise FormatError(f"{self.key(expected)} is missing, although {self.key(first)} is there")
                yield entry
                expected = entry.last_t + 1

    def _read_surely(self, t: int) -> Entry | None:
        """An entry that must be there, for it or a later one is listed: where reads lag, as behind a cache,
        it takes a moment to be found.
        """
        for pause in (0.0, *_LAG):
            time.sleep(pause)
            if (entry := self.read(t)) is not None:
                return entry
        return None

    def _read_ahead(
        self, pool: ThreadPoolExecutor, found: list[int], guessed: Mapping[int, Future[Entry | None]]
    ) -> Iterator[Entry | None]:
        """Entries in order, so many ahead of who takes them that the store is busy and memory is not; those
        that were `guessed` are on their way.
        """
        window: deque[Future[Entry | None]] = deque()
        for first in found:
            window.append(guessed[first] if first in guessed else pool.submit(self.read, first))
            if len(window) > 2 * _READERS:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()

    def walk(self, t: int, ahead: int) -> Iterator[Entry]:
        """`read_after` without a listing: by the keys that are next if every entry holds one transaction,
        `ahead` of them at once and then more.
        """
        expected = t + 1
        with ThreadPoolExecutor(_GUESSES, "bucketlog-read") as pool:
            while True:
                guesses = range(expected, expected + ahead)
                for first, entry in zip(guesses, pool.map(self.read, guesses), strict=True):
                    if first != expected:
                        continue  # inside of an entry of several transactions
                    if entry is None:
                        return
                    yield entry
                    expected = entry.last_t + 1
                ahead = _GUESSES

    def replace(self, entry: Entry) -> None:
        """Write an entry over the one that is there: only for excision, which is to leave nothing of it."""
        key = self.key(entry.t)
        try:
            self._store.put(key, encode_entry(entry))
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot write {key}: {brief(error)}") from error

    def append(self, entry: Entry) -> Entry | None:
        """Commit `entry` by creating its object: `None` when it is in the log, else the winner's entry.

        An answer that never came, or that a retry inside the client made ambiguous, is settled by reading the
        object back and comparing ids. Raises `StoreError` when the store refused, `UncertainError` when
        neither the write nor the reading back got through.
        """
        key = self.key(entry.t)
        if not self._store.can_list:
            raise StoreError(f"cannot write {key}: a database at a plain web address can only be read")
        data = encode_entry(entry)
        failure: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0.5, 1) * min(2.0, 0.02 * 2**attempt))  # noqa: S311 -- jitter
            try:
                self._store.put(key, data, mode="create")
            except _REFUSALS as error:
                if failure is None:
                    raise StoreError(f"cannot write {key}: {brief(error)}") from error
                failure = error
            except (BaseError, OSError) as error:
                failure = error
            else:
                return None
            try:
                present = self.read(entry.t)
            except FormatError:
                raise
            except StoreError as error:
                failure = error
                continue
            if present is not None:
                return None if present.id == entry.id else present
        raise UncertainError(
            f"{key} may or may not have been committed: the store failed {_ATTEMPTS} times, last with "
            f"{brief(failure)}. Read the database to find out before you repeat the transaction."
        )

    def verify(self, entry: Entry) -> None:
        """Raise `UnsafeStoreError` unless the store refuses to create `entry`, which it already holds, again.

        The bytes are the same, so that even a store that overwrites has changed nothing. Who may not write
        proves nothing and needs no proof.
        """
        if self._parent is not None:
            return self._parent.verify(entry)
        if not self._store.can_list:
            return None
        try:
            self._store.put(self.key(entry.t), encode_entry(entry), mode="create")
        except (AlreadyExistsError, PreconditionError, *_READ_ONLY):
            return None
        except (BaseError, OSError) as error:
            raise StoreError(f"cannot prove that the store refuses to overwrite: {brief(error)}") from error
        raise UnsafeStoreError(
            "the store ignored 'If-None-Match: *' and overwrote an object: concurrent commits would be lost. "
            "Use a store with conditional writes (S3, GCS, Azure, R2, MinIO, SeaweedFS, a directory)."
        )
