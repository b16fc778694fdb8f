"""The grammar of queries: `not`, `or`, rules, and which source a clause reads."""

from __future__ import annotations

import pytest

from bucketlog import Connection, Database, QueryError, q


@pytest.fixture
def db(conn: Connection) -> Database:
    """Four users: ann with children bob and cat, and bob's child dan."""
    return conn.transact(
        [
            {":db/id": "ann", ":user/name": "ann", ":user/age": 40, ":user/tags": [":a", ":b"]},
            {
                ":db/id": "bob",
                ":user/name": "bob",
                ":user/age": 15,
                ":user/parent": "ann",
                ":user/score": 1.5,
            },
            {":db/id": "cat", ":user/name": "cat", ":user/age": 40, ":user/parent": "ann"},
            {":db/id": "dan", ":user/name": "dan", ":user/parent": "bob", ":user/role": ":role/admin"},
        ]
    ).db_after


@pytest.fixture
def after(conn: Connection, db: Database) -> Database:
    """The same users later: bob is grown up and has no parent, cat has no age."""
    return conn.transact(
        [
            {":user/name": "bob", ":user/age": 30},
            [":db/retract", [":user/name", "bob"], ":user/parent"],
            [":db/retract", [":user/name", "cat"], ":user/age"],
        ]
    ).db_after


RULES = """
[[(grown ?e) [?e :user/age ?a] [(>= ?a 18)]]
 [(ancestor ?a ?b) [?b :user/parent ?a]]
 [(ancestor ?a ?b) [?b :user/parent ?c] (ancestor ?a ?c)]]
"""


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("[$2 ?e :user/age]", ["ann", "bob"]),
        ("($2 not [?e :user/age])", ["cat", "dan"]),
        ("(not [$2 ?e :user/age])", ["cat", "dan"]),
        ("($2 not [$ ?e :user/age])", ["dan"]),
        ("($2 not-join [?e] [?x :user/parent ?e])", ["cat", "dan"]),
        ("($2 or [?e :user/parent] [?e :user/score])", ["bob", "cat", "dan"]),
        ("($2 or (and [?e :user/age ?a] [(< ?a 35)]) (and [?e :user/role] [?e :user/parent ?a]))",
         ["bob", "dan"]),
        ("($2 or-join [?e] [?e :user/role] (and [?e :user/age ?y] [(< ?y 35)]))", ["bob", "dan"]),
        ("($2 and [?e :user/age ?a] [?e :user/score])", ["bob"]),
        ("($2 grown ?e)", ["ann", "bob"]),
        ("(grown ?e)", ["ann", "cat"]),
        ("($2 not (grown ?e))", ["cat", "dan"]),
        ("(not ($2 grown ?e))", ["cat", "dan"]),
        ("[?x :user/name \"ann\"] (ancestor ?x ?e)", ["bob", "cat", "dan"]),
        ("[?x :user/name \"ann\"] ($2 ancestor ?x ?e)", ["cat"]),
        ("[?x :user/name \"ann\"] (ancestor ?x ?e) (not ($2 ancestor ?x ?e))", ["bob", "dan"]),
        ("($2 not [(get-else $2 ?e :user/age 0) ?a] [(> ?a 0)])", ["cat", "dan"]),
        ("($2 not (not [?e :user/age]))", ["ann", "bob"]),
    ],
)  # fmt: skip
def test_every_clause_may_name_its_source(
    db: Database, after: Database, clause: str, names: list[str]
) -> None:
    query = f"[:find [?n ...] :in $ $2 % :where [?e :user/name ?n] {clause}]"
    assert sorted(q(query, db, after, RULES)) == names


def test_a_source_may_be_named_in_queries_that_are_data(db: Database, after: Database) -> None:
    def names(*clauses: object) -> list[str]:
        found = [
            ":find",
            ["?n", "..."],
            ":in",
            "$",
            "$2",
            "%",
            ":where",
            ["?e", ":user/name", "?n"],
            *clauses,
        ]
        return sorted(q(found, db, after, RULES))

    assert names(["$2", "?e", ":user/age"]) == ["ann", "bob"]
    assert names(["$2", "not", ["?e", ":user/age"]]) == ["cat", "dan"]
    assert names(("$2", "grown", "?e")) == ["ann", "bob"]
    assert names(["not", ("$2", "grown", "?e")]) == ["cat", "dan"]


def test_a_rule_may_read_another_source(db: Database, after: Database) -> None:
    rules = "[[(changed ?e) [?e :user/age ?a] [$2 ?e :user/age ?b] [(not= ?a ?b)]]]"
    query = "[:find ?n . :in $ $2 % :where (changed ?e) [?e :user/name ?n]]"
    assert q(query, db, after, rules) == "bob"
    with pytest.raises(
        QueryError, match=r"\$2 is not in :in, in: \[\$2 \?e :user/age \?b\] \(line 1, column 34"
    ):
        db.q("[:find ?e :in $ % :where (changed ?e)]", rules)


