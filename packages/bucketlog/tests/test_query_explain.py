"""Plans: what explain says of a query, in order and with real counts."""

from __future__ import annotations

import pytest

from bucketlog import Connection, Database, Plan, PlanStep, QueryError


@pytest.fixture
def db(conn: Connection) -> Database:
    """A hundred users of ten ages, ten of whom have a parent."""
    conn.transact([{":user/name": f"u{n}", ":user/age": n % 10} for n in range(100)])
    return conn.transact(
        [{":user/name": f"u{n}", ":user/parent": [":user/name", "u1"]} for n in range(10)]
    ).db_after


def rows(plan: Plan) -> list[tuple[str, int]]:
    """Clauses and counts of the only branch."""
    (steps,) = plan.branches
    return [(step.clause, step.rows) for step in steps]


def test_steps_come_in_the_order_of_the_plan_with_real_counts(db: Database) -> None:
    query = """[:find ?n :where [?e :user/age ?a] [(< ?a 3)] [?e :user/name ?n] (not [?e :user/parent])]"""
    plan = db.explain(query)
    assert rows(plan)[-1][1] == plan.rows == len(db.q(query)) == 27
    counted = dict(rows(plan))
    assert counted["[(< ?a 3)]"] <= 30
    assert set(counted) == {
        "[?e :user/age ?a]",
        "[(< ?a 3)]",
        "[?e :user/name ?n]",
        "(not [?e :user/parent])",
    }
    first = plan.branches[0][0]
    assert isinstance(first, PlanStep)
    assert first.rows == 100
    assert first.estimated is not None
    assert 90 < first.estimated < 110


def test_steps_say_which_index_they_use(db: Database) -> None:
    (steps,) = db.explain('[:find ?a . :where [?e :user/age ?a] [?e :user/name "u5"]]').branches
    assert [step.clause for step in steps] == ['[?e :user/name "u5"]', "[?e :user/age ?a]"]
    assert [step.access for step in steps] == [
        ("search avet (a=? AND v=?)",),
        ("search eavt (e=? AND a=?)",),
    ]
    assert [step.rows for step in steps] == [1, 1]


def test_a_plan_is_a_table_of_text(db: Database) -> None:
    text = str(db.explain('[:find ?e :where [?e :user/name "u5"] [(identity ?e) ?x] [(some? ?x)]]'))
    assert "estimated       rows  clause" in text
    assert '1          1  [?e :user/name "u5"]   -- search avet (a=? AND v=?)' in text
    assert "[(some? ?x)]" in text
    assert "result: 1 rows\n\nSELECT" in text


def test_every_branch_of_a_union_has_its_steps(db: Database) -> None:
    query = "[:find ?n :in $ [?n ...] :where [?e :user/name ?n] (or [?e :user/age 1] [?e :user/parent])]"
    plan = db.explain(query, ["u1", "u2", "u3", "u50"])
    assert [sorted(step.clause for step in steps) for steps in plan.branches] == [
        ["[?e :user/age 1]", "[?e :user/name ?n]", "input [[?n]]"],
        ["[?e :user/name ?n]", "[?e :user/parent]", "input [[?n]]"],
    ]
    assert [steps[-1].rows for steps in plan.branches] == [1, 3]
    assert plan.rows == 3


def test_recursive_rules_and_collections_are_explained(db: Database) -> None:
    rules = "[[(up ?a ?b) [?a :user/parent ?b]] [(up ?a ?b) [?a :user/parent ?c] (up ?c ?b)]]"
    query = (
        '[:find ?n . :in $ % $known :where [?e :user/name "u7"] (up ?e ?b) [?b :user/name ?n] [$known ?n]]'
    )
    plan = db.explain(query, rules, [("u1",), ("u2",)])
    assert db.q(query, rules, [("u1",), ("u2",)]) == "u1"
    assert plan.rows == 1
    assert "(up ?e ?b)" in [clause for clause, _ in rows(plan)]
    plan = db.explain("[:find ?a ?b :in $ % :where (up ?a ?b)]", rules)
    assert (rows(plan), plan.rows) == ([("(up ?a ?b)", 10)], 10)


def test_a_query_without_clauses_has_no_steps(db: Database) -> None:
    plan = db.explain("[:find ?x :in $ ?x]", 5)
    assert (plan.branches, plan.rows) == (((),), 1)


def test_a_plan_is_of_the_database_as_it_was(conn: Connection, db: Database) -> None:
    conn.transact([{":user/name": "u5", ":user/age": 77}])
    query = "[:find ?e :where [?e :user/age 77]]"
    assert (db.explain(query).rows, conn.db().explain(query).rows) == (0, 1)
    assert db.history().explain("[:find ?e :where [?e :user/age 5 _ ?op]]").rows == 10


def test_a_wrong_query_is_refused(db: Database) -> None:
    with pytest.raises(QueryError, match="has 1 inputs in :in, but 2 are given"):
        db.explain("[:find ?e :where [?e :user/age]]", 5)
    with pytest.raises(QueryError, match="is not an attribute"):
        db.explain("[:find ?e :where [?e :user/nope]]")
