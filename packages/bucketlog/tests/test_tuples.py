"""Tuples: of one type, of several, and composites, which follow the values that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import URI, Connection, Keyword, QueryError, TransactionError, UniqueError
from bucketlog.log import value_from_json, value_to_json
from bucketlog.value import ELEMENT_TYPES, ValueType, decode, elements, encode, tuple_encoder

ELEMENTS: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.STRING: st.text(st.sampled_from("\0\x01aä\U0001f600"), max_size=4),
    ValueType.LONG: st.integers(-(1 << 63), (1 << 63) - 1),
    ValueType.REF: st.integers(0, 1 << 41),
    ValueType.DOUBLE: st.floats(allow_nan=False),
    ValueType.BOOLEAN: st.booleans(),
    ValueType.INSTANT: st.datetimes(timezones=st.just(UTC)),
    ValueType.UUID: st.uuids(),
    ValueType.KEYWORD: st.from_regex(r":[a-c]{1,3}(/[a-c])?", fullmatch=True).map(Keyword),
    ValueType.URI: st.from_regex(r"[a-c]:[a-c]{1,3}", fullmatch=True).map(URI),
    ValueType.BIGDEC: st.decimals(-1000, 1000, places=2),
}
kinds = st.lists(st.sampled_from(list(ELEMENTS)), min_size=2, max_size=8)
rows = kinds.flatmap(
    lambda types: st.tuples(
        st.just(types), st.lists(st.tuples(*(st.none() | ELEMENTS[kind] for kind in types)), max_size=6)
    )
)


def order(row: Sequence[Any]) -> list[tuple[bool, Any]]:
    return [(item is not None, item if item is not None else 0) for item in row]


@given(rows)
def test_tuples_come_back_and_sort_as_their_elements_do(drawn: tuple[list[ValueType], list[Any]]) -> None:
    types, values = drawn
    write = tuple_encoder(types)
    stored = [write(value) for value in values]
    assert [decode(item) for item in stored] == values
    assert [value_from_json(value_to_json(item)) for item in stored] == stored
    assert [decode(item) for item in sorted(stored)] == sorted(values, key=order)  # type: ignore[type-var]


@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=8).map(tuple)))
def test_a_tuple_sorts_before_those_that_go_on_after_it(values: list[tuple[int, ...]]) -> None:
    write = tuple_encoder([ValueType.LONG])
    assert sorted(values) == [decode(stored) for stored in sorted(map(write, values))]  # type: ignore[type-var]


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_tuple_or_refused(body: bytes) -> None:
    try:
        value = decode(b"\x08" + body)
    except ValueError as error:
        assert "is no value" in str(error)  # noqa: PT017 -- both ends are right
    else:
        assert 2 <= len(value) <= 8
        assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        ("08", "0 elements are no tuple"),
        ("0800", "1 elements are no tuple"),
        ("08" + "00" * 9, "9 elements"),
        ("080010ff", "an element is cut off"),
        ("08002061", "a text never ends"),
        ("0800330000", "is not a keyword"),
        ("080020ff0000", "can't decode"),
        ("08003600", "digits of a decimal"),
        ("080036", "the sign of a decimal"),
        ("080038", "no element of kind 56"),
        ("080035" + "00" * 8, "no element of kind 53"),
        ("080011ffffffffffffffff", "NaN is no element"),
    ],
)
def test_damaged_tuples_are_refused(blob: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(bytes.fromhex(blob))


@pytest.mark.parametrize(
    ("types", "value", "message"),
    [
        ("long", (1,), "a tuple has 2 to 8 elements, not 1"),
        ("long", tuple(range(9)), "2 to 8 elements, not 9"),
        ("long", (1, "a"), "expected int, got str"),
        ("long", 5, "expected tuple, got int"),
        ("long string", (1,), "expected 2 elements, got 1"),
        ("long string", (1, 2), "expected str, got int"),
    ],
)
def test_what_is_no_tuple_of_the_types_is_refused(types: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tuple_encoder([ValueType(f":db.type/{name}") for name in types.split()])(value)


def test_tuples_hold_no_bytes_and_no_tuples() -> None:
    for item in (b"x", (1, 2)):
        with pytest.raises(ValueError, match="holds no bytes and no tuples"):
            encode((1, item))
    assert set(ELEMENTS) == ELEMENT_TYPES
    with pytest.raises(ValueError, match="is no tuple"):
        elements(5)


# In a database


def attribute(ident: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        ":db/ident": ident,
        ":db/valueType": f":db.type/{kind}",
        ":db/cardinality": ":db.cardinality/one",
        **{f":db/{key}": value for key, value in more.items()},
    }


SCHOOL = [
    attribute(":student/email", "string", unique=":db.unique/identity"),
    attribute(":course/id", "string", unique=":db.unique/identity"),
    attribute(":reg/student", "ref"),
    attribute(":reg/course", "ref"),
    attribute(":reg/year", "long"),
    attribute(":reg/grade", "bigdec"),
    attribute(":place/path", "tuple", tupleType=":db.type/long"),
    attribute(":place/spots", "tuple", tupleType=":db.type/double")
    | {":db/cardinality": ":db.cardinality/many"},
    attribute(":place/owner", "tuple", tupleTypes=[":db.type/ref", ":db.type/bigdec", ":db.type/keyword"]),
]
COMPOSITE = attribute(
    ":reg/all",
    "tuple",
    tupleAttrs=[":reg/student", ":reg/course", ":reg/year"],
    unique=":db.unique/identity",
)
ANN, BOB = [":student/email", "ann"], [":student/email", "bob"]
ART, BIO = [":course/id", "art"], [":course/id", "bio"]


@pytest.fixture
def school(connect: Callable[..., Connection], location: str) -> Connection:
    """Two students, two courses, and who takes part in what; nobody does yet."""
    conn = connect(location)
    conn.transact(SCHOOL)
    conn.transact([COMPOSITE])
    conn.transact([{name: value} for name, value in (ANN, BOB, ART, BIO)])
    return conn


def composites(conn: Connection) -> list[tuple[Any, ...]]:
    return sorted(conn.db().q("[:find [?t ...] :where [_ :reg/all ?t]]"), key=order)


def ids(conn: Connection, *names: Any) -> list[int]:
    return [conn.db().entid(name) or 0 for name in names]


def test_tuples_of_one_type_and_of_several_are_stored_found_and_pulled(school: Connection) -> None:
    school.transact(
        [
            {
                ":db/id": "home",
                ":place/path": [1, 2, None],
                ":place/spots": [[1, 2.5], (3, 4)],
                ":place/owner": [ANN, 3, ":mine"],
            },
            {":db/id": "new", ":student/email": "cid"},
            {":place/path": (1, 3), ":place/spots": [0, 1], ":place/owner": ["new", None, None]},
        ]
    )
    db = school.db()
    ann, cid = ids(school, ANN, [":student/email", "cid"])
    assert sorted(db.q("[:find [?p ...] :where [_ :place/path ?p]]"), key=order) == [(1, 2, None), (1, 3)]
    assert db.q("[:find [?s ...] :where [?e :place/path [1 3]] [?e :place/spots ?s]]") == [(0.0, 1.0)]
    home = db.q("[:find ?e . :in $ ?p :where [?e :place/path ?p]]", [1, 2, None])
    assert db.pull([":place/path", ":place/owner"], home) == {
        ":place/path": (1, 2, None),
        ":place/owner": (ann, Decimal(3), ":mine"),
    }
    assert sorted(db.pull([":place/spots"], home)[":place/spots"]) == [(1.0, 2.5), (3.0, 4.0)]
    owned = "[:find [?e ...] :in $ ?o :where [?e :place/owner ?o]]"
    assert db.q(owned, (ANN, 3, ":mine")) == db.q(owned, (ann, Decimal("3.0"), Keyword(":mine"))) == [home]
    assert db.q(owned, ([":student/email", "nobody"], 3, ":mine")) == []
    assert db.q(owned, "text") == []
    assert db.q('[:find ?e . :where [?e :place/owner [[:student/email "cid"] nil nil]]]') is not None
    assert (cid, None, None) in db.q("[:find [?o ...] :where [_ :place/owner ?o]]")


def test_tuple_and_untuple_in_queries_meet_stored_tuples(school: Connection) -> None:
    school.transact([{":place/path": [1, 2]}, {":place/path": [2, 5]}])
    query = "[:find ?a ?b :where [_ :place/path ?p] [(untuple ?p) [?a ?b]]]"
    assert sorted(school.db().q(query)) == [(1, 2), (2, 5)]
    school.transact([{":place/path": [2, 5, 7]}])
    db = school.db()
    query = "[:find ?e . :in $ ?a ?b :where [(tuple ?a ?b) ?p] [?e :place/path ?p]]"
    assert db.q(query, 2, 5) == db.q("[:find ?e . :where [?e :place/path [2 5]]]")
    query = "[:find [?p ...] :in $ ?q :where [_ :place/path ?p] [(< ?q ?p)]]"
    assert sorted(db.q(query, (2, 5))) == [(2, 5, 7)]
    assert sorted(db.q(query, (1, 100))) == [(2, 5), (2, 5, 7)]
    assert db.q("[:find (max ?p) . :where [_ :place/path ?p]]") == (2, 5, 7)
    assert sorted(db.q("[:find [?p ...] :where [_ :place/path ?p] [(>= ?p [2 5])]]")) == [(2, 5), (2, 5, 7)]


def test_tuples_compare_with_tuples_of_other_numbers_by_size(school: Connection) -> None:
    school.transact([{":place/spots": [[2.0, 5.5], [1.5, 9]], ":place/path": [2, 5]}])
    db = school.db()
    spots = "[_ :place/spots ?s]"
    assert db.q(f"[:find [?s ...] :where {spots} [(< ?s [2 3])]]") == [(1.5, 9.0)]
    assert db.q(f"[:find [?s ...] :in $ ?t :where {spots} [(<= ?t ?s)]]", (2, 5)) == [(2.0, 5.5)]
    assert db.q(f"[:find [?s ...] :in $ ?t :where {spots} [(= ?t ?s)]]", (Decimal("1.5"), 9)) == [(1.5, 9.0)]
    assert db.q(f"[:find ?s ?p :where {spots} [_ :place/path ?p] [(< ?p ?s)]]") == [((2.0, 5.5), (2, 5))]
    assert db.q(f"[:find ?s . :where {spots} [(identity ?s) ?t] [(tuple 2 1) ?u] [(> ?u ?t)]]") == (1.5, 9.0)
    assert db.q(f"[:find ?s . :where {spots} [(identity ?s) ?t] [(tuple nil 1) ?u] [(> ?u ?t)]]") is None
    assert db.q("[:find ?p . :where [_ :place/path ?p] [(!= ?p [2 5])]]") is None


def test_a_composite_follows_its_components(school: Connection) -> None:
    ann, bob, art, bio = ids(school, ANN, BOB, ART, BIO)
    reg = school.transact([{":db/id": "reg", ":reg/student": ANN, ":reg/course": ART}]).tempids["reg"]
    assert composites(school) == [(ann, art, None)]
    assert school.db().entid([":reg/all", [ANN, ART, None]]) == reg
    school.transact([[":db/add", reg, ":reg/year", 2024], [":db/add", reg, ":reg/course", BIO]])
    assert composites(school) == [(ann, bio, 2024)]
    school.transact([[":db/cas", reg, ":reg/student", ANN, BOB]])
    assert composites(school) == [(bob, bio, 2024)]
    school.transact([[":db/retractEntity", BIO]])
    assert composites(school) == [(bob, None, 2024)]
    school.transact([[":db/retract", reg, ":reg/student"], [":db/retract", reg, ":reg/year", 2024]])
    assert composites(school) == []
    school.transact([{":db/id": reg, ":reg/year": 1}])
    school.transact([[":db/retractEntity", reg]])
    assert composites(school) == []
    past = school.db().history().q("[:find ?t ?added :where [_ :reg/all ?t _ ?added]]")
    assert sorted(past, key=lambda row: (order(row[0]), row[1]))[:2] == [
        ((None, None, 1), False),
        ((None, None, 1), True),
    ]


def test_a_unique_composite_has_one_entity(school: Connection) -> None:
    school.transact([{":reg/student": ANN, ":reg/course": ART, ":reg/year": 2024}])
    with pytest.raises(UniqueError, match=r":reg/all is unique and \(\d+, \d+, 2024\) belongs to entity"):
        school.transact([{":reg/student": ANN, ":reg/course": ART, ":reg/year": 2024}])
    other = school.transact([{":db/id": "o", ":reg/student": ANN, ":reg/course": ART}]).tempids["o"]
    with pytest.raises(UniqueError):
        school.transact([{":db/id": other, ":reg/year": 2024}])


def test_a_composite_that_is_given_finds_its_entity(school: Connection) -> None:
    reg = school.transact([{":db/id": "r", ":reg/student": ANN, ":reg/course": ART, ":reg/year": 1}]).tempids[
        "r"
    ]
    school.transact([{":reg/all": [ANN, ART, 1], ":reg/grade": Decimal("1.7")}])
    assert school.db().q("[:find ?g . :in $ ?r :where [?r :reg/grade ?g]]", reg) == Decimal("1.7")
    school.transact([[":db/add", [":reg/all", [ANN, ART, 1]], ":reg/grade", 2]])
    assert school.db().q("[:find [?g ...] :where [_ :reg/grade ?g]]") == [Decimal(2)]
    same = {":reg/student": ANN, ":reg/course": ART, ":reg/year": 1, ":reg/all": [ANN, ART, 1]}
    report = school.transact([{":db/id": "same", ":reg/grade": 3, **same}])
    assert report.tempids["same"] == reg
    assert composites(school) == [(*ids(school, ANN, ART), 1)]


def test_a_composite_of_entities_that_are_new_is_found_by_temp_ids(school: Connection) -> None:
    school.transact(
        [
            {":db/id": "dan", ":student/email": "dan"},
            {":db/id": "art", ":course/id": "art"},
            {":reg/student": "dan", ":reg/course": "art", ":reg/all": ["dan", "art", None], ":reg/grade": 1},
        ]
    )
    dan, art = ids(school, [":student/email", "dan"], ART)
    assert composites(school) == [(dan, art, None)]
    school.transact(
        [
            {":db/id": "d", ":student/email": "dan"},
            {":db/id": "reg", ":reg/all": ["d", ART, None], ":reg/grade": 2},
        ]
    )
    assert composites(school) == [(dan, art, None)]
    assert school.db().q("[:find [?g ...] :where [_ :reg/grade ?g]]") == [Decimal(2)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            [{":reg/all": [ANN, ART, 2]}],
            "is made of :reg/student, :reg/course, :reg/year and so no value: it cannot",
        ),
        ([{":reg/student": ANN, ":reg/all": [ANN, ART, 2]}], "it cannot be .*; change these instead"),
        ([[":db/add", [":reg/year", 1], ":reg/all", [ANN, ART, 2]]], "it cannot be"),
        ([[":db/retract", [":reg/year", 1], ":reg/all"]], "it cannot be retracted"),
        ([[":db/cas", [":reg/year", 1], ":reg/all", [ANN, ART, 1], [BOB, ART, 1]]], "it cannot be"),
        ([{":reg/all": [ANN, ART, 1], ":reg/year": 5}], r"so \(\d+, \d+, 5\): it cannot be \(\d+, \d+, 1\)"),
        ([{":reg/all": [ANN, 1]}], "expected 3 elements, got 2"),
        ([{":reg/all": [ANN, ART, "x"]}], "expected int, got str"),
        ([{":reg/all": [[":student/email", "nobody"], ART, 1]}], "names no entity"),
    ],
)
def test_a_composite_cannot_be_anything_else(school: Connection, data: list[Any], message: str) -> None:
    reg = school.transact([{":db/id": "r", ":reg/student": ANN, ":reg/course": ART, ":reg/year": 1}]).tempids[
        "r"
    ]
    data = [
        [reg if item == [":reg/year", 1] else item for item in form] if isinstance(form, list) else form
        for form in data
    ]
    before = composites(school)
    with pytest.raises(TransactionError, match=message):
        school.transact(data)
    assert composites(school) == before


def test_what_a_composite_is_made_of_may_change_with_it(school: Connection) -> None:
    reg = school.transact([{":db/id": "r", ":reg/student": ANN, ":reg/course": ART}]).tempids["r"]
    school.transact([{":db/id": reg, ":reg/student": BOB, ":reg/all": [BOB, ART, None]}])
    assert composites(school) == [(*ids(school, BOB, ART), None)]
    school.transact([[":db/retract", reg, ":reg/all"], [":db/retract", reg, ":reg/course"]])
    assert composites(school) == [(ids(school, BOB)[0], None, None)]


def test_a_composite_of_values_that_are_there_has_them_at_once(
    connect: Callable[..., Connection], location: str
) -> None:
    conn = connect(location)
    conn.transact(SCHOOL)
    conn.transact([{name: value} for name, value in (ANN, BOB, ART)])
    conn.transact([{":reg/student": ANN}, {":reg/student": BOB, ":reg/course": ART, ":reg/year": 3}])
    conn.transact([COMPOSITE])
    ann, bob, art = ids(conn, ANN, BOB, ART)
    assert composites(conn) == [(ann, None, None), (bob, art, 3)]
    conn.transact([{":reg/student": ANN, ":reg/course": ART}, COMPOSITE])
    assert len(composites(conn)) == 3
    with pytest.raises(UniqueError):
        conn.transact([{":reg/student": ANN}])


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (attribute(":x", "tuple"), "a tuple needs one of :db/tupleAttrs, :db/tupleType, :db/tupleTypes"),
        (attribute(":x", "tuple", tupleType=":db.type/long", tupleTypes=[":a", ":b"]), "needs one of"),
        (
            attribute(":x", "long", tupleType=":db.type/long"),
            ":db/tupleType is for attributes of :db.type/tuple only",
        ),
        (attribute(":x", "tuple", tupleType=":db.type/bytes"), "the types of elements are :db.type/bigdec, "),
        (
            attribute(":x", "tuple", tupleTypes=[":db.type/long", ":db.type/tuple"]),
            "the types of elements are",
        ),
        (attribute(":x", "tuple", tupleTypes=[":db.type/long", None]), "the types of elements are"),
        (attribute(":x", "tuple", tupleTypes=[":db.type/long"]), "2 to 8 elements, not 1"),
        (attribute(":x", "tuple", tupleAttrs=[":reg/year", ":reg/none"]), "':reg/none' is not an attribute"),
        (attribute(":x", "tuple", tupleAttrs=[":reg/year", None]), "None is not an attribute"),
        (
            attribute(":x", "tuple", tupleAttrs=[":reg/year", ":db/ident"]),
            "':db/ident' is not an attribute that",
        ),
        (attribute(":x", "tuple", tupleAttrs=[":reg/year", ":x"]), ":x is :db.type/tuple"),
        (attribute(":x", "tuple", tupleAttrs=[":reg/year", ":place/path"]), ":place/path is :db.type/tuple"),
        (
            attribute(":x", "tuple", tupleAttrs=[":reg/year", ":many"]),
            ":many is :db.type/long, with many values",
        ),
        (
            attribute(":x", "tuple", tupleAttrs=[":reg/year", ":reg/grade"])
            | {":db/cardinality": ":db.cardinality/many"},
            "a composite tuple is :db.cardinality/one",
        ),
        ({":db/ident": ":reg/year", ":db/cardinality": ":db.cardinality/many"}, "it is a part of :reg/all"),
        (
            {":db/ident": ":reg/all", ":db/tupleAttrs": [":reg/year", ":reg/grade"]},
            "what its tuples are made of",
        ),
        ({":db/ident": ":place/path", ":db/tupleType": ":db.type/double"}, "what its tuples are made of"),
    ],
)
def test_definitions_of_tuples_that_make_no_sense_are_refused(
    school: Connection, definition: dict[str, Any], message: str
) -> None:
    school.transact([attribute(":many", "long") | {":db/cardinality": ":db.cardinality/many"}])
    with pytest.raises(TransactionError, match=message):
        school.transact([definition])
    assert school.db().schema.attribute(":x") is None


def test_one_wrong_type_among_right_definitions_is_refused_by_name(school: Connection) -> None:
    definitions = [attribute(f":x{n}", "tuple", tupleType=":db.type/long") for n in range(4)]
    wrong = attribute(":wrong", "long") | {":db/valueType": ":db.cardinality/one"}
    with pytest.raises(TransactionError, match="attribute :wrong: 35 is not one of the idents"):
        school.transact([*definitions, wrong])


def test_a_definition_in_edn_is_the_same(school: Connection) -> None:
    school.transact(
        """[{:db/ident :x/pair :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one
             :db/tupleTypes [:db.type/string :db.type/uri]}]"""
    )
    school.transact('[{:x/pair ["a" #uri "urn:b"]} {:x/pair [nil nil]}]')
    assert set(school.db().q("[:find [?p ...] :where [_ :x/pair ?p]]")) == {("a", URI("urn:b")), (None, None)}
    assert school.db().pull("[:db/tupleTypes]", ":x/pair") == {
        ":db/tupleTypes": (":db.type/string", ":db.type/uri")
    }


def test_a_lookup_ref_of_a_tuple_that_cannot_be_is_refused(school: Connection) -> None:
    with pytest.raises(QueryError, match=r"expected 3 elements, got 2 \(:db.type/tuple\)"):
        school.db().entid([":reg/all", [1, 2]])
    assert school.db().entid([":reg/all", [[":student/email", "nobody"], 1, 2]]) is None


@pytest.mark.parametrize("attributes", [[":reg/student"], None])
def test_an_excision_takes_the_composites_of_what_goes(
    school: Connection, attributes: list[str] | None
) -> None:
    reg = school.transact([{":db/id": "r", ":reg/student": ANN, ":reg/course": ART}]).tempids["r"]
    school.transact([{":db/id": reg, ":reg/year": 1}])
    bound = school.db().basis_t
    school.transact([{":db/id": reg, ":reg/year": 2}])
    school.excise([reg], attributes=attributes, before=bound)
    assert school.db().history().q("[:find ?t :where [_ :reg/all ?t]]") == []
    assert school.db().q("[:find [?y ...] :where [_ :reg/year ?y]]") == [2]
    school.transact([{":db/id": reg, ":reg/year": 3}])
    art = ids(school, ART)[0] if attributes else None
    assert composites(school) == [(None, art, 3)]
    school.excise([reg], attributes=attributes)
    assert composites(school) == []


_VALUES: dict[str, st.SearchStrategy[Any]] = {
    ":reg/student": st.sampled_from([ANN, BOB]),
    ":reg/course": st.sampled_from([ART, BIO]),
    ":reg/year": st.integers(1, 2),
}
_steps = st.lists(
    st.lists(
        st.sampled_from(list(_VALUES)).flatmap(
            lambda name: st.tuples(
                st.sampled_from(["e0", "e1", "e2"]), st.just(name), st.none() | _VALUES[name]
            )
        ),
        min_size=1,
        max_size=4,
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(_steps)
def test_a_composite_is_always_what_its_components_say(steps: list[list[tuple[str, str, Any]]]) -> None:
    with bucketlog.connect(MemoryStore()) as conn:
        conn.transact(SCHOOL)
        conn.transact([COMPOSITE])
        conn.transact([{name: value} for name, value in (ANN, BOB, ART, BIO)])
        regs = conn.transact([{":db/id": f"e{n}", ":reg/grade": n} for n in range(3)]).tempids
        for step in steps:
            data = [
                [":db/retract", regs[e], name] if value is None else [":db/add", regs[e], name, value]
                for e, name, value in step
            ]
            try:
                conn.transact(data)
            except TransactionError:
                continue
            db = conn.db()
            for e in regs.values():
                parts = [db.q("[:find ?v . :in $ ?e ?a :where [?e ?a ?v]]", e, name) for name in _VALUES]
                found = db.q("[:find ?t . :in $ ?e :where [?e :reg/all ?t]]", e)
                assert found == (tuple(parts) if any(part is not None for part in parts) else None)
