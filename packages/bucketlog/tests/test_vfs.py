"""The file system below the image: SQLite finds in `Pages` what it left there, and hears of every failure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketlog import StoreError
from bucketlog.pages import CHUNK_PAGES, PAGE_SIZE, Base, MissingPagesError, Pages
from bucketlog.vfs import open_pages

_CACHE = 1 << 20


def _nothing(names: Sequence[str]) -> list[bytes]:
    raise AssertionError(f"nothing is to be fetched, least of all {names}")


@pytest.fixture
def pages() -> Pages:
    """A file with a table of a thousand rows of about a kilobyte."""
    pages = Pages(Base(), _nothing)
    with closing(open_pages(pages, cache_bytes=_CACHE)) as connection:
        connection.execute("CREATE TABLE fact (n INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO fact VALUES (?, ?)", [(n, f"{n}" * 300) for n in range(1000)])
    return pages


class _Bucket:
    """The pages of a file, all in chunks, that can be out of reach."""

    def __init__(self, pages: Pages) -> None:
        self.content = [pages.read(number) for number in range(pages.count)]
        self.fails = False
        self.fetched: list[int] = []
        starts = range(0, pages.count, CHUNK_PAGES)
        self.base = Base(pages.count, tuple(str(start) for start in starts), {0: self.content[0]})

    def fetch(self, names: Sequence[str]) -> list[bytes]:
        if self.fails:
            raise StoreError("the bucket is out of reach")
        self.fetched += [int(name) for name in names]
        return [b"".join(self.content[int(name) : int(name) + CHUNK_PAGES]) for name in names]


@pytest.fixture
def bucket(pages: Pages) -> _Bucket:
    """The same file in a bucket."""
    return _Bucket(pages)


@pytest.fixture
def stored(bucket: _Bucket) -> Iterator[apsw.Connection]:
    """A connection to the file in the bucket."""
    with closing(open_pages(Pages(bucket.base, bucket.fetch), cache_bytes=_CACHE)) as connection:
        yield connection


def test_what_one_connection_leaves_the_next_one_finds(pages: Pages) -> None:
    with closing(open_pages(pages.fork(), cache_bytes=_CACHE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*), max(text) FROM fact").fetchall() == [(1000, "999" * 300)]


def test_the_pages_are_a_plain_database_file(pages: Pages, tmp_path: Path) -> None:
    path = tmp_path / "image.sqlite"
    path.write_bytes(b"".join(pages.read(number) for number in range(pages.count)))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (PAGE_SIZE,)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT text FROM fact WHERE n = 77").fetchone() == ("77" * 300,)


def test_a_point_read_fetches_no_more_than_the_way_to_its_row(
    bucket: _Bucket, stored: apsw.Connection
) -> None:
    assert stored.execute("SELECT text FROM fact WHERE n = 500").fetchall() == [("500" * 300,)]
    assert 1 <= len(bucket.fetched) <= 3
    assert len(bucket.base.chunks) > 5


def test_a_failed_fetch_is_raised_as_it_is_and_the_next_statement_works(
    bucket: _Bucket, stored: apsw.Connection
) -> None:
    assert stored.execute("SELECT count(*) FROM fact WHERE n = 0").fetchall() == [(1,)]
    bucket.fails = True
    for _ in range(2):
        with pytest.raises(StoreError, match="out of reach"):
            stored.execute("SELECT count(text) FROM fact").fetchall()
    bucket.fails = False
    assert stored.execute("SELECT count(text) FROM fact").fetchall() == [(1000,)]


def test_a_write_that_fails_halfway_for_want_of_a_page_leaves_the_file_as_it_was(
    bucket: _Bucket, stored: apsw.Connection
) -> None:
    stored.execute("SELECT text FROM fact WHERE n = 3").fetchall()
    bucket.fails = True
    stored.execute("BEGIN; UPDATE fact SET text = 'new' WHERE n = 3")
    with pytest.raises(StoreError, match="out of reach"):
        stored.execute("UPDATE fact SET text = 'new'")
    bucket.fails = False
    if stored.in_transaction:
        stored.execute("ROLLBACK")
    assert stored.execute("SELECT n FROM fact WHERE text = 'new'").fetchall() == []
    assert stored.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_page_missed_while_collecting_spoils_nothing(bucket: _Bucket, stored: apsw.Connection) -> None:
    pages = Pages(bucket.base, bucket.fetch)
    with closing(open_pages(pages, cache_bytes=_CACHE)) as connection:
        with pages.collecting(), pytest.raises(MissingPagesError):
            connection.execute("SELECT text FROM fact WHERE n = 500").fetchall()
        assert bucket.fetched == [0]  # where the root is, which the probe did not get beyond
        assert connection.execute("SELECT text FROM fact WHERE n = 500").fetchall() == [("500" * 300,)]


def test_what_is_rolled_back_never_reaches_the_pages(pages: Pages) -> None:
    before = pages.fork()
    with closing(open_pages(pages, cache_bytes=_CACHE)) as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE fact SET text = text || 'more'")
        assert pages.written() == before.written()
        connection.execute("ROLLBACK")
    assert pages.written() == before.written()


def test_what_is_deleted_is_nowhere_in_the_pages(pages: Pages) -> None:
    with closing(open_pages(pages, cache_bytes=_CACHE)) as connection:
        connection.execute("UPDATE fact SET text = 'a secret to keep' WHERE n % 7 = 3")
        assert any(b"a secret to keep" in pages.read(number) for number in range(pages.count))
        connection.execute("DELETE FROM fact WHERE text = 'a secret to keep'")
        assert not any(b"a secret to keep" in pages.read(number) for number in range(pages.count))


def test_forks_that_are_written_side_by_side_do_not_mix(pages: Pages) -> None:
    copies = [pages.fork() for _ in range(3)]
    connections = [open_pages(copy, cache_bytes=_CACHE) for copy in copies]
    for number, connection in enumerate(connections):
        connection.execute("UPDATE fact SET text = ?", (f"fork {number}",))
    for number, connection in enumerate(connections):
        texts = connection.execute("SELECT DISTINCT text FROM fact").fetchall()
        assert texts == [(f"fork {number}",)]
        connection.close()


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 60), st.integers(0, 40_000)),
        st.tuples(st.just("delete"), st.integers(0, 60), st.integers(0, 60)),
        st.tuples(st.just("vacuum"), st.just(0), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(_STEPS)
def test_a_file_that_grows_shrinks_and_is_reopened_keeps_its_rows(steps: list[tuple[str, int, int]]) -> None:
    pages = Pages(Base(), _nothing)
    model: dict[int, str] = {}
    connection = open_pages(pages, cache_bytes=_CACHE)
    connection.execute("CREATE TABLE fact (n INTEGER PRIMARY KEY, text TEXT)")
    for step, n, m in steps:
        if step == "put":
            connection.execute("REPLACE INTO fact VALUES (?, ?)", (n, "x" * m))
            model[n] = "x" * m
        elif step == "delete":
            connection.execute("DELETE FROM fact WHERE n BETWEEN ? AND ?", (n, m))
            model = {key: text for key, text in model.items() if not n <= key <= m}
        elif step == "vacuum":
            connection.execute("VACUUM")
        else:
            connection.close()
            bucket = _Bucket(pages)
            pages = Pages(bucket.base, bucket.fetch)
            connection = open_pages(pages, cache_bytes=_CACHE)
    assert dict(connection.execute("SELECT n, text FROM fact").fetchall()) == model
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
