"""Snapshots and chunks as bytes: what is written reads back, and anything else is refused by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from bucketlog import FormatError, Keyword
from bucketlog.log import decode_entry, key_of
from bucketlog.objects import MissingObjectError, NamedObjects, name_of
from bucketlog.pages import CHUNK_PAGES, PAGE_SIZE, Base, Pages
from bucketlog.requests import MeteredStore
from bucketlog.snapshot import (
    Snapshot,
    SnapshotKey,
    decode_snapshot,
    encode_snapshot,
    parse_keys,
    read_chunks,
    read_snapshot,
    write_pages,
    write_snapshot,
)
from bucketlog.value import encode
from bucketlog.vfs import open_pages

_KEY = "snapshot/9999999999999992-" + "0" * 64
_HEADER = b"bucketlog/1 snapshot\n"
_LARGE = (4 << 20) // PAGE_SIZE + 1  # pages of an image that does not fit into its snapshot

_VALUES = st.one_of(
    st.text(max_size=20).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.binary(max_size=20),
    st.uuids(),
    st.from_regex(r":[a-z]+/[a-z]+", fullmatch=True).map(Keyword),
).map(encode)
_COUNTS = st.integers(0, 2**62)
_BASES = st.builds(
    lambda count, names, inline: Base(count, tuple(names), {n: bytes([b]) * PAGE_SIZE for n, b in inline}),
    st.integers(0, 2**40),
    st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=4),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 255)), max_size=3),
)
_SNAPSHOTS = st.builds(
    Snapshot,
    id=st.uuids().map(lambda one: one.hex),
    t=_COUNTS,
    instant=st.integers(-(2**62), 2**62),
    next_entity=_COUNTS,
    schema=st.dictionaries(_COUNTS, st.dictionaries(_COUNTS, _VALUES, min_size=1, max_size=3), max_size=3),
    sizes=st.dictionaries(_COUNTS, _COUNTS, max_size=3),
    base=_BASES,
)
_EMPTY = Snapshot("a" * 32, 7, 0, 1024, {}, {}, Base())


def _objects() -> NamedObjects:
    return NamedObjects(MeteredStore(MemoryStore()), None)


def _packed(body: bytes, header: bytes = _HEADER) -> bytes:
    return header + zstandard.compress(body)


def _with_document(change: Mapping[str, Any], rest: bytes = b"") -> bytes:
    """A snapshot's object whose document is changed as said; `...` takes a key away."""
    body = zstandard.decompress(encode_snapshot(_EMPTY)[len(_HEADER) :])
    document = json.loads(body[4:]) | change
    text = json.dumps({key: value for key, value in document.items() if value is not ...}).encode()
    return _packed(struct.pack(">I", len(text)) + text + rest)


@settings(deadline=None)
@given(_SNAPSHOTS)
def test_a_snapshot_reads_back_the_same(snapshot: Snapshot) -> None:
    decoded = decode_snapshot(_KEY, encode_snapshot(snapshot))
    assert decoded == snapshot
    assert repr(decoded.schema) == repr(snapshot.schema)  # also tells 1 from 1.0


