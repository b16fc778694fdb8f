"""Transactions: what the data means, what is refused, and a model that must agree for any of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import (
    ConflictError,
    Connection,
    Database,
    Keyword,
    TransactionError,
    UniqueError,
)

ANN = [":user/name", "ann"]
BOB = [":user/name", "bob"]


def test_an_entity_map_becomes_datoms(conn: Connection) -> None:
    report = conn.transact([{":db/id": "a", ":user/name": "ann", ":user/age": 40}])
    ann = report.tempids["a"]
    facts = {(datom.e, datom.a, datom.v, datom.added) for datom in report.tx_data if datom.e == ann}
    assert facts == {(ann, ":user/name", "ann", True), (ann, ":user/age", 40, True)}
    assert all(datom.tx == report.tx_data[0].tx for datom in report.tx_data)
    assert report.db_before.basis_t + 1 == report.t == report.db_after.basis_t == conn.db().basis_t
    assert report.db_before.pull("[:user/age]", ann) == {}
    assert report.db_after.pull("[:user/age]", ann) == {":user/age": 40}


def test_every_type_of_value_comes_back_as_it_went_in(conn: Connection) -> None:
    entity = {
        ":user/name": "ann\nwith 'quotes' \x00 and 😀",
        ":user/age": -(2**63),
        ":user/score": 1.0,
        ":user/active": True,
        ":user/joined": datetime(1815, 12, 10, 1, 2, 3, 456789, tzinfo=UTC),
        ":user/key": uuid.UUID(int=5),
        ":user/photo": b"\x00\xff",
        ":user/tags": [Keyword(":a"), Keyword(":b/c")],
    }
    ann = conn.transact([{":db/id": "a", **entity}]).tempids["a"]
    found = conn.db().pull(list(entity), ann)
    assert found == entity
    assert {key: type(value) for key, value in found.items()} == {k: type(v) for k, v in entity.items()}


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        (":user/name", 5, "5 is no value for :user/name.*:db.type/string.*expected str, got int"),
        (":user/name", "\ud800", "not valid Unicode"),
        (":user/age", "x", "'x' is no value for :user/age.*:db.type/long"),
        (":user/age", True, "expected int, got bool"),
        (":user/age", 2**63, "does not fit in 64 bits"),
        (":user/score", "1", "expected float"),
        (":user/score", float("nan"), "NaN"),
        (":user/active", 1, "expected bool"),
        (":user/joined", "2024-01-01", "expected datetime"),
        (":user/joined", datetime(2024, 1, 1), "time zone"),  # noqa: DTZ001 -- the point
        (":user/key", "a", "expected UUID"),
        (":user/photo", "a", "expected bytes"),
        (":user/tags", ["no colon"], "not a keyword"),
        (":user/parent", 4.5, "names no entity"),
        (":user/parent", 10**6, "was never made"),
        (":user/parent", ":no/ident", "names no entity"),
        (":user/parent", [":user/name", "nobody"], "names no entity"),
        (":user/parent", "ghost", "used as a value only"),
        (":user/name", None, "expected str, got NoneType"),
        (":user/nothing", 1, ":user/nothing.*is not an attribute"),
        ("name", 1, "'name'.*is not an attribute"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    conn: Connection, attribute: str, value: Any, message: str
) -> None:
    with pytest.raises(TransactionError, match=message):
        conn.transact([{":db/id": "a", attribute: value}])
    assert conn.db().basis_t == 1


@pytest.mark.parametrize(
    "data",
    [
        {":user/name": "ann"},
        5,
        [5],
        [[]],
        [[":db/frobnicate", 1]],
        [[":db/add", "a", ":user/name"]],
        [[":db/retract", "new", ":user/name", "x"]],
        [[":db/cas", "new", ":user/age", None, 1]],
        "[{:user/name",
    ],
)
def test_data_of_the_wrong_form_is_refused(conn: Connection, data: Any) -> None:
    with pytest.raises(TransactionError):
        conn.transact(data)


def test_transaction_data_may_be_edn(conn: Connection) -> None:
    conn.transact('[{:user/name "ann", :user/tags [:a :b], :user/role :role/admin}]')
    assert conn.db().pull("[:user/tags {:user/role [:db/ident]}]", ANN) == {
        ":user/tags": [":a", ":b"],
        ":user/role": {":db/ident": ":role/admin"},
    }


def test_a_new_value_replaces_the_one_of_cardinality_one(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/age": 40}])
    report = conn.transact([{":user/name": "ann", ":user/age": 41}])
    assert [(d.a, d.v, d.added) for d in report.tx_data if d.a == ":user/age"] == [
        (":user/age", 40, False),
        (":user/age", 41, True),
    ]


def test_values_of_cardinality_many_gather(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/tags": ":a"}])
    conn.transact([{":user/name": "ann", ":user/tags": {":b", ":a"}}])
    assert conn.db().pull("[:user/tags]", ANN) == {":user/tags": [":a", ":b"]}


def test_what_is_so_already_makes_no_datom(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/age": 40, ":user/tags": [":a"]}])
    report = conn.transact([{":user/name": "ann", ":user/age": 40, ":user/tags": [":a", ":b"]}])
    assert [(d.a, d.v) for d in report.tx_data if d.a != ":db/txInstant"] == [(":user/tags", ":b")]


def test_a_unique_identity_finds_the_entity(conn: Connection) -> None:
    first = conn.transact([{":db/id": "a", ":user/name": "ann"}]).tempids["a"]
    second = conn.transact([{":db/id": "x", ":user/name": "ann", ":user/age": 1}]).tempids["x"]
    assert first == second


def test_two_temp_ids_with_one_identity_are_one_entity(conn: Connection) -> None:
    report = conn.transact(
        [
            {":db/id": "x", ":user/age": 3},
            {":db/id": "y", ":user/name": "ann"},
            {":db/id": "x", ":user/name": "ann"},
            {":user/name": "ann", ":user/score": 1},
        ]
    )
    assert report.tempids["x"] == report.tempids["y"]
    assert conn.db().pull("[:user/age :user/score]", ANN) == {":user/age": 3, ":user/score": 1.0}


def test_an_identity_of_two_entities_is_refused(conn: Connection) -> None:
    conn.transact([{":user/name": "ann"}, {":post/slug": "hello"}])
    with pytest.raises(UniqueError, match=r":user/name is unique and 'ann'|:post/slug is unique and 'hello'"):
        conn.transact([{":user/name": "ann", ":post/slug": "hello"}])


def test_a_unique_value_belongs_to_one_entity(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/email": "a@x"}, {":user/name": "bob"}])
    with pytest.raises(UniqueError, match=":user/email is unique and 'a@x' belongs to entity"):
        conn.transact([{":user/name": "bob", ":user/email": "a@x"}])
    with pytest.raises(UniqueError):
        conn.transact([{":user/name": "c", ":user/email": "n"}, {":user/name": "d", ":user/email": "n"}])
    conn.transact([[":db/retract", ANN, ":user/email"], {":user/name": "bob", ":user/email": "a@x"}])
    assert conn.db().pull("[:user/name]", [":user/email", "a@x"]) == {":user/name": "bob"}


def test_references_may_be_temp_ids_lookup_refs_idents_and_ids(conn: Connection) -> None:
    ann = conn.transact([{":db/id": "a", ":user/name": "ann"}]).tempids["a"]
    conn.transact(
        [
            {":db/id": "b", ":user/name": "bob", ":user/parent": ANN, ":user/friends": [ann, "c"]},
            {":db/id": "c", ":user/name": "cat", ":user/friends": ANN, ":user/role": ":role/guest"},
            [":db/add", ANN, ":user/friends", "b"],
        ]
    )
    pull = conn.db().pull
    assert pull("[{:user/parent [:user/name] :user/friends [:user/name]}]", BOB) == {
        ":user/parent": {":user/name": "ann"},
        ":user/friends": [{":user/name": "ann"}, {":user/name": "cat"}],
    }
    assert pull("[{:user/friends [:user/name]}]", ANN) == {":user/friends": [{":user/name": "bob"}]}


def test_nested_maps_are_entities_of_their_own(conn: Connection) -> None:
    conn.transact(
        [
            {
                ":post/slug": "hello",
                ":post/author": {":user/name": "ann"},
                ":post/comments": [{":comment/text": "one"}, {":comment/text": "two"}],
            }
        ]
    )
    assert conn.db().pull(
        "[{:post/author [:user/name]} {:post/comments [:comment/text]}]", [":post/slug", "hello"]
    ) == {
        ":post/author": {":user/name": "ann"},
        ":post/comments": [{":comment/text": "one"}, {":comment/text": "two"}],
    }
    with pytest.raises(TransactionError, match="nothing else can find"):
        conn.transact([{":post/slug": "x", ":post/author": {":user/age": 3}}])


def test_a_name_without_a_namespace_has_a_reverse_too(conn: Connection) -> None:
    conn.transact(
        [{":db/ident": ":boss", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"}]
    )
    conn.transact([{":user/name": "Ann"}])
    conn.transact([{":user/name": "Bob", ":_boss": [":user/name", "Ann"]}])
    assert conn.db().q('[:find ?b . :where [?a :user/name "Ann"] [?a :boss ?e] [?e :user/name ?b]]') == "Bob"


def test_a_reverse_reference_points_back(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":post/_author": [{":post/slug": "a"}, {":post/slug": "b"}]}])
    conn.transact([{":post/slug": "c"}, {":user/name": "ann", ":post/_author": [":post/slug", "a"]}])
    assert sorted(
        conn.db().q('[:find [?s ...] :where [?p :post/author [:user/name "ann"]] [?p :post/slug ?s]]')
    ) == ["a", "b"]
    with pytest.raises(TransactionError, match="only a reference has a reverse"):
        conn.transact([{":user/name": "ann", ":user/_age": 3}])


def test_retracting(conn: Connection) -> None:
    conn.transact(
        [{":user/name": "ann", ":user/age": 1, ":user/score": 2.0, ":user/tags": [":a", ":b", ":c"]}]
    )
    conn.transact(
        [
            [":db/retract", ANN, ":user/tags", ":a"],
            [":db/retract", ANN, ":user/score"],
            [":db/retract", ANN, ":user/age", 99],
        ]
    )
    assert conn.db().pull("[:user/age :user/score :user/tags]", ANN) == {
        ":user/age": 1,
        ":user/tags": [":b", ":c"],
    }


def test_retracting_an_entity_takes_its_components_and_the_references_to_it(conn: Connection) -> None:
    conn.transact(
        [
            {":db/id": "a", ":user/name": "ann"},
            {":user/name": "bob", ":user/parent": "a", ":user/friends": ["a"]},
            {":post/slug": "p", ":post/author": "a", ":post/comments": [{":comment/text": "x"}]},
        ]
    )
    conn.transact([[":db/retractEntity", [":post/slug", "p"]], [":db/retractEntity", ANN]])
    db = conn.db()
    assert db.q("[:find ?e ?t :where [?e :comment/text ?t]]") == []
    assert db.pull("[*]", BOB) == {":db/id": db.entid(BOB), ":user/name": "bob"}
    assert db.entid(ANN) is None


def test_compare_and_swap(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/age": 1}])
    conn.transact([[":db/cas", ANN, ":user/age", 1, 2], [":db/cas", ANN, ":user/score", None, 1.5]])
    with pytest.raises(ConflictError, match=r":db/cas on :user/age of entity .* expected 1, found 2"):
        conn.transact([[":db/cas", ANN, ":user/age", 1, 3]])
    with pytest.raises(ConflictError, match="expected none, found 2"):
        conn.transact([[":db/cas", ANN, ":user/age", None, 3]])
    with pytest.raises(ConflictError, match="expected 4, found no value"):
        conn.transact([[":db/cas", ":role/admin", ":user/age", 4, 3]])
    with pytest.raises(TransactionError, match="many values"):
        conn.transact([[":db/cas", ANN, ":user/tags", ":a", ":b"]])
    conn.transact([[":db/cas", ANN, ":user/score", 1.5, None]])
    assert conn.db().pull("[:user/age :user/score]", ANN) == {":user/age": 2}


def test_contradictions_in_one_transaction_are_refused(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/age": 1}])
    with pytest.raises(TransactionError, match="both 2 and 3 are added"):
        conn.transact([[":db/add", ANN, ":user/age", 2], [":db/add", ANN, ":user/age", 3]])
    with pytest.raises(TransactionError, match="both added and retracted"):
        conn.transact([[":db/add", ANN, ":user/age", 1], [":db/retract", ANN, ":user/age", 1]])


def test_functions_see_the_database_that_they_change(conn: Connection) -> None:
    conn.transact([{":user/name": "ann", ":user/age": 1}])

    def older(db: Database) -> list[Any]:
        return [{":user/name": "ann", ":user/age": db.pull("[:user/age]", ANN)[":user/age"] + 1}]

    for _ in range(3):
        conn.transact([older])
    assert conn.db().pull("[:user/age]", ANN) == {":user/age": 4}

    def fail(db: Database) -> list[Any]:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        conn.transact([{":user/name": "bob"}, fail])
    with pytest.raises(TransactionError, match="cannot use the connection"):
        conn.transact([lambda _: conn.transact([]).tx_data])
    with pytest.raises(TransactionError, match="nested more than"):
        conn.transact([recurse])
    assert conn.db().entid(BOB) is None


def recurse(db: Database) -> list[Any]:
    """A transaction function that never ends."""
    return [recurse]


def test_a_transaction_is_an_entity(conn: Connection) -> None:
    conn.transact([{":user/name": "ann"}, {":db/id": "datomic.tx", ":tx/by": "admin"}])
    assert conn.db().q('[:find ?by . :where [_ :user/name "ann" ?tx] [?tx :tx/by ?by]]') == "admin"


def test_instants_only_ever_grow(connect: Callable[..., Connection], location: str, schema: str) -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    conn = connect(location, now=lambda: noon)
    for _ in range(3):
        conn.transact([{":db/ident": f":x/{conn.db().basis_t}"}])
    instants = conn.db().q("[:find [?i ...] :where [_ :db/txInstant ?i]]")
    assert sorted(instants) == [noon + timedelta(microseconds=n) for n in range(4)]


def test_an_instant_may_be_stated_between_the_last_and_now(
    connect: Callable[..., Connection], location: str
) -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    conn = connect(location, now=lambda: now)
    then, now = now + timedelta(days=1), now + timedelta(days=2)
    conn.transact([{":db/ident": ":x/a"}, [":db/add", "datomic.tx", ":db/txInstant", then]])
    assert conn.db().pull("[:db/ident]", ":x/a")
    assert conn.db().as_of(then).entid(":x/a") is not None
    for wrong in (then, now + timedelta(days=1)):
        with pytest.raises(TransactionError, match="must be after"):
            conn.transact([{":db/ident": ":x/b"}, [":db/add", "datomic.tx", ":db/txInstant", wrong]])


def test_the_schema_can_be_transacted_at_every_start(conn: Connection, schema: str) -> None:
    basis = conn.db().basis_t
    assert conn.transact(schema).t == basis


ATTRIBUTE = {
    ":db/ident": ":x/a",
    ":db/valueType": ":db.type/string",
    ":db/cardinality": ":db.cardinality/many",
}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{":db/ident": ":x/b", ":db/valueType": ":db.type/string"}], "lacks :db/cardinality"),
        ([{":db/ident": ":x/b", ":db/unique": ":db.unique/value"}], "lacks :db/valueType"),
        ([{":db/id": "x", ":db/valueType": ":db.type/string"}], "lacks :db/ident"),
        ([{**ATTRIBUTE, ":db/ident": ":x/b", ":db/valueType": ":x/a"}], "not one of the idents"),
        ([{**ATTRIBUTE, ":db/ident": ":x/b", ":db/isComponent": True}], "only a :db.type/ref"),
        ([{**ATTRIBUTE, ":db/ident": ":db/mine"}], "bucketlog's own"),
        ([[":db/add", ":db/doc", ":db/doc", "mine"]], "bucketlog's own"),
        ([{**ATTRIBUTE, ":db/valueType": ":db.type/long"}], "its type cannot change"),
        ([[":db/retractEntity", ":x/a"]], "lacks"),
        ([{**ATTRIBUTE, ":db/cardinality": ":db.cardinality/one"}], "retract all but one"),
        ([{**ATTRIBUTE, ":db/unique": ":db.unique/value"}], "change or retract one"),
        ([{**ATTRIBUTE, ":db/doc": "x"}, [":db/add", ":x/a", ":db/unique", ":db.unique/value"],
          {":db/id": "n", ":x/a": "new"}], "cannot be changed and used"),
        ([[":db/add", ":x/a", ":db/txInstant", datetime(2024, 1, 1, tzinfo=UTC)]], "transaction itself"),
        ([{**ATTRIBUTE, ":db/ident": ":x/new"}, {":db/id": "e", ":x/new": "v"}], "in an earlier transaction"),
    ],
)  # fmt: skip
def test_a_schema_that_makes_no_sense_is_refused(conn: Connection, data: list[Any], message: str) -> None:
    conn.transact([ATTRIBUTE])
    conn.transact([{":db/id": "1", ":x/a": ["p", "q"]}, {":db/id": "2", ":x/a": ["q"]}])
    with pytest.raises(TransactionError, match=message):
        conn.transact(data)


def test_a_schema_may_change_where_the_data_allows_it(conn: Connection) -> None:
    conn.transact([ATTRIBUTE])
    e = conn.transact([{":db/id": "1", ":x/a": ["p"]}]).tempids["1"]
    conn.transact(
        [
            {
                **ATTRIBUTE,
                ":db/cardinality": ":db.cardinality/one",
                ":db/unique": ":db.unique/identity",
                ":db/doc": "d",
            }
        ]
    )
    assert conn.db().pull("[:x/a]", [":x/a", "p"]) == {":x/a": "p"}
    conn.transact([[":db/retract", ":x/a", ":db/unique"], {**ATTRIBUTE}])
    conn.transact([{":db/id": e, ":x/a": ["q"]}, {":db/id": "2", ":x/a": ["q"]}])
    assert conn.db().pull("[:x/a]", e) == {":x/a": ["p", "q"]}


# A model: users by name, as plain Python. Every database value must agree with it, then and later.


@dataclass(frozen=True)
class User:
    age: int | None = None
    email: str | None = None
    tags: frozenset[str] = frozenset()
    friends: frozenset[str] = frozenset()


Model = dict[str, User]
_USERS = ["ann", "bob", "cat"]
_NAMES = st.sampled_from(_USERS)
_OPERATIONS = st.one_of(
    st.tuples(st.just("age"), _NAMES, st.integers(0, 2)),
    st.tuples(st.just("email"), _NAMES, st.sampled_from(["x", "y"])),
    st.tuples(st.just("tags"), _NAMES, st.frozensets(st.sampled_from([":p", ":q"]))),
    st.tuples(st.just("untag"), _NAMES, st.sampled_from([":p", ":q"])),
    st.tuples(st.just("no email"), _NAMES, st.none()),
    st.tuples(
        st.just("cas"), _NAMES, st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2))
    ),
    st.tuples(st.just("delete"), _NAMES, st.none()),
    st.tuples(st.just("friend"), _NAMES, _NAMES),
    st.tuples(st.just("meet"), _NAMES, _NAMES),
)
_TRANSACTIONS = st.lists(
    st.lists(_OPERATIONS, min_size=1, max_size=3, unique_by=lambda operation: operation[1]), max_size=8
)


class RefusedError(Exception):
    """The model refuses a transaction."""


def forms(operation: tuple[str, str, Any]) -> Iterator[Any]:
    """The transaction data of an operation."""
    kind, name, value = operation
    ref = [":user/name", name]
    match kind:
        case "age" | "email":
            yield {":user/name": name, f":user/{kind}": value}
        case "tags":
            yield {":user/name": name, ":user/tags": value}
        case "untag":
            yield [":db/retract", ref, ":user/tags", value]
        case "no email":
            yield [":db/retract", ref, ":user/email"]
        case "cas":
            yield [":db/cas", ref, ":user/age", *value]
        case "delete":
            yield [":db/retractEntity", ref]
        case "friend":
            yield {":user/name": name, ":user/friends": [":user/name", value]}
        case "meet":  # by temp ids, which become users that are there or new ones
            here, there = (-1 - _USERS.index(user) for user in (name, value))
            yield [":db/add", here, ":user/friends", there]
            yield {":db/id": here, ":user/name": name}
            yield {":db/id": there, ":user/name": value}


def expect(model: Model, operations: list[tuple[str, str, Any]]) -> Model:  # noqa: PLR0912 -- one a kind
    """The model after a transaction, all of whose operations see the model before it."""
    after = dict(model)
    deleted = {name for kind, name, _ in operations if kind == "delete"}
    for kind, name, value in operations:
        if kind in {"untag", "no email", "cas", "delete"} and name not in model:
            raise RefusedError
        user = after.get(name, User())
        match kind:
            case "age":
                after[name] = replace(user, age=value)
            case "email":
                after[name] = replace(user, email=value)
            case "tags":
                after[name] = replace(user, tags=user.tags | value)
            case "untag":
                after[name] = replace(user, tags=user.tags - {value})
            case "no email":
                after[name] = replace(user, email=None)
            case "cas":
                if user.age != value[0]:
                    raise RefusedError
                after[name] = replace(user, age=value[1])
            case "delete":
                del after[name]
            case "friend":
                # Adding what the deletion of its target retracts is a contradiction.
                known = name in model and value in model[name].friends
                if value not in model or (known and value in deleted):
                    raise RefusedError
                after[name] = replace(user, friends=user.friends | {value})
            case "meet":
                if value in deleted:  # whose name would be added and retracted
                    raise RefusedError
                after.setdefault(value, User())
                user = after.get(name, User())
                after[name] = replace(user, friends=user.friends | {value})
    emails = [user.email for user in after.values() if user.email]
    if len(emails) != len(set(emails)):
        raise RefusedError
    return {
        name: replace(user, friends=user.friends - (deleted - set(after))) for name, user in after.items()
    }


def content(db: Database) -> Model:
    """What a database holds, in the form of the model."""
    users: Model = {}
    for (tree,) in db.q(
        "[:find (pull ?e [:user/name :user/age :user/email :user/tags {:user/friends [:user/name]}])"
        " :where [?e :user/name]]"
    ):
        users[tree[":user/name"]] = User(
            tree.get(":user/age"),
            tree.get(":user/email"),
            frozenset(tree.get(":user/tags", ())),
            frozenset(friend[":user/name"] for friend in tree.get(":user/friends", ())),
        )
    return users


@settings(deadline=None)
@given(transactions=_TRANSACTIONS)
def test_any_sequence_of_transactions_does_what_the_model_says(
    schema: str, transactions: list[list[tuple[str, str, Any]]]
) -> None:
    store = MemoryStore()
    with closing(bucketlog.connect(store)) as conn:
        conn.transact(schema)
        model: Model = {}
        values: list[tuple[Database, Model]] = [(conn.db(), model)]
        for operations in transactions:
            data = [form for operation in operations for form in forms(operation)]
            try:
                after = expect(model, operations)
            except RefusedError:
                with pytest.raises(TransactionError):
                    conn.transact(data)
            else:
                report = conn.transact(data)
                assert bool(report.tx_data) == (report.t > values[-1][0].basis_t)
                assert report.tx_data or after == model
                model = after
                values.append((report.db_after, model))
        for db, then in values:
            assert content(db) == then
            assert content(conn.db().as_of(db.basis_t)) == then
    with closing(bucketlog.connect(store)) as again:
        assert content(again.db()) == model
        for db, then in values:
            assert content(again.db().as_of(db.basis_t)) == then
