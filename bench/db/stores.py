"""Object stores to measure on: a local S3 server, and a store that counts what is asked of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.store import S3Store

from bench.ports import free_port

if TYPE_CHECKING:
    from obstore.store import RetryConfig

__all__ = ["Watched", "copy_objects", "s3_server"]

_KEYS: Final = {"accessKey": "bench", "secretKey": "secret"}
_LISTED: Final = 1000
_PORTS: Final = ("master", "volume", "filer", "s3")
_PATIENCE: Final = 180.0  # seconds for a start


class Watched:
    """A store in front of another: counts requests by the first part of the key, notes when each ran, and
    may hold each up by `delay` seconds.
    """

    def __init__(self, inner: Any, delay: float = 0.0) -> None:
        self._inner = inner
        self._delay = delay
        self._lock = threading.Lock()
        self.puts: Counter[str] = Counter()
        """By what comes before the first slash."""
        self.put_seconds = 0.0
        self.bytes_read = 0
        self._spans: list[tuple[float, float]] = []

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        """`ObjectStore.put`."""
        began = time.perf_counter()
        try:
            return self._timed(lambda: self._inner.put(path, file, mode=mode or "overwrite"))
        finally:
            with self._lock:
                self.puts[path.partition("/")[0]] += 1
                self.put_seconds += time.perf_counter() - began

    def get(self, path: str) -> Any:
        """`ObjectStore.get`, with the bytes already here."""

        def read() -> bytes:
            return bytes(self._inner.get(path).bytes())

        data = self._timed(read)
        with self._lock:
            self.bytes_read += len(data)
        return _Found(data)

    def list(self, prefix: str | None = None, *, offset: str | None = None, chunk_size: int = 50) -> Any:
        """`ObjectStore.list`; a request gives a thousand names, as S3's do, whatever the batches are."""
        batches = iter(self._inner.list(prefix, offset=offset, chunk_size=_LISTED))
        while batch := self._timed(lambda: next(batches, [])):
            yield from (batch[start : start + chunk_size] for start in range(0, len(batch), chunk_size))
            if len(batch) < _LISTED:
                break

    def delete(self, paths: Any) -> Any:
        """`ObjectStore.delete`."""
        return self._timed(lambda: self._inner.delete(paths))

    @property
    def requests(self) -> int:
        """How many there were."""
        return len(self._spans)

    @property
    def round_trips(self) -> int:
        """The longest sequence of requests each of which began when the one before it was done."""
        count, end = 0, 0.0
        for finished, began in sorted((finished, began) for began, finished in self._spans):
            if began >= end:
                count, end = count + 1, finished
        return count

    def _timed(self, request: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        if self._delay:
            time.sleep(self._delay)
        try:
            return request()
        finally:
            with self._lock:
                self._spans.append((began, time.perf_counter()))


class _Found:
    """What a `get` gives."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def bytes(self) -> bytes:
        """The object."""
        return self._data


def copy_objects(source: Any, target: Any) -> None:
    """Put every object of one store into another."""
    for batch in source.list():
        for item in batch:
            target.put(item["path"], bytes(source.get(item["path"]).bytes()))


@contextmanager
def s3_server() -> Iterator[Callable[[], S3Store]]:
    """A SeaweedFS server; what it yields makes stores in it where nothing is yet."""
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as name:
        folder = Path(name)
        identity = {"name": "bench", "credentials": [_KEYS], "actions": ["Admin"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports = {f"{part}.port{kind}": free_port() for part in _PORTS for kind in ("", ".grpc")}
        command = [
            *(str(Path(sys.executable).with_name("weed")), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-dir={folder}", "-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0"),
            *("-s3.port.lance=0", "-s3.iam=false", "-volume.max=16", "-master.volumeSizeLimitMB=256"),
            *("-master.telemetry=false", f"-filer.localSocket={folder / 'filer.sock'}"),
            *(f"-{option}={port}" for option, port in ports.items()),
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _wait_until_writable(_store(ports["s3.port"], retry={"max_retries": 0}), process, folder / "log")
            yield partial(_store, ports["s3.port"])
        finally:
            process.kill()  # an orderly shutdown takes it twenty seconds
            process.wait()
            for port in ports.values():
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 -- where it puts them
                    left.unlink(missing_ok=True)


def _store(port: int, retry: RetryConfig | None = None) -> S3Store:
    return S3Store(
        "bench",
        prefix=uuid.uuid4().hex,
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id=_KEYS["accessKey"],
        secret_access_key=_KEYS["secretKey"],
        region="local-1",
        client_options={"allow_http": True},
        retry_config=retry,
    )


def _wait_until_writable(store: S3Store, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with suppress(obstore.exceptions.BaseError, OSError):
            obstore.put(store, "probe", b"x")
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the S3 server does not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)
