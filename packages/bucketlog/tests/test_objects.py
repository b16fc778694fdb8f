"""Objects named by their content, and the folder that keeps copies: a bad copy does no harm."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from bucketlog import FormatError, StoreError
from bucketlog.objects import DiskCache, MissingObjectError, NamedObjects, name_of
from bucketlog.requests import MeteredStore

_PLENTY = 1 << 30


class _Store:
    """A bucket in memory that counts its reads, and that can fail."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.reads: list[str] = []
        self.fails = False

    def put(self, path: str, file: bytes, *, mode: Any = None) -> Any:
        if self.fails:
            raise GenericError("503 later")
        return self.inner.put(path, file, mode=mode)

    def get(self, path: str) -> Any:
        self.reads.append(path)
        if self.fails:
            raise GenericError("503 later")
        return self.inner.get(path)


@pytest.fixture
def store() -> _Store:
    """An empty bucket."""
    return _Store()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where copies go; not there yet."""
    return tmp_path / "cache"


def _objects(store: _Store, folder: Path | None = None, limit: int = _PLENTY) -> NamedObjects:
    disk = None if folder is None else DiskCache(folder, limit)
    return NamedObjects(MeteredStore(store), disk)  # type: ignore[arg-type]


def _file(folder: Path, name: str) -> Path:
    return folder / name[:2] / name


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_an_object_is_read_from_the_bucket_once_and_then_from_memory(store: _Store) -> None:
    name = _objects(store).write("chunk/", b"content")
    objects = _objects(store)
    assert [objects.read("chunk/", name) for _ in range(3)] == [b"content"] * 3
    assert store.reads == [f"chunk/{name}"]


def test_another_process_reads_from_the_folder_what_one_has_read_or_written(
    store: _Store, folder: Path
) -> None:
    written = _objects(store, folder).write("chunk/", b"written")
    read = _objects(store).write("chunk/", b"read")
    _objects(store, folder).read("chunk/", read)
    store.reads.clear()
    later = _objects(store, folder)
    assert later.read_all("chunk/", [read, written, read]) == [b"read", b"written", b"read"]
    assert store.reads == []


@pytest.mark.parametrize("damage", [b"", b"conte", b"contenT", b"content and more"])
def test_a_damaged_copy_is_fetched_again_and_mended(store: _Store, folder: Path, damage: bytes) -> None:
    name = _objects(store, folder).write("chunk/", b"content")
    _file(folder, name).write_bytes(damage)
    assert _objects(store, folder).read("chunk/", name) == b"content"
    assert store.reads == [f"chunk/{name}"]
    assert _file(folder, name).read_bytes() == b"content"


def test_a_copy_that_is_a_folder_is_passed_by(store: _Store, folder: Path) -> None:
    name = _objects(store).write("chunk/", b"content")
    _file(folder, name).mkdir(parents=True)
    assert _objects(store, folder).read("chunk/", name) == b"content"


def test_a_folder_that_is_deleted_does_no_harm(store: _Store, folder: Path) -> None:
    objects = _objects(store, folder)
    first = objects.write("chunk/", b"first")
    shutil.rmtree(folder)
    second = objects.write("chunk/", b"second")
    assert objects.read("chunk/", first) == b"first"
    assert _file(folder, second).read_bytes() == b"second"
    shutil.rmtree(folder)
    assert _objects(store, folder).read_all("chunk/", [first, second]) == [b"first", b"second"]


def test_a_folder_that_cannot_be_made_does_no_harm(store: _Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    objects = _objects(store, tmp_path / "file" / "cache")
    name = objects.write("chunk/", b"content")
    assert _objects(store, tmp_path / "file" / "cache").read("chunk/", name) == b"content"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_nothing_does_no_harm(
    store: _Store, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Full:
        def __init__(self, descriptor: int, mode: str) -> None:
            self._descriptor = descriptor

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            os.close(self._descriptor)

        def write(self, data: bytes) -> None:
            os.write(self._descriptor, data[:2])
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr("bucketlog.objects.os.fdopen", Full)
    name = _objects(store, folder).write("chunk/", b"content")
    assert _objects(store, folder).read("chunk/", name) == b"content"
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_limit_on_the_size_of_files_does_no_harm(
    folder: Path, tmp_path: Path, run_python: Callable[..., subprocess.Popen[str]]
) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from bucketlog.objects import DiskCache, name_of
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
cache, data = DiskCache(Path(sys.argv[1]), 1 << 30), bytes(1000)
cache.write(name_of(data), data)
print(cache.read(name_of(data)), [path.name for path in Path(sys.argv[1]).rglob("*") if path.is_file()])
"""
    output, errors = run_python(code, str(folder)).communicate(timeout=300)
    assert (output, errors) == ("None []\n", "")


def test_the_folder_stays_below_its_limit_and_keeps_what_was_used_last(store: _Store, folder: Path) -> None:
    objects = _objects(store, folder, limit=10_000)
    names = []
    for number in range(200):
        names.append(objects.write("chunk/", b"%04d" % number * 100))
        os.utime(_file(folder, names[-1]), (number, number))
        assert _size(folder) <= 10_000
    kept = [number for number, name in enumerate(names) if _file(folder, name).exists()]
    assert kept == list(range(kept[0], 200))
    assert len(kept) >= 20


