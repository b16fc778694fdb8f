"""Transactions tried out: reported as if they were made, and made nowhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bucketlog import Connection, TransactionError, UniqueError

_NAMES = "[:find [?n ...] :where [_ :user/name ?n]]"


def test_a_trial_reports_what_the_transaction_would_do(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann", ":user/age": 1}])
    before = conn.db()
    tried = before.with_([{":user/name": "Ann", ":user/age": 2}, {":db/id": "new", ":user/name": "Bob"}])
    assert tried.t == before.basis_t + 1
    assert tried.db_before is before
    assert sorted(tried.db_after.q(_NAMES)) == ["Ann", "Bob"]
    assert tried.db_after.pull("[:user/age]", [":user/name", "Ann"]) == {":user/age": 2}
    assert tried.db_after.entid([":user/name", "Bob"]) == tried.tempids["new"]
    assert {(d.a, d.v, d.added) for d in tried.tx_data if d.a != ":db/txInstant"} == {
        (":user/age", 1, False),
        (":user/age", 2, True),
        (":user/name", "Bob", True),
    }
    made = conn.transact([{":user/name": "Ann", ":user/age": 2}, {":db/id": "new", ":user/name": "Bob"}])
    assert made.tempids == tried.tempids
    assert made.t == tried.t


def test_nothing_of_a_trial_is_written(
    conn: Connection, connect: Callable[..., Connection], location: str
) -> None:
    before = conn.db()
    requests = conn.stats().requests
    before.with_([{":user/name": "Ann"}])
    assert conn.stats().requests == requests
    assert before.q(_NAMES) == conn.db().q(_NAMES) == connect(location).db().q(_NAMES) == []


def test_trials_go_on_from_each_other_and_beside_each_other(conn: Connection) -> None:
    start = conn.db().with_([{":user/name": "Ann"}]).db_after
    left = start.with_([{":user/name": "Left", ":user/friends": [[":user/name", "Ann"]]}]).db_after
    right = start.with_([{":user/name": "Right"}]).db_after.with_(
        [[":db/retractEntity", [":user/name", "Ann"]]]
    )
    assert sorted(left.q(_NAMES)) == ["Ann", "Left"]
    assert right.db_after.q(_NAMES) == ["Right"]
    assert start.q(_NAMES) == ["Ann"]
    assert left.q("[:find ?f . :where [?e :user/friends ?x] [?x :user/name ?f]]") == "Ann"
    assert sorted(right.db_after.as_of(right.t - 1).q(_NAMES)) == ["Ann", "Right"]


def test_a_trial_stays_what_it_is_while_the_connection_moves_on(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann", ":user/age": 1}])
    old = conn.db()
    tried = old.with_([{":user/name": "Tried"}]).db_after
    conn.transact([{":user/name": "Ann", ":user/age": 2}, {":user/name": "Real"}])
    conn.transact([[":db/retractEntity", [":user/name", "Real"]]])
    assert sorted(tried.q(_NAMES)) == ["Ann", "Tried"]
    late = old.with_([{":user/name": "Late"}])
    assert late.t == old.basis_t + 1
    assert sorted(late.db_after.q(_NAMES)) == ["Ann", "Late"]
    assert late.db_after.pull("[:user/age]", [":user/name", "Ann"]) == {":user/age": 1}
    assert late.db_after.history().q("[:find ?a :where [_ :user/age ?a]]") == [(1,)]


def test_a_trial_outlives_its_connection(
    connect: Callable[..., Connection], location: str, schema: str
) -> None:
    conn = connect(location)
    conn.transact(schema)
    tried = conn.db().with_([{":user/name": "Ann"}]).db_after
    conn.close()
    assert tried.q(_NAMES) == ["Ann"]


def test_what_a_transaction_refuses_a_trial_refuses(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann", ":user/email": "a@x"}])
    with pytest.raises(UniqueError, match=":user/email is unique"):
        conn.db().with_([{":user/name": "Bob", ":user/email": "a@x"}])


def test_nothing_to_change_is_no_transaction(conn: Connection) -> None:
    conn.transact([{":user/name": "Ann"}])
    tried = conn.db().with_([{":user/name": "Ann"}])
    assert (tried.t, tried.tx_data) == (conn.db().basis_t, ())


@pytest.mark.parametrize(
    "view",
    [lambda db: db.history(), lambda db: db.since(0), lambda db: db.as_of(0)],
    ids=["history", "since", "as-of"],
)
def test_views_of_the_past_are_refused(conn: Connection, view: Callable[[Any], Any]) -> None:
    with pytest.raises(TransactionError, match=r"newest state of its time.*Connection\.fork"):
        view(conn.db()).with_([{":user/name": "Ann"}])


def test_attributes_can_be_tried_out(conn: Connection) -> None:
    shape = {
        ":db/ident": ":shape",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
    }
    tried = conn.db().with_([shape]).db_after.with_([{":db/id": "x", ":shape": "round"}])
    assert tried.db_after.q("[:find ?s . :where [_ :shape ?s]]") == "round"
    assert conn.db().attribute(":shape") is None


def test_transaction_functions_may_try_things_out_in_any_group(conn: Connection) -> None:
    """Also behind others that are committed with it, and are not in the pages yet."""
    seen = []

    def function(db: Any) -> list[Any]:
        seen.append(
            sorted(db.with_([{":user/name": "tried"}]).db_after.q(_NAMES)) == sorted([*db.q(_NAMES), "tried"])
        )
        return [{":user/name": f"made{len(seen)}"}]

    futures = [conn.transact_async([function]) for _ in range(20)]
    assert len({future.result().t for future in futures}) == 20
    assert seen == [True] * len(seen)
    assert "tried" not in conn.db().q(_NAMES)


def test_threads_try_things_out_while_others_commit(conn: Connection) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def commit() -> None:
        count = 0
        while not stop.is_set():
            conn.transact([{":user/name": f"made{count}"}])
            count += 1

    def attempt() -> None:
        try:
            for number in range(40):
                db = conn.db()
                tried = db.with_([{":user/name": f"tried{number}"}]).db_after
                assert len(tried.q(_NAMES)) == len(db.q(_NAMES)) + 1
        except BaseException as error:  # noqa: BLE001 -- told below
            failures.append(error)

    threads = [threading.Thread(target=commit), *(threading.Thread(target=attempt) for _ in range(2))]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    stop.set()
    threads[0].join()
    assert failures == []


def test_a_large_database_from_a_snapshot_can_be_tried_on(
    connect: Callable[..., Connection], location: str
) -> None:
    writer = connect(location)
    number = {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one",
              ":db/unique": ":db.unique/identity"}  # fmt: skip
    text = {
        ":db/ident": ":text",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
    }
    writer.transact([number, text])
    writer.transact([{":n": n, ":text": str(n) * 200} for n in range(8000)])
    writer.snapshot()
    reader = connect(location)
    tried = reader.db().with_([{":n": 4000, ":text": "short"}]).db_after
    assert tried.pull("[:text]", [":n", 4000]) == {":text": "short"}
    assert tried.pull("[:text]", [":n", 7999]) == {":text": "7999" * 200}
    assert reader.db().pull("[:text]", [":n", 4000]) == {":text": "4000" * 200}
