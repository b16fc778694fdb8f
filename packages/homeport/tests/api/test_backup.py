"""Backups of a data directory, to another directory and to S3, and data directories made of them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import bucketlog
from homeport.backup import back_up, restore
from homeport.errors import HomeportError
from homeport.upkeep import keep_backup

PAGE = Path(__file__).parents[4] / "docs" / "backups.md"
BIN = Path(sys.executable).parent

NAME = [{":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}]
NAMES = "[:find [?n ...] :where [_ :name ?n]]"
DATABASES = ["state", "audit/2026-11", "buckets/blog-data/db"]


def write(database: Path, name: str) -> None:
    with bucketlog.connect(database.as_uri()) as conn:
        conn.transact(NAME)
        conn.transact([{":name": name}])


def names(database: Path) -> list[str]:
    with bucketlog.connect(database.as_uri()) as conn:
        return sorted(conn.db().q(NAMES))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a homeport would have kept."""
    data = tmp_path / "port"
    for name in DATABASES:
        write(data / name, name)
    for name, content in {
        "buckets/blog-uploads/a b/é.webp": b"image",
        "buckets/blog-data/db-notes/log/0": b"not of the database",
        "buckets/blog-uploads/half#1": b"still being written",
        "buckets-uploads/7": b"still being uploaded",
        "registry/blobs/sha256/00": b"blob",
        "registry/repositories/blog/_tags/latest": b"sha256:00",
        "credentials.json": b"secret",
        "secrets/prod": b"secret",
    }.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return data


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_backup_has_databases_images_and_objects_and_no_secret(
    data: Path, tmp_path: Path, said: list[str]
) -> None:
    target = tmp_path / "copy"
    done = back_up(data, str(target), verify=True, progress=said.append)
    assert done.databases == dict.fromkeys(DATABASES, 2)
    assert done.objects == 4
    copied = files(target)
    objects = {name: content for name, content in copied.items() if "/log/00" not in name}
    assert objects == {
        "buckets/blog-uploads/a b/é.webp": b"image",
        "buckets/blog-data/db-notes/log/0": b"not of the database",
        "registry/blobs/sha256/00": b"blob",
        "registry/repositories/blog/_tags/latest": b"sha256:00",
    }
    for name in DATABASES:
        assert names(target / name) == [name]
        assert f"{name}: 3 new entries, up to transaction 2" in said
        assert f"{name}: 3 entries and 0 chunks are as they should be" in said


def test_the_next_backup_copies_what_is_new_and_deletes_nothing(
    data: Path, tmp_path: Path, said: list[str]
) -> None:
    target = str(tmp_path / "copy")
    back_up(data, target, verify=False, progress=said.append)
    again = back_up(data, target, verify=False, progress=said.append)
    assert (again.objects, again.bytes) == (0, 0)
    with bucketlog.connect((data / "buckets/blog-data/db").as_uri()) as conn:
        conn.transact([{":name": "later"}])
    (data / "buckets/blog-uploads/a b/é.webp").unlink()
    (data / "buckets/blog-uploads/new").write_bytes(b"new")
    tag = data / "registry/repositories/blog/_tags/latest"
    tag.write_bytes(b"sha256:11")  # as long as before
    later = time.time() + 5
    os.utime(tag, (later, later))
    said.clear()
    third = back_up(data, target, verify=False, progress=said.append)
    assert third.objects == 2
    assert "buckets/blog-data/db: 1 new entries, up to transaction 3" in said
    assert "state: 0 new entries, up to transaction 2" in said
    copied = files(tmp_path / "copy")
    assert copied["buckets/blog-uploads/a b/é.webp"] == b"image"
    assert copied["buckets/blog-uploads/new"] == b"new"
    assert copied["registry/repositories/blog/_tags/latest"] == b"sha256:11"


def test_a_database_that_cannot_be_copied_keeps_nothing_else_from_it(
    data: Path, tmp_path: Path, said: list[str]
) -> None:
    target = tmp_path / "copy"
    write(target / DATABASES[2], "which was made anew since")
    with pytest.raises(
        HomeportError, match=r"^not backed up: buckets/blog-data/db: the target holds another"
    ):
        back_up(data, str(target), verify=True, progress=said.append)
    assert names(target / "state") == ["state"]
    assert (target / "registry" / "blobs" / "sha256" / "00").read_bytes() == b"blob"


