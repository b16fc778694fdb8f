"""Plans: joins begin where the fewest rows are, and a query is compiled once."""

from __future__ import annotations

import pytest

from bucketlog import Connection, Database, QueryError
from bucketlog.query.compiler import compile_query
from bucketlog.query.parser import parse_query
from bucketlog.query.syntax import RuleSet


@pytest.fixture
def db(conn: Connection) -> Database:
    """A thousand users with three ages."""
    return conn.transact([{":user/name": f"u{n}", ":user/age": n % 3} for n in range(1000)]).db_after


def _first_table(db: Database, query: str) -> str:
    """The condition on the attribute of the table that the statement begins with."""
    sql = compile_query(parse_query(query), RuleSet(), {"$": db}).sql
    alias = sql.partition("FROM datom AS ")[2].split()[0]
    number = sql.partition(f"{alias}.a = ")[2].split()[0]
    return str(db.ident(int(number)))


def test_a_join_begins_at_a_unique_value(db: Database) -> None:
    for where in ('[?e :user/age ?a] [?e :user/name "u5"]', '[?e :user/name "u5"] [?e :user/age ?a]'):
        assert _first_table(db, f"[:find ?a :where {where}]") == ":user/name"
    query = "[:find ?a :in $ ?n :where [?e :user/age ?a] [?e :user/name ?n]]"
    assert _first_table(db, query) == ":user/name"


def test_a_join_begins_at_a_known_value_before_a_scan(db: Database) -> None:
    assert _first_table(db, "[:find ?n :where [?e :user/name ?n] [?e :user/age 1]]") == ":user/age"


def test_a_join_begins_at_the_attribute_with_fewer_datoms(db: Database, conn: Connection) -> None:
    conn.transact([{":user/name": "u1", ":user/score": 1}])
    assert _first_table(db, "[:find ?n ?s :where [?e :user/name ?n] [?e :user/score ?s]]") == ":user/score"


def test_a_plan_is_made_once_for_the_past_and_once_for_the_newest_state(
    conn: Connection, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "[:find (count ?e) . :in $ ?a :where [?e :user/age ?a]]"
    assert db.q(query, 1) == 333
    assert db.as_of(1).q(query, 1) is None  # the past has one plan, the newest state another
    monkeypatch.setattr("bucketlog.query.engine.compile_query", None)  # to call it would fail
    conn.transact([{":user/name": "new", ":user/age": 1}])
    assert conn.db().q(query, 1) == 334
    assert db.q(query, 2) == 333
    assert conn.db().as_of(1).q(query, 1) is None


def test_data_is_compiled_once_too_and_not_taken_for_other_data(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = conn.transact([{":user/name": "ann", ":user/age": 1, ":user/active": True}]).db_after

    def count(attribute: str, value: object) -> object:
        rules = [[["is", "?e"], ["?e", attribute, value]]]
        return db.q([":find", ["count", "?e"], ".", ":in", "$", "%", ":where", ["is", "?e"]], rules)

    assert count(":user/age", 1) == 1
    with pytest.raises(QueryError, match="True can be no value"):
        count(":user/age", True)
    assert count(":user/active", True) == 1
    monkeypatch.setattr("bucketlog.query.engine.compile_query", None)
    assert count(":user/age", 1) == 1
