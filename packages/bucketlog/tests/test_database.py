"""Database values: they stay what they were, and show any time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bucketlog import Connection, Database, QueryError, StoreError

AGE = '[:find ?a . :where [?e :user/name "ann"] [?e :user/age ?a]]'
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def ages(connect: Callable[..., Connection], location: str, schema: str) -> Connection:
    """A connection where ann has been 1, 2 and 3, in transactions 2, 3 and 4, an hour apart."""
    times = iter(NOON + timedelta(hours=n) for n in range(100))
    conn = connect(location, now=lambda: next(times))
    conn.transact(schema)
    for age in (1, 2, 3):
        conn.transact([{":user/name": "ann", ":user/age": age}])
    return conn


def test_a_value_stays_what_it_was(ages: Connection) -> None:
    before = ages.db()
    ages.transact([{":user/name": "ann", ":user/age": 4}])
    ages.transact([[":db/retractEntity", [":user/name", "ann"]]])
    assert (before.q(AGE), before.basis_t) == (3, 4)
    assert ages.db().q(AGE) is None


def test_as_of_takes_a_number_an_entity_or_a_time(ages: Connection) -> None:
    db = ages.db()
    assert [db.as_of(t).q(AGE) for t in (0, 1, 2, 3, 4, 99)] == [None, None, 1, 2, 3, 3]
    tx = db.q("[:find ?tx . :where [_ :user/age 3 ?tx]]")
    assert db.as_of(tx).q(AGE) == 3
    assert db.as_of(tx - 1).q(AGE) == 2
    instants = sorted(db.q("[:find [?t ...] :where [_ :db/txInstant ?t]]"))
    assert [db.as_of(instant).q(AGE) for instant in instants] == [None, None, 1, 2, 3]
    assert db.as_of(instants[3] + timedelta(minutes=1)).basis_t == 3
    assert db.as_of(NOON - timedelta(days=1)).basis_t == 0
    assert db.as_of(2).as_of(4).q(AGE) == 1


def test_since_shows_only_what_came_later(ages: Connection) -> None:
    ages.transact([{":user/name": "bob"}])
    db = ages.db().since(4)
    assert db.q("[:find [?n ...] :where [_ :user/name ?n]]") == ["bob"]
    assert ages.db().since(3).q("[:find [?a ...] :where [_ :user/age ?a]]") == [3]
    assert ages.db().since(4).since(2).q("[:find [?a ...] :where [_ :user/age ?a]]") == []


def test_history_shows_additions_and_retractions(ages: Connection) -> None:
    query = "[:find ?a ?t ?added :where [_ :user/age ?a ?tx ?added] [?tx :db/txInstant ?t]]"
    history = ages.db().history()
    assert [(age, added) for age, _, added in sorted(history.q(query), key=lambda row: (row[1], row[2]))] == [
        (1, True), (1, False), (2, True), (2, False), (3, True),
    ]  # fmt: skip
    assert len(ages.db().as_of(3).history().q(query)) == 3
    assert len(history.since(3).q(query)) == 2
    assert history.q("[:find [?a ...] :where [_ :user/age ?a _ false]]") == [1, 2]


def test_entid_and_ident(ages: Connection) -> None:
    db: Database = ages.db()
    admin = db.entid(":role/admin")
    assert admin is not None
    assert db.ident(admin) == ":role/admin"
    assert db.ident(db.entid([":user/name", "ann"]) or 0) is None
    assert db.entid([":user/name", "nobody"]) is None
    with pytest.raises(QueryError, match="time zone"):
        db.as_of(datetime(2024, 1, 1))  # noqa: DTZ001 -- the point


def test_a_closed_connection_says_so(connect: Callable[..., Connection], location: str) -> None:
    conn = connect(location)
    db = conn.db()
    conn.close()
    conn.close()
    for use in (conn.db, conn.sync, lambda: conn.transact([]), lambda: db.q("[:find ?e :where [?e]]")):
        with pytest.raises(StoreError, match="closed"):
            use()