def test_what_is_read_counts_as_used(store: _Store, folder: Path) -> None:
    objects = _objects(store, folder, limit=10_000)
    names = [objects.write("chunk/", b"%04d" % number * 100) for number in range(20)]
    for age, name in enumerate(names):
        os.utime(_file(folder, name), (age, age))
    _objects(store, folder).read("chunk/", names[0])
    for number in range(20, 26):
        objects.write("chunk/", b"%04d" % number * 100)
    assert _file(folder, names[0]).exists()
    assert not _file(folder, names[1]).exists()


def test_a_folder_that_others_filled_is_brought_below_the_limit(store: _Store, folder: Path) -> None:
    _objects(store, folder).write("chunk/", bytes(50_000))
    for number in range(100):
        _objects(store, folder).write("chunk/", b"%04d" % number * 100)
    assert _size(folder) > 80_000
    _objects(store, folder, limit=20_000).write("chunk/", b"one more")
    assert _size(folder) <= 20_000


def test_an_object_larger_than_the_folder_may_be_is_read_all_the_same(store: _Store, folder: Path) -> None:
    objects = _objects(store, folder, limit=1000)
    name = objects.write("chunk/", bytes(5000))
    assert _size(folder) <= 1000
    assert _objects(store, folder, limit=1000).read("chunk/", name) == bytes(5000)


def test_leftovers_of_a_killed_process_count_and_go(store: _Store, folder: Path) -> None:
    (folder / "ab").mkdir(parents=True)
    leftover = folder / "ab" / ".new-killed"
    leftover.write_bytes(bytes(9_000))
    os.utime(leftover, (1, 1))
    objects = _objects(store, folder, limit=10_000)
    for number in range(10):
        objects.write("chunk/", b"%04d" % number * 100)
    assert not leftover.exists()


def test_processes_share_one_folder_while_it_is_emptied_under_them(
    folder: Path, run_python: Callable[..., subprocess.Popen[str]]
) -> None:
    code = """
import random, shutil, sys
from pathlib import Path
from bucketlog.objects import DiskCache, name_of

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
cache, choose = DiskCache(folder, 40_000), random.Random(seed)
contents = [b"%04d" % number * 100 for number in range(200)]
found = 0
for step in range(1000):
    data = choose.choice(contents)
    got = cache.read(name_of(data))
    assert got in (None, data)
    found += got is not None
    if got is None:
        cache.write(name_of(data), data)
    if step % 300 == 299 and seed == 0:
        shutil.rmtree(folder, ignore_errors=True)
print(found)
"""
    processes = [run_python(code, str(folder), str(seed)) for seed in range(3)]
    for process in processes:
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert int(output) > 30
    assert _size(folder) < 3 * 40_000


def test_threads_share_what_is_in_memory(store: _Store) -> None:
    names = [_objects(store).write("chunk/", b"%d" % number) for number in range(50)]
    objects = _objects(store)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: objects.read_all("chunk/", names), range(8)))
    assert results == [[b"%d" % number for number in range(50)]] * 8


def test_memory_keeps_no_more_than_its_share(store: _Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bucketlog.objects._IN_MEMORY", 10_000)
    names = [_objects(store).write("chunk/", b"%04d" % number * 100) for number in range(50)]
    objects = _objects(store)
    for _ in range(2):
        objects.read_all("chunk/", names)
    assert len(store.reads) > 50
    store.reads.clear()
    objects.read_all("chunk/", names[-5:])
    assert store.reads == []


def test_nothing_read_is_no_request(store: _Store) -> None:
    assert _objects(store).read_all("chunk/", []) == []
    assert store.reads == []


def test_an_object_with_other_bytes_than_its_name_says_is_named(store: _Store, folder: Path) -> None:
    name = name_of(b"content")
    store.inner.put(f"chunk/{name}", b"something else")
    for _ in range(2):
        with pytest.raises(FormatError, match=f"^chunk/{name} is corrupt.*backup"):
            _objects(store, folder).read("chunk/", name)
    assert not _file(folder, name).exists()


def test_an_object_that_is_not_there_is_named(store: _Store, folder: Path) -> None:
    name = name_of(b"content")
    with pytest.raises(MissingObjectError, match=f"^chunk/{name} is not in the bucket"):
        _objects(store, folder).read("chunk/", name)
    there = _objects(store).write("chunk/", b"there")
    with pytest.raises(MissingObjectError, match=name):
        _objects(store, folder).read_all("chunk/", [there, name])


def test_a_store_that_fails_is_said_to(store: _Store, folder: Path) -> None:
    name = name_of(b"content")
    store.fails = True
    with pytest.raises(StoreError, match=f"cannot read chunk/{name}: GenericError: 503 later"):
        _objects(store, folder).read("chunk/", name)
    with pytest.raises(StoreError, match=f"cannot write chunk/{name}: GenericError: 503 later"):
        _objects(store, folder).write("chunk/", b"content")
    store.fails = False
    assert _objects(store, folder).write("chunk/", b"content") == name
    assert _objects(store).read("chunk/", name) == b"content"
