"""The app behind the port: it answers with the content of its `/version`.

`/wait` is answered a tenth of a second later, with who answers and how many it was answering just then.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
_WAIT = 0.1  # seconds


class Answer(asyncio.Protocol):
    """HTTP/1.1 with pipelining, for requests without a body."""

    version = b""
    identity = os.urandom(4).hex()
    waiting = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._waiting = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        if requests and requests[0].startswith(b"GET /wait "):  # whoever asks for that does not pipeline
            Answer.waiting += 1
            text = f"{self.identity} {Answer.waiting}".encode()
            asyncio.get_running_loop().call_later(_WAIT, self._answer_later, text)
            return
        self._transport.write((_HEAD % len(self.version) + self.version) * len(requests))

    def _answer_later(self, text: bytes) -> None:
        Answer.waiting -= 1
        self._transport.write(_HEAD % len(text) + text)


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
