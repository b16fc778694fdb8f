"""Databases in memory, in directories and on a real S3 server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

import bucketlog
from bucketlog import Connection

SCHEMA = """
[{:db/ident :user/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/identity}
 {:db/ident :user/email, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/value}
 {:db/ident :user/age, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
 {:db/ident :user/friends, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
 {:db/ident :user/parent, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/one}
 {:db/ident :user/tags, :db/valueType :db.type/keyword, :db/cardinality :db.cardinality/many}
 {:db/ident :user/joined, :db/valueType :db.type/instant, :db/cardinality :db.cardinality/one}
 {:db/ident :user/active, :db/valueType :db.type/boolean, :db/cardinality :db.cardinality/one}
 {:db/ident :user/score, :db/valueType :db.type/double, :db/cardinality :db.cardinality/one}
 {:db/ident :user/key, :db/valueType :db.type/uuid, :db/cardinality :db.cardinality/one}
 {:db/ident :user/photo, :db/valueType :db.type/bytes, :db/cardinality :db.cardinality/one}
 {:db/ident :user/role, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/one}
 {:db/ident :post/slug, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
  :db/unique :db.unique/identity}
 {:db/ident :post/title, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
 {:db/ident :post/author, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/one}
 {:db/ident :post/comments, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many,
  :db/isComponent true}
 {:db/ident :comment/text, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
 {:db/ident :tx/by, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
 {:db/ident :role/admin}
 {:db/ident :role/guest}]
"""


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    """`bucketlog.connect`, whose connections are closed at the end of the test."""
    with ExitStack() as stack:

        def connect(location: Any, **options: Any) -> Connection:
            return stack.enter_context(bucketlog.connect(location, **options))

        yield connect


@pytest.fixture
def location() -> str:
    """A URL where nothing is yet."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def schema() -> str:
    """The attributes of users and posts, as transaction data."""
    return SCHEMA


@pytest.fixture
def conn(connect: Callable[..., Connection], location: str) -> Connection:
    """A connection to an empty database with `schema`."""
    conn = connect(location)
    conn.transact(SCHEMA)
    return conn


@pytest.fixture
def run_python(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python process that runs a text with arguments; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": "tests", "secretKey": "secret"}],
    "actions": ["Admin"],
}


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SeaweedFS server for the session; its endpoint."""
    directory = tmp_path_factory.mktemp("seaweedfs")
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [_IDENTITY]}))
    names = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ]
    names += ["s3.port", "s3.port.grpc"]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [
        str(Path(sys.executable).with_name("weed")),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={directory}",
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-volume.max=8",
        "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",
        f"-filer.localSocket={directory / 'filer.sock'}",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
        try:
            _wait_until_writable(endpoint, process, directory / "server.log")
            yield endpoint
        finally:
            process.kill()  # an orderly shutdown takes it twenty seconds, and nothing is to be kept
            process.wait()
            for path in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108 -- where it puts them
                if int(path.stem.rsplit("-", 1)[1]) in ports.values():
                    path.unlink(missing_ok=True)


def _wait_until_writable(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    store = S3Store(
        "ready",
        endpoint=endpoint,
        access_key_id="tests",
        secret_access_key="secret",
        region="local-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            obstore.put(store, "probe", b"x")
        except (obstore.exceptions.BaseError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server does not start:\n{log.read_text()[-4000:]}") from None
            time.sleep(0.2)
        else:
            return


@pytest.fixture
def s3_location(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An `s3://` URL where nothing is yet, with the environment set to reach it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "local-1")
    return f"s3://bucketlog-tests/{uuid.uuid4().hex}"
