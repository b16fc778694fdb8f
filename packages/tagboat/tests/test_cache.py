"""The cache: things are made once, appear whole, and outlive whoever is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.build.cache import Cache, CacheError, key_of


@pytest.fixture
def cache(tmp_path):
    return Cache.open(tmp_path / "cache")


def write_hello(writer):
    writer.file("hello", b"hello")


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_keys_are_equal_only_for_equal_parts(one, two):
    assert (key_of(*one) == key_of(*two)) == (one == two)


def test_a_layer_is_made_once(cache):
    first, made = cache.layer("key", write_hello)
    assert made
    again, made = cache.layer("key", lambda _: pytest.fail("made twice"))
    assert not made
    assert (again.descriptor, again.diff_id) == (first.descriptor, first.diff_id)
    with again.blob.open() as one, first.blob.open() as two:
        assert one.read() == two.read()


def test_a_layer_with_the_same_content_is_found_by_another_key(cache):
    first, made = cache.layer("one", write_hello, other=lambda: "content")
    assert made
    for other in (lambda: "content", lambda: pytest.fail("asked for what is known")):
        again, made = cache.layer("two", lambda _: pytest.fail("made twice"), other=other)
        assert (again.descriptor, made) == (first.descriptor, False)
    assert cache.layer("three", write_hello, other=lambda: "other content")[1]


def test_a_maker_that_fails_leaves_nothing(cache):
    def fail(writer):
        writer.file("half", b"x" * 1000)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.layer("key", fail)
    assert list((cache.root / "temporary").iterdir()) == []
    assert cache.layer("key", write_hello)[1]


@pytest.mark.parametrize("damage", ["blob gone", "blob cut", "record cut", "record empty"])
def test_a_damaged_entry_is_made_anew(cache, damage):
    layer, _ = cache.layer("key", write_hello)
    blob = cache.root / "blobs" / layer.descriptor.digest.path
    (record,) = (cache.root / "layers").iterdir()
    if damage == "blob gone":
        blob.unlink()
    elif damage == "blob cut":
        blob.write_bytes(blob.read_bytes()[:-1])
    else:
        record.write_text(record.read_text()[:20] if damage == "record cut" else "")
    again, made = cache.layer("key", write_hello)
    assert made
    assert again.descriptor == layer.descriptor


def test_those_who_want_the_same_wait_for_the_one_who_makes_it(cache):
    made = []

    def slow(writer):
        made.append(1)
        time.sleep(0.2)
        write_hello(writer)

    threads = [threading.Thread(target=cache.layer, args=("key", slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_what_a_killed_process_leaves_behind_is_swept_and_nothing_else(cache):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom tagboat.build.cache import Cache\n"
        "cache = Cache.open(Path(sys.argv[1]))\n"
        "with cache.temporary() as folder, cache.locked('x'):\n"
        "    (folder / 'deep').mkdir()\n    (folder / 'deep' / 'half').write_text('x')\n"
        "    (folder / 'deep').chmod(0o500)\n    print(folder, flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, cache.root], stdout=subprocess.PIPE, text=True)
    with process:
        left = process.stdout.readline().strip()
        with cache.temporary():
            assert os.path.isdir(left)  # noqa: PTH112  it is still in use
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with cache.temporary() as folder, cache.locked("x"):
        assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]
    assert list((cache.root / "temporary").iterdir()) == []


def test_a_file_is_replaced_as_a_whole(cache):
    path = cache.path("things", "one")
    cache.write(path, b"first")
    cache.write(path, b"second")
    assert path.read_bytes() == b"second"


def test_a_file_that_was_left_half_written_long_ago_is_swept(cache):
    old, new = (cache.root / "temporary" / name for name in ("old.partial", "new.partial"))
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    with cache.temporary():
        assert (old.exists(), new.exists()) == (False, True)


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing(cache):
    with pytest.raises(FileNotFoundError):
        cache.write(cache.root / "nowhere" / "one", b"first")
    assert list((cache.root / "temporary").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="file/cache cannot be made"):
        Cache.open(tmp_path / "file" / "cache")
