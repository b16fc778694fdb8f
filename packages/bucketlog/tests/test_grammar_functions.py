"""The grammar of queries: predicates and functions, built in and custom, and what they are bound to."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bucketlog import Connection, Database, Keyword, QueryError, q


@pytest.fixture
def db(conn: Connection) -> Database:
    """Three users, of whom bob is ann's child."""
    return conn.transact(
        [
            {":db/id": "ann", ":user/name": "ann", ":user/age": 40, ":user/tags": [":a", ":b"]},
            {":db/id": "bob", ":user/name": "bob", ":user/age": 15, ":user/parent": "ann"},
            {
                ":db/id": "cat",
                ":user/name": "cat",
                ":user/score": 2.5,
                ":user/active": True,
                ":user/joined": datetime(2020, 2, 3, tzinfo=UTC),
            },
        ]
    ).db_after


VALUES: list[tuple[str, Any]] = [
    # numbers
    ("(+ 1 2 3)", 6),
    ("(+ 1 0.5)", 1.5),
    ("(- 5)", -5),
    ("(- 5 1 1)", 3),
    ("(* 2 3 4)", 24),
    ("(/ 6 3)", 2),
    ("(/ 5 2)", 2.5),
    ("(/ 4)", 0.25),
    ("(quot 7 2)", 3),
    ("(quot -7 2)", -3),
    ("(quot 7.5 2)", 3),
    ("(rem 7 2)", 1),
    ("(rem -7 2)", -1),
    ("(rem 7.5 2)", 1.5),
    ("(mod -7 2)", 1),
    ("(mod 7 -2)", -1),
    ("(mod 7.5 2)", 1.5),
    ("(inc 1)", 2),
    ("(dec 1.5)", 0.5),
    ("(abs -3)", 3),
    ("(max 1 3 2)", 3),
    ("(min 2 1.5)", 1.5),
    ('(max "a" "b")', "b"),
    ("(long 2.7)", 2),
    ("(double 2)", 2.0),
    ("(compare 1 2)", -1),
    ('(compare "b" "a")', 1),
    ("(compare :a :a)", 0),
    ("(compare [1 2] [1 3])", -1),
    ('(compare #inst "2020-01-01" #inst "2021-01-01")', -1),
    # logic
    ("(identity 5)", 5),
    ("(identity nil)", None),
    ("(not true)", False),
    ("(not nil)", True),
    ("(not 0)", False),
    ("(and 1 2)", 2),
    ("(and 1 nil 2)", None),
    ("(or nil false 3)", 3),
    ("(< 1 2 3)", True),
    ("(< 1 3 2)", False),
    ("(= 1 1)", True),
    ("(= 1 1.0)", True),
    ('(= 1 "1")', False),
    ("(= 1 true)", False),
    ('(= :a ":a")', False),
    ("(= [1 :a] [1 :a])", True),
    ("(!= 1 2)", True),
    ("(not= 1 1 2)", True),
    ("(not= 1 1 1)", False),
    ("(== 2 2)", True),
    ("(identical? :a :a)", True),
    ("(differ? 1 2 1 3)", True),
    ("(-differ? 1 2 1 2)", False),
    ("(true? true)", True),
    ("(true? 1)", False),
    ("(false? false)", True),
    ("(nil? nil)", True),
    ("(nil? 1)", False),
    ("(some? nil)", False),
    ("(some? 0)", True),
    ('(string? "a")', True),
    ("(string? :a)", False),
    ("(keyword? :a)", True),
    ("(number? 1.5)", True),
    ("(number? true)", False),
    ("(int? 1)", True),
    ("(int? true)", False),
    ("(double? 1.5)", True),
    ("(boolean? false)", True),
    ('(inst? #inst "2020-01-01")', True),
    ('(uuid? #uuid "00000000-0000-0000-0000-000000000000")', True),
    # text
    ('(str "a" 1 :b nil true 1.5)', "a1:btrue1.5"),
    ("(str)", ""),
    ('(str [1 "a"])', '[1 "a"]'),
    ('(str #inst "2020-01-01")', "2020-01-01T00:00:00+00:00"),
    ('(pr-str "a" 1)', '"a" 1'),
    ('(subs "hello" 1)', "ello"),
    ('(subs "hello" 1 3)', "el"),
    ('(lower-case "ÉA")', "éa"),
    ('(clojure.string/upper-case "éa")', "ÉA"),
    ('(str/capitalize "aBC")', "Abc"),
    ('(trim "  a ")', "a"),
    ('(triml " a ")', "a "),
    ('(trimr " a ")', " a"),
    ('(clojure.string/blank? "  ")', True),
    ("(blank? nil)", True),
    ('(starts-with? "abc" "ab")', True),
    ('(starts-with? "abc" "")', True),
    ('(ends-with? "abc" "bc")', True),
    ('(ends-with? "abc" "b")', False),
    ('(includes? "abc" "b")', True),
    ('(split "a,b,,c,," ",")', ["a", "b", "", "c"]),
    ('(split "a1b22c" "[0-9]+" 2)', ["a", "b22c"]),
    ('(split-lines "a\\nb")', ["a", "b"]),
    ('(join "-" [1 "a" :b])', "1-a-:b"),
    ('(join ["a" "b"])', "ab"),
    ('(replace "aXbX" "X" "-")', "a-b-"),
    ('(replace-first "aXbX" "X" "-")', "a-bX"),
    ('(index-of "hello" "l")', 2),
    ('(index-of "hello" "z")', None),
    ('(last-index-of "hello" "l")', 3),
    ('(re-find "l+" "hello")', "ll"),
    ('(re-find "(h)(.)" "hello")', ("he", "h", "e")),
    ('(re-find "z" "hello")', None),
    ('(re-matches "h.*o" "hello")', "hello"),
    ('(re-matches "h" "hello")', None),
    ('(re-seq "l" "hello")', ["l", "l"]),
    ("(name :a/b)", "b"),
    ('(name "text")', "text"),
    ("(namespace :a/b)", "a"),
    ("(namespace :a)", None),
    ('(keyword "a" "b")', ":a/b"),
    ('(keyword "a")', ":a"),
    # collections
    ("(vector 1 2)", (1, 2)),
    ("(list 1 2)", (1, 2)),
    ('(tuple 1 "a")', (1, "a")),
    ("(untuple [1 2])", (1, 2)),
    ("(set [1 2 2])", {1, 2}),
    ("(hash-map :a 1 :b 2)", {":a": 1, ":b": 2}),
    ("(count [1 2 3])", 3),
    ('(count "abc")', 3),
    ("(count nil)", 0),
    ("(empty? [])", True),
    ("(not-empty [])", None),
    ("(not-empty [1])", (1,)),
    ("(contains? #{1 2} 2)", True),
    ("(contains? {:a 1} :a)", True),
    ("(contains? [5 6] 6)", True),
    ("(get {:a 1} :a)", 1),
    ("(get {:a 1} :b 7)", 7),
    ("(get [5 6] 1)", 6),
    ("(get #{5} 5)", 5),
    ("(nth [5 6] 1)", 6),
    ("(nth [5 6] 9 :none)", ":none"),
    ("(first [5 6])", 5),
    ("(first [])", None),
    ("(second [5 6])", 6),
    ("(last [5 6])", 6),
    ("(keys {:a 1})", [":a"]),
    ("(vals {:a 1})", [1]),
    ("(range 3)", range(3)),
]


