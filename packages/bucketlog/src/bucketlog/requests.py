"""What an object store is asked for, counted, and what that costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from obstore.exceptions import GenericError
from obstore.store import HTTPStore

if TYPE_CHECKING:
    from bucketlog.store import ObjectStore

__all__ = ["PRICES", "MeteredStore", "Requests"]

PRICES: Final[Mapping[str, float]] = {"put": 5.0, "list": 5.0, "get": 0.4, "delete": 0.0}
"""Dollars for a million requests: S3 Standard in us-east-1, as of 2026-11."""

_BROKEN_OFF: Final = "list response body"  # in the words of the client


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests by kind (`get`, `put`, `list`, `delete`), and bytes of objects read and written."""

    counts: Mapping[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def dollars(self) -> float:
        """What the requests cost at `PRICES`."""
        return sum(PRICES[kind] * count for kind, count in self.counts.items()) / 1e6

    def __sub__(self, earlier: Requests) -> Requests:
        """The requests since `earlier`."""
        return Requests(
            {kind: count - earlier.counts.get(kind, 0) for kind, count in self.counts.items()},
            self.bytes_read - earlier.bytes_read,
            self.bytes_written - earlier.bytes_written,
        )


class MeteredStore:
    """An object store that counts what goes through it; for any thread."""

    def __init__(self, store: ObjectStore) -> None:
        self.inner = store
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(PRICES, 0)
        self._read = 0
        self._written = 0

    @property
    def can_list(self) -> bool:
        """Whether the store can tell what objects there are; plain HTTP cannot."""
        return not isinstance(self.inner, HTTPStore)

    @property
    def requests(self) -> Requests:
        """What was asked for until now."""
        with self._lock:
            return Requests(dict(self._counts), self._read, self._written)

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        """`ObjectStore.put`."""
        self._count("put", written=len(file))
        return self.inner.put(path, file, mode=mode) if mode else self.inner.put(path, file)

    def get(self, path: str) -> bytes:
        """The bytes of an object; `FileNotFoundError` when there is none."""
        self._count("get")
        data = bytes(self.inner.get(path).bytes())
        self._count(read=len(data))
        return data

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; one that is not there is none."""
        self._count("delete", len(paths))
        self.inner.delete(list(paths))

    def _count(self, kind: str | None = None, count: int = 1, *, read: int = 0, written: int = 0) -> None:
        with self._lock:
            if kind:
                self._counts[kind] += count
            self._read += read
            self._written += written

    def list(
        self, prefix: str | None = None, *, offset: str | None = None
    ) -> Iterator[Sequence[dict[str, Any]]]:
        """Batches of `{"path", "size", "last_modified", …}` of the objects below `prefix` after `offset`."""
        for pause in (0.1, 0.3, 1.0, 3.0, None):
            given = False
            try:
                for batch in self.inner.list(prefix, offset=offset, chunk_size=1000):
                    self._count("list")
                    given = True
                    yield batch
                    if len(batch) < 1000:
                        return
                self._count("list")
            except GenericError as error:
                # The client tries a request again, but not an answer that breaks off: that is for us to do.
                if given or pause is None or _BROKEN_OFF not in str(error):
                    raise
                time.sleep(pause)
            else:
                return
