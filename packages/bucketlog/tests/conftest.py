"""Databases in memory, in directories and on a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bench.db.stores import s3_server
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
def queued() -> Callable[[Connection, int], None]:
    """Waits until so many transactions wait in a connection for the one that is being committed."""

    def queued(conn: Connection, count: int) -> None:
        deadline = time.monotonic() + 60
        while len(conn._committer._waiting) < count:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    return queued


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


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[], S3Store]]:
    """A SeaweedFS server for the session; it makes stores where nothing is yet."""
    with s3_server() as make:
        yield make


@pytest.fixture
def s3_location(s3: Callable[[], S3Store], monkeypatch: pytest.MonkeyPatch) -> str:
    """An `s3://` URL where nothing is yet, with the environment set to reach it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    store = s3()
    config = store.config
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", str(config[name]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", config["endpoint"])
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    return f"s3://{config['bucket']}/{store.prefix}"