@pytest.mark.parametrize(("call", "value"), VALUES)
def test_a_function_gives_its_value(call: str, value: Any) -> None:
    found = q(f"[:find ?x . :in $ :where [{call} ?x]]", [])
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)
    # The same when the arguments are not written in the query.
    name, *_ = call.strip("()").split(" ", 1)
    if " " in call and "nil" not in call:
        body = call.strip("()").split(" ", 1)[1]
        wrapped = f"[:find ?x . :in $ :where [(vector {body}) ?v] [(get ?v 0) ?a] [(count ?v) ?n]"
        if q(f"{wrapped} [(identity ?n) ?x]]", []) == 1:
            assert q(f"{wrapped} [({name} ?a) ?x]]", []) == value


@pytest.mark.parametrize(("call", "value"), VALUES)
def test_a_function_without_a_binding_is_a_test(call: str, value: Any) -> None:
    assert q(f"[:find ?x . :in $ :where [(ground 1) ?x] [{call}]]", []) == (
        None if value is None or value is False else 1
    )


def test_functions_of_attributes_computed_by_sql_and_by_python_agree(db: Database) -> None:
    for call in ("(+ ?a 1)", "(- ?a)", "(* ?a 2 ?a)", "(/ ?a 3)", "(quot ?a 7)", "(rem ?a 7)", "(mod ?a 7)",
                 "(inc ?a)", "(dec ?a)", "(abs ?a)", "(max ?a 20)", "(min ?a 20)", "(< ?a 20)", "(even? ?a)",
                 "(odd? ?a)", "(pos? ?a)", "(neg? ?a)", "(zero? ?a)", "(identity ?a)", "(some? ?a)",
                 "(= ?a 15)", "(!= ?a 15)", "(compare ?a 20)"):  # fmt: skip
        known = db.q(f"[:find ?x :where [_ :user/age ?a] [{call} ?x]]")
        unknown = db.q(f"[:find ?x :in $ [?a ...] :where [{call} ?x]]", [40, 15])
        hidden = db.q(f"[:find ?x :where [_ :user/age ?b] [(vector ?b) ?v] [(first ?v) ?a] [{call} ?x]]")
        assert set(known) == set(unknown) == set(hidden), call
        assert len(known) == len(set(known))


