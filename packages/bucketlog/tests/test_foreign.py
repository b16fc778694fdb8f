"""Import of what DataScript, Datahike and Datalevin print."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import URI, Connection, Keyword, StoreError, edn
from bucketlog.cli import main
from bucketlog.foreign import import_edn
from bucketlog.importing import ImportTextError
from bucketlog.log import key_of

_ALL = "[:find ?e ?a ?v ?tx ?added :where [?e ?a ?v ?tx ?added]]"

NOW = datetime(2026, 5, 1, tzinfo=UTC)
TX = 536870913  # the first transaction of DataScript and Datahike

DATASCRIPT = """
#datascript/DB {:schema {:name {:db/unique :db.unique/identity}
                         :aka {:db/cardinality :db.cardinality/many}
                         :friend {:db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
                         :part {:db/valueType :db.type/ref, :db/isComponent true, :db/doc "a part"}},
                :datoms [[1 :age 15.5 536870913] [1 :aka "X" 536870913] [1 :aka "Y #datascript/DB" 536870914]
                         [1 :friend 2 536870914] [1 :name "Maks" 536870913]
                         [2 :age 37 536870914] [2 :name "Oleg" 536870914] [2 :part 3 536870914]
                         [3 :kind :engine 536870914]]}
"""

DATAHIKE = """
#datahike/Datom [1 :db/cardinality :db.cardinality/one 536870913 true]
#datahike/Datom [1 :db/ident :name 536870913 true]
#datahike/Datom [1 :db/valueType :db.type/string 536870913 true]
#datahike/Datom [1 :db/unique :db.unique/identity 536870913 true]
#datahike/Datom [1 :db/index true 536870913 true]
#datahike/Datom [2 :db/cardinality :db.cardinality/one 536870913 true]
#datahike/Datom [2 :db/ident :weight 536870913 true]
#datahike/Datom [2 :db/valueType :db.type/float 536870913 true]
#datahike/Datom [4 :db/cardinality :db.cardinality/many 536870913 true]
#datahike/Datom [4 :db/ident :role 536870913 true]
#datahike/Datom [4 :db/valueType :db.type/ref 536870913 true]
#datahike/Datom [5 :db/ident :role/admin 536870914 true]
#datahike/Datom [3 :name "Alice" 536870914 true]
#datahike/Datom [3 :weight 60 536870914 true]
#datahike/Datom [3 :role 5 536870914 true]
#datahike/Datom [3 :weight 60 536870915 false]
#datahike/Datom [3 :weight 61.5 536870915 true]
#datahike/Datom [536870913 :db/txInstant #inst "2020-01-01T00:00:00.000-00:00" 536870913 true]
#datahike/Datom [536870914 :db/txInstant #inst "2020-01-02T00:00:00.000-00:00" 536870914 true]
#datahike/Datom [536870915 :db/txInstant #inst "2020-01-03T00:00:00.000-00:00" 536870915 true]
#datahike/Datom [536870915 :by "a script" 536870915 true]
"""

DATALEVIN = """
{:db-name "people", :kv-opts {:flags #{:nordahead :notls}, :wal? false}, :cache-limit 512}
{:db/ident
 #:db{:unique :db.unique/identity,
      :valueType :db.type/keyword,
      :aid 0},
 :name #:db{:valueType :db.type/string, :unique :db.unique/identity, :aid 3},
 :age #:db{:aid 5},
 :friend
 #:db{:valueType :db.type/ref,
      :cardinality :db.cardinality/many,
      :aid 4}}
