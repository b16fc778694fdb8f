"""A directory as a store: one winner an object, whole or absent, whoever is killed."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from obstore.exceptions import AlreadyExistsError

from bucketlog import Connection, StoreError
from bucketlog.directory import DirectoryStore

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store is; not there yet."""
    return tmp_path / "data base"


@pytest.fixture
def store(folder: Path) -> DirectoryStore:
    """An empty store."""
    return DirectoryStore(folder)


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the umask of this process until the end of the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def _keys(store: DirectoryStore, prefix: str | None = None) -> list[str]:
    return sorted(item["path"] for batch in store.list(prefix) for item in batch)


def test_what_is_put_is_listed_and_read(store: DirectoryStore) -> None:
    store.put("log/1", b"one", mode="create")
    store.put("log/2", b"")
    store.put("a/b/c", b"deep")
    assert [bytes(store.get(key).bytes()) for key in ("log/1", "log/2", "a/b/c")] == [b"one", b"", b"deep"]
    assert _keys(store) == ["a/b/c", "log/1", "log/2"]
    assert _keys(store, "log/") == ["log/1", "log/2"]


def test_create_does_not_touch_what_is_there(store: DirectoryStore, folder: Path) -> None:
    store.put("log/1", b"one", mode="create")
    with pytest.raises(AlreadyExistsError, match="log/1 exists"):
        store.put("log/1", b"two", mode="create")
    assert bytes(store.get("log/1").bytes()) == b"one"
    store.put("log/1", b"three")
    assert bytes(store.get("log/1").bytes()) == b"three"
    assert [path.name for path in (folder / "log").iterdir()] == ["1"]


def test_what_is_not_there_is_said_to(store: DirectoryStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.get("log/1")
    assert _keys(store, "log/") == []


def test_deleting_what_is_not_there_is_nothing(store: DirectoryStore) -> None:
    store.put("log/1", b"one")
    store.delete(["log/1", "log/2", "none/3"])
    assert _keys(store) == []


def test_files_have_the_mode_that_the_umask_leaves(
    store: DirectoryStore, folder: Path, umask: Callable[[int], None]
) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        umask(mask)
        store.put(f"log/{mask}", b"", mode="create")
        store.put(f"chunk/{mask}", b"")
        assert stat.S_IMODE((folder / "log" / f"{mask}").stat().st_mode) == mode
        assert stat.S_IMODE((folder / "chunk" / f"{mask}").stat().st_mode) == mode


def test_a_put_that_fails_leaves_nothing(
    store: DirectoryStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("log/1", b"one")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("bucketlog.directory.os.fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        store.put("log/2", b"two", mode="create")
    assert [path.name for path in (folder / "log").iterdir()] == ["1"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_directory_that_is_not_to_be_written_to_can_be_read(
    folder: Path,
    connect: Callable[..., Connection],
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    connect(f"file://{folder}").transact(schema)
    os_open = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return os_open(path, flags, mode)

    monkeypatch.setattr("bucketlog.directory.os.open", refuse)
    conn = connect(f"file://{folder}")
    assert conn.db().basis_t == 1
    with pytest.raises(StoreError, match=f"PermissionDeniedError: log/0000000000000002: {os.strerror(code)}"):
        conn.transact([{":user/name": "ann"}])


def test_files_on_their_way_are_not_listed(store: DirectoryStore, folder: Path) -> None:
    store.put("log/1", b"one")
    (folder / "log" / f"2#{2**62}").write_bytes(b"half")
    (folder / "log" / "3#7").write_bytes(b"half")
    assert _keys(store) == ["log/1"]


def test_everything_is_on_disk_before_its_name_is_and_the_name_before_put_returns(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def linked(source: Path, target: Path) -> None:
        steps.append("link")
        link(source, target)

    store.put("log/0", b"")
    monkeypatch.setattr("bucketlog.directory.os.fsync", synced)
    monkeypatch.setattr("bucketlog.directory.os.link", linked)
    store.put("log/1", b"one", mode="create")
    assert steps == ["file", "link", "folder"]
    steps.clear()
    store.put("chunk/1", b"one")
    assert steps == ["folder", "file", "folder"]  # the new folder's own name too


def test_the_folders_above_are_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr("bucketlog.directory.os.fsync", sync)
    DirectoryStore(tmp_path / "a" / "b").put("log/1", b"one", mode="create")
    above = [str(tmp_path / part) for part in (".", "a", "a/b", "a/b/log")]
    assert [path for path in synced if "#" not in path] == above
    with pytest.raises(FileExistsError):
        DirectoryStore(tmp_path / "a" / "b" / "log" / "1" / "c")


def test_of_processes_that_create_the_same_objects_each_has_one_winner(
    store: DirectoryStore, folder: Path, run_python: Start
) -> None:
    code = """
import sys
from pathlib import Path
from obstore.exceptions import AlreadyExistsError
from bucketlog.directory import DirectoryStore

store, name = DirectoryStore(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
for number in range(300):
    try:
        store.put(f"log/{number}", f"{name} {number}".encode() * 100, mode="create")
    except AlreadyExistsError:
        continue
    print(number)
"""
    processes = [run_python(code, str(folder), f"p{number}") for number in range(4)]
    winners: dict[int, str] = {}
    for index, process in enumerate(processes):
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        for line in output.splitlines()[1:]:
            assert winners.setdefault(int(line), f"p{index}") == f"p{index}"
    assert sorted(winners) == list(range(300))
    for number, winner in winners.items():
        assert bytes(store.get(f"log/{number}").bytes()) == f"{winner} {number}".encode() * 100


PUTTER = """
import sys
from pathlib import Path
from bucketlog.directory import DirectoryStore

store, start, mode = DirectoryStore(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
for number in range(start, start + 10**6):
    store.put(f"log/{number:09}", b"%09d" % number * 30_000, mode=mode)
    print(number, flush=True)
"""


@pytest.mark.parametrize("mode", ["create", "overwrite"])
def test_an_object_is_whole_or_absent_when_its_writer_is_killed(
    store: DirectoryStore, folder: Path, run_python: Start, mode: str
) -> None:
    random = Random()  # noqa: S311 -- when to kill
    for start in range(0, 8 * 10**6, 10**6):
        process = run_python(PUTTER, str(folder), str(start), mode)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        told = {int(line) for line in process.stdout.readlines() if line.endswith("\n")}
        process.wait()
        keys = [key for key in _keys(store) if int(key[4:]) >= start]
        there = {int(key[4:]) for key in keys}
        assert told <= there
        assert len(there - told) <= 1
        for key in keys:
            assert bytes(store.get(key).bytes()) == key[4:].encode() * 30_000


def test_a_database_opens_over_what_killed_writers_left_behind(
    folder: Path, connect: Callable[..., Connection], schema: str
) -> None:
    url = f"file://{folder}"
    conn = connect(url)
    conn.transact(schema)
    conn.transact([{":user/name": "ann"}])
    (folder / "log" / f"0000000000000003#{2**40}").write_bytes(b"bucketlog/1 sha2")
    assert connect(url).transact([{":user/name": "bob"}]).t == 3
    assert connect(url).db().basis_t == 3