def test_text_functions_agree_too(db: Database) -> None:
    for call in ('(starts-with? ?n "a")', '(includes? ?n "a")', '(ends-with? ?n "b")', '(str ?n "!" ?n)',
                 "(upper-case ?n)", "(count ?n)", '(starts-with? ?n "")', '(max ?n "b")'):  # fmt: skip
        known = db.q(f"[:find ?x :where [_ :user/name ?n] [{call} ?x]]")
        unknown = db.q(f"[:find ?x :in $ [?n ...] :where [{call} ?x]]", ["ann", "bob", "cat"])
        assert set(known) == set(unknown), call


def test_rand_is_drawn_once_a_row() -> None:
    rows = q("[:find ?n ?x ?y :in [?n ...] :where [(rand) ?x] [(+ ?x 0) ?y] [(< ?x 2)]]", range(50))
    assert len(rows) == 50
    assert all(0 <= x < 1 and x == y for _, x, y in rows)
    assert {x for _, x in q("[:find ?n ?x :in [?n ...] :where [(rand-int 3) ?x]]", range(99))} <= {0, 1, 2}


def test_comparison_works_on_every_type(db: Database) -> None:
    moments = [datetime(2020, 1, 1, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC)]
    assert q('[:find [?x ...] :in [?x ...] :where [(< ?x #inst "1970-01-01")]]', moments) == moments[1:]
    assert db.q("[:find [?t ...] :where [_ :user/tags ?t] [(> ?t :a)]]") == [":b"]
    assert (
        db.q('[:find ?n . :where [?e :user/joined ?j] [(< #inst "2020-01-01" ?j)] [?e :user/name ?n]]')
        == "cat"
    )
    assert db.q("[:find ?n . :where [?e :user/active ?x] [(= ?x true)] [?e :user/name ?n]]") == "cat"
    assert db.q("[:find ?n . :where [?e :user/active ?x] [(true? ?x)] [?e :user/name ?n]]") == "cat"
    assert q('[:find ?x . :in ?x :where [(< 3 ?x "a" :a)]]', 7) == 7


