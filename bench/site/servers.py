"""The servers that are measured: the site over a bucket, and its peer over SQLite."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from obstore.store import S3Store

from bench.chaos.faults import Rates
from bench.chaos.proxy import FaultProxy
from company_site.database import STALENESS

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PATIENCE: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the site's data are: a prefix of a bucket of an S3 server."""

    endpoint: str
    url: str
    key: str
    secret: str

    @classmethod
    def of(cls, store: S3Store) -> Bucket:
        config = store.config
        url = f"s3://{config['bucket']}/{store.prefix}"
        return cls(config["endpoint"], url, config["access_key_id"], config["secret_access_key"])

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment holds."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "local-1",
            "AWS_ALLOW_HTTP": "true",
        }

    @property
    def settings(self) -> dict[str, str]:
        """Of a site over this bucket, which listens on loopback."""
        return {
            **self.environment,
            "SITE_MODE": "demo",
            "HOST": "127.0.0.1",
            "DATABASE_URL": f"{self.url}/database",
            "UPLOADS_URL": f"{self.url}/uploads",
        }


class CountedBucket(FaultProxy):
    """The same bucket behind a proxy without faults that counts."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket.endpoint, Rates(), seed=0)
        self._original = bucket
        self._asked: list[tuple[str, str]] = []

    @property
    def bucket(self) -> Bucket:
        return replace(self._original, endpoint=self.endpoint)

    @property
    def requests(self) -> int:
        return len(self._asked)

    @property
    def log_puts(self) -> int:
        """How many objects of the log were written."""
        return sum(method == "PUT" and "/log/" in path for method, path in self._asked)

    def clear(self) -> None:
        self._asked.clear()

    def forward(self, request: Any) -> Any:
        """Note what is asked, and ask the server."""
        self._asked.append((request.method, request.path))
        return super().forward(request)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, of one process."""

    url: str
    pid: int

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def cpu(self) -> float:
        """Seconds that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines()
        )
        return int(fields["VmRSS"].split()[0]) * 1024

    def visit(self, path: str, times: int) -> float:
        """Look at a page so often on one connection; the seconds that it took."""
        connection = http.client.HTTPConnection(self.host, timeout=_PATIENCE)
        began = time.monotonic()
        for _ in range(times):
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}")
        connection.close()
        return time.monotonic() - began


@contextmanager
def site(bucket: Bucket) -> Iterator[Server]:
    with _running([sys.executable, "-m", "company_site"], bucket.settings) as server:
        yield server


@contextmanager
def peer(database: Path) -> Iterator[Server]:
    with _running([sys.executable, "-m", "bench.site.peer", str(database)], {}) as server:
        yield server


@contextmanager
def _running(command: list[str], settings: Mapping[str, str]) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command, env=os.environ | settings | {"PORT": str(port)}, stdout=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await_page(f"{url}/posts", process)
        time.sleep(2 * STALENESS)
        yield Server(url, process.pid)
    finally:
        process.terminate()
        process.wait()


def await_page(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it is served. Raises RuntimeError when the process ends, or after a minute."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE) as page:  # noqa: S310 -- loopback
                page.read()
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{url} is not served") from None
            time.sleep(0.002)
