"""Our registry server in a process of its own, counting what reaches it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from obstore.store import LocalStore
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocikit import Credentials
from ocikit.registry import create_app

__all__ = ["Counts", "RegistryServer", "serve", "serve_registry"]

_COUNTS = "/bench/counts"
_ROOT = Path(__file__).parent.parent.parent
_SERVE = "import sys; from bench.image.registry import serve; serve(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Counts:
    """What reached the registry since it was asked last; `uploaded` in bytes of request bodies."""

    requests: int
    uploaded: int


@dataclass(frozen=True, slots=True)
class RegistryServer:
    """A running registry."""

    host: str

    def counts(self) -> Counts:
        with urllib.request.urlopen(f"http://{self.host}{_COUNTS}") as answer:
            return Counts(**json.load(answer))


@contextmanager
def serve_registry(directory: Path) -> Iterator[RegistryServer]:
    """A registry on a free port of loopback that keeps everything in `directory`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, directory], stdout=subprocess.PIPE, text=True, cwd=_ROOT
    )
    with process:
        assert process.stdout is not None
        try:
            yield RegistryServer(process.stdout.readline().strip())
        finally:
            process.terminate()


class _Counting:
    """Passes everything on, and answers one path of its own with what has passed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests = 0
        self._uploaded = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == _COUNTS:
            body = json.dumps({"requests": self._requests, "uploaded": self._uploaded}).encode()
            self._requests = self._uploaded = 0
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        self._requests += 1

        async def counted() -> Message:
            message = await receive()
            self._uploaded += len(message.get("body", b""))
            return message

        await self._app(scope, counted, send)


def _allow_all(_who: Credentials | None, _repository: str | None, _action: str) -> None:
    """Nobody is asked who they are: the benchmark is about images."""


def serve(directory: str) -> None:
    """Serve until terminated; the first line of output is the address."""
    app = create_app(LocalStore(directory, mkdir=True), authorize=_allow_all)
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"127.0.0.1:{listening.getsockname()[1]}", flush=True)
    server = uvicorn.Server(uvicorn.Config(_Counting(app), log_level="error", lifespan="off"))
    server.run([listening])
