"""The app behind the port: it answers every request with the content of its `/version`, and that is all."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path


class Answer(asyncio.Protocol):
    """HTTP/1.1 with pipelining, for requests without a body."""

    version = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._waiting = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.version)
        self._transport.write((head + self.version) * len(requests))


async def main() -> None:
    """Serve on `PORT` until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await loop.create_server(Answer, "0.0.0.0", int(os.environ.get("PORT", "8080")), backlog=1024)  # noqa: S104
    await stopped.wait()


def start() -> None:
    """The console script."""
    file = Path("/version")
    Answer.version = file.read_bytes() if file.exists() else b"bare"
    asyncio.run(main())


if __name__ == "__main__":
    start()
