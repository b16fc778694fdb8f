"""Predicates of attributes and of entities, and attributes that must be there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bucketlog import Connection, TransactionError

ANN = [":user/name", "Ann"]
GUARDS = [
    {":db/ident": ":user/age", ":db.attr/preds": [":is/age"]},
    {":db/ident": ":user/name", ":db.attr/preds": [":is/short", ":is/title"]},
    {
        ":db/ident": ":user/whole",
        ":db.entity/attrs": [":user/name", ":user/email"],
        ":db.entity/preds": [":is/friendly"],
    },
]


def is_age(value: Any) -> Any:
    return True if 0 <= value < 150 else f"{value} is no age"


FUNCTIONS = {
    ":is/age": is_age,
    ":is/short": lambda value: len(value) < 20,
    ":is/title": lambda value: value.istitle(),
    ":is/friendly": lambda db, e: bool(db.entity(e).get(":user/friends")) or "has no friends",
}


@pytest.fixture
def guarded(connect: Callable[..., Connection], location: str, schema: str) -> Connection:
    conn = connect(location, functions=FUNCTIONS)
    conn.transact(schema)
    conn.transact(GUARDS)
    return conn


def refused(conn: Connection, data: list[Any], complaint: str) -> None:
    t = conn.db().basis_t
    with pytest.raises(TransactionError, match=complaint):
        conn.transact(data)
    assert conn.db().basis_t == t


def test_values_must_satisfy_the_predicates_of_their_attribute(guarded: Connection) -> None:
    guarded.transact([{":user/name": "Ann", ":user/age": 40}])
    refused(
        guarded,
        [{":user/name": "Ann", ":user/age": 400}],
        ":user/age 400 of entity .* :is/age: 400 is no age",
    )
    refused(guarded, [{":user/name": "ann"}], ":user/name 'ann' .* does not satisfy :is/title$")
    refused(guarded, [{":user/name": "A" + "n" * 30}], "does not satisfy :is/short$")
    refused(guarded, [[":db/cas", ANN, ":user/age", 40, -1]], "-1 is no age")


def test_what_was_there_before_the_predicate_stays(
    connect: Callable[..., Connection], location: str, schema: str
) -> None:
    conn = connect(location, functions=FUNCTIONS)
    conn.transact(schema)
    conn.transact([{":user/name": "ann", ":user/age": 400}])
    conn.transact(GUARDS)
    conn.transact([[":db/retract", [":user/name", "ann"], ":user/age", 400]])
    refused(conn, [{":user/name": "ann", ":user/age": 400}], "400 is no age")


def test_a_predicate_that_is_taken_away_is_not_asked(guarded: Connection) -> None:
    guarded.transact([[":db/retract", ":user/name", ":db.attr/preds", ":is/title"]])
    guarded.transact([{":user/name": "ann"}])
    refused(guarded, [{":user/name": "a" * 30}], ":is/short")
    assert guarded.db().attribute(":user/name").predicates == (":is/short",)


def test_predicates_survive_a_snapshot_and_another_connection(
    guarded: Connection, connect: Callable[..., Connection], location: str
) -> None:
    guarded.snapshot()
    refused(connect(location, functions=FUNCTIONS), [{":user/name": "ann"}], ":is/title")


def test_a_connection_without_the_functions_refuses(
    guarded: Connection, connect: Callable[..., Connection], location: str
) -> None:
    other = connect(location)
    refused(
        other, [{":user/name": "Ann"}], r"a predicate of :user/name is the function :is/short.*functions="
    )
    other.transact([{":post/slug": "free"}])


def test_an_entity_must_be_what_its_specification_says(guarded: Connection) -> None:
    friend = {":db/id": "bob", ":user/name": "Bob"}
    whole = {":user/name": "Ann", ":user/email": "a@x", ":user/friends": ["bob"], ":db/ensure": ":user/whole"}
    guarded.transact([friend, whole])
    assert ":db/ensure" not in guarded.db().pull("[*]", ANN)
    refused(
        guarded,
        [{":user/name": "Carl", ":db/ensure": ":user/whole"}],
        "has no :user/email, which :user/whole",
    )
    refused(
        guarded,
        [{":user/name": "Carl", ":user/email": "c@x", ":db/ensure": ":user/whole"}],
        "of which :user/whole is to be ensured, does not satisfy :is/friendly: has no friends",
    )
    refused(
        guarded,
        [[":db/retract", ANN, ":user/email"], [":db/add", ANN, ":db/ensure", ":user/whole"]],
        "has no :user/email",
    )


def test_what_is_ensured_is_seen_after_the_transaction(guarded: Connection) -> None:
    guarded.transact([{":user/name": "Ann", ":user/email": "a@x"}])
    guarded.transact([{":db/id": ANN, ":user/friends": [ANN], ":db/ensure": ":user/whole"}])
    assert guarded.transact([{":db/id": ANN, ":db/ensure": ":user/whole"}]).tx_data == ()
    refused(
        guarded,
        [[":db/retract", ANN, ":user/friends", ANN], {":db/id": ANN, ":db/ensure": ":user/whole"}],
        "no friends",
    )


def test_a_refused_entity_does_not_spoil_those_that_share_its_object(guarded: Connection) -> None:
    data = []
    for number in range(20):
        name = f"User {number}"
        data.append([{":user/name": name, **({":db/ensure": ":user/whole"} if number % 3 == 0 else {})}])
    futures = [guarded.transact_async(item) for item in data]
    outcomes = [future.exception(timeout=120) is None for future in futures]
    assert outcomes == [number % 3 != 0 for number in range(20)]
    names = guarded.db().q("[:find [?n ...] :where [_ :user/name ?n]]")
    assert sorted(names) == sorted(f"User {number}" for number in range(20) if number % 3)
    assert sorted(guarded.sync().q("[:find [?n ...] :where [_ :user/name ?n]]")) == sorted(names)
    assert len(guarded.db().history().q("[:find ?n :where [_ :user/name ?n]]")) == len(names)


def test_trials_are_guarded_too(guarded: Connection) -> None:
    with pytest.raises(TransactionError, match=":is/title"):
        guarded.db().with_([{":user/name": "ann"}])
    with pytest.raises(TransactionError, match="has no :user/email"):
        guarded.db().with_([{":user/name": "Ann", ":db/ensure": ":user/whole"}])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (
            [{":user/name": "Ann", ":db/ensure": ":role/admin"}],
            ":role/admin has neither :db.entity/attrs nor",
        ),
        ([{":user/name": "Ann", ":db/ensure": ":no/such"}], "':no/such' in .* names no entity"),
        ([{":db/id": "x", ":db/ensure": ":user/whole"}], "temp id 'x' is used as a value only"),
        ([[":db/add", ":role/admin", ":db.attr/preds", ":is/age"]], "lacks :db/valueType"),
    ],
)
def test_a_guard_that_makes_no_sense_is_told(guarded: Connection, data: list[Any], complaint: str) -> None:
    refused(guarded, data, complaint)


def test_what_a_predicate_raises_comes_to_the_caller(
    connect: Callable[..., Connection], location: str, schema: str
) -> None:
    conn = connect(location, functions={":is/age": lambda value: 1 / value > 0})
    conn.transact(schema)
    conn.transact([{":db/ident": ":user/age", ":db.attr/preds": [":is/age"]}])
    with pytest.raises(ZeroDivisionError):
        conn.transact([{":user/name": "Ann", ":user/age": 0}])


# Names of attributes


def test_an_attribute_can_be_renamed(
    conn: Connection, connect: Callable[..., Connection], location: str
) -> None:
    conn.transact([{":user/name": "Ann", ":user/age": 40}])
    old = conn.db()
    conn.transact([[":db/add", ":user/age", ":db/ident", ":user/years"]])
    new = [":user/years"]
    for db in (conn.db(), connect(location).db()):
        assert db.pull(new, ANN) == {":user/years": 40}
        assert db.q("[:find ?y . :where [_ :user/years ?y]]") == 40
        assert db.attribute(":user/age") is None
    assert old.pull([":user/age"], ANN) == {":user/age": 40}
    conn.transact([{":user/name": "Ann", ":user/years": 41}])
    other = {
        ":db/ident": ":user/age",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
    }
    conn.transact([other])
    conn.transact([{":user/name": "Ann", ":user/age": "old enough"}])
    assert conn.db().pull("[:user/years :user/age]", ANN) == {":user/years": 41, ":user/age": "old enough"}


def test_what_others_wrote_under_the_old_name_is_refused_and_not_lost(
    conn: Connection, connect: Callable[..., Connection], location: str
) -> None:
    other = connect(location)
    conn.transact([[":db/add", ":user/age", ":db/ident", ":user/years"]])
    with pytest.raises(TransactionError, match=r"':user/age' in .* is not an attribute"):
        other.transact([{":user/name": "Ann", ":user/age": 1}])
    other.transact([{":user/name": "Ann", ":user/years": 1}])
    assert conn.sync().pull("[:user/years]", ANN) == {":user/years": 1}


def test_a_change_of_the_schema_and_data_that_forbid_it_meet_at_the_log(
    conn: Connection, connect: Callable[..., Connection], location: str
) -> None:
    other = connect(location)
    other.transact([{":user/name": "Ann", ":user/age": 1}, {":user/name": "Bob", ":user/age": 1}])
    refused_here = [{":db/ident": ":user/age", ":db/unique": ":db.unique/value"}]
    with pytest.raises(TransactionError, match="two entities share a value"):
        conn.transact(refused_here)
    other.transact([{":user/name": "Bob", ":user/age": 2}])
    conn.transact(refused_here)
    with pytest.raises(TransactionError, match=":user/age is unique"):
        other.transact([{":user/name": "Bob", ":user/age": 1}])
    conn.transact([[":db/retract", ":user/age", ":db/unique"]])
    other.transact([{":user/name": "Bob", ":user/age": 1}])