# Bindings


@pytest.mark.parametrize(
    ("clause", "rows"),
    [
        ("[(identity [1 2]) [?a ?b]]", {(1, 2)}),
        ("[(identity [1 2]) ?a] [(untuple ?a) [_ ?b]]", {((1, 2), 2)}),
        ("[(identity [[1 2] [3 4]]) [[?a ?b]]]", {(1, 2), (3, 4)}),
        ("[(identity [[1 2] [3 4]]) [[?a ?b] ...]]", {(1, 2), (3, 4)}),
        ("[(identity [1 2]) [?a ...]] [(inc ?a) ?b]", {(1, 2), (2, 3)}),
        ("[(identity [[1 [5 6]] [2 []]]) [[?a [?b ...]]]]", {(1, 5), (1, 6)}),
        ("[(identity {:a 1}) [[?a ?b]]]", {(":a", 1)}),
        ("[(range 1 4) [?a ...]] [(range ?a) [?b ...]]", {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}),
        ("[(range 3) [?a ...]] [(range 2 5) [?a ...]] [(identity ?a) ?b]", {(2, 2)}),
        ("[(identity 1) ?a] [(identity 2) ?a] [(identity 3) ?b]", set()),
        ("[(identity [3 4]) [?a ?b]] [(identity [1 2]) [?a ?b]]", set()),
        ("[(identity [3 nil]) [?a ?b]]", set()),
        ("[(identity nil) [?a ?b]]", set()),
        ("[(ground [1 2]) [?a ?b]]", {(1, 2)}),
        ("[(ground [1 2]) [?a ...]] [(ground 5) ?b]", {(1, 5), (2, 5)}),
        ("[(ground [[1 [2 3]]]) [[?a [_ ?b]]]]", {(1, 3)}),
        ("[(ground [[1 2]]) [[?a ?b]]] [(ground 7) _]", {(1, 2)}),
        ("[(ground []) [?a ...]] [(ground 5) ?b]", set()),
        ("[(ground #{1 2}) [?a ...]] [(ground 5) ?b]", {(1, 5), (2, 5)}),
        ("[(vector 1 2) ?a] [(vector 1 2) ?a] [(count ?a) ?b]", {((1, 2), 2)}),
        ("[(tuple 1 :x) ?t] [(untuple ?t) [?a ?b]]", {(1, ":x")}),
        ("[(ground 5) ?a] [(* ?a ?a) ?b]", {(5, 25)}),
    ],
)
def test_results_are_destructured(clause: str, rows: set[Any]) -> None:
    assert set(q(f"[:find ?a ?b :in $ :where {clause}]", [])) == rows


def test_ground_takes_inputs() -> None:
    assert q("[:find ?a ?c :in ?in :where [(ground ?in) [?a _ ?c]]]", ["a", "b", "c"]) == [("a", "c")]
    assert q("[:find ?in . :in ?in :where [(ground ?in) _]]", "a") == "a"
    rows = q(
        "[:find ?x ?z :in ?in :where [(ground ?in) [[?x _ ?z] ...]]]", [["a", "b", "c"], ["d", "e", "f"]]
    )
    assert sorted(rows) == [("a", "c"), ("d", "f")]


def test_a_binding_joins_with_what_is_bound_before_and_after(db: Database) -> None:
    assert (
        db.q('[:find ?a . :where [(ground ["bob" 15]) [?n ?a]] [?e :user/name ?n] [?e :user/age ?a]]') == 15
    )
    assert db.q('[:find ?a . :where [?e :user/name ?n] [?e :user/age ?a] [(identity "bob") ?n]]') == 15
    assert (
        db.q("[:find ?n . :where [_ :user/age ?a] [(- ?a 25) ?b] [?e :user/age ?b] [?e :user/name ?n]]")
        == "bob"
    )
    assert db.q("[:find ?a :where [_ :user/age ?a] [(identity 100) ?a]]") == []


