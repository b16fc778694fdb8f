"""Who is at work with a blob, so that a collection of garbage under way leaves it alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from ocikit.digest import Digest


class Holds:
    """Blobs in use by requests of one process, on one event loop.

    Between a request's "the blob is there" and its "so I refer to it" nothing may remove the blob. A request
    holds the blob meanwhile; a collection condemns only what nobody has held since it began to look, and who
    comes while it is being removed waits, and finds it gone.
    """

    def __init__(self) -> None:
        self._held: Counter[Digest] = Counter()
        self._touched: set[Digest] | None = None  # held since the collection began; None: there is none
        self._going: dict[Digest, asyncio.Event] = {}

    @asynccontextmanager
    async def hold(self, *digests: Digest) -> AsyncIterator[None]:
        while going := [self._going[digest] for digest in digests if digest in self._going]:
            await going[0].wait()
        self._held.update(digests)
        if self._touched is not None:
            self._touched.update(digests)
        try:
            yield
        finally:
            self._held.subtract(digests)
            for digest in digests:
                if not self._held[digest]:
                    del self._held[digest]

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Remember from here on who is held. Only one collection at a time."""
        self._touched = set(self._held)
        try:
            yield
        finally:
            self._touched = None

    @contextmanager
    def condemned(self, digest: Digest) -> Iterator[bool]:
        """Whether the blob may be removed now; until the end of the block nobody takes hold of it."""
        if self._touched is None or digest in self._touched:
            yield False
            return
        gone = self._going[digest] = asyncio.Event()
        try:
            yield True
        finally:
            del self._going[digest]
            gone.set()
