"""A registry served by uvicorn on a free port, images of a few small layers, and the tools that read them."""

import asyncio
import io
import subprocess
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from bench.serving import in_thread
from obstore.store import LocalStore

from ocikit import (
    BytesBlob,
    ContainerConfig,
    Credentials,
    Descriptor,
    Digest,
    History,
    Image,
    Layer,
    LayerWriter,
    Platform,
    Registry,
)
from ocikit.registry import Action, Denied, Storage, Unauthorized, create_app

USER = Credentials("AWS", "open-sesame")
READER = Credentials("reader", "only-looking")
TEAM = Credentials("team", "only-its-own")
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class Served:
    """A running registry: `pushes` is what its owner was told."""

    host: str
    storage: Storage
    directory: Path
    pushes: list[tuple[str, str | None, str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}/v2"

    def client(self, credentials: Credentials | None = USER) -> Registry:
        return Registry(self.host, credentials=credentials)

    def files(self) -> set[str]:
        """What is stored; uploads under way are not yet."""
        found = {path.relative_to(self.directory) for path in self.directory.rglob("*") if path.is_file()}
        return {str(path) for path in found if path.parts[0] != "uploads"}


class _Server(uvicorn.Server):
    """Stops when it is told to, and not at its next look at the clock."""

    async def main_loop(self) -> None:
        self.stopping = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        await self.on_tick(0)
        await self.stopping.wait()


@contextmanager
def _serving(app: object) -> Iterator[int]:
    """An ASGI app behind uvicorn in a thread; gives its port."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", loop="asyncio")
    config.timeout_keep_alive = 600  # a client that was kept waiting finds its connection as it left it
    server = _Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not hasattr(server, "loop"):
            assert thread.is_alive()
            time.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.loop.call_soon_threadsafe(server.stopping.set)
        thread.join()


@pytest.fixture(scope="session")
def serving() -> Callable[[object], AbstractContextManager[int]]:
    return _serving


def _authorize(who: Credentials | None, repository: str | None, action: Action) -> None:
    if who not in (USER, READER, TEAM):
        raise Unauthorized
    if who == TEAM and repository is not None and repository.startswith("private/"):
        raise Denied(f"{who.username} may not see {repository}")
    if who == READER and action != "pull":
        raise Denied(f"{who.username} may only pull")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Tags that begin with `v` are immutable; there is no repository below `missing/`."""
    directory = tmp_path / "registry"
    store = LocalStore(directory, mkdir=True)
    found = Served("", Storage(store), directory)

    async def on_push(repository: str, tag: str | None, digest: Digest, media_type: str) -> None:
        found.pushes.append((repository, tag, str(digest), media_type))

    app = create_app(
        store,
        authorize=_authorize,
        on_push=on_push,
        mutable=lambda _, tag: not tag.startswith("v"),
        repository_exists=lambda repository: not repository.startswith("missing/"),
    )
    with _serving(app) as port:
        found.host = f"127.0.0.1:{port}"
        yield found


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., Image]:
    """An image of one layer for each mapping from name to content."""

    def make(*layers: dict[str, bytes], config: ContainerConfig | None = None) -> Image:
        image = Image.empty(Platform.host())
        for number, files in enumerate(layers or ({"hello": b"hello\n"},)):
            with LayerWriter(tmp_path / f"layer-{number}-{len(list(tmp_path.iterdir()))}.tar.gz") as writer:
                for name, content in files.items():
                    writer.file(name, content)
                image = image.append(writer.finish(), History(created_by=f"layer {number}"))
        return image.with_config(config or ContainerConfig(cmd=("/hello",), labels={"a": "b"}))

    return make


@pytest.fixture
def make_layer() -> Callable[..., Layer]:
    """A layer of tar entries `(name, type, attributes)`, as hostile as the caller likes; or of raw bytes."""

    def make(*entries: tuple[str, bytes, dict[str, object]] | bytes) -> Layer:
        buffer = io.BytesIO()
        if len(entries) == 1 and isinstance(entries[0], bytes):
            buffer.write(entries[0])
        else:
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, kind, attributes in entries:
                    entry = tarfile.TarInfo(name)
                    entry.type = kind
                    data = attributes.get("data", b"")
                    entry.size = len(data)
                    for key, value in attributes.items():
                        if key != "data":
                            setattr(entry, key, value)
                    archive.addfile(entry, io.BytesIO(data))
        raw = buffer.getvalue()
        compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
        packed = compressor.compress(raw) + compressor.flush()
        return Layer(Descriptor(GZIP, Digest.of(packed), len(packed)), Digest.of(raw), BytesBlob(packed))

    return make


@pytest.fixture
def run() -> Callable[..., str]:
    """Run one of the machine's tools; a failure shows what it said."""

    def run(*arguments: object, fails: bool = False) -> str:
        done = subprocess.run(
            [str(argument) for argument in arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode != 0) == fails, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    return run


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fake:
    """A registry that answers as `answer` says, and remembers what it was asked."""

    host: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], tuple[int, dict[str, str], bytes]] = lambda _: (500, {}, b"")
    cut: Callable[[Asked], bool] = lambda _: False  # whether to close within the request's body

    def paths(self, method: str = "GET") -> list[str]:
        return [asked.path for asked in self.asked if asked.method == method]


@pytest.fixture
def start() -> Iterator[Callable[[], Fake]]:
    running = ExitStack()

    def start() -> Fake:
        fake = Fake()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # an answer in one write, so that no acknowledgement is waited for

            def _answer(self) -> None:
                asked = Asked(self.command, self.path, dict(self.headers), b"")
                if fake.cut(asked):
                    self.rfile.read(int(self.headers["Content-Length"]) // 2)
                    self.close_connection = True
                    return
                asked.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.asked.append(asked)
                status, headers, data = fake.answer(asked)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)
                if int(headers.get("Content-Length", 0)) > len(data) and self.command != "HEAD":
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # clients of these tests break off
        running.enter_context(in_thread(server))
        fake.host = f"127.0.0.1:{server.server_port}"
        return fake

    with running:
        yield start


@pytest.fixture
def fake(start) -> Fake:
    return start()


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """How long the client would have waited, and no waiting."""
    found: list[float] = []
    monkeypatch.setattr("ocikit.client.retry.time", SimpleNamespace(sleep=found.append))
    return found
