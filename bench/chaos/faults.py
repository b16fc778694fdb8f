"""A store in front of another that fails the way networks and servers do."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from obstore.exceptions import BaseError, GenericError

__all__ = ["FaultyStore", "Rates"]


@dataclass(frozen=True, slots=True)
class Rates:
    """How likely each fault is, a request; a request has one of them at most."""

    lost_request: float = 0.0
    """It never arrives, and the client gives up waiting; or a 5xx of a server that did nothing."""
    lost_answer: float = 0.0
    """It is done, but the client gives up waiting; or a 5xx of a server that did it nevertheless."""
    late: float = 0.0
    """A write that the client has given up, and that arrives some time later."""
    slow: float = 0.0
    """It is done, after a while."""
    torn: float = 0.0
    """The connection is reset in the middle of an object that is read."""
    stale: float = 0.0
    """A read that sees the store as it was some time ago. S3 promises that there is none; caches do not."""
    reads: float = 1.0
    """How likely a read has one of these, but for the last, compared with a write."""
    delay: float = 0.05
    """Seconds that what is late or slow takes at most."""
    staleness: float = 0.05
    """Seconds that a stale read is old at most."""

    @classmethod
    def of_all(cls, rate: float, *, reads: float = 1.0, delay: float = 0.05) -> Rates:
        """Every fault that S3 may have at the same rate."""
        return cls(rate, rate, rate, rate, rate, reads=reads, delay=delay)


class FaultyStore:
    """An `ObjectStore` with faults drawn from a seed; for the same requests they are the same ones."""

    def __init__(
        self, inner: Any, rates: Rates, seed: int, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        self._inner = inner
        self._rates = rates
        self._random = Random(seed)  # noqa: S311 -- which faults there are
        self._lock = threading.Lock()
        self._tell = tell
        self._late: list[threading.Thread] = []
        self.injected: Counter[str] = Counter()
        """How often each fault came; `tell` is called with each."""

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        """`ObjectStore.put`."""
        fault, delay = self._draw("lost_request", "lost_answer", "late", "slow")
        if fault == "late":
            self._later(lambda: self._inner.put(path, file, mode=mode or "overwrite"), delay)
        self._before(fault, delay)
        result = self._inner.put(path, file, mode=mode or "overwrite")
        self._after(fault)
        return result

    def get(self, path: str) -> Any:
        """`ObjectStore.get`."""
        fault, delay = self._draw(
            "lost_request", "lost_answer", "slow", "torn", "stale", scale=self._rates.reads
        )
        self._before(fault, delay)
        found = self._inner.get(path)
        if fault == "stale" and found.meta["last_modified"] > self._horizon():
            raise FileNotFoundError(f"{path} was not there a moment ago")
        self._after(fault)
        return _Torn(found) if fault == "torn" else found

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        """`ObjectStore.list`; each batch may have a fault of its own."""
        batches: Iterator[Any] = iter(self._inner.list(prefix, offset=offset, chunk_size=chunk_size))
        while True:
            fault, delay = self._draw("lost_request", "lost_answer", "slow", "stale", scale=self._rates.reads)
            self._before(fault, delay)
            batch = next(batches, None)
            self._after(fault)
            if batch is None:
                return
            horizon = self._horizon() if fault == "stale" else None
            yield [item for item in batch if horizon is None or item["last_modified"] <= horizon]

    def delete(self, paths: Any) -> Any:
        """`ObjectStore.delete`."""
        fault, delay = self._draw("lost_request", "lost_answer", "slow")
        self._before(fault, delay)
        result = self._inner.delete(paths)
        self._after(fault)
        return result

    def settle(self) -> None:
        """Wait for the writes that are late."""
        for thread in self._late:
            thread.join()

    def _draw(self, *kinds: str, scale: float = 1.0) -> tuple[str | None, float]:
        """A fault of these kinds or `None`, and how long it takes if it takes any time."""
        with self._lock:
            rates = [getattr(self._rates, kind) * (1.0 if kind == "stale" else scale) for kind in kinds]
            fault: str | None = self._random.choices([*kinds, None], [*rates, 1 - sum(rates)])[0]
            if fault:
                self.injected[fault] += 1
                self._tell(fault)
            return fault, self._random.uniform(0, self._rates.delay)

    def _before(self, fault: str | None, delay: float) -> None:
        if fault == "slow":
            time.sleep(delay)
        elif fault in ("lost_request", "late"):
            raise GenericError("503 Service Unavailable, or the request timed out")

    def _after(self, fault: str | None) -> None:
        if fault == "lost_answer":
            raise GenericError("500 Internal Server Error, or the answer timed out")

    def _later(self, write: Any, delay: float) -> None:
        def run() -> None:
            time.sleep(delay)
            with suppress(BaseError):  # nobody is there to be told
                write()

        self._late.append(threading.Thread(target=run, name="late-write"))
        self._late[-1].start()

    def _horizon(self) -> datetime:
        with self._lock:
            return datetime.now(UTC) - timedelta(seconds=self._random.uniform(0, self._rates.staleness))


class _Torn:
    """What a `get` gives whose answer breaks off."""

    def __init__(self, found: Any) -> None:
        self._found = found

    @property
    def meta(self) -> Any:
        """What is known before the bytes come."""
        return self._found.meta

    def bytes(self) -> bytes:
        """Raises as obstore does for a body that is not as long as was said."""
        raise GenericError("connection reset in the middle of the object")
