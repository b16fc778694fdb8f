"""What one connection to a server of homeport's may cost it: uvicorn by itself sets no bounds to these.

Instances reach the object store, and any program of the machine the control port: none of them is to keep
the others out by opening connections, by a head that never ends, or by one that never comes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Connection"]

_MOST: Final = 256  # connections of one address at a time; more are hung up on
_HEAD: Final = 64 << 10  # bytes of a request's line and headers, which AWS's own have a few of
_PATIENCE: Final = 30.0  # seconds that these may take to come

_open: Counter[object] = Counter()  # by server and client


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with bounds. To be had with `ws="none"`: what takes over from it is not counted."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._read = 0  # bytes of a head that is not complete
        self._heading = True
        self._late: asyncio.TimerHandle | None = None
        # Behind a socket of the file system is the edge, which counts for itself.
        self._counted = (self.server, self.client[0]) if self.client else None
        if self._counted is not None:
            _open[self._counted] += 1
            if _open[self._counted] > _MOST:
                transport.abort()
                return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._come()
        if self._counted is not None:
            _open[self._counted] -= 1
            if not _open[self._counted]:
                del _open[self._counted]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._heading
        super().data_received(data)
        if before and self._heading:
            self._read += len(data)
            if self._read > _HEAD:
                self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._heading, self._read = True, 0
        self._wait()

    def on_headers_complete(self) -> None:
        self._heading = False
        self._come()
        super().on_headers_complete()

    def _wait(self) -> None:
        """A head is to come."""
        self._come()
        self._late = self.loop.call_later(_PATIENCE, self.transport.abort)

    def _come(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