def test_get_else_in_a_rule_reads_the_source_of_the_call(db: Database, after: Database) -> None:
    rules = "[[(age ?e ?a) [?e :user/name] [(get-else $ ?e :user/age -1) ?a]]]"
    query = "[:find ?n ?a :in $ $2 % :where {} [?e :user/name ?n]]"
    assert sorted(q(query.format("(age ?e ?a)"), db, after, rules)) == [
        ("ann", 40), ("bob", 15), ("cat", 40), ("dan", -1)]  # fmt: skip
    assert sorted(q(query.format("($2 age ?e ?a)"), db, after, rules)) == [
        ("ann", 40), ("bob", 30), ("cat", -1), ("dan", -1)]  # fmt: skip


# not


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("(not [?e :user/parent])", ["ann"]),
        ("(not [?e :user/parent ?p] [?p :user/age 40])", ["ann", "dan"]),
        ("(not [?e :user/parent ?p]) (not [?e :user/role])", ["ann"]),
        ("(not-join [?e] [?c :user/parent ?e] [?c :user/score])", ["bob", "cat", "dan"]),
        ("(not-join [?e ?n] [?x :user/name ?n] [?x :user/parent ?e])", ["ann", "bob", "cat", "dan"]),
        ("(not (or [?e :user/age 40] [?e :user/role]))", ["bob"]),
        ("(not (and [?e :user/age 40] [?e :user/parent]))", ["ann", "bob", "dan"]),
        ("(not [(= ?n \"ann\")])", ["bob", "cat", "dan"]),
        ("(not [(starts-with? ?n \"a\")])", ["bob", "cat", "dan"]),
        ("(not [(identity ?n) ?m] [(= ?m \"ann\")])", ["bob", "cat", "dan"]),
        ("(not [(ground [\"ann\" \"dan\"]) [?n ...]])", ["bob", "cat"]),
        ("(not-join [?n] [(count ?n) ?c] [(> ?c 3)])", ["ann", "bob", "cat", "dan"]),
        ("(not (not-join [?e] [?x :user/parent ?e]))", ["ann", "bob"]),
        ("(not [?e :user/nick ?x])", None),
    ],
)  # fmt: skip
def test_not(db: Database, clause: str, names: list[str] | None) -> None:
    query = f"[:find [?n ...] :where [?e :user/name ?n] {clause}]"
    if names is None:
        with pytest.raises(QueryError, match="is not an attribute"):
            db.q(query)
    else:
        assert sorted(db.q(query)) == names


# or


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("(or [?e :user/age 15] [?e :user/role])", ["bob", "dan"]),
        ("(or [?e :user/age 15])", ["bob"]),
        ("(or [(= ?n \"ann\")] [(= ?n \"bob\")])", ["ann", "bob"]),
        ("(or (and [?e :user/age ?a] [(> ?a 20)]) (and [?e :user/score ?a] [(> ?a 1)]))",
         ["ann", "bob", "cat"]),
        ("(or-join [?e] [?e :user/age 15] (and [?e :user/parent ?p] [?p :user/age 15]))", ["bob", "dan"]),
        ("(or-join [[?e] ?x] [?e :user/age ?x] [?e :user/score ?x]) [(< ?x 20)]", ["bob"]),
        ("(or-join [?e ?n] (and [?e :user/age 40] [(identity ?n) ?m] [(!= ?m \"cat\")]) [?e :user/role])",
         ["ann", "dan"]),
        ("(or [?e :user/role] (not [?e :user/parent]))", ["ann", "dan"]),
        ("(or (or [?e :user/role] [?e :user/score]) [?e :user/tags :a])", ["ann", "bob", "dan"]),
        ("(or [?e :user/parent [:user/name \"bob\"]] [?e :user/role :role/guest])", ["dan"]),
        ("(or [(ground \"ann\") ?n] [(ground \"cat\") ?n])", ["ann", "cat"]),
        ("(or-join [?e] (and [?e :user/parent ?p] (or [?p :user/role] [?p :user/score])))", ["dan"]),
    ],
)  # fmt: skip
def test_or(db: Database, clause: str, names: list[str]) -> None:
    assert sorted(db.q(f"[:find [?n ...] :where [?e :user/name ?n] {clause}]")) == names


def test_or_binds_what_its_branches_bind(db: Database) -> None:
    query = "[:find ?n ?x :where [?e :user/name ?n] (or [?e :user/age ?x] [?e :user/score ?x])]"
    assert sorted(db.q(query)) == [
        ("ann", 40), ("bob", 1.5), ("bob", 15), ("cat", 40)]  # fmt: skip
    assert sorted(db.q("[:find ?x :where (or-join [?x] [_ :user/age ?x] [_ :user/score ?x])]")) == [
        (1.5,), (15,), (40,)]  # fmt: skip