[1 :name "Ann #:db{"]
[1 :age 30]
[1 :friend 2]
[2 :name "Bob"]
"""


@pytest.fixture
def imported(connect: Callable[..., Connection]) -> Callable[[str], Connection]:
    """A connection to the database that a text makes."""

    def imported(text: str) -> Connection:
        store = MemoryStore()
        import_edn(text, store, now=NOW)
        return connect(store)

    return imported


def test_a_printed_datascript_database_comes_in(imported: Callable[[str], Connection]) -> None:
    db = imported(DATASCRIPT).db()
    assert db.basis_t == 3
    found = db.pull("[:age :aka {:friend [:name :age {:part [:kind]}]}]", [":name", "Maks"])
    assert found == {
        ":age": 15.5,
        ":aka": ["X", "Y #datascript/DB"],
        ":friend": [{":name": "Oleg", ":age": 37.0, ":part": {":kind": ":engine"}}],
    }
    assert db.entid([":name", "Maks"]) == 1024 + 1
    assert db.pull("[:db/doc]", ":part") == {":db/doc": "a part"}
    assert db.as_of(2).pull("[:aka]", 1025) == {":aka": ["X"]}


def test_without_a_time_it_is_the_time_of_the_import(imported: Callable[[str], Connection]) -> None:
    instants = imported(DATASCRIPT).db().q("[:find [?at ...] :where [_ :db/txInstant ?at]]")
    assert all(abs(at - NOW) < timedelta(seconds=1) for at in instants)


def test_a_datahike_export_comes_in_with_its_history(imported: Callable[[str], Connection]) -> None:
    db = imported(DATAHIKE).db()
    alice = db.entid([":name", "Alice"])
    assert alice == 1024 + 3
    assert db.pull("[:weight {:role [:db/ident]}]", alice) == {
        ":weight": 61.5,
        ":role": [{":db/ident": ":role/admin"}],
    }
    assert db.entid(":role/admin") == 1024 + 5
    assert db.as_of(datetime(2020, 1, 2, 12, tzinfo=UTC)).pull("[:weight]", alice) == {":weight": 60.0}
    events = db.history().q("[:find ?w ?added :in $ ?e :where [?e :weight ?w _ ?added]]", alice)
    assert sorted(events) == [(60.0, False), (60.0, True), (61.5, True)]
    assert db.q("[:find ?at . :where [?tx :by] [?tx :db/txInstant ?at]]") == datetime(2020, 1, 3, tzinfo=UTC)


def test_a_datalevin_dump_comes_in(imported: Callable[[str], Connection]) -> None:
    db = imported(DATALEVIN).db()
    assert db.pull("[:age {:friend [:name]}]", [":name", "Ann #:db{"]) == {
        ":age": 30,
        ":friend": [{":name": "Bob"}],
    }


def test_a_vector_of_datoms_without_a_schema_is_enough(imported: Callable[[str], Connection]) -> None:
    db = imported(
        '[[1 "name" "Ann" 1] [1 :tag "a" 1] [1 :tag "b" 1] [1 :n 1 1] [1 :n 1 2 false] [1 :n 2 2 true]]'
    ).db()
    assert db.pull("[:name :tag :n]", 1025) == {":name": "Ann", ":tag": ["a", "b"], ":n": 2}


def test_a_value_that_replaces_another_ends_it(imported: Callable[[str], Connection]) -> None:
    db = imported(
        "{:n {:db/cardinality :db.cardinality/one}} [1 :n 1 1] [1 :n 1 2] [1 :n 3 2] [1 :n 9 2 false]"
    ).db()
    events = db.history().q("[:find ?n ?added :where [_ :n ?n _ ?added]]")
    assert sorted(events) == [(1, False), (1, True), (3, True)]


def test_every_type_comes_in(imported: Callable[[str], Connection]) -> None:
    db = imported(
        """[1 :string "s"] [1 :long 1] [1 :double 0.5] [1 :boolean false] [1 :keyword :a/b]
           [1 :instant #inst "2020-01-01T00:00:00Z"] [1 :uuid #uuid "00000000-0000-0000-0000-00000000000a"]
           [1 :bigdec 1.50M] [1 :uri #uri "urn:a"]"""
    ).db()
    types = dict(
        db.q("[:find ?a ?t :where [?e :db/valueType ?v] [?e :db/ident ?a] [?v :db/ident ?t] [(> ?e 1023)]]")
    )
    assert types == {
        Keyword(f":{name}"): f":db.type/{name}"
        for name in ("string", "long", "double", "boolean", "keyword", "instant", "uuid", "bigdec", "uri")
    }


def test_tuples_and_their_entities_come_in(imported: Callable[[str], Connection]) -> None:
    conn = imported(
        """#datascript/DB {:schema {:a {:db/index true}, :friend {:db/valueType :db.type/ref},
                                    :a+friend {:db/tupleAttrs [:a :friend], :db/unique :db.unique/identity},
                                    :pair {:db/valueType :db.type/tuple, :db/tupleType :db.type/ref},
                                    :mix {:db/tupleTypes [:db.type/bigdec :db.type/uri]}},
                           :datoms [[1 :a "A" 536870913] [1 :a+friend ["A" nil] 536870913]
                                    [1 :friend 2 536870914] [1 :a+friend ["A" 2] 536870914]
                                    [2 :pair [1 2] 536870914] [2 :mix [1.50M #uri "urn:x"] 536870914]]}"""
    )
    one, two = conn.db().q("[:find [?e ?f] :where [?e :friend ?f]]")
    assert conn.db().entid([":a+friend", ["A", two]]) == one
    assert conn.db().pull("[:pair :mix]", two) == {
        ":pair": (one, two),
        ":mix": (Decimal("1.5"), URI("urn:x")),
    }
    assert conn.db().as_of(2).entid([":a+friend", ["A", None]]) == one
    conn.transact([[":db/add", one, ":a", "B"]])
    assert conn.db().pull("[:a+friend]", one) == {":a+friend": ("B", two)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1 :a", r"the text is not EDN: line 1, column \d+: .*never closed"),
        ("", "there are no datoms"),
        ("#datahike/DB {:max-tx 536870913 :max-eid 1}", "there are no datoms"),
        ("#datascript/DB {:schema [], :datoms [[1 :a 1 1]]}", r"\[\] is not a schema"),
        ("[1 :a]", r"\[1 :a\] is not a datom"),
        ("nonsense", "nonsense is not a datom"),
        ('[1 :a 1 1 "yes"]', "is not a datom"),
        ("[-1 :a 1]", "an entity is a number from 0"),
        ("[1 7 1]", r"\[1 7 1\]: 7 is not the name of an attribute"),
        ("[1 :a nil]", ":a nil: no attribute can hold a NoneType"),
        ("[1 :a {:x 1}]", ":a {:x 1}: no attribute can hold a dict"),
        ('[1 :a 1] [2 :a "x"]', ':a has values of several types, such as 1 and "x"'),
        ('{:a {:db/valueType :db.type/long}} [1 :a "x" 5]', r'\[1 :a "x" 5\]: expected int, got str'),
        ('{:a {:db/valueType :db.type/ref}} [1 :a "x"]', r'\[1 :a "x" 0\]: expected int, got str'),
        ("{:a {:db/valueType :db.type/tuple}} [1 :a [1 2]]", "a tuple needs one of :db/tupleAttrs"),
        (
            "{:a {:db/tupleAttrs [:b :c]}} [1 :a [1 2]]",
            "':b' is not an attribute that a tuple can be made of",
        ),
        ("{:a {:db/tupleType :db.type/long}} [1 :a [1 2.5]]", "expected int, got float"),
        ("{:a {:db/unique :db.unique/some}} [1 :a 1]", "the schema: :db.unique/some is nothing"),
        (
            "{:a {:db/unique :db.unique/value}} [1 :a 1 7] [2 :a 1 8]",
            "transaction 8: :a 1 of entity 1026 cannot be added",
        ),
    ],
)
def test_what_cannot_come_in_is_told(text: str, why: str) -> None:
    with pytest.raises(ImportTextError, match=why):
        import_edn(text, MemoryStore())


