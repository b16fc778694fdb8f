"""The grammar of queries: what `:find` and `:in` can say."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from bucketlog import Connection, Database, Keyword, QueryError, Symbol, q


@pytest.fixture
def db(conn: Connection) -> Database:
    """Three users; ann has two posts, bob one."""
    return conn.transact(
        [
            {":db/id": "ann", ":user/name": "ann", ":user/age": 40, ":user/tags": [":a", ":b"]},
            {":db/id": "bob", ":user/name": "bob", ":user/age": 15, ":user/parent": "ann"},
            {":db/id": "cat", ":user/name": "cat", ":user/age": 40, ":user/score": 2.5},
            {":post/slug": "one", ":post/author": "ann", ":post/title": "One"},
            {":post/slug": "two", ":post/author": "ann", ":post/title": "Two"},
            {":post/slug": "three", ":post/author": "bob", ":post/title": "Three"},
        ]
    ).db_after


ROWS = [("red", 1), ("red", 2), ("red", 3), ("red", 4), ("red", 5), ("blue", 7), ("blue", 8)]

# Return maps


def test_keys_make_dictionaries_of_rows(db: Database) -> None:
    query = "[:find ?n ?a :keys name user/age :where [?e :user/name ?n] [?e :user/age ?a] [?e :user/parent]]"
    assert db.q(query) == [{":name": "bob", ":user/age": 15}]
    assert all(isinstance(key, Keyword) for key in db.q(query)[0])


def test_strs_and_syms_name_the_columns_too(db: Database) -> None:
    where = '[?e :user/name "bob"] [?e :user/name ?n] [?e :user/age ?a]'
    assert db.q(f"[:find ?n ?a :strs name age :where {where}]") == [{"name": "bob", "age": 15}]
    (row,) = db.q(f"[:find ?n ?a :syms name age :where {where}]")
    assert row == {"name": "bob", "age": 15}
    assert all(isinstance(key, Symbol) for key in row)


def test_a_tuple_becomes_one_dictionary(db: Database) -> None:
    where = ':where [?e :user/name "bob"] [?e :user/name ?n] [?e :user/age ?a]'
    assert db.q(f"[:find [?n ?a] :keys name age {where}]") == {":name": "bob", ":age": 15}
    assert db.q("[:find [?n ?a] :keys name age :where [?e :user/email ?n] [?e :user/age ?a]]") is None


def test_keys_name_aggregates_and_pulls(db: Database) -> None:
    query = """[:find (count ?p) (pull ?e [:user/name]) :keys posts author
                :where [?p :post/author ?e]]"""
    assert sorted(db.q(query), key=lambda row: row[":posts"]) == [
        {":posts": 1, ":author": {":user/name": "bob"}},
        {":posts": 2, ":author": {":user/name": "ann"}},
    ]


def test_a_query_as_a_map_has_return_maps(db: Database) -> None:
    query = "{:find [?n] :keys [name] :where [[?e :user/parent] [?e :user/name ?n]]}"
    assert db.q(query) == [{":name": "bob"}]
    where = [["?e", ":user/parent"], ["?e", ":user/name", "?n"]]
    assert db.q({":find": ["?n"], ":strs": ["name"], ":where": where}) == [{"name": "bob"}]


@pytest.mark.parametrize(
    ("find", "message"),
    [
        ("?n ?a :keys name", "1 names for the 2 columns"),
        ("?n . :keys name", "asks for values"),
        ("[?n ...] :keys name", "asks for values"),
        ("?n ?a :keys n a :strs n a", "one of :keys, :strs and :syms"),
        ("?n :keys 5", "with a name for each column"),
        ("?n :keys ?n", "with a name for each column"),
    ],
)
def test_wrong_return_maps_are_refused(db: Database, find: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        db.q(f"[:find {find} :where [?e :user/name ?n] [?e :user/age ?a]]")


# Find specs


def test_every_find_spec_takes_aggregates_and_pulls(db: Database) -> None:
    where = ":where [?p :post/author ?e]"
    assert db.q(f"[:find (count ?p) . {where}]") == 3
    assert db.q(f"[:find [(count ?p) (count-distinct ?e)] {where}]") == (3, 2)
    assert sorted(db.q(f"[:find [(pull ?p [:post/title]) ...] {where}]"), key=str) == [
        {":post/title": "One"},
        {":post/title": "Three"},
        {":post/title": "Two"},
    ]
    found = db.q(f"[:find ?e (count ?p) (pull ?e [:user/name]) (max ?p) {where}]")
    assert {row[2][":user/name"]: row[1] for row in found} == {"ann": 2, "bob": 1}
    assert all(len(row) == 4 for row in found)


def test_a_variable_may_be_found_twice(db: Database) -> None:
    assert db.q("[:find ?n ?n :where [?e :user/parent] [?e :user/name ?n]]") == [("bob", "bob")]
    assert db.q("[:find ?e (pull ?e [:user/name]) (pull ?e [:user/age]) :where [?e :user/parent]]")[0][
        1:
    ] == (
        {":user/name": "bob"},
        {":user/age": 15},
    )


def test_a_pull_may_name_its_database(conn: Connection, db: Database) -> None:
    after = conn.transact([{":user/name": "bob", ":user/age": 16}]).db_after
    query = "[:find (pull $ ?e [:user/age]) (pull $new ?e [:user/age]) :in $ $new :where [?e :user/parent]]"
    assert q(query, db, after) == [({":user/age": 15}, {":user/age": 16})]


def test_a_pull_pattern_may_be_an_input(db: Database) -> None:
    where = ":where [?e :user/parent]"
    assert db.q(f"[:find (pull ?e pattern) . :in $ pattern {where}]", "[:user/age]") == {":user/age": 15}
    assert db.q(f"[:find (pull ?e ?pattern) . :in $ ?pattern {where}]", [":user/age"]) == {":user/age": 15}
    assert db.q([":find", ["pull", "?e", "pattern"], ".", ":in", "$", "pattern",
                 ":where", ["?e", ":user/parent"]], ["*"])[":user/age"] == 15  # fmt: skip
    with pytest.raises(QueryError, match="the pattern pattern is not in :in"):
        db.q(f"[:find (pull ?e pattern) {where}]")


# :with and aggregates


def test_with_keeps_rows_apart(db: Database) -> None:
    assert db.q("[:find (sum ?a) . :where [_ :user/age ?a]]") == 55
    assert db.q("[:find (sum ?a) . :with ?e :where [?e :user/age ?a]]") == 95
    assert q("[:find ?heads :with ?m :in [[?m ?heads]]]", [("Medusa", 1), ("Cyclops", 1)]) == [(1,), (1,)]


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [
        ("(count ?x)", 5),
        ("(count-distinct ?x)", 5),
        ("(distinct ?x)", frozenset({10, 15, 20, 35, 75})),
        ("(sum ?x)", 155),
        ("(min ?x)", 10),
        ("(max ?x)", 75),
        ("(min 2 ?x)", [10, 15]),
        ("(max 2 ?x)", [35, 75]),
        ("(max 9 ?x)", [10, 15, 20, 35, 75]),
        ("(avg ?x)", 31),
        ("(median ?x)", 20),
        ("(variance ?x)", 554),
        ("(stddev ?x)", 23.53720459187964),
    ],
)
def test_aggregates(aggregate: str, value: Any) -> None:
    assert q(f"[:find {aggregate} . :in [?x ...]]", [10, 15, 20, 35, 75]) == value


def test_the_median_of_an_even_number_lies_between_the_middle_ones() -> None:
    assert q("[:find (median ?x) . :in [?x ...]]", [1, 2, 3, 10]) == 2.5


def test_rand_and_sample_choose() -> None:
    values = list(range(50))
    assert q("[:find (rand ?x) . :in [?x ...]]", values) in values
    chosen = q("[:find (rand 80 ?x) . :in [?x ...]]", values)
    assert len(chosen) == 80
    assert set(chosen) <= set(values)
    sample = q("[:find (sample 7 ?x) . :in [?x ...]]", values)
    assert len(set(sample)) == 7
    assert sorted(q("[:find (sample 80 ?x) . :in [?x ...]]", values)) == values


def test_what_an_aggregate_takes_may_be_an_input() -> None:
    query = "[:find ?color (max ?amount ?x) (min ?amount ?x) :in [[?color ?x]] ?amount]"
    assert sorted(q(query, ROWS, 3)) == [("blue", [7, 8], [7, 8]), ("red", [3, 4, 5], [1, 2, 3])]


def test_keywords_texts_and_instants_have_a_least_one() -> None:
    words = [Keyword(":a-/b"), Keyword(":a/b")]
    assert q("[:find [(min ?x) (max ?x)] :in [?x ...]]", words) == (":a-/b", ":a/b")
    assert q("[:find [(min ?x) (max ?x)] :in [?x ...]]", ["b", "a"]) == ("a", "b")


def test_an_aggregate_of_attributes_counts_in_the_database(db: Database) -> None:
    query = "[:find [(min ?a) (max ?a) (sum ?a) (avg ?a) (median ?a)] :with ?e :where [?e :user/age ?a]]"
    assert db.q(query) == (15, 40, 95, 95 / 3, 40)


def test_a_custom_aggregate_is_an_input() -> None:
    query = "[:find ?color (aggregate ?agg ?x) :in [[?color ?x]] ?agg]"
    found = q(query, ROWS, lambda xs: sorted(xs, reverse=True))
    assert sorted(found) == [("blue", [8, 7]), ("red", [5, 4, 3, 2, 1])]


def test_a_custom_aggregate_may_take_more() -> None:
    query = "[:find (aggregate ?agg 10 ?by ?x) . :in [?x ...] ?agg ?by]"
    assert q(query, [1, 2, 3], lambda start, by, xs: start + by * sum(xs), 2) == 22


def test_a_callable_may_stand_in_a_query_that_is_data(db: Database) -> None:
    where = [["_", ":user/age", "?a"]]
    assert (
        db.q([":find", [statistics.mode, "?a"], ".", ":with", "?e", ":where", ["?e", ":user/age", "?a"]])
        == 40
    )
    assert db.q({":find": [["aggregate", max, "?a"], "."], ":where": where}) == 40


@pytest.mark.parametrize(
    ("find", "message"),
    [
        ("(frob ?x)", "frob is no aggregate; there are count"),
        ("(sum ?x)", "sum fails: TypeError: 'a' is not a number, in: .sum .x. .line 1, column 8"),
        ("(sum 2 ?x)", "sum does not take 1 arguments"),
        ("(sample ?x)", "sample does not take 0 arguments"),
        ("(min ?n ?x)", ".n is no input of one value"),
        ("(aggregate ?x)", "a variable, last"),
        ("(aggregate f ?x)", "expected .aggregate .function .variable"),
        ("(aggregate ?f ?x)", ".f is no input of one value"),
        ("(min $ ?x)", "are values and inputs"),
        ("(sum 5)", "takes a variable, last"),
    ],
)
def test_wrong_aggregates_are_refused(find: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        q(f"[:find {find} :in [?x ...]]", ["a", "b"])


def test_an_aggregate_that_fails_says_so() -> None:
    with pytest.raises(QueryError, match="f fails: ZeroDivisionError"):
        q("[:find (aggregate ?f ?x) :in [?x ...] ?f]", [1], lambda xs: xs[0] / 0)


# :in


def test_a_query_needs_no_database() -> None:
    assert q("[:find ?a ?b :in ?a ?b]", 10, 20) == [(10, 20)]
    assert q("[:find [?x ...] :in [?x ...] :where [(> 2 1)]]", [":a", ":b"]) == [":a", ":b"]
    assert q("[:find [?x ...] :in [?x ...] :where [(> 1 2)]]", [":a", ":b"]) == []


@pytest.mark.parametrize(
    ("binding", "value", "rows"),
    [
        ("?x ", 1, [1]),
        ("[?x ...]", [1, 2], [1, 2]),
        ("[?x ...]", {1, 2}, [1, 2]),
        ("[_ ?x]", (1, 2), [2]),
        ("[?x [_ _]]", [1, (2, 3)], [1]),
        ("[_ [_ ?x]]", [1, (2, 3)], [3]),
        ("[[?x _]]", [(1, 2), (3, 4)], [1, 3]),
        ("[[_ ?x] ...]", [(1, 2), (3, 4)], [2, 4]),
        ("[[_ ?x] ...]", {"a": 1, "b": 2}, [1, 2]),
        ("[[_ [?x _]]]", {"a": (1, 7), "b": [2, 8]}, [1, 2]),
        ("[[_ [?x ...]]]", {"a": [1, 2], "b": [], "c": [3]}, [1, 2, 3]),
        ("[_ [?x ...]]", ("a", [1, 2]), [1, 2]),
        ("[[?x ...] ...]", [[1], [2, 3]], [1, 2, 3]),
        ("[[[?x ?x] ...] ...]", [[(1, 1), (1, 2)], [(3, 3)]], [1, 3]),
        ("[?x ...]", [], []),
    ],
)
def test_bindings_of_inputs_nest(binding: str, value: Any, rows: list[Any]) -> None:
    assert sorted(q(f"[:find [?x ...] :in {binding}]", value)) == rows


def test_a_nested_binding_joins_with_the_database(db: Database) -> None:
    query = "[:find ?n ?c :in $ [[?n [_ ?c]]] :where [?e :user/name ?n] [?e :user/age ?a] [(< ?a 30)]]"
    assert db.q(query, {"bob": ("x", "blue"), "ann": ("y", "red")}) == [("bob", "blue")]


@pytest.mark.parametrize(
    ("binding", "value", "message"),
    [
        ("[?x ?y]", 5, r"input \[\?x \?y\]: 5 is not a row of 2"),
        ("[?x ?y]", [1], "is not a row of 2"),
        ("[?x ...]", 5, r"input \[\?x \.\.\.\]: \[\?x \.\.\.\] takes a collection, not int"),
        ("[?x ...]", "text", "takes a collection, not str"),
        ("[[?x]]", [5], "5 is not a row of 1"),
        ("[[?x [?y]]]", [(1, 2)], "2 is not a row of 1, as .* wants"),
        ("[?x [?y]]", (1, 2), "2 is not a row of 1"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(binding: str, value: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        q(f"[:find ?x :in {binding}]", value)


def test_inputs_that_no_attribute_can_hold_pass_through() -> None:
    thing = object()
    assert q("[:find ?x . :in ?x]", thing) is thing
    assert q("[:find ?x . :in ?x]", {"a": [1]}) == {"a": [1]}
    assert q("[:find [?x ...] :in [?x ...]]", [[1, [2]], [1, [2]], (1, [2])]) == [[1, [2]]]


def test_an_input_that_is_none_matches_nothing(db: Database) -> None:
    assert db.q("[:find ?e :in $ ?n :where [?e :user/name ?n]]", None) == []
    optional = """[:find [?n ...] :in $ ?wanted :where [?e :user/name ?n]
                   (or-join [?wanted ?n] [(nil? ?wanted)] [(= ?wanted ?n)])]"""
    assert sorted(db.q(optional, None)) == ["ann", "bob", "cat"]
    assert db.q(optional, "bob") == ["bob"]


# Sources


def test_a_collection_may_be_a_source(db: Database) -> None:
    mails = [("ann", "ann@example.com"), ("zoe", "zoe@example.com")]
    query = "[:find ?a ?m :in $ $mails :where [$mails ?n ?m] [?e :user/name ?n] [?e :user/age ?a]]"
    assert db.q(query, mails) == [(40, "ann@example.com")]
    assert db.q(query, [list(row) for row in mails]) == [(40, "ann@example.com")]
    assert db.q(query, dict(mails)) == [(40, "ann@example.com")]
    assert db.q(query, (row for row in mails)) == [(40, "ann@example.com")]


def test_the_default_source_may_be_a_collection() -> None:
    facts = [(1, ":name", "Ivan"), (1, ":age", 19), (1, ":aka", "x"), (1, ":aka", "y")]
    query = '[:find ?n ?a :where [?e :aka "x"] [?e :name ?n] [?e :age ?a]]'
    assert q(query, facts) == [("Ivan", 19)]
    assert q(query, [(e, Keyword(a), v) for e, a, v in facts]) == [("Ivan", 19)]


def test_rows_of_any_width_up_to_ten() -> None:
    rows = [tuple(range(10)), tuple(range(10, 20))]
    assert q("[:find ?a ?j :where [?a _ _ _ _ _ _ _ _ ?j]]", rows) == [(0, 9), (10, 19)]
    assert q("[:find ?j . :where [_ 11 _ _ _ _ _ _ _ ?j]]", rows) == 19
    assert q("[:find [?a ...] :where [?a]]", rows) == [0, 10]
    assert q("[:find ?x :where [_ _ ?x]]", [(1, 2), (1, 2, 3)]) == [(3,)]
    assert q("[:find [?e ...] :where [?e _ _ ?t :db/retract]]",
             [(1, ":name", "Ivan", 945, ":db/add"), (1, ":age", 39, 999, ":db/retract")]) == [1]  # fmt: skip


def test_records_are_rows_of_their_position_key_and_value() -> None:
    records = [{"name": "ann", "tags": ["a", "b"]}, {"name": "bob", "tags": []}]
    assert sorted(q('[:find ?n ?t :where [?r "name" ?n] [?r "tags" ?t]]', records)) == [
        ("ann", "a"),
        ("ann", "b"),
    ]
    assert q('[:find ?n . :where [?r "name" ?n] (not [?r "tags"])]', records) == "bob"


def test_the_datoms_of_a_report_are_a_source(conn: Connection, db: Database) -> None:
    report = conn.transact([{":user/name": "ann", ":user/age": 41}])
    query = "[:find ?n ?v ?added :in $ $tx :where [$tx ?e :user/age ?v _ ?added] [?e :user/name ?n]]"
    assert sorted(report.db_after.q(query, report.tx_data)) == [("ann", 40, False), ("ann", 41, True)]


def test_names_in_a_collection_are_read_as_what_they_are_joined_with(db: Database) -> None:
    query = "[:find ?n ?v :in $ $want :where [$want ?e ?a] [?e ?a ?v] [?e :user/name ?n]]"
    want = [([":user/name", "bob"], ":user/age"), ([":user/name", "cat"], ":user/score")]
    assert sorted(db.q(query, want)) == [("bob", 15), ("cat", 2.5)]


def test_collections_join_with_each_other_and_themselves() -> None:
    edges = [(1, 2), (2, 3), (3, 4)]
    assert q("[:find ?a ?c :where [?a ?b] [?b ?c]]", edges) == [(1, 3), (2, 4)]
    assert q("[:find ?a ?x :in $ $names :where [?a 4] [$names ?a ?x]]", edges, {3: "three"}) == [(3, "three")]


def test_a_collection_has_negation_and_rules() -> None:
    edges = [(1, 2), (2, 3), (3, 1), (3, 4)]
    rules = "[[(path ?a ?b) [?a ?b]] [(path ?a ?c) (path ?a ?b) [?b ?c]]]"
    assert sorted(q("[:find [?b ...] :in $ % :where (path 2 ?b)]", edges, rules)) == [1, 2, 3, 4]
    assert q("[:find [?b ...] :where [_ ?b] (not [?b])]", edges) == [4]
    assert q("[:find [?b ...] :where [_ ?b] (not [?b _])]", edges) == [4]


def test_databases_of_other_connections_join(
    conn: Connection, db: Database, connect: Callable[..., Connection], schema: str
) -> None:
    other = connect("memory://elsewhere")
    other.transact(schema)
    there = other.transact([{":user/name": "ann", ":user/age": 99}, {":user/name": "zoe"}]).db_after
    query = """[:find ?n ?a ?b :in $ $2 :where [?e :user/name ?n] [?e :user/age ?a]
                [$2 ?f :user/name ?n] [$2 ?f :user/age ?b]]"""
    assert q(query, db, there) == [("ann", 40, 99)]
    assert q(query, there, db) == [("ann", 99, 40)]
    assert q("[:find [?n ...] :in $ $2 :where [$2 _ :user/name ?n] (not [_ :user/name ?n])]", db, there) == [
        "zoe"
    ]
    assert q("[:find ?x . :in $ $2 :where [?e :user/name ?n] [$2 ?f :user/name ?n]"
             " [(get-else $2 ?f :user/score 7.5) ?x]]", db, there) == 7.5  # fmt: skip
    assert q("[:find (pull $2 ?f [:user/age]) . :in $ $2 :where [?e :user/name ?n] [$2 ?f :user/name ?n]]",
             db, there) == {":user/age": 99}  # fmt: skip


def test_a_database_elsewhere_keeps_its_view(
    db: Database, connect: Callable[..., Connection], schema: str
) -> None:
    other = connect("memory://elsewhere-too")
    other.transact(schema)
    before = other.transact([{":user/name": "ann", ":user/age": 1}]).db_after
    after = other.transact([{":user/name": "ann", ":user/age": 2}]).db_after
    query = "[:find [?a ...] :in $ $2 :where [_ :user/name ?n] [$2 ?e :user/name ?n] [$2 ?e :user/age ?a]]"
    assert q(query, db, before) == [1]
    assert q(query, db, after) == [2]
    assert q(query, db, after.as_of(before.basis_t)) == [1]
    query = (
        "[:find ?a ?op :in $ $2 :where [_ :user/name ?n] [$2 ?e :user/name ?n] [$2 ?e :user/age ?a _ ?op]]"
    )
    assert sorted(q(query, db, after.history())) == [(1, False), (1, True), (2, True)]
    assert (
        q('[:find ?x . :in $ $2 :where [$2 [:user/name "ann"] :user/age 2] [(ground 1) ?x]]', db, after) == 1
    )


@pytest.mark.parametrize(
    ("query", "inputs", "message"),
    [
        ("[:find ?x :where [?x]]", (5,), r"\$ in :in must be a database or a collection of rows, not int"),
        ("[:find ?x :where [?x]]", ("text",), "or a collection of rows, not str"),
        ("[:find ?x :where [?x]]", ([1, 2],), r"\$: 1 is not a row, in: \[\?x\]"),
        ("[:find ?x :where [?x 1 2 3 4 5 6 7 8 9 10]]", ([],), "of a collection up to ten"),
        ("[:find (pull ?x [*]) :where [?x]]", ([(1,)],), r"\$ in :in must be a database"),
        ("[:find ?v :where [?x] [(get-else $ ?x :a 1) ?v]]", ([(1,)],), "needs a database"),
        ("[:find ?x :in $ $b :where [$c ?x]]", ([], []), r"\$c is not in :in"),
        ("[:find ?x :in % :where (r ?x)]", ("[[(r ?x) [?x]]]",), r"\$ is not in :in"),
    ],
)
def test_wrong_sources_are_refused(query: str, inputs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        q(query, *inputs)


def test_a_pattern_of_a_database_has_at_most_five_places(db: Database) -> None:
    with pytest.raises(QueryError, match="one to five places"):
        db.q("[:find ?e :where [?e :user/name _ _ _ _]]")
