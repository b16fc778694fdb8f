"""Log entries: what is written reads back, and anything else is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from bucketlog import URI, Connection, FormatError, Keyword
from bucketlog.log import Entry, decode_entry, encode_entry, genesis, key_of, t_of
from bucketlog.schema import Change
from bucketlog.value import decode, encode

_VALUES = st.one_of(
    st.text().filter(lambda text: text.isprintable() or text == "\n"),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.binary(max_size=50),
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)),
    st.from_regex(r":[a-z]+/[a-z]+", fullmatch=True).map(Keyword),
    st.from_regex(r"[a-z]+:[a-z]+", fullmatch=True).map(URI),
    st.decimals(-100, 100, places=5),
    st.tuples(st.none() | st.text("a\0", max_size=2), st.integers(0, 9), st.floats(0, 1), st.booleans()),
)
_CHANGES = st.builds(Change, st.integers(1, 2**41), st.integers(1, 2**20), _VALUES.map(encode), st.booleans())
_ENTRIES = st.builds(
    Entry,
    st.integers(0, 10**15),
    st.lists(st.lists(_CHANGES, max_size=5).map(tuple), min_size=1, max_size=4).map(tuple),
    st.uuids().map(lambda one: one.hex),
)


@given(_ENTRIES)
def test_an_entry_reads_back_the_same(entry: Entry) -> None:
    decoded = decode_entry(key_of(entry.t), encode_entry(entry))
    assert decoded == entry
    assert repr(decoded) == repr(entry)  # also tells 1 from 1.0


@given(_VALUES)
def test_a_value_survives_its_stored_form(value: Any) -> None:
    found = decode(encode(value))
    assert (type(found), found) == (type(value), value)


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2, max_size=2))
def test_stored_instants_sort_as_time_goes(instants: list[datetime]) -> None:
    one, other = instants
    assert (encode(one) < encode(other)) == (one < other)  # type: ignore[operator]


@given(_ENTRIES, st.data())
def test_a_damaged_object_is_named(entry: Entry, data: st.DataObject) -> None:
    whole = encode_entry(entry)
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    for damaged in (whole[:place] + bytes([byte]) + whole[place + 1 :], whole[:place]):
        with pytest.raises(FormatError, match=key_of(entry.t)):
            decode_entry(key_of(entry.t), damaged)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="log/0000000000000007 is not a log entry"):
        decode_entry(key_of(7), data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "t", "transactions", "double", "instant", "bytes", "bigdec", "uri", "tuple"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


_KINDS = st.sampled_from(["double", "instant", "keyword", "uuid", "bytes", "bigdec", "uri", "tuple"])


@given(_KINDS, _JSON)
def test_a_value_of_the_wrong_shape_is_refused_or_read(kind: str, content: Any) -> None:
    payload = json.dumps({"id": "x", "t": 7, "transactions": [[[1, 2, {kind: content}, True]]]}).encode()
    data = b"bucketlog/1 sha256=%s\n%s" % (hashlib.sha256(payload).hexdigest().encode(), payload)
    try:
        entry = decode_entry(key_of(7), data)
    except FormatError as error:
        assert "log/0000000000000007 is not a valid" in str(error)  # noqa: PT017 -- either outcome is fine
    else:
        assert decode_entry(key_of(7), encode_entry(entry)) == entry


@given(
    st.one_of(_JSON, st.builds(lambda tx: {"id": "x", "t": 7, "transactions": [[[1, 2, tx, True]]]}, _JSON))
)
def test_a_payload_of_the_wrong_shape_is_refused_or_read(document: Any) -> None:
    payload = json.dumps(document).encode()
    data = b"bucketlog/1 sha256=%s\n%s" % (hashlib.sha256(payload).hexdigest().encode(), payload)
    try:
        entry = decode_entry(key_of(7), data)
    except FormatError as error:
        assert "log/0000000000000007" in str(error)  # noqa: PT017 -- either outcome is fine
    else:
        assert decode_entry(key_of(7), encode_entry(entry)) == entry


def test_a_newer_format_asks_for_an_upgrade() -> None:
    data = encode_entry(Entry(3, ((),), "a" * 32)).replace(b"bucketlog/1", b"bucketlog/2", 1)
    with pytest.raises(FormatError, match=r"log/0000000000000003 has format 2.*upgrade"):
        decode_entry(key_of(3), data)


def test_an_entry_under_another_key_is_refused() -> None:
    with pytest.raises(FormatError, match="it was moved"):
        decode_entry(key_of(4), encode_entry(Entry(3, ((),), "a" * 32)))


def test_keys_sort_as_history_goes() -> None:
    keys = [key_of(t) for t in (0, 9, 10, 99, 100, 10**9)]
    assert keys == sorted(keys)
    assert [t_of(key) for key in keys] == [0, 9, 10, 99, 100, 10**9]
    assert t_of("log/notes.txt") is None


def test_the_genesis_describes_itself(connect: Callable[..., Connection]) -> None:
    store = MemoryStore()
    born = datetime(2024, 1, 1, tzinfo=UTC)
    db = connect(store, now=lambda: born).db()
    assert (db.basis_t, db.q("[:find ?t . :where [_ :db/txInstant ?t]]")) == (0, born)
    assert db.pull("[:db/ident {:db/valueType [:db/ident]}]", ":db/doc") == {
        ":db/ident": ":db/doc",
        ":db/valueType": {":db/ident": ":db.type/string"},
    }
    assert genesis(born).transactions[0][:-1] == genesis(datetime.now(UTC)).transactions[0][:-1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-9] + b"x" + data[-8:], "log/0000000000000001 is corrupt"),
        (lambda data: data.replace(b"bucketlog/1", b"bucketlog/9", 1), "log/0000000000000001 has format 9"),
        (lambda _: None, "log/0000000000000001 is missing"),
    ],
)
def test_a_log_with_a_bad_object_does_not_open(
    connect: Callable[..., Connection], schema: str, damage: Callable[[bytes], bytes | None], message: str
) -> None:
    store = MemoryStore()
    conn = connect(store)
    conn.transact(schema)
    conn.transact([{":user/name": "ann"}])
    data = damage(bytes(store.get(key_of(1)).bytes()))
    if data is None:
        store.delete(key_of(1))
    else:
        store.put(key_of(1), data)
    with pytest.raises(FormatError, match=message):
        connect(store)


def test_other_objects_beside_the_log_do_no_harm(connect: Callable[..., Connection], schema: str) -> None:
    store = MemoryStore()
    connect(store).transact(schema)
    store.put("log/README.txt", b"hello")
    store.put("uploads/cat.png", b"meow")
    assert connect(store).db().basis_t == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((Change(2000, 7, "x", True),), "does not say when it was made"),
        ((Change(2000, 7, "x", True),) * 2, "adds one datom twice"),
    ],
)
def test_an_entry_that_makes_no_sense_does_not_open(
    connect: Callable[..., Connection], changes: tuple[Change, ...], message: str
) -> None:
    store = MemoryStore()
    connect(store)
    instant = Change(2**40 + 1, 8, encode(datetime.now(UTC)), True)
    entry = Entry(1, ((*changes, instant) if len(changes) > 1 else changes,), "a" * 32)
    store.put(key_of(1), encode_entry(entry))
    with pytest.raises(FormatError, match=message):
        connect(store)