def test_text_is_split_into_rows(db: Database) -> None:
    words = q('[:find [?w ...] :in ?text :where [(split ?text " +") [?w ...]]]', "a b  b c")
    assert sorted(words) == ["a", "b", "c"]


# Lookups


def test_get_else_takes_values_variables_and_inputs(db: Database) -> None:
    assert sorted(db.q("[:find ?n ?s :where [?e :user/name ?n] [(get-else $ ?e :user/score 0.0) ?s]]")) == [
        ("ann", 0.0), ("bob", 0.0), ("cat", 2.5)]  # fmt: skip
    assert set(db.q("[:find ?s :where [?e :user/name ?n] [(get-else $ ?e :user/score ?n) ?s]]")) == {
        ("ann",), ("bob",), (2.5,)}  # fmt: skip
    assert set(db.q("[:find [?s ...] :in $ ?d :where [?e :user/name] [(get-else $ ?e :user/score ?d) ?s]]", 9)
               ) == {9, 2.5}  # fmt: skip
    assert db.q('[:find ?s . :where [(get-else $ [:user/name "cat"] :user/score 0.0) ?s]]') == 2.5


def test_the_attribute_of_a_lookup_may_be_an_input(db: Database) -> None:
    query = "[:find [?n ...] :in $ ?a :where [?e :user/name ?n] [(missing? $ ?e ?a)]]"
    assert sorted(db.q(query, ":user/age")) == ["cat"]
    query = "[:find [?v ...] :in $ ?a :where [?e :user/name] [(get-else $ ?e ?a -1) ?v]]"
    assert sorted(db.q(query, ":user/age")) == [-1, 15, 40]


def test_get_some_gives_the_first_attribute_that_is_there(db: Database) -> None:
    query = """[:find ?n ?i ?v :where [?e :user/name ?n] [(get-some $ ?e :user/score :user/age) [?a ?v]]
                [?a :db/ident ?i]]"""
    assert sorted(db.q(query)) == [
        ("ann", ":user/age", 40),
        ("bob", ":user/age", 15),
        ("cat", ":user/score", 2.5),
    ]
    assert db.q("[:find [?v ...] :where [?e :user/name] [(get-some $ ?e :user/score) [_ ?v]]]") == [2.5]
    assert db.q("[:find ?v . :where [?e :user/name] [(get-some $ ?e :user/email :user/key) [_ ?v]]]") is None


def test_missing_looks_backwards_too(db: Database) -> None:
    assert sorted(db.q("[:find [?n ...] :where [?e :user/name ?n] [(missing? $ ?e :user/age)]]")) == ["cat"]
    assert sorted(db.q("[:find [?n ...] :where [?e :user/name ?n] [(missing? $ ?e :user/_parent)]]")) == [
        "bob", "cat"]  # fmt: skip


def test_lookups_read_the_database_that_they_name(conn: Connection, db: Database) -> None:
    after = conn.transact([{":user/name": "ann", ":user/score": 1.0}]).db_after
    query = "[:find [?n ...] :in $ $2 :where [?e :user/name ?n] [(missing? {} ?e :user/score)]]"
    assert sorted(q(query.format("$"), db, after)) == ["ann", "bob"]
    assert sorted(q(query.format("$2"), db, after)) == ["bob"]
    query = '[:find ?v . :in $ $2 :where [?e :user/name "ann"] [(get-else $2 ?e :user/score 0.0) ?v]]'
    assert q(query, db, after) == 1.0


# The log