@pytest.fixture(params=["directory", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, harbour: Any, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Where a backup may be."""
    if request.param == "directory":
        return str(tmp_path / "copy")
    _, key = harbour.service_key("copies")
    monkeypatch.setenv("AWS_ENDPOINT_URL", harbour.endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "local-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    return "s3://copies/of/port"


def test_a_new_data_directory_is_made_of_a_backup(
    data: Path, place: str, tmp_path: Path, said: list[str]
) -> None:
    back_up(data, place, verify=True, progress=said.append)
    new = tmp_path / "new"
    done = restore(place, new, progress=said.append)
    assert done.databases == dict.fromkeys(DATABASES, 2)
    for name in DATABASES:
        assert names(new / name) == [name]
    assert (new / "buckets/blog-uploads/a b/é.webp").read_bytes() == b"image"
    assert (new / "registry/repositories/blog/_tags/latest").read_bytes() == b"sha256:00"
    assert not (new / "credentials.json").exists()
    assert new.stat().st_mode & 0o777 == 0o700
    with pytest.raises(HomeportError, match="is not empty: restore to a new directory"):
        restore(place, new, progress=said.append)


def test_what_is_no_data_directory_or_no_backup_is_refused_by_name(
    tmp_path: Path, data: Path, said: list[str]
) -> None:
    with pytest.raises(HomeportError, match="no data directory of a homeport"):
        back_up(tmp_path / "nothing", str(tmp_path / "copy"), verify=False, progress=said.append)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HomeportError, match="no backup of a homeport"):
        restore(str(tmp_path / "empty"), tmp_path / "new", progress=said.append)
    with pytest.raises(HomeportError, match=r"\Agopher://x cannot be opened: [^\n]+\Z"):
        back_up(data, "gopher://x", verify=False, progress=said.append)
    # A backup of another homeport is not mixed with this one.
    back_up(data, str(tmp_path / "copy"), verify=False, progress=said.append)
    write(tmp_path / "other/state", "another")
    with pytest.raises(bucketlog.StoreError, match="holds another database"):
        back_up(tmp_path / "other", str(tmp_path / "copy"), verify=False, progress=said.append)


def test_the_command_copies_and_restores(data: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "homeport", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=300,
        )

    done = run("backup", "copy", "--data", "port", "--verify", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["databases"] == dict.fromkeys(DATABASES, 2)
    done = run("restore", "copy", "--data", "again")
    assert (done.returncode, done.stdout) == (0, "")
    assert "homeport: state: up to transaction 2" in done.stderr
    done = run("restore", "copy", "--data", "again")
    assert done.returncode == 1
    assert done.stderr.startswith("homeport: ")
    assert done.stderr.count("\n") == 1


def test_a_homeport_keeps_a_backup_by_itself(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def keep(target: Path, until: Callable[[], bool]) -> None:
        async def main() -> None:
            task = asyncio.create_task(keep_backup(data, str(target), every=timedelta(milliseconds=10)))
            async with asyncio.timeout(60):
                while not until():  # noqa: ASYNC110 -- what it has logged
                    await asyncio.sleep(0.02)
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        with caplog.at_level(logging.INFO, "homeport"):
            asyncio.run(main())

    keep(tmp_path / "copy", lambda: caplog.text.count("backed up to") >= 2)
    assert names(tmp_path / "copy/buckets/blog-data/db") == ["buckets/blog-data/db"]
    caplog.clear()
    (tmp_path / "file").write_text("in the way")
    keep(tmp_path / "file", lambda: "not backed up to" in caplog.text)


BLOCKS = re.findall(r"^```sh (\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_on_backups_does_what_it_says(data: Path, harbour: Any, tmp_path: Path) -> None:
    client = harbour.client("s3")
    client.create_bucket(Bucket="blog-uploads")
    client.put_object(Bucket="blog-uploads", Key="image.webp", Body=b"image")
    client.create_bucket(Bucket="blog-copies")

    def run(kind: str, **environment: str) -> str:
        script = "".join(block for name, block in BLOCKS if name == kind)
        assert script
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=harbour.environment | environment | {"PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("homeport")
    assert names(tmp_path / "new/buckets/blog-data/db") == ["buckets/blog-data/db"]
    write(data / "buckets/blog-data/db", "a mistake")
    assert "a mistake" in run("database")
    assert names(data / "buckets/blog-data/before") == ["buckets/blog-data/db"]
    client.create_bucket(Bucket="blog-data")
    for path in (data / "buckets/blog-data/db/log").iterdir():
        client.put_object(Bucket="blog-data", Key=f"db/log/{path.name}", Body=path.read_bytes())
    run("aws", AWS_ALLOW_HTTP="true")
    listed = client.list_objects_v2(Bucket="blog-copies", Prefix="")
    keys = {item["Key"] for item in listed["Contents"]}
    assert {"db/log/0000000000000000", "uploads/image.webp"} <= keys