def test_bytes_that_are_no_text_are_told() -> None:
    with pytest.raises(ImportTextError, match="the text is not UTF-8"):
        import_edn(b'[1 :a "\xff"]', MemoryStore())


def test_the_command_reads_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "people.edn").write_text(DATASCRIPT)
    assert main(["import", str(tmp_path / "site"), str(tmp_path / "people.edn")]) == 0
    assert capsys.readouterr().err == f"bucketlog: transactions 0 to 3 are in {tmp_path / 'site'}\n"


@pytest.mark.parametrize(
    "text", [DATASCRIPT, DATAHIKE, DATALEVIN], ids=["datascript", "datahike", "datalevin"]
)
def test_what_came_in_is_verified_by_coming_again(
    text: str, connect: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an import that was killed leaves it: the log ends somewhere.
    monkeypatch.setattr("bucketlog.importing._MOST_TRANSACTIONS", 1)
    whole = MemoryStore()
    last = import_edn(text, whole, now=NOW)
    for kept in range(last + 1):
        part = MemoryStore()
        for t in range(kept + 1):
            part.put(key_of(t), bytes(whole.get(key_of(t)).bytes()))
        assert import_edn(text, part) == last  # at another time
        for _ in range(2):
            assert connect(part).db().history().q(_ALL) == connect(whole).db().history().q(_ALL)
            assert import_edn(text, part) == last
    with connect(whole) as conn:
        conn.transact([{":db/doc": "somebody has written meanwhile"}])
    with pytest.raises(StoreError, match=f"goes on after transaction {last}"):
        import_edn(text, whole)


facts = st.tuples(
    st.integers(1, 4), st.sampled_from([":one", ":many", ":ref"]), st.integers(1, 4), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(facts, max_size=5), min_size=1, max_size=6))
def test_what_holds_in_the_end_is_what_the_datoms_say(history: list[list[Any]]) -> None:
    schema = {
        Keyword(":one"): {},
        Keyword(":many"): {Keyword(":db/cardinality"): Keyword(":db.cardinality/many")},
        Keyword(":ref"): {Keyword(":db/valueType"): Keyword(":db.type/ref")},
    }
    datoms = [
        edn.Vector((e, Keyword(a), v, TX + n, added))
        for n, facts in enumerate(history)
        for e, a, v, added in facts
    ]
    expected: dict[tuple[int, str], list[int]] = {}
    for e, a, v, _, added in sorted(datoms, key=lambda datom: (datom[3], datom[4])):
        held = expected.setdefault((e, a), [])
        if not added or v in held:
            held[:] = [one for one in held if one != v or added]
        else:
            held[:] = [*held, v] if a == ":many" else [v]
    store = MemoryStore()
    if not datoms:
        return
    import_edn(edn.dumps({Keyword(":schema"): schema, Keyword(":datoms"): edn.Vector(datoms)}), store)
    with bucketlog.connect(store) as conn:
        rows = conn.db().q("[:find ?e ?n ?v :where [?a :db/ident ?n] [?e ?a ?v] (not [?e :db/ident])]")
    found = {
        (e - 1024, n, v - 1024 if n == ":ref" else v) for e, n, v in rows if n in (":one", ":many", ":ref")
    }
    assert found == {(e, a, v) for (e, a), values in expected.items() for v in values}