@pytest.mark.parametrize("count", [3, 12, 40])
def test_many_disjunctions_multiply_no_branches(db: Database, count: int) -> None:
    name = "[?e :user/name ?n]"
    filters = " (or [?e :user/age] [?e :user/role])" * count
    assert sorted(db.q(f"[:find [?n ...] :where {name}{filters}]")) == ["ann", "bob", "cat", "dan"]
    assert sorted(db.q(f"[:find [?n ...] :where {filters} {name}]")) == ["ann", "bob", "cat", "dan"]
    joins = "".join(f" (or [?e :user/age ?x{k}] [?e :user/score ?x{k}])" for k in range(min(count, 8)))
    assert sorted(db.q(f"[:find [?n ...] :where {name}{joins}]")) == ["ann", "bob", "cat"]
    assert len(db.q(f"[:find ?n ?x0 ?x1 :where {joins} {name}]")) == 1 + 4 + 1


def test_a_disjunction_of_very_many_branches(db: Database) -> None:
    ages = " ".join(f"[?e :user/age {age}]" for age in range(300))
    assert sorted(db.q(f"[:find [?n ...] :where [?e :user/name ?n] (or {ages})]")) == ["ann", "bob", "cat"]
    assert sorted(db.q(f"[:find [?n ...] :where (or {ages}) (or {ages}) [?e :user/name ?n]]")) == [
        "ann", "bob", "cat"]  # fmt: skip
    tests = " ".join(f"[(= ?a {age})]" for age in range(300))
    assert db.q(f"[:find [?n ...] :where [?e :user/age ?a] (or {tests}) (or {tests}) [(< ?a 20)]"
                " [?e :user/name ?n]]") == ["bob"]  # fmt: skip


def test_disjunctions_that_need_what_is_around_them(db: Database) -> None:
    # Each binds one variable from another: neither branch can be computed by itself.
    steps = "".join(f" (or [(inc ?x{k}) ?x{k + 1}] [(+ ?x{k} 2) ?x{k + 1}])" for k in range(5))
    query = f'[:find [?x5 ...] :where [?e :user/name "bob"] [?e :user/age ?x0]{steps}]'
    assert sorted(db.q(query)) == list(range(20, 26))
    rules = "[[(step ?a ?b) [(inc ?a) ?b]] [(step ?a ?b) [(+ ?a 2) ?b]]]"
    steps = "".join(f" (step ?x{k} ?x{k + 1})" for k in range(5))
    assert sorted(q(f"[:find [?x5 ...] :in ?x0 % :where {steps}]", 0, rules)) == list(range(5, 11))


def test_rules_of_many_definitions_in_a_row(db: Database) -> None:
    rules = """[[(near ?a ?b) [?a :user/parent ?b]]
                [(near ?a ?b) [?b :user/parent ?a]]
                [(near ?a ?b) [?a :user/name] [(identity ?a) ?b]]]"""
    path = " ".join(f"(near ?e{k} ?e{k + 1})" for k in range(8))
    query = f'[:find [?n ...] :in $ % :where [?e0 :user/name "dan"] {path} [?e8 :user/name ?n]]'
    assert sorted(db.q(query, rules)) == ["ann", "bob", "cat", "dan"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("[:find ?e :where [?e :user/name] (or [?e :user/age ?a] [?e :user/score ?s])]",
         r"use different variables.*in: \(or \[.*\) \(line 1, column 34\)"),
        ("[:find ?e :where [?e :user/name] (or)]", "at least one clause"),
        ("[:find ?e :where [?e :user/name] (not)]", "at least one clause"),
        ("[:find ?e :where [?e :user/name] (not-join [] [?e])]", "at least one variable"),
        ("[:find ?e :where [?e :user/name] (not-join [?e])]", "at least one clause"),
        ("[:find ?e :where [?e :user/name] (or-join ?e [?e])]", "begins with a vector of variables"),
        ("[:find ?e :where [?e :user/name] (or-join [?e 5] [?e])]", "expected variables"),
        ("[:find ?e :where (not [?e :user/name])]", r"\?e is in :find or :with, but nothing binds it"),
        ("[:find ?n :where [_ :user/name ?n] (not-join [?e] [?e :user/name])]", r"nothing binds \?e, in: "),
        ("[:find ?e :where [?e :user/name] ($2 not [?e])]", r"\$2 is not in :in, in: \[\?e\]"),
        ("[:find ?e :where\n [?e :user/name]\n  [?e :user/age \"x\"]]",
         r"'x' can be no value of :user/age .*in: \[\?e :user/age \"x\"\] \(line 3, column 3\)"),
        ("[:find ?e :where [?e :user/name]\n(frob ?e)]", r"frob is no rule .*in: \(frob \?e\) \(line 2"),
        ("[:find ?e :where [?e :user/name]\n [?e foo]]", r"foo is neither .*in: \[\?e foo\] \(line 2, co"),
        ("[:find ?e :where [?e {:a 1}]]", "cannot be a term"),
        ("[:find ?e :where [?e nil]]", "nil cannot be a term"),
        ("{:find [?e] :where [[?e :user/name]] :limit 3}", "a query map has vectors under"),
        ("[:find ?e ?e2 :where [?e :user/name] [(< ?e ?e2)]]", r"nothing binds \?e2, in: \[\(< \?e \?e2\)\]"),
    ],
)  # fmt: skip
def test_a_wrong_clause_says_what_and_where(db: Database, query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        db.q(query)