@settings(deadline=None)
@given(_SNAPSHOTS, st.data())
def test_a_damaged_snapshot_is_named(snapshot: Snapshot, data: st.DataObject) -> None:
    whole = encode_snapshot(snapshot)
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    with pytest.raises(FormatError, match=_KEY):
        decode_snapshot(_KEY, whole[:place])
    try:
        decoded = decode_snapshot(_KEY, whole[:place] + bytes([byte]) + whole[place + 1 :])
    except FormatError as error:
        assert _KEY in str(error)  # noqa: PT017 -- a few bits of a Zstandard frame mean nothing
    else:
        assert decoded == snapshot


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["double", "uuid"]), inner, max_size=2)
    ),
    max_leaves=8,
)
_FIELDS = st.dictionaries(
    st.sampled_from([*json.loads(zstandard.decompress(encode_snapshot(_EMPTY)[len(_HEADER) :])[4:])]),
    _JSON | st.just(...),
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(_FIELDS, st.binary(max_size=40))
def test_a_document_of_the_wrong_shape_is_refused_or_read(change: dict[str, Any], rest: bytes) -> None:
    try:
        snapshot = decode_snapshot(_KEY, _with_document(change, rest))
    except FormatError as error:
        assert _KEY in str(error)  # noqa: PT017 -- either outcome is fine
    else:
        assert decode_snapshot(_KEY, encode_snapshot(snapshot)) == snapshot


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    for content in (data, _HEADER + data, _packed(data), _packed(struct.pack(">I", len(data)) + data)):
        with pytest.raises(FormatError, match=_KEY):
            decode_snapshot(_KEY, content)


@given(st.binary(max_size=200))
def test_foreign_bytes_in_the_place_of_a_chunk_are_refused(data: bytes) -> None:
    objects = _objects()
    for content in (data, b"bucketlog/1 chunk\n" + data):
        name = objects.write("chunk/", content)
        with pytest.raises(FormatError, match=f"^chunk/{name}"):
            read_chunks(objects, [name])


@pytest.mark.parametrize(
    "data",
    [encode_snapshot(_EMPTY), b"bucketlog/1 sha256=00\n{}", b"\xff\xfe", b"", b"bucketlog/1 chunk\r\n"],
)
def test_an_object_of_another_kind_is_no_chunk(data: bytes) -> None:
    objects = _objects()
    name = objects.write("chunk/", data)
    with pytest.raises(FormatError, match=f"^chunk/{name} begins with .*upgrade"):
        read_chunks(objects, [name])


def test_a_newer_format_is_quoted_and_asks_for_an_upgrade() -> None:
    data = encode_snapshot(_EMPTY).replace(b"bucketlog/1", b"bucketlog/2", 1)
    with pytest.raises(FormatError, match=rf"{_KEY} begins with b'bucketlog/2 snapshot'.*upgrade bucketlog"):
        decode_snapshot(_KEY, data)
    with pytest.raises(FormatError, match=r"begins with b'bucketlog/1 sha256=.*not with 'bucketlog/1 snap"):
        decode_snapshot(_KEY, b"bucketlog/1 sha256=" + b"0" * 64 + b"\n{}")


def test_other_pages_than_ours_are_named() -> None:
    with pytest.raises(FormatError, match=f"{_KEY} is not a valid snapshot.*pages of 4096 bytes"):
        decode_snapshot(_KEY, _with_document({"page_size": 4096}))


def test_bytes_missing_or_left_over_are_refused() -> None:
    for rest in (b"", bytes(31), bytes(33), bytes(32 + PAGE_SIZE - 1), bytes(32 + PAGE_SIZE + 1)):
        with pytest.raises(FormatError, match=f"{_KEY} is not a valid snapshot"):
            decode_snapshot(_KEY, _with_document({"chunks": 1, "inline": [0], "pages": 8}, rest))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zstandard.compress(bytes(CHUNK_PAGES * PAGE_SIZE + 1))
    assert len(bomb) < 100
    objects = _objects()
    name = objects.write("chunk/", b"bucketlog/1 chunk\n" + bomb)
    with pytest.raises(FormatError, match=f"chunk/{name} would unpack to 131073 bytes, and 131072 are"):
        read_chunks(objects, [name])
    huge = bytearray(zstandard.compress(bytes(1 << 20)))
    huge[5:9] = struct.pack("<I", (1 << 30) + 1)
    with pytest.raises(FormatError, match=f"{_KEY} would unpack to 1073741825 bytes"):
        decode_snapshot(_KEY, _HEADER + bytes(huge))


def test_a_bomb_that_does_not_state_its_size_is_not_unpacked() -> None:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    objects = _objects()
    name = objects.write("chunk/", b"bucketlog/1 chunk\n" + bomb)
    with pytest.raises(FormatError, match=f"chunk/{name}"):
        read_chunks(objects, [name])


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    bomb = bytearray(zstandard.compress(bytes(64 << 20)))
    assert bomb[4] >> 6 == 2  # the size stands in four bytes
    bomb[5:9] = struct.pack("<I", 100)
    objects = _objects()
    name = objects.write("chunk/", b"bucketlog/1 chunk\n" + bytes(bomb))
    with pytest.raises(FormatError, match=f"chunk/{name}"):
        read_chunks(objects, [name])


def test_a_document_nested_beyond_measure_is_refused() -> None:
    text = b'{"page_size":' + b"[" * 200_000
    with pytest.raises(FormatError, match=_KEY):
        decode_snapshot(_KEY, _packed(struct.pack(">I", len(text)) + text))


@given(st.binary(max_size=300), st.integers(0, 20))
def test_a_log_entry_decoder_takes_anything(data: bytes, t: int) -> None:
    for content in (data, b"bucketlog/1 sha256=" + name_of(data).encode() + b"\n" + data):
        with pytest.raises(FormatError, match=key_of(t)):
            decode_entry(key_of(t), content)


def test_keys_sort_newest_first_and_other_names_are_passed_by() -> None:
    keys = [SnapshotKey(t, name_of(b"%d" % t)) for t in (0, 9, 10, 99, 10**15)]
    paths = [str(key) for key in keys]
    assert sorted(paths) == paths[::-1]
    others = ["snapshot/", "snapshot/notes.txt", paths[0] + "x", paths[0].upper(), "snapshot/1-" + "0" * 64]
    assert parse_keys("", [*others, *paths]) == keys[::-1]


def test_a_snapshot_is_found_under_its_key_and_nothing_else_is() -> None:
    objects = _objects()
    key = write_snapshot(objects, _EMPTY)
    assert read_snapshot(objects, key) == _EMPTY
    missing = replace(key, t=8)
    objects = _objects()
    with pytest.raises(MissingObjectError, match=str(missing)):
        read_snapshot(objects, missing)


# Writing pages


def _content(pages: Pages) -> list[bytes]:
    return [pages.read(number) for number in range(pages.count)]


def _stored(objects: NamedObjects, base: Base) -> Pages:
    return Pages(base, lambda names: read_chunks(objects, names))


def _write(objects: NamedObjects, pages: Pages) -> Base:
    """The next snapshot of an image whose last one is the newest."""
    return write_pages(objects, pages.base, pages.written(), pages.count, pages.base.chunks)


def _filled(rows: int, size: int = 1000) -> Pages:
    pages = Pages(Base(), lambda _: [])
    with closing(open_pages(pages, cache_bytes=1 << 20)) as connection:
        connection.execute("CREATE TABLE fact (n INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany(
            "INSERT INTO fact VALUES (?, ?)", ((n, f"{n % 10}" * size) for n in range(rows))
        )
    return pages


def test_a_small_image_is_all_in_its_snapshot() -> None:
    objects = _objects()
    pages = _filled(1000)
    base = _write(objects, pages)
    assert (base.chunks, sorted(base.inline)) == ((), list(range(pages.count)))
    assert _content(_stored(objects, base)) == _content(pages)


def test_a_large_image_has_its_inner_nodes_in_its_snapshot_and_the_rest_in_chunks() -> None:
    objects = _objects()
    pages = _filled(8000)
    assert pages.count > _LARGE
    base = _write(objects, pages)
    assert len(base.chunks) == -(-pages.count // CHUNK_PAGES)
    assert 1 < len(base.inline) < pages.count / 100
    assert _content(_stored(objects, base)) == _content(pages)
    fetches: list[int] = []

    def fetch(names: Any) -> list[bytes]:
        fetches.append(len(names))
        return read_chunks(objects, names)

    with closing(open_pages(Pages(base, fetch), cache_bytes=1 << 20)) as connection:
        assert connection.execute("SELECT substr(text, 1, 1) FROM fact WHERE n = 5003").fetchall() == [("3",)]
    assert fetches == [1]


def _write_again(objects: NamedObjects, base: Base, change: Callable[[Any], None]) -> tuple[Pages, Base]:
    """What an image becomes by a change, and its next snapshot."""
    pages = _stored(objects, base)
    with closing(open_pages(pages, cache_bytes=1 << 20)) as connection:
        change(connection)
    return pages, _write(objects, pages)


def test_the_next_snapshot_shares_the_chunks_that_did_not_change() -> None:
    objects = _objects()
    pages = _filled(20_000)
    first = _write(objects, pages)
    again, second = _write_again(
        objects, first, lambda c: c.execute("UPDATE fact SET text = 'new' WHERE n = 7000")
    )
    assert len(set(second.chunks) - set(first.chunks)) == 1
    assert _content(_stored(objects, second)) == _content(again)


def test_chunks_that_may_be_collected_are_written_again() -> None:
    store = MeteredStore(MemoryStore())
    objects = NamedObjects(store, None)
    pages = _filled(8000)
    first = _write(objects, pages)
    before = store.requests
    assert write_pages(objects, first, {}, first.count, first.chunks[:3]) == first
    assert (store.requests - before).counts["put"] == len(first.chunks) - 3


def test_a_branch_has_keys_of_its_own() -> None:
    objects = _objects()
    trunk, branch = write_snapshot(objects, _EMPTY), write_snapshot(objects, _EMPTY, "branch/draft/")
    keys = [str(trunk), str(branch)]
    assert branch.name == trunk.name
    assert keys[1] == f"branch/draft/{trunk}"
    assert (parse_keys("", keys), parse_keys("branch/draft/", keys[1:])) == ([trunk], [branch])


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM fact WHERE n > 500; VACUUM",  # small again
        "DELETE FROM fact WHERE n > 6000; VACUUM",
        "CREATE TABLE other AS SELECT * FROM fact",
        "CREATE INDEX texts ON fact (text)",
        "DROP TABLE fact",
        "UPDATE fact SET text = substr(text, 1, 400)",
    ],
)
def test_a_snapshot_of_an_image_that_changed_a_lot_reads_back(change: str) -> None:
    objects = _objects()
    pages = _filled(8000)
    first = _write(objects, pages)
    again, second = _write_again(objects, first, lambda c: c.execute(change))
    assert _content(_stored(objects, second)) == _content(again)


