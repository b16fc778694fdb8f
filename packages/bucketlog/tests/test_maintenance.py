"""Garbage, branches, backups and databases read over plain HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bench.serving import in_thread

import bucketlog
from bucketlog import Connection, StoreError

_ALL = "[:find ?e ?a ?v ?tx ?added :where [?e ?a ?v ?tx ?added]]"


def _datoms(conn: Connection) -> list[Any]:
    return sorted(conn.sync().history().q(_ALL), key=repr)


def _names(conn: Connection) -> list[str]:
    return sorted(conn.sync().q("[:find [?n ...] :where [_ :user/name ?n]]"))


def _grow(conn: Connection, first: int, count: int = 12_000) -> None:
    """Enough that an image is larger than what a snapshot carries inline."""
    for start in range(first, first + count, 2000):
        conn.transact(
            [
                {":user/name": f"user {n}", ":user/email": f"{n * 7919}@example.com", ":user/age": n % 90}
                for n in range(start, start + 2000)
            ]
        )


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, schema: str) -> Path:
    """A directory with a database of several snapshots and many chunks."""
    folder = tmp_path_factory.mktemp("grown")
    with bucketlog.connect(f"file://{folder}") as conn:
        conn.transact(schema)
        for first in (0, 12_000, 24_000):
            _grow(conn, first)
            conn.snapshot()
    return folder


@pytest.fixture
def folder(grown: Path, tmp_path: Path, connect: Callable[..., Connection]) -> Path:
    """A copy of `grown` to change."""
    with connect(f"file://{grown}") as conn:
        conn.backup(f"file://{tmp_path}/copy")
    return tmp_path / "copy"


def _count(folder: Path, kind: str) -> int:
    return sum(1 for path in (folder / kind).iterdir())


def test_garbage_goes_and_the_database_stays(folder: Path, connect: Callable[..., Connection]) -> None:
    conn = connect(f"file://{folder}")
    before = _datoms(conn)
    conn.transact([{":user/name": "one more", ":user/age": 1}])
    conn.snapshot()
    chunks = _count(folder, "chunk")
    kept = conn.collect(timedelta(hours=1))
    assert (kept.snapshots, kept.chunks) == (0, 0)
    gone = conn.collect(timedelta(0))
    assert gone.snapshots == 1
    assert 0 < gone.chunks == chunks - _count(folder, "chunk")
    assert conn.collect(timedelta(0)).chunks == 0
    again = connect(f"file://{folder}")
    assert again.stats().snapshot_t == conn.db().basis_t
    assert len(_datoms(again)) == len(before) + 3


def test_who_reads_from_collected_chunks_goes_on_with_the_newest_snapshot(
    folder: Path, connect: Callable[..., Connection]
) -> None:
    slow, fast = connect(f"file://{folder}"), connect(f"file://{folder}")
    db = slow.db()
    expected = len(fast.db().q("[:find ?e :where [?e :user/age 7]]"))
    fast.transact([{":user/name": "new", ":user/age": 7}])
    _grow(fast, 36_000, 4000)
    fast.snapshot()
    fast.collect(timedelta(0))
    assert len(db.q("[:find ?e :where [?e :user/age 7]]")) == expected
    assert db.entid([":user/name", "new"]) is None
    assert slow.sync().entid([":user/name", "new"])
    slow.transact([{":user/name": "newest"}])
    slow.snapshot()
    assert "newest" in _names(connect(f"file://{folder}"))


def test_who_commits_on_collected_chunks_goes_on_too(
    folder: Path, connect: Callable[..., Connection]
) -> None:
    slow, fast = connect(f"file://{folder}"), connect(f"file://{folder}")
    _grow(fast, 36_000, 4000)
    fast.snapshot()
    fast.collect(timedelta(0))
    slow.transact([{":user/name": "user 20003", ":user/age": 99}])
    assert fast.sync().pull("[:user/age]", [":user/name", "user 20003"]) == {":user/age": 99}


def test_a_branch_goes_its_own_way(
    conn: Connection, location: str, connect: Callable[..., Connection]
) -> None:
    conn.transact([{":user/name": "ann"}])
    conn.fork("draft")
    conn.transact([{":user/name": "trunk"}])
    draft = connect(location, branch="draft")
    assert _names(draft) == ["ann"]
    draft.transact([{":user/name": "draft"}])
    assert _names(draft) == ["ann", "draft"]
    assert _names(conn) == ["ann", "trunk"]
    draft.fork("draft-2")
    second = connect(location, branch="draft-2")
    second.transact([{":user/name": "second"}])
    assert _names(connect(location, branch="draft-2")) == ["ann", "draft", "second"]
    assert _names(connect(location, branch="draft")) == ["ann", "draft"]
    assert conn.branches() == ["draft", "draft-2"]


def test_a_branch_can_begin_in_the_past(
    conn: Connection, location: str, connect: Callable[..., Connection]
) -> None:
    t = conn.transact([{":user/name": "ann"}]).t
    futures = [conn.transact_async([{":user/name": f"user {n}"}]) for n in range(20)]
    middle = futures[9].result().t
    futures[19].result()
    for at, expected in ((t, 1), (middle, 11)):
        conn.fork(f"at-{at}", at)
        branch = connect(location, branch=f"at-{at}")
        assert len(_names(branch)) == expected
        assert branch.transact([{":user/name": "other"}]).t == at + 1
        assert len(_names(connect(location, branch=f"at-{at}"))) == expected + 1


def test_branches_share_chunks_and_keep_them_from_the_garbage(
    folder: Path, connect: Callable[..., Connection]
) -> None:
    conn = connect(f"file://{folder}")
    conn.fork("draft")
    chunks = _count(folder, "chunk")
    draft = connect(f"file://{folder}", branch="draft")
    draft.transact([{":user/name": "user 5", ":user/age": 77}])
    draft.snapshot()
    assert _count(folder, "chunk") - chunks < 20
    _grow(conn, 36_000, 4000)
    conn.snapshot()
    conn.collect(timedelta(0))
    assert _datoms(connect(f"file://{folder}", branch="draft")) == _datoms(draft)
    conn.delete_branch("draft")
    assert conn.collect(timedelta(0)).chunks > 0
    with pytest.raises(StoreError, match="no branch 'draft'"):
        connect(f"file://{folder}", branch="draft")


def test_branches_are_refused_by_name(
    conn: Connection, location: str, connect: Callable[..., Connection]
) -> None:
    conn.fork("draft")
    with pytest.raises(StoreError, match="is a branch 'draft' already"):
        conn.fork("draft")
    with pytest.raises(StoreError, match="no name of a branch"):
        conn.fork("../log")
    with pytest.raises(StoreError, match="no transaction 99"):
        conn.fork("other", 99)
    connect(location, branch="draft").fork("child")
    with pytest.raises(StoreError, match="'child' was branched off"):
        conn.delete_branch("draft")


def test_a_backup_is_the_same_database(
    folder: Path, tmp_path: Path, s3_location: str, connect: Callable[..., Connection]
) -> None:
    conn = connect(f"file://{folder}")
    first = conn.backup(s3_location)
    assert first.t == conn.db().basis_t
    copied = connect(s3_location)
    assert _datoms(copied) == _datoms(conn)
    assert copied.stats().snapshot_t > 0
    conn.transact([{":user/name": "later"}])
    assert conn.backup(s3_location).entries == 1
    assert conn.backup(s3_location).entries == 0
    assert "later" in _names(copied)


def test_a_backup_can_be_restored_to_any_transaction(
    conn: Connection, connect: Callable[..., Connection], tmp_path: Path
) -> None:
    """Here to one inside a group that was committed as one object, with another object after it."""
    queued = threading.Event()

    def wait(_: Any) -> list[Any]:
        assert queued.wait(60)
        return [{":user/name": "first"}]

    futures = [conn.transact_async([wait])]
    futures += [conn.transact_async([{":user/name": f"user {n}"}]) for n in range(30)]
    queued.set()
    t = [future.result().t for future in futures][17]
    conn.transact([{":user/name": "last"}])
    expected = conn.db().as_of(t).history().q(_ALL)
    conn.backup(f"file://{tmp_path}/cut", t)
    restored = connect(f"file://{tmp_path}/cut")
    assert restored.db().basis_t == t
    assert sorted(restored.db().history().q(_ALL), key=repr) == sorted(expected, key=repr)
    with pytest.raises(StoreError, match="there is no 99"):
        conn.backup(f"file://{tmp_path}/none", 99)
    with pytest.raises(StoreError, match=f"up to {t}, which was committed together with later ones"):
        conn.backup(f"file://{tmp_path}/cut")
    assert conn.backup(f"file://{tmp_path}/cut", t).entries == 0


def test_a_database_that_was_restored_and_went_on_is_not_mixed_into_the_old_backup(
    conn: Connection, connect: Callable[..., Connection], tmp_path: Path
) -> None:
    for number in range(4):
        conn.transact([{":user/name": f"user {number}"}])
    end = conn.backup(f"file://{tmp_path}/copy").t
    conn.backup(f"file://{tmp_path}/restored", end - 2)
    restored = connect(f"file://{tmp_path}/restored")
    for number in range(5):  # first behind the end of the copy, then after it
        restored.transact([{":user/name": f"other {number}"}])
        with pytest.raises(StoreError, match=f"transaction {end} of the target is not one of this database"):
            restored.backup(f"file://{tmp_path}/copy")
    assert conn.verify_backup(f"file://{tmp_path}/copy").t == end


def test_a_backup_refuses_another_database(
    conn: Connection, connect: Callable[..., Connection], tmp_path: Path
) -> None:
    connect(f"file://{tmp_path}/other")
    with pytest.raises(StoreError, match="another database"):
        conn.backup(f"file://{tmp_path}/other")


def test_a_backup_is_verified_byte_by_byte(
    folder: Path, tmp_path: Path, connect: Callable[..., Connection]
) -> None:
    conn = connect(f"file://{folder}")
    place, copy = tmp_path / "backup", f"file://{tmp_path}/backup"
    with pytest.raises(StoreError, match="there is no copy"):
        conn.verify_backup(copy)
    t = conn.backup(copy).t
    conn.transact([{":user/name": "later"}])
    verified = conn.verify_backup(copy)
    assert (verified.t, verified.entries) == (t, _count(place, "log"))
    assert verified.chunks > 0

    def damage(path: Path) -> str:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        try:
            with pytest.raises(StoreError) as failure:
                conn.verify_backup(copy)
            return str(failure.value)
        finally:
            path.write_bytes(data)

    chunk = next(iter((place / "chunk").iterdir()))
    assert (
        damage(chunk)
        == f"chunk/{chunk.name} is corrupt: its SHA-256 is not its name; restore it from a backup"
    )
    assert "log/0000000000000001 is corrupt" in damage(place / "log" / "0000000000000001")
    chunk.rename(tmp_path / "aside")
    with pytest.raises(StoreError, match=f"chunk/{chunk.name} is not in the bucket"):
        conn.verify_backup(copy)
    (tmp_path / "aside").rename(chunk)
    assert conn.verify_backup(copy) == verified
    (place / "log" / "0000000000000001").unlink()
    with pytest.raises(StoreError, match="0000000000000001 is missing"):
        conn.verify_backup(copy)


def test_what_was_excised_after_it_was_copied_is_found_in_a_backup(conn: Connection, tmp_path: Path) -> None:
    conn.transact([{":user/name": "secret"}])
    conn.backup(f"file://{tmp_path}/copy")
    conn.excise([[":user/name", "secret"]])
    with pytest.raises(StoreError, match=r"log/\d{16} of the copy is not what the source has: .* excised"):
        conn.verify_backup(f"file://{tmp_path}/copy")
    assert conn.backup(f"file://{tmp_path}/copy").t == conn.db().basis_t  # what is new comes all the same


def test_a_database_is_no_backup_of_another(
    conn: Connection, connect: Callable[..., Connection], tmp_path: Path
) -> None:
    connect(f"file://{tmp_path}/other")
    with pytest.raises(StoreError, match=r"log/0{16} of the copy is not what the source has"):
        conn.verify_backup(f"file://{tmp_path}/other")
    conn.backup(f"file://{tmp_path}/copy")
    connect(f"file://{tmp_path}/copy").transact([{":user/name": "written to the copy"}])
    with pytest.raises(StoreError, match="is of no transaction of the source"):
        conn.verify_backup(f"file://{tmp_path}/copy")


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder over plain HTTP; its URL."""
    running = ExitStack()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def list_directory(self, path: Any) -> None:
            self.send_error(403)

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        running.enter_context(in_thread(server))
        return f"http://127.0.0.1:{server.server_address[1]}"

    with running:
        yield start


def test_a_database_is_read_over_plain_http(
    folder: Path, connect: Callable[..., Connection], serve: Callable[[Path], str]
) -> None:
    conn = connect(f"file://{folder}")
    for n in range(60):
        conn.transact([{":user/name": f"new {n}"}])
    url = serve(folder)
    reader = connect(url)
    assert reader.stats().requests.counts["list"] == 0
    assert reader.stats().snapshot_t > 0
    assert _datoms(reader) == _datoms(conn)
    conn.transact([{":user/name": "another"}])
    assert "another" in _names(reader)
    with pytest.raises(StoreError, match="read"):
        reader.transact([{":user/name": "me"}])


def test_marks_lead_to_the_newest_of_many_snapshots(
    location: str,
    schema: str,
    connect: Callable[..., Connection],
    tmp_path: Path,
    serve: Callable[[Path], str],
) -> None:
    conn = connect(f"file://{tmp_path}/db")
    conn.transact(schema)
    for n in range(40):
        conn.transact([{":user/name": f"user {n}"}])
        conn.snapshot()
    reader = connect(serve(tmp_path / "db"))
    assert reader.stats().snapshot_t == conn.db().basis_t
    assert len(_names(reader)) == 40