def test_the_log_is_asked_for_transactions_and_their_datoms(conn: Connection, db: Database) -> None:
    first = conn.transact([{":user/name": "ann", ":user/age": 41}])
    second = conn.transact([[":db/retract", [":user/name", "bob"], ":user/parent"]])
    now = second.db_after
    found = "[:find [?tx ...] :in $ ?from ?to :where [(tx-ids $ ?from ?to) [?tx ...]]]"
    both = [report.tx_data[0].tx for report in (first, second)]
    assert sorted(now.q(found, first.t, None)) == both
    assert now.q(found, first.t, second.t) == both[:1]
    assert now.q(found, both[0], both[1]) == both[:1]
    assert len(now.q(found, None, None)) == second.t + 1
    instant = now.pull("[:db/txInstant]", both[1])[":db/txInstant"]
    assert now.q(found, instant, None) == both[1:]
    data = """[:find ?n ?i ?v ?op :in $ ?tx :where [(tx-data $ ?tx) [[?e ?a ?v _ ?op]]]
               [?e :user/name ?n] [?a :db/ident ?i]]"""
    assert sorted(now.q(data, first.t)) == [("ann", ":user/age", 40, False), ("ann", ":user/age", 41, True)]
    assert now.q(data, both[1]) == [("bob", ":user/parent", now.entid([":user/name", "ann"]), False)]
    assert db.q(data, first.t) == []


# Custom functions


def test_a_predicate_may_be_an_input(db: Database) -> None:
    query = "[:find [?n ...] :in $ ?adult :where [?e :user/age ?a] [(?adult ?a)] [?e :user/name ?n]]"
    assert db.q(query, lambda age: age > 18) == ["ann"]


def test_a_function_may_be_an_input(db: Database) -> None:
    assert sorted(q("[:find [?x ...] :in [?in ...] ?f :where [(?f ?in) ?x]]", [1, 2, 3, 4],
                    lambda x: x * 10 if x % 2 == 0 else None)) == [20, 40]  # fmt: skip
    query = "[:find ?k ?min ?max :in [[?k ?v] ...] ?minmax :where [(?minmax ?v) [?min ?max]] [(> ?max ?min)]]"
    data = {"a": [1, 2, 3, 4], "b": [5, 6, 7], "c": [3]}
    assert sorted(q(query, data, lambda v: (min(v), max(v)))) == [("a", 1, 4), ("b", 5, 7)]
    query = (
        "[:find ?k ?x :in [[?k [?min ?max]] ...] ?range :where [(?range ?min ?max) [?x ...]] [(even? ?x)]]"
    )
    assert sorted(q(query, {"a": [1, 7], "b": [2, 4]}, range)) == [("a", 2), ("a", 4), ("a", 6), ("b", 2)]


def test_functions_may_come_in_rows() -> None:
    query = "[:find ?n ?y :in ?x [[?n ?f]] :where [(?f ?x) ?y]]"
    assert sorted(q(query, 16, {"root": math.sqrt, "double": lambda x: 2 * x})) == [
        ("double", 32),
        ("root", 4.0),
    ]


def test_a_function_may_take_the_database(db: Database) -> None:
    def age(database: Database, e: int, least: int) -> bool:
        found = database.pull("[:user/age]", e).get(":user/age", 0)
        return isinstance(found, int) and found >= least

    query = "[:find [?n ...] :in $ ?old :where [?e :user/name ?n] [(?old $ ?e 18)]]"
    assert db.q(query, age) == ["ann"]


def test_a_function_may_ask_another_query(db: Database) -> None:
    def children(database: Database, names: list[str]) -> list[str]:
        query = """[:find [?n ...] :in $ [?p ...]
                    :where [?x :user/name ?p] [?e :user/parent ?x] [?e :user/name ?n]]"""
        return database.q(query, names)  # type: ignore[no-any-return]

    query = "[:find ?p ?c :in $ [?p ...] ?children :where [(vector ?p) ?ps] [(?children $ ?ps) [?c ...]]]"
    assert db.q(query, ["ann", "bob", "cat"], children) == [("ann", "bob")]


