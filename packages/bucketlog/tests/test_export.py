"""Export and import: what comes back, and what is refused by its line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import URI, Connection, Keyword, StoreError, TransactionError
from bucketlog.export import export_text
from bucketlog.importing import ImportTextError, import_text
from bucketlog.log import Entry, encode_entry, genesis, key_of
from bucketlog.value import ValueType, decode

EVENTS = "[:find ?e ?name ?v ?tx ?added :where [?e ?a ?v ?tx ?added] [?a :db/ident ?name]]"

# One attribute for every type, with one value an entity and with many; `:x/key` and `:x/code` are unique.
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=["Cs"])),
    "long": st.integers(-(1 << 63), (1 << 63) - 1),
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "instant": st.datetimes(timezones=st.just(UTC)),
    "uuid": st.uuids(),
    "keyword": st.sampled_from(["a", "b/c", "ü", "x.y/z?"]).map(lambda name: Keyword(f":{name}")),
    "bytes": st.binary(),
    "bigdec": st.decimals(allow_nan=False, allow_infinity=False, places=3),
    "uri": st.sampled_from([URI("urn:a"), URI("https://example.org/ä?b#c")]),
    "tuple": st.tuples(
        st.none() | st.text("a\0ä", max_size=3), st.none() | st.integers(-9, 9), st.booleans()
    ),
    "ref": st.sampled_from([f"e{n}" for n in range(5)]),
}
SCHEMA = [
    {
        ":db/ident": f":{many}/{name}",
        ":db/valueType": f":db.type/{name}",
        ":db/cardinality": f":db.cardinality/{many}",
    }
    | (
        {":db/tupleTypes": [":db.type/string", ":db.type/long", ":db.type/boolean"]}
        if name == "tuple"
        else {}
    )
    for name in TYPES
    for many in ("one", "many")
] + [
    {
        ":db/ident": f":x/{name}",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": f":db.unique/{kind}",
    }
    for name, kind in (("key", "identity"), ("code", "value"))
]
COMPOSITE = {
    ":db/ident": ":x/composite",
    ":db/valueType": ":db.type/tuple",
    ":db/cardinality": ":db.cardinality/one",
    ":db/tupleAttrs": [":one/string", ":one/ref", ":one/bigdec"],
}

entities = st.sampled_from([f"e{n}" for n in range(5)])
facts = st.sampled_from(list(TYPES)).flatmap(
    lambda name: st.tuples(
        st.sampled_from([":db/add", ":db/add", ":db/add", ":db/retract"]),
        st.one_of(entities, st.just("datomic.tx")),
        st.sampled_from([f":one/{name}", f":many/{name}"]),
        TYPES[name],
    )
)
forgotten = st.tuples(st.just(":db/retractEntity"), entities)
codes = st.tuples(st.just(":db/add"), entities, st.just(":x/code"), st.sampled_from(["1", "2"]))
alterations = st.tuples(
    st.just(":db/add"),
    st.sampled_from([":one/string", ":many/string"]),
    st.just(":db/cardinality"),
    st.sampled_from([":db.cardinality/one", ":db.cardinality/many"]),
)
transactions = st.lists(
    st.lists(st.one_of(facts, facts, facts, forgotten, codes, alterations), max_size=6), max_size=8
)


def lookup(operation: tuple[Any, ...]) -> list[Any]:
    """An operation on e0, e1, … as one on the entities that have these as `:x/key`."""
    return [
        [":x/key", item] if n and item in {f"e{k}" for k in range(5)} else item
        for n, item in enumerate(operation)
    ]


def exported(location: Any, **options: Any) -> list[bytes]:
    lines: list[bytes] = []
    export_text(location, lines.append, **options)
    return lines


def documents(lines: list[bytes]) -> list[Any]:
    return [json.loads(line) for line in lines]


@settings(max_examples=60, deadline=None)
@given(transactions)
def test_what_is_exported_and_imported_is_the_same_database(history: list[list[tuple[Any, ...]]]) -> None:
    source, target = MemoryStore(), MemoryStore()
    with bucketlog.connect(source) as conn:
        conn.transact(SCHEMA)
        conn.transact([COMPOSITE, *({":x/key": f"e{n}"} for n in range(5))])
        for operations in history:
            try:
                conn.transact([lookup(operation) for operation in operations])
            except TransactionError:
                continue
        text = exported(source)
        assert import_text(text, target) == conn.db().basis_t
        with bucketlog.connect(target) as copy:
            assert copy.db().basis_t == conn.db().basis_t
            db, other = conn.db(), copy.db()
            for one, two in ((db, other), (db.history(), other.history()), (db.as_of(3), other.as_of(3))):
                assert sorted(map(repr, one.q(EVENTS))) == sorted(map(repr, two.q(EVENTS)))
    assert exported(target) == text


def test_every_type_is_tried() -> None:
    assert {f":db.type/{name}" for name in TYPES} == {kind.value for kind in ValueType}


@pytest.fixture
def text(conn: Connection, location: str) -> list[bytes]:
    """The export of a database of three transactions, after the header and transaction 0.

    1: schema; 2: Ann, 30, by a script; 3: Ann is 31.
    """
    conn.transact([{":user/name": "Ann", ":user/age": 30}, {":db/id": "datomic.tx", ":tx/by": "script"}])
    conn.transact([{":user/name": "Ann", ":user/age": 31}])
    return exported(location)


def test_the_text_is_what_the_documentation_says(text: list[bytes], conn: Connection) -> None:
    header, begin, schema, first, second, end = documents(text)
    ann = conn.db().entid([":user/name", "Ann"])
    assert header == {"format": "bucketlog-export", "version": 1}
    assert (begin["t"], begin["datoms"]) == (0, [])
    name = schema["datoms"][0][0]
    assert [name, ":db/valueType", {"ident": ":db.type/string"}, True] in schema["datoms"]
    assert [name, ":db/ident", {"keyword": ":user/name"}, True] in schema["datoms"]
    assert (1 << 40) + 2 in [datom[0] for datom in first["datoms"]]
    assert second["t"] == 3
    assert datetime.fromisoformat(second["instant"]) == conn.db().q(
        "[:find ?at . :in $ ?tx :where [?tx :db/txInstant ?at]]", (1 << 40) + 3
    )
    assert second["datoms"] == [[ann, ":user/age", 30, False], [ann, ":user/age", 31, True]]
    assert end == {"end": 3}
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in text)


def test_an_export_may_end_earlier(text: list[bytes], location: str) -> None:
    assert exported(location, to=2) == [*text[:4], b'{"end":2}\n']
    assert exported(location, to=99) == text


def test_a_place_without_a_database_exports_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no database: log/0000000000000000 is not there"):
        exported(tmp_path.as_uri())


def test_many_transactions_share_an_object(text: list[bytes], tmp_path: Path) -> None:
    import_text(text, tmp_path.as_uri())
    assert [path.name for path in sorted((tmp_path / "log").iterdir())] == [f"{0:016d}", f"{1:016d}"]


def test_an_imported_database_goes_on(text: list[bytes], connect: Callable[..., Connection]) -> None:
    target = f"memory://{uuid.uuid4().hex}"
    import_text(text, target)
    conn = connect(target)
    conn.transact([{":user/name": "Ann", ":user/age": 32}, {":user/name": "Bob"}])
    ages = conn.db().history().q("[:find ?a ?added :where [_ :user/age ?a _ ?added]]")
    assert sorted(ages) == [(30, False), (30, True), (31, False), (31, True), (32, True)]


def test_the_begin_has_its_instant(text: list[bytes], connect: Callable[..., Connection]) -> None:
    target = f"memory://{uuid.uuid4().hex}"
    import_text(text, target)
    assert exported(target)[1] == text[1]


def test_a_database_that_has_only_begun_is_filled(
    text: list[bytes], connect: Callable[..., Connection]
) -> None:
    target = f"memory://{uuid.uuid4().hex}"
    connect(target).close()
    assert import_text(text, target) == 3
    assert exported(target)[2:] == text[2:]


def test_an_import_that_was_cut_short_is_taken_up_where_it_ended(
    text: list[bytes], connect: Callable[..., Connection]
) -> None:
    store = MemoryStore()
    with pytest.raises(ImportTextError, match="the text was cut"):
        import_text(text[:-2], store)
    connect(store).close()
    there = connect(store).db().basis_t
    assert there < 3
    assert import_text(text, store) == 3
    assert exported(store)[2:] == text[2:]


def test_an_import_that_is_repeated_verifies(text: list[bytes], location: str) -> None:
    assert import_text(text, location) == 3
    assert exported(location) == text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("31", "32"), "there is a database with another transaction 3 than the text has"),
        (None, "the database that is there goes on after transaction 2, the text does not"),
    ],
)
def test_a_database_with_another_history_is_refused(
    text: list[bytes], location: str, change: tuple[str, str] | None, why: str
) -> None:
    other = [*text[:-2], b'{"end":2}\n'] if change is None else replaced(text, len(text) - 1, *change)
    with pytest.raises(StoreError, match=why):
        import_text(other, location)
    assert exported(location) == text


def test_what_an_older_version_of_bucketlog_does_not_know_is_told_by_name(text: list[bytes]) -> None:
    store = MemoryStore()
    begin = genesis(datetime(2020, 1, 1, tzinfo=UTC))
    fewer = tuple(c for c in begin.transactions[0] if decode(c.v) != ":db.type/uuid")
    store.put(key_of(0), encode_entry(Entry(0, (fewer,), begin.id)))
    with pytest.raises(ImportTextError, match=r"^line 3: :db.type/uuid is nothing that :db/valueType"):
        import_text(text, store)


def replaced(text: list[bytes], line: int, old: str, new: str) -> list[bytes]:
    """The text with a change in one line, counted from one."""
    assert old.encode() in text[line - 1]
    changed = text[line - 1].replace(old.encode(), new.encode())
    return [*text[: line - 1], changed, *text[line:]]


@pytest.mark.parametrize(
    ("line", "old", "new", "why"),
    [
        (1, "bucketlog-export", "other", "line 1 is not the header"),
        (1, '"version":1', '"version":2', "line 1: version 2, but this bucketlog reads version 1 only"),
        (2, '"t":0', '"t":1', "line 2: a history begins with transaction 0"),
        (4, '"datoms"', '"dat', "line 4 is not JSON"),
        (4, '"datoms"', '"datum"', "line 4 is not a transaction: KeyError: 'datoms'"),
        (4, '"t":2', '"t":true', "line 4 is not a transaction"),
        (4, '"t":2', '"t":3', "line 4: transaction 3 follows transaction 1"),
        (4, "+00:00", "", "line 4 is not a transaction: .*no time zone"),
        (4, ",true]", ",1]", "line 4 is not a transaction: .*1 is neither true nor false"),
        (4, '"Ann"', '{"text":"Ann"}', "line 4 is not a transaction: .*'text' is not a kind of value"),
        (4, ":user/name", ":user/nmae", "line 4: :user/nmae is not an attribute"),
        (4, '"Ann"', "7", "line 4: expected str, got int"),
        (4, ":user/name", ":db/txInstant", "line 4: :db/txInstant is the transaction's instant"),
        (4, '[1099511627778,":tx', '[1099511627780,":tx', "line 4: 1099511627780 is not the id of an entity"),
        (4, '[1044,":user/name"', '[7,":user/name"', "line 4: 7 is not the id of an entity"),
        (
            5,
            ",30,false",
            ",29,false",
            "line 5: :user/age 29 of entity 1044 is retracted, but it does not hold",
        ),
        (5, '[1044,":user/age",30,false],', "", "line 5: :user/age 31 of entity 1044 cannot be added"),
        (
            5,
            '[1044,":user/age",31',
            '[1045,":user/name","Ann",true],[1044,":user/age",31',
            "line 5: :user/name 'Ann' of entity 1045 cannot be added",
        ),
        (3, '{"ident":":db.type/string"}', '{"ident":":db.type/rope"}', "line 3: :db.type/rope is nothing"),
        (3, '{"ident":":db.type/string"}', "20", "line 3: 20 is no value for :db/valueType"),
        (
            3,
            '{"ident":":db.type/string"}',
            '{"ident":":db/doc"}',
            "line 3: entity 1024 is half of an attribute",
        ),
        (
            3,
            '[1024,":db/valueType",{"ident":":db.type/string"},true],',
            "",
            "line 3: entity 1024 is half of an attribute",
        ),
        (3, '":user/name"', '":db/doc"', "line 3: :db/ident ':db/doc' of entity 1024 cannot be added"),
        (6, '"end":3', '"end":4', "line 6 should be the end after transaction 3: the text was cut"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    text: list[bytes], line: int, old: str, new: str, why: str
) -> None:
    if "+00:00" in old:
        text = [line.replace(b"Z", b"+00:00") for line in text]
    with pytest.raises(ImportTextError, match=f"^{why}"):
        import_text(replaced(text, line, old, new), MemoryStore())


def test_an_instant_must_be_later_than_the_one_before(text: list[bytes]) -> None:
    early = json.loads(text[3])["instant"]
    late = json.loads(text[4])["instant"]
    with pytest.raises(ImportTextError, match=r"^line 5: instant .* is not after"):
        import_text(replaced(text, 5, late, early), MemoryStore())


def test_a_text_that_is_cut_is_told(text: list[bytes]) -> None:
    for length in range(len(text)):
        with pytest.raises(ImportTextError, match=r"line \d|no transaction"):
            import_text(text[:length], MemoryStore())
    with pytest.raises(ImportTextError, match="line 6 is the end, but more lines follow"):
        import_text([*text, b"\n"], MemoryStore())


def test_bytes_that_are_no_text_are_told(text: list[bytes]) -> None:
    with pytest.raises(ImportTextError, match="line 4 is not JSON"):
        import_text([*text[:3], b"\xff\n"], MemoryStore())


def test_what_came_before_the_error_is_a_history_that_ends_early(text: list[bytes]) -> None:
    store = MemoryStore()
    with pytest.raises(ImportTextError):
        import_text(replaced(text, 5, ":user/age", ":user/aeg"), store)
    with bucketlog.connect(store) as conn:
        assert conn.db().basis_t <= 2


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_edit_of_a_text_makes_a_database_that_cannot_be_read(data: st.DataObject) -> None:
    source, target = MemoryStore(), MemoryStore()
    with bucketlog.connect(source) as conn:
        conn.transact(SCHEMA)
        conn.transact([{":x/key": "e0", ":one/long": 1, ":many/ref": [[":db/ident", ":db/doc"]]}])
        conn.transact([{":x/key": "e0", ":one/long": 2}])
    lines = documents(exported(source))
    for _ in range(data.draw(st.integers(1, 3))):
        datoms = lines[data.draw(st.integers(3, len(lines) - 2))]["datoms"]
        place = data.draw(st.integers(0, len(datoms) - 1))
        match data.draw(st.sampled_from(["drop", "double", "flip", "value", "entity"])):
            case "drop" if len(datoms) > 1:
                del datoms[place]
            case "double":
                datoms.append(list(datoms[place]))
            case "flip":
                datoms[place][3] = not datoms[place][3]
            case "value":
                datoms[place][2] = data.draw(st.sampled_from([1, "x", {"ident": ":db/doc"}, {"double": 1}]))
            case "entity":
                datoms[place][0] = data.draw(st.sampled_from([1, 1024, 1044, 1 << 40, 1 << 41]))
    try:
        import_text([json.dumps(line).encode() + b"\n" for line in lines], target)
    except ImportTextError as error:
        assert str(error).startswith("line ")  # noqa: PT017 -- an edit may be harmless
    else:
        with bucketlog.connect(target) as conn:
            assert conn.db().basis_t == 3
