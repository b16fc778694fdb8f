"""Transaction functions that are called by name, and other ways to say the same things."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bucketlog import ConflictError, Connection, TransactionError, UniqueError, aio


def transfer(db: Any, giver: Any, taker: Any, years: int) -> list[Any]:
    """Takes years from one user and gives them to another."""
    left, old = (db.pull("[:user/age]", name)[":user/age"] for name in (giver, taker))
    if left < years:
        raise ValueError(f"{giver[1]} has only {left}")
    return [
        [":db/cas", giver, ":user/age", left, left - years],
        [":db/cas", taker, ":user/age", old, old + years],
    ]


ANN, BOB = [":user/name", "Ann"], [":user/name", "Bob"]


@pytest.fixture
def bank(connect: Callable[..., Connection], location: str, schema: str) -> Connection:
    conn = connect(location, functions={":age/transfer": transfer, ":twice": lambda _, form: [form, form]})
    conn.transact(schema)
    conn.transact([{":user/name": "Ann", ":user/age": 40}, {":user/name": "Bob", ":user/age": 20}])
    return conn


def ages(conn: Connection) -> dict[str, int]:
    return dict(conn.db().q("[:find ?n ?a :where [?e :user/name ?n] [?e :user/age ?a]]"))


def test_a_function_is_called_by_its_name_with_arguments(bank: Connection) -> None:
    bank.transact([[":age/transfer", ANN, BOB, 5], {":user/name": "Carl"}])
    assert ages(bank) == {"Ann": 35, "Bob": 25}


def test_what_a_function_raises_comes_to_the_caller_and_nothing_is_written(bank: Connection) -> None:
    t = bank.db().basis_t
    with pytest.raises(ValueError, match="Ann has only 40"):
        bank.transact([{":user/name": "Carl"}, [":age/transfer", ANN, BOB, 50]])
    assert bank.db().basis_t == t


def test_a_function_can_be_called_without_a_name(bank: Connection) -> None:
    bank.transact([[":db.fn/call", transfer, BOB, ANN, 1]])
    assert ages(bank) == {"Ann": 41, "Bob": 19}


def test_a_function_may_name_others(bank: Connection) -> None:
    bank.transact([[":db.fn/call", lambda _: [[":twice", [":db/add", ANN, ":user/tags", ":x"]]]]])
    assert bank.db().pull("[:user/tags]", ANN) == {":user/tags": [":x"]}


def test_functions_can_be_tried_out(bank: Connection) -> None:
    tried = bank.db().with_([[":age/transfer", ANN, BOB, 5]]).db_after
    assert tried.pull("[:user/age]", BOB) == {":user/age": 25}
    assert tried.with_([[":age/transfer", ANN, BOB, 5]]).db_after.pull("[:user/age]", BOB) == {
        ":user/age": 30
    }


def test_a_name_that_this_connection_was_not_given_is_told_with_what_to_do(bank: Connection) -> None:
    with pytest.raises(TransactionError, match=r":no/such.*connect\(…, functions=\{':no/such': …\}\)"):
        bank.transact([[":no/such", 1]])


def test_nothing_is_imported_by_what_data_say(bank: Connection) -> None:
    for name in ("os/system", "os.system", ":os/system"):
        with pytest.raises(TransactionError):
            bank.transact([[name, "true"]])


def test_a_function_runs_on_the_newest_state_whoever_wrote_it(
    bank: Connection, connect: Callable[..., Connection], location: str
) -> None:
    connect(location).transact([{":user/name": "Ann", ":user/age": 10}])
    with pytest.raises(ValueError, match="Ann has only 10"):
        bank.transact([[":age/transfer", ANN, BOB, 20]])


# Other spellings


def test_negative_numbers_are_temp_ids(conn: Connection) -> None:
    report = conn.transact(
        [{":db/id": -1, ":user/name": "Ann", ":user/friends": [-2]}, [":db/add", -2, ":user/name", "Bob"]]
    )
    db = report.db_after
    assert report.tempids == {-1: db.entid(ANN), -2: db.entid(BOB)}
    assert db.entity(ANN)[":user/friends"] == [db.entity(BOB)]


def test_a_temp_id_may_be_a_reference_to_somebody_found_by_identity(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann"}])
    report = conn.transact(
        [{":db/id": -1, ":user/name": "Ann"}, {":user/name": "Bob", ":user/friends": [-1]}]
    )
    assert report.tempids[-1] == conn.db().entid(ANN)
    assert [friend[":user/name"] for friend in conn.db().entity(BOB)[":user/friends"]] == ["Ann"]


def test_a_number_that_is_nobodys_is_told_as_it_was_written(conn: Connection) -> None:
    with pytest.raises(TransactionError, match="temp id -7 is used as a value only"):
        conn.transact([{":user/name": "Ann", ":user/friends": [-7]}])


@pytest.mark.parametrize("name", ["datomic.tx", ":db/current-tx"])
def test_the_transaction_itself_can_be_described(conn: Connection, name: str) -> None:
    report = conn.transact([{":user/name": "Ann"}, {":db/id": name, ":tx/by": "Eve"}])
    assert report.db_after.pull("[:tx/by]", (1 << 40) + report.t) == {":tx/by": "Eve"}


def test_all_values_of_an_attribute_are_retracted_at_once(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann", ":user/tags": [":a", ":b"]}])
    conn.transact([[":db.fn/retractAttribute", ANN, ":user/tags"]])
    assert conn.db().pull("[*]", ANN).keys() == {":db/id", ":user/name"}


def test_names_of_entities_stand_for_them_everywhere(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann", ":user/age": 1, ":user/role": ":role/guest"}, {":user/name": "Bob"}])
    conn.transact([[":db/add", BOB, ":user/friends", ANN], [":db.fn/cas", ANN, ":user/age", 1, 2]])
    conn.transact([[":db/cas", ANN, ":user/role", ":role/guest", ":role/admin"]])
    ann = conn.db().entity(ANN)
    assert (ann[":user/age"], ann[":user/role"]) == (2, ":role/admin")
    with pytest.raises(ConflictError):
        conn.transact([[":db/cas", ANN, ":user/role", ":role/guest", ":role/admin"]])
    conn.transact([[":db/retract", BOB, ":user/friends", ANN], [":db.fn/retractEntity", ANN]])
    assert conn.db().entity(ANN) is None


def test_what_is_made_in_the_same_transaction_has_no_name_yet(conn: Connection) -> None:
    with pytest.raises(TransactionError, match=r"\[':user/name', 'Ann'\].* names no entity: .* temp id"):
        conn.transact([{":user/name": "Ann"}, [":db/add", ANN, ":user/age", 1]])


def test_two_identities_of_different_entities_are_a_conflict(conn: Connection) -> None:
    made = conn.transact(
        [{":db/id": "a", ":user/name": "Ann"}, {":db/id": "p", ":post/slug": "hello"}]
    ).tempids
    complaint = f":post/slug is unique and 'hello' belongs to entity {made['p']}, not to {made['a']}"
    with pytest.raises(UniqueError, match=complaint):
        conn.transact([{":user/name": "Ann", ":post/slug": "hello"}])


def test_the_same_functions_serve_asyncio(location: str, schema: str) -> None:
    async def main() -> Any:
        async with aio.connect(location, functions={":age/transfer": transfer}) as conn:
            await conn.transact(schema)
            await conn.transact(
                [{":user/name": "Ann", ":user/age": 40}, {":user/name": "Bob", ":user/age": 20}]
            )
            report = await conn.transact([[":age/transfer", ANN, BOB, 5]])
            return await aio.Database(report.db_after).pull("[:user/age]", BOB)

    assert asyncio.run(main()) == {":user/age": 25}