def test_a_query_may_stand_in_a_query(db: Database) -> None:
    query = """[:find ?n ?a :where [(q [:find (max ?x) . :where [_ :user/age ?x]] $) ?a]
                                   [?e :user/age ?a] [?e :user/name ?n]]"""
    assert db.q(query) == [("ann", 40)]
    query = """[:find ?n ?count :where [?e :user/name ?n]
                [(q [:find (count ?c) . :in $ ?p :where [?c :user/parent ?p]] $ ?e) ?count]]"""
    assert db.q(query) == [("ann", 1)]
    query = "[:find ?n ?a :where [(q [:find ?e ?a :where [?e :user/age ?a]] $) [[?e ?a]]] [?e :user/name ?n]]"
    assert sorted(db.q(query)) == [("ann", 40), ("bob", 15)]


def test_a_callable_may_stand_in_a_query_that_is_data(db: Database) -> None:
    where = [["?e", ":user/age", "?a"], ["?e", ":user/name", "?n"]]
    assert db.q([":find", ["?n", "..."], ":where", *where, [[lambda a: a < 20, "?a"]]]) == ["bob"]
    assert db.q(
        [":find", "?r", ".", ":where", *where, [["<", "?a", 20]], [[math.sqrt, "?a"], "?r"]]
    ) == math.sqrt(15)
    limits = [18, 50]
    for limit, names in zip(limits, (["ann"], []), strict=True):
        assert (
            db.q([":find", ["?n", "..."], ":where", *where, [[lambda a, limit=limit: a > limit, "?a"]]])
            == names
        )


def test_a_custom_predicate_holds_as_python_sees_it() -> None:
    assert q("[:find [?x ...] :in [?x ...] ?f :where [(?f ?x)]]", [0, 1, 2], lambda x: x % 2) == [1]


def test_custom_functions_work_in_negations_rules_and_disjunctions(db: Database) -> None:
    young: Callable[[int], bool] = lambda a: a < 20  # noqa: E731
    where = "[?e :user/name ?n]"
    old = f"[:find [?n ...] :in $ ?f :where {where} (not [?e :user/age ?a] [(?f ?a)])]"
    assert sorted(db.q(old, young)) == [
        "ann", "cat"]  # fmt: skip
    rules = "[[(is ?e ?f) [?e :user/age ?a] [(?f ?a)]]]"
    assert db.q(f"[:find [?n ...] :in $ % ?f :where {where} (is ?e ?f)]", rules, young) == ["bob"]
    assert sorted(db.q(f"[:find [?n ...] :in $ ?f :where {where} (or-join [?e ?f] [?e :user/score]"
                       " (and [?e :user/age ?a] [(?f ?a)]))]", young)) == ["bob", "cat"]  # fmt: skip


def test_results_that_no_attribute_can_hold_join_by_equality(db: Database) -> None:
    query = """[:find ?m ?n :in $ ?parts :where [?e :user/name ?m] [?f :user/name ?n] [(?parts ?m) ?p]
                [(?parts ?n) ?p]]"""
    assert sorted(db.q(query, lambda name: {"letters": sorted(name)[:1]})) == [
        ("ann", "ann"), ("ann", "cat"), ("bob", "bob"), ("cat", "ann"), ("cat", "cat")]  # fmt: skip