def test_an_image_that_outgrows_its_snapshot_reads_back() -> None:
    objects = _objects()
    pages = _filled(1000)
    first = _write(objects, pages)
    again, second = _write_again(
        objects,
        first,
        lambda c: c.executemany(
            "INSERT INTO fact VALUES (?, ?)", ((n, "x" * 1000) for n in range(1000, 8000))
        ),
    )
    assert first.chunks == ()
    assert second.chunks
    assert _content(_stored(objects, second)) == _content(again)


def test_pages_that_were_cut_off_are_in_no_chunk_of_the_next_snapshot() -> None:
    objects = _objects()
    pages = _stored(objects, Base())
    for number in range(_LARGE + CHUNK_PAGES):
        pages.write(number, bytes([number % 250 + 6]) * PAGE_SIZE)
    first = _write(objects, pages)
    pages = _stored(objects, first)
    pages.truncate(_LARGE + 1)
    second = _write(objects, pages)
    assert sum(len(chunk) for chunk in read_chunks(objects, second.chunks)) == pages.count * PAGE_SIZE
    assert second.chunks[:-1] == first.chunks[: len(second.chunks) - 1]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, _LARGE + 40), st.integers(0, 255), max_size=12),
            st.integers(1, _LARGE + 40),
        ),
        max_size=5,
    )
)
def test_any_row_of_snapshots_reads_back(rounds: list[tuple[dict[int, int], int]]) -> None:
    objects = _objects()
    pages = _stored(objects, Base())
    for writes, count in rounds:
        for page, byte in writes.items():
            pages.write(page, bytes([byte]) * PAGE_SIZE)
        pages.truncate(min(pages.count, count))
        written = pages.written()
        base = _write(objects, pages)
        expected = _content(pages)
        pages.rebase(base, written)
        assert pages.written() == {}
        assert _content(pages) == expected
        assert _content(_stored(objects, base)) == expected