def test_regular_expressions_are_python_s(db: Database) -> None:
    query = '[:find [?n ...] :where [(re-pattern "^[ab]") ?re] [?e :user/name ?n] [(re-find ?re ?n)]]'
    assert sorted(db.q(query)) == ["ann", "bob"]
    assert q('[:find ?x . :in ?s :where [(re-matches "(?i)A(.*)" ?s) [_ ?x]]]', "abc") == "bc"


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        (
            "[(frob 1)]",
            r"frob is neither a predicate nor a function; there are get-else, .*, in: \[\(frob 1\)\] \(l",
        ),
        ("[(inc 1 2) ?x]", r"inc does not take 2 arguments, in: \[\(inc 1 2\) \?x\]"),
        ('[(inc "a") ?x]', "inc fails for 'a': TypeError: 'a' is not a number"),
        ("[(+ 1 true) ?x]", "fails for 1, True|True is not a number"),
        ("[(upper-case 5) ?x]", "5 is not text"),
        ('[(subs "abc" 5) ?x]', "5 to 3 is not within 'abc'"),
        ('[(re-find "(" "x") ?x]', "re-find fails"),
        ("[(* 4611686018427387904 4 1) [?x]]", "does not fit in 64 bits|is not a row"),
        ("[(count [1]) [?x ?y]]", r"count gives what \[\?x \?y\] does not fit: 1 is not a row of 2"),
        ("[(count [1]) [?x ...]]", "takes a collection, not int"),
        ("[(ground 1) [?x ?y]]", r"1 is not a row of 2, as \[\?x \?y\] wants, in: \[\(ground"),
        ("[(ground 1)]", "expected .*ground value"),
        ("[(inc _) ?x]", "_ cannot be an argument"),
        ("[(?f 1) ?x]", r"nothing binds \?f"),
        ("[(ground 1) ?f] [(?f 1) ?x]", r"\?f is 1, which is no function"),
        ("[(inc (inc 1)) ?x]", r"calls do not nest: bind \(inc 1\) to a variable first"),
        ("[(inc foo) ?x]", "foo is neither a variable"),
        ("[(inc 1) 5]", "a binding is"),
        ("[(inc 1) ?x ?y]", "an expression clause is"),
        ("[(identity $2) ?x]", r"\$2 is not in :in"),
        ("[(get-else $ ?x :a 1) ?y]", "needs a database|nothing binds"),
    ],
)
def test_a_wrong_function_says_what_and_where(clause: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        q(f"[:find ?x :in $ :where {clause}]", [])


@pytest.mark.parametrize(
    ("clause", "message"),
    [
        ("[(get-else $ ?e :user/tags :x) ?t]", "one value"),
        ("[(get-else $ ?e :user/age) ?t]", "expected .*get-else . .e :attribute default"),
        ("[(get-else $ ?e :user/age nil) ?t]", "a default that is a value"),
        ("[(get-else $ ?e :user/age 1)]", "bind it to one variable"),
        ("[(get-else $ ?e :user/age 1) [?t]]", "bind it to one variable"),
        ('[(get-else $ ?e :user/age "x") ?t]', "'x' can be no value of :user/age"),
        ("[(get-else $ ?e :user/nope 1) ?t]", ":user/nope' is not an attribute"),
        ("[(get-some $ ?e :user/age) ?t]", "bind ..a .v"),
        ("[(get-some $ ?e) [?a ?t]]", "expected .*get-some"),
        ("[(get-some $ ?e :user/tags) [?a ?t]]", "one value"),
        ("[(missing? $ ?e) ?t]", "expected .*missing"),
        ("[(missing? $ ?e :user/age) ?t]", "binds nothing"),
    ],
)
def test_a_wrong_lookup_says_what_and_where(db: Database, clause: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        db.q(f"[:find ?t :where [?e :user/name ?t] {clause}]")
    with pytest.raises(QueryError, match="no history"):
        db.history().q("[:find ?t :where [?e :user/name] [(get-else $ ?e :user/age 1) ?t]]")


def test_what_a_function_raises_is_the_cause() -> None:
    with pytest.raises(
        QueryError, match=r"boom fails for 1: ZeroDivisionError: no, in: \[\(\?f \?x\)\]"
    ) as caught:
        q("[:find ?x :in ?x ?f :where [(?f ?x)]]", 1, boom)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def boom(_: Any) -> None:
    raise ZeroDivisionError("no")


def test_a_keyword_is_a_keyword_for_a_function() -> None:
    seen: list[Any] = []
    q("[:find ?x :in [?x ...] ?f :where [(?f ?x :b [1 {:c 2}])]]", [Keyword(":a")],
      lambda *values: seen.append(values) or True)  # fmt: skip
    assert seen == [(":a", ":b", (1, {":c": 2}))]
    assert all(isinstance(item, Keyword) for item in seen[0][:2])
