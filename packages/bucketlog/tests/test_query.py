"""Queries: every part of the language, what is refused, and a naive evaluator that must agree."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, Database, Keyword, QueryError, q

PEOPLE = [
    {":db/id": "ann", ":user/name": "ann", ":user/age": 40, ":user/tags": [":a", ":b"], ":user/active": True},
    {":db/id": "bob", ":user/name": "bob", ":user/age": 15, ":user/parent": "ann", ":user/score": 1.5},
    {
        ":db/id": "cat",
        ":user/name": "cat",
        ":user/age": 40,
        ":user/parent": "ann",
        ":user/friends": ["bob", "ann"],
    },
    {":db/id": "dan", ":user/name": "dan", ":user/parent": "bob", ":user/role": ":role/admin"},
]


@pytest.fixture
def db(conn: Connection) -> Database:
    """Four users: ann with children bob and cat, and bob's child dan."""
    return conn.transact(PEOPLE).db_after


def test_the_find_spec_gives_the_shape(db: Database) -> None:
    assert sorted(db.q("[:find ?n ?a :where [?e :user/name ?n] [?e :user/age ?a]]")) == [
        ("ann", 40),
        ("bob", 15),
        ("cat", 40),
    ]
    assert sorted(db.q("[:find [?n ...] :where [_ :user/name ?n]]")) == ["ann", "bob", "cat", "dan"]
    assert db.q('[:find [?n ?a] :where [?e :user/name ?n] [?e :user/age ?a] [?e :user/name "bob"]]') == (
        "bob",
        15,
    )
    assert db.q('[:find ?a . :where [?e :user/name "bob"] [?e :user/age ?a]]') == 15


def test_nothing_found_has_a_shape_too(db: Database) -> None:
    where = ':where [?e :user/name "nobody"] [?e :user/age ?a]]'
    assert db.q(f"[:find ?a {where}") == []
    assert db.q(f"[:find [?a ...] {where}") == []
    assert db.q(f"[:find [?a ?e] {where}") is None
    assert db.q(f"[:find ?a . {where}") is None


def test_results_are_distinct(db: Database) -> None:
    assert sorted(db.q("[:find ?a :where [_ :user/age ?a]]")) == [(15,), (40,)]


@pytest.mark.parametrize(
    ("spec", "value", "names"),
    [
        ("?n", "bob", ["bob"]),
        ("[?n ...]", ["bob", "cat", "nobody"], ["bob", "cat"]),
        ("[?n ...]", [], []),
        ("[?n ?a]", ("ann", 40), ["ann"]),
        ("[_ ?a]", ("x", 15), ["bob"]),
        ("[[?n ?a]]", [("ann", 40), ("bob", 40), ("cat", 40)], ["ann", "cat"]),
        ("[[?n _]]", {("ann", 0)}, ["ann"]),
    ],
)
def test_inputs_of_every_form(db: Database, spec: str, value: Any, names: list[str]) -> None:
    query = f"[:find [?n ...] :in $ {spec} :where [?e :user/name ?n] [?e :user/age ?a]]"
    assert sorted(db.q(query, value)) == names


def test_several_inputs_of_several_rows_do_not_mix(db: Database) -> None:
    query = "[:find ?n ?m :in $ [?n ...] [?m ...] :where [_ :user/name ?n] [_ :user/name ?m]]"
    assert sorted(db.q(query, ["ann", "bob"], ["cat"])) == [("ann", "cat"), ("bob", "cat")]


def test_an_input_may_name_an_entity_or_an_attribute(db: Database) -> None:
    assert db.q("[:find ?a . :in $ ?e :where [?e :user/age ?a]]", [":user/name", "bob"]) == 15
    assert db.q("[:find ?a . :in $ ?e :where [?e :user/age ?a]]", [":user/name", "nobody"]) is None
    assert db.q('[:find ?v . :in $ ?a :where [[:user/name "ann"] ?a ?v]]', ":user/age") == 40
    assert db.q("[:find ?n . :in $ ?r :where [?e :user/role ?r] [?e :user/name ?n]]", ":role/admin") == "dan"
    assert db.q("[:find ?n . :in $ ?t :where [?e :user/tags ?t] [?e :user/name ?n]]", ":a") == "ann"
    assert sorted(
        db.q("[:find [?n ...] :in $ [?p ...] :where [?e :user/parent ?p] [?e :user/name ?n]]",
             [[":user/name", "bob"], [":user/name", "ann"]])
    ) == ["bob", "cat", "dan"]  # fmt: skip
    with pytest.raises(QueryError, match="':user/nothing' is not an attribute"):
        db.q("[:find ?v :in $ ?a :where [_ ?a ?v]]", ":user/nothing")


def test_constants_in_patterns(db: Database) -> None:
    assert db.q("[:find ?n . :where [?e :user/tags :a] [?e :user/name ?n]]") == "ann"
    assert db.q("[:find ?n . :where [?e :user/active true] [?e :user/name ?n]]") == "ann"
    assert db.q("[:find ?n . :where [?e :user/role :role/admin] [?e :user/name ?n]]") == "dan"
    assert sorted(
        db.q('[:find [?n ...] :where [?e :user/parent [:user/name "ann"]] [?e :user/name ?n]]')
    ) == ["bob", "cat"]
    ann = db.entid([":user/name", "ann"])
    assert db.q(f"[:find ?n . :where [{ann} :user/name ?n]]") == "ann"
    assert db.q("[:find ?n . :where [?e :user/score 1.5] [?e :user/name ?n]]") == "bob"


def test_queries_as_python_data(db: Database) -> None:
    assert db.q([":find", ["?n", "..."], ":where", ["?e", ":user/age", 15], ["?e", ":user/name", "?n"]]) == [
        "bob"
    ]
    assert db.q([":find", "?n", ".", ":in", "$", "?x", ":where",
                 ["?e", ":user/name", "?n"], ["?e", ":user/age", "?a"], [["<", "?a", "?x"]]],
                20) == "bob"  # fmt: skip
    assert (
        db.q(
            {":find": [["count", "?e"], "."], ":where": [["?e", ":user/name"], ["not", ["?e", ":user/age"]]]}
        )
        == 1
    )
    assert db.q([":find", "?e", ".", ":where", ["?e", ":user/name", "ann"]]) == db.entid(
        [":user/name", "ann"]
    )
    pulled = db.q([":find", ("pull", "?e", [":user/age"]), ".", ":where", ["?e", ":user/name", "bob"]])
    assert pulled == {":user/age": 15}


def test_a_query_over_two_databases(conn: Connection, db: Database) -> None:
    after = conn.transact([{":user/name": "bob", ":user/age": 16}]).db_after
    assert q("[:find ?n ?was ?is :in $ $2 :where [?e :user/name ?n] [?e :user/age ?was] [$2 ?e :user/age ?is]"
             " [(not= ?was ?is)]]", db, after) == [("bob", 15, 16)]  # fmt: skip


def test_patterns_of_any_length(db: Database) -> None:
    everything = db.q("[:find ?e ?a ?v ?tx :where [?e ?a ?v ?tx]]")
    assert len(everything) == len(set(everything)) > 100
    assert {row[0] for row in everything} == set(db.q("[:find [?e ...] :where [?e]]"))
    idents = db.q('[:find [?i ...] :where [?e :user/name "ann"] [?e ?a] [?a :db/ident ?i]]')
    assert set(idents) == {":user/name", ":user/age", ":user/tags", ":user/active"}
    assert db.q("[:find ?op . :where [_ :user/name _ _ ?op]]") is True


def test_values_come_back_with_their_types(db: Database) -> None:
    tag = db.q('[:find ?t . :where [?e :user/tags ?t] [?e :user/name "ann"]]')
    assert isinstance(tag, Keyword)
    assert isinstance(db.q("[:find (max ?t) . :where [_ :db/txInstant ?t]]"), datetime)
    assert db.q("[:find ?v . :where [?e :user/active ?v]]") is True


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("[(< ?a 20)]", ["bob"]),
        ("[(<= 15 ?a 39)]", ["bob"]),
        ("[(= ?a 40)]", ["ann", "cat"]),
        ("[(not= ?a 40)]", ["bob"]),
        ("[(odd? ?a)]", ["bob"]),
        ('[(clojure.string/starts-with? ?n "b")]', ["bob"]),
        ('[(str/ends-with? ?n "")]', ["ann", "bob", "cat"]),
        ('[(ends-with? ?n "t")]', ["cat"]),
        ('[(includes? ?n "a")]', ["ann", "cat"]),
        ("[(+ ?a 1 1) ?b] [(= ?b 42)]", ["ann", "cat"]),
        ("[(- ?a) ?b] [(> ?b -20)]", ["bob"]),
        ("[(/ ?a 6) ?b] [(= ?b 2.5)]", ["bob"]),
        ("[(/ ?a 0) ?b]", []),
        ("[(mod ?a 7) ?b] [(= ?b 1)]", ["bob"]),
        ('[(upper-case ?n) ?u] [(= ?u "CAT")]', ["cat"]),
        ('[(str ?n "!") ?u] [(= ?u "cat!")]', ["cat"]),
        ("[(count ?n) ?c] [(= ?c 3)]", ["ann", "bob", "cat"]),
        ("[(identity ?a) 15]", None),
        ('[(ground "bob") ?n]', ["bob"]),
        ('[(ground ["bob" "cat" "zoe"]) [?n ...]]', ["bob", "cat"]),
        ('[(ground [["bob" 15] ["cat" 1]]) [[?n ?a]]]', ["bob"]),
        ('[(ground ["cat" 40]) [?n ?a]]', ["cat"]),
        ("[(ground []) [?n ...]]", []),
        ("[(missing? $ ?e :user/parent)]", ["ann"]),
        ("[(get-else $ ?e :user/score 9.0) ?s] [(> ?s 5)]", ["ann", "cat"]),
        ("[(get-else $ ?e :user/score ?a) ?s] [(> ?s 5)]", ["ann", "cat"]),
        ("(not [?e :user/parent])", ["ann"]),
        ("(not [?e :user/parent ?p] [?p :user/age 40])", ["ann"]),
        ("(not-join [?e] [?x :user/parent ?e])", ["cat"]),
        ("(not [?e :user/age 15]) (not [?e :user/tags])", ["cat"]),
        ("(not (not [?e :user/parent]))", ["bob", "cat"]),
        ("(or [?e :user/age 15] [?e :user/tags :a])", ["ann", "bob"]),
        ("(or (and [?e :user/age 40] [?e :user/parent]) [?e :user/score])", ["bob", "cat"]),
        ("(or-join [?e] [?e :user/age 15] (and [?e :user/friends ?f] [?f :user/age 15]))", ["bob", "cat"]),
        ("(or-join [?e] [?e :user/age ?n] [?e :user/parent ?n])", ["ann", "bob", "cat"]),
        ("(not-join [?e] [?e :user/parent ?n])", ["ann"]),
        ("(or-join [[?e] ?z] (and [?e :user/age ?z] [(< ?z 20)]))", ["bob"]),
        ("(and [?e :user/age 40] [?e :user/parent])", ["cat"]),
        ("(not (or [?e :user/age 15] [?e :user/tags :a]))", ["cat"]),
    ],
)
def test_clauses(db: Database, clause: str, names: list[str] | None) -> None:
    query = f"[:find [?n ...] :where {clause} [?e :user/name ?n] [?e :user/age ?a]]"
    if names is None:
        with pytest.raises(QueryError):
            db.q(query)
    else:
        assert sorted(db.q(query)) == names


def test_aggregates_work_on_distinct_rows(db: Database) -> None:
    assert db.q("[:find (sum ?a) . :where [_ :user/age ?a]]") == 55
    assert db.q("[:find (sum ?a) . :with ?e :where [?e :user/age ?a]]") == 95
    assert db.q("[:find [(min ?a) (max ?a) (avg ?a) (count ?a) (count-distinct ?a)] :with ?e"
                " :where [?e :user/age ?a]]") == (15, 40, 95 / 3, 3, 2)  # fmt: skip
    assert sorted(db.q("[:find ?p (count ?e) :where [?e :user/parent ?x] [?x :user/name ?p]]")) == [
        ("ann", 2),
        ("bob", 1),
    ]
    assert db.q("[:find (count ?e) . :where [?e :user/age 99]]") is None
    assert sorted(db.q("[:find ?a :with ?e :where [?e :user/age ?a]]")) == [(15,), (40,), (40,)]


def test_pull_in_find(db: Database) -> None:
    found = db.q("[:find ?n (pull ?e [:user/age]) :where [?e :user/parent] [?e :user/name ?n]]")
    assert sorted(found, key=operator.itemgetter(0)) == [
        ("bob", {":user/age": 15}),
        ("cat", {":user/age": 40}),
        ("dan", {}),
    ]
    assert db.q('[:find (pull $ ?e [*]) . :where [?e :user/name "bob"]]')[":user/score"] == 1.5


RULES = """
[[(ancestor ?a ?b) [?b :user/parent ?a]]
 [(ancestor ?a ?b) [?b :user/parent ?c] (ancestor ?a ?c)]
 [(grown ?e) [?e :user/age ?a] [(>= ?a 18)]]
 [(child ?e) [?e :user/parent ?n]]
 [(related ?a ?b) (ancestor ?a ?b)]
 [(related ?a ?b) (ancestor ?b ?a)]
 [(even ?a ?b) [?b :user/parent ?c] (odd ?a ?c)]
 [(odd ?a ?b) [?b :user/parent ?a]]
 [(odd ?a ?b) [?b :user/parent ?c] (even ?a ?c)]]
"""


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ('(ancestor [:user/name "ann"] ?e)', ["bob", "cat", "dan"]),
        ('(ancestor [:user/name "nobody"] ?e)', []),
        ('(ancestor :role/admin ?e)', []),
        ("(ancestor 5 ?e)", []),
        ("[?x :user/name \"ann\"] (ancestor ?x ?e)", ["bob", "cat", "dan"]),
        ("[?x :user/name \"dan\"] (ancestor ?e ?x)", ["ann", "bob"]),
        ("(grown ?e)", ["ann", "cat"]),
        ("(child ?e)", ["bob", "cat", "dan"]),
        ("(not (grown ?e))", ["bob", "dan"]),
        ("(ancestor _ ?e) (grown ?e)", ["cat"]),
        ("(not (ancestor ?e _))", ["cat", "dan"]),
        ("[?x :user/name \"bob\"] (related ?e ?x)", ["ann", "dan"]),
        ("[?x :user/name \"ann\"] (even ?x ?e)", ["dan"]),
        ("[?x :user/name \"ann\"] (odd ?x ?e)", ["bob", "cat"]),
        ("(or (grown ?e) [?e :user/role])", ["ann", "cat", "dan"]),
    ],
)  # fmt: skip
def test_rules(db: Database, clause: str, names: list[str]) -> None:
    assert sorted(db.q(f"[:find [?n ...] :in $ % :where {clause} [?e :user/name ?n]]", RULES)) == names


def test_an_input_that_a_rule_takes_may_name_an_entity(db: Database) -> None:
    query = "[:find [?n ...] :in $ % ?x :where (ancestor ?x ?e) [?e :user/name ?n]]"
    assert sorted(db.q(query, RULES, [":user/name", "ann"])) == ["bob", "cat", "dan"]
    assert (
        db.q("[:find ?n . :where [(ground :role/admin) ?r] [?e :user/role ?r] [?e :user/name ?n]]") == "dan"
    )


@pytest.mark.parametrize(
    ("query", "inputs", "message"),
    [
        ("[:find ?e", (), r"cannot be read: line 1, column 1: '\[' is never closed"),
        ("[:where [?e :user/name]]", (), "needs :find"),
        ("[:find ?e :find ?e]", (), "at most once"),
        ("[:find ?e :whre [?e :user/name]]", (), "a query has no :whre, but :find, .*:where"),
        ("[:find ?e :where [?e :user/nmae]]", (), r"is not an .*; did you mean :user/name\?, in: "),
        ("[:find e :where [?e :user/name]]", (), ":find takes variables"),
        ("[:find ?x :where [?e :user/name]]", (), r"\?x is in :find or :with, but nothing binds it"),
        ("[:find ?e :where [?e :user/nothing ?v]]", (), r"':user/nothing' is not an .*in: \[\?e :"),
        ("[:find ?e :where [?e :user/age \"x\"]]", (), r"'x' can be no value of .*in: \[\?e :"),
        ("[:find ?e :where [?e :user/name] [(< ?a 3)]]", (), r"nothing binds \?a, in: \[\(< \?a 3\)\]"),
        ("[:find ?e :where [?e :user/name] [(frob ?e)]]", (), "frob is neither a predicate nor a"),
        ("[:find ?e :where [?e :user/name] [(frob ?e) ?x]]", (), "frob is neither a predicate nor"),
        ("[:find ?e :where [?e :user/name] [(< ?e)]]", (), "does not take 1 arguments"),
        ("[:find ?e :where [?e :user/name] [(inc ?e) [?x ?y]]]", (), "is not a row of 2"),
        ("[:find ?e :where [?e] (or [?e :user/age ?a] [?e :user/score ?s])]", (), "different variables"),
        ("[:find ?e :where [?e :user/name] (not-join [?x] [?x :user/age])]", (), r"nothing binds \?x"),
        ("[:find ?e :where (frob ?e)]", (), "frob is no rule"),
        ("[:find ?e :in $ % :where (r ?e ?e)]", ("[[(r ?x) [?x :user/age]]]",), "takes 1 arguments"),
        ("[:find ?e :in $ % :where (r ?e)]", ("[[(r ?x) (r ?x)]]",), "only ever calls itself"),
        ("[:find ?e :in $ % :where (r ?e)]", ("[[(r ?x) [?x]] [(r ?x) [?x] (not (r ?x))]]",), "negate"),
        ("[:find ?e :in $ % :where [?e] (r ?e)]", ("[[(r ?x) (r ?x)] [(r ?x) [(odd? ?x)]]]",), "binds"),
        ("[:find ?e :in $ % :where (r ?e)]", ("[[(r ?x ?x) [?x]]]",), "different variables"),
        ("[:find ?e :in $ % :where (r ?e)]", ("[[r]]",), "a rule is"),
        ("[:find ?e :in $ ?x :where [?e :user/age ?x]]", (), "has 2 inputs in :in, but 1 are given"),
        ("[:find ?e :in $ [?x ...] :where [?e :user/age ?x]]", (5,), "takes a collection, not int"),
        ("[:find ?e :in $ [[?x ?y]] :where [?e :user/age ?x]]", ([(1,)],), "is not a row of 2"),
        ("[:find ?e :in $ [?x ?y] :where [?e :user/age ?x]]", ((1,),), "is not a row of 2"),
        ("[:find ?e :in $ ?x :where [?e :user/age ?x]]", (object(),), "object is not a type of value"),
        ("[:find ?e :in $ $2 :where [?e :user/age ?x]]", (5,), "or a collection of rows, not int"),
        ("[:find ?e :where [$3 ?e :user/age]]", (), r"\$3 is not in :in"),
        ("[:find ?e :where [?e :user/name ?n ?t ?o ?x]]", (), "one to five places"),
        ("[:find ?e :where ?e]", (), "a clause is"),
        ("[:find ?e :where [e :user/name]]", (), "no rule|neither a variable|is no rule"),
        ("[:find (frob ?e) :where [?e :user/name]]", (), "frob is no aggregate; there are count"),
        ("[:find (count) :where [?e :user/name]]", (), "an aggregate takes a variable, last"),
        ("[:find (pull ?e) :where [?e :user/name]]", (), "pull takes"),
        ("[:find (pull ?e [:nope]) :where [?e :user/name]]", (), "pull: :nope is not an attribute"),
        ("[:find ?e :where [?e :user/name] [(get-else $ ?e :user/tags :x) ?t]]", (), "one value"),
        ("[:find (sum ?x) . :where [(ground [9223372036854775807 1]) [?x ...]]]", (), "does not fit in 64"),
        ("[:find ?e :where" + " [?e :user/name]" * 70 + "]", (), "cannot be computed"),
        ("[:find ?e :where " + "(not " * 300 + "[?e :user/name]" + ")" * 300 + "]", (), "nested"),
    ],
)  # fmt: skip
def test_a_wrong_query_says_what_and_where(
    db: Database, query: str, inputs: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(QueryError, match=message):
        db.q(query, *inputs)


# A naive evaluator: every clause is tried on every datom.

Datom = tuple[int, str, Any, int, bool]
Binding = dict[str, Any]
_VARIABLES = ["?a", "?b", "?c", "?d"]
_ATTRIBUTES = [":user/age", ":user/parent", ":user/friends"]


@dataclass(frozen=True)
class Pattern:
    e: Any
    a: str
    v: Any
    tx: str = "_"

    def text(self) -> str:
        return f"[{self.e} {self.a} {self.v} {self.tx}]"

    def variables(self) -> set[str]:
        return {place for place in (self.e, self.v, self.tx) if str(place).startswith("?")}


@dataclass(frozen=True)
class Compare:
    operator: str
    left: str
    right: Any

    def text(self) -> str:
        return f"[({self.operator} {self.left} {self.right})]"


@dataclass(frozen=True)
class Not:
    patterns: tuple[Pattern, ...]

    def text(self) -> str:
        return f"(not {' '.join(pattern.text() for pattern in self.patterns)})"


@dataclass(frozen=True)
class OrJoin:
    variable: str
    branches: tuple[tuple[Pattern, ...], ...]

    def text(self) -> str:
        branches = [f"(and {' '.join(pattern.text() for pattern in branch)})" for branch in self.branches]
        return f"(or-join [{self.variable}] {' '.join(branches)})"


@dataclass(frozen=True)
class Or:
    branches: tuple[tuple[Pattern, ...], ...]

    def text(self) -> str:
        branches = [f"(and {' '.join(pattern.text() for pattern in branch)})" for branch in self.branches]
        return f"(or {' '.join(branches)})"


@dataclass(frozen=True)
class Compute:
    function: str
    left: str
    right: Any
    result: str

    def text(self) -> str:
        return f"[({self.function} {self.left} {self.right}) {self.result}]"


Filter = Compare | Not | OrJoin | Or | Compute


def match(pattern: Pattern, datoms: list[Datom], binding: Binding) -> Iterator[Binding]:
    for e, a, v, tx, _ in datoms:
        if a != pattern.a:
            continue
        result = dict(binding)
        for place, value in ((pattern.e, e), (pattern.v, v), (pattern.tx, tx)):
            if place == "_":
                continue
            if not str(place).startswith("?"):
                if place != value:
                    break
            elif result.setdefault(place, value) != value:
                break
        else:
            yield result


def solve(patterns: tuple[Pattern, ...], datoms: list[Datom], binding: Binding) -> Iterator[Binding]:
    if not patterns:
        yield binding
        return
    for extended in match(patterns[0], datoms, binding):
        yield from solve(patterns[1:], datoms, extended)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">=": operator.ge,
    "=": operator.eq,
    "not=": operator.ne,
}


_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "max": max, "-": operator.sub}


def evaluate(patterns: tuple[Pattern, ...], filters: list[Filter], datoms: list[Datom]) -> list[Binding]:
    bindings = list(solve(patterns, datoms, {}))
    for clause in filters:
        match clause:
            case Compare(name, left, right):
                bindings = [b for b in bindings if _OPERATORS[name](b[left], b.get(right, right))]
            case Not(inner):
                # Variables of the negation that nothing outside binds are its own.
                bindings = [b for b in bindings if not any(solve(inner, datoms, b))]
            case OrJoin(variable, branches):
                bindings = [
                    b
                    for b in bindings
                    if any(any(solve(branch, datoms, {variable: b[variable]})) for branch in branches)
                ]
            case Or(branches):
                bindings = [
                    extended for b in bindings for branch in branches for extended in solve(branch, datoms, b)
                ]
            case Compute(name, left, right, result):
                values = [(b, _FUNCTIONS[name](b[left], b.get(right, right))) for b in bindings]
                bindings = [b | {result: value} for b, value in values if b.get(result, value) == value]
    return bindings


_PLACES = st.sampled_from(_VARIABLES) | st.just("_")
_PATTERNS = st.builds(
    Pattern,
    _PLACES,
    st.sampled_from(_ATTRIBUTES),
    _PLACES | st.integers(0, 2),
    st.sampled_from(["_", "_", "?t"]),
)
_INNER = st.builds(
    Pattern, st.sampled_from([*_VARIABLES, "?x"]), st.sampled_from(_ATTRIBUTES), _PLACES | st.just("?y")
)


_CONJUNCTIONS = st.lists(_INNER, min_size=1, max_size=2).map(tuple)


def _joined(clause: OrJoin) -> bool:
    return all(any(clause.variable in p.variables() for p in branch) for branch in clause.branches)


@st.composite
def disjunctions(draw: st.DrawFn) -> Or:
    """Branches of the same variables: each has the same places, of other attributes."""
    pattern = draw(_PATTERNS.filter(lambda pattern: bool(pattern.variables())))
    attributes = draw(st.lists(st.sampled_from(_ATTRIBUTES), min_size=1, max_size=3))
    return Or(tuple((replace(pattern, a=attribute),) for attribute in attributes))


@st.composite
def queries(draw: st.DrawFn) -> tuple[tuple[Pattern, ...], list[Filter], list[str]]:
    some = st.lists(_PATTERNS, min_size=1, max_size=3).filter(lambda ps: any(p.variables() for p in ps))
    patterns = tuple(draw(some))
    variable = st.sampled_from(sorted(set().union(*(pattern.variables() for pattern in patterns))))
    filters = st.one_of(
        st.builds(Compare, st.sampled_from(sorted(_OPERATORS)), variable, variable | st.integers(0, 2)),
        st.builds(Not, _CONJUNCTIONS),
        st.builds(OrJoin, variable, st.lists(_CONJUNCTIONS, min_size=1, max_size=2).map(tuple)).filter(
            _joined
        ),
        disjunctions(),
        st.builds(
            Compute,
            st.sampled_from(sorted(_FUNCTIONS)),
            variable,
            variable | st.integers(0, 2),
            variable | st.sampled_from(["?y", "?z"]),
        ),
    )
    wanted = st.lists(variable, min_size=1, max_size=3, unique=True)
    return patterns, draw(st.lists(filters, max_size=3)), draw(wanted)


_FACTS = st.tuples(st.integers(0, 3), st.sampled_from(_ATTRIBUTES), st.integers(0, 3), st.booleans())
_HISTORIES = st.lists(st.lists(_FACTS, min_size=1, max_size=5), min_size=1, max_size=4)


def live(datoms: list[Datom], t: int, since: int) -> list[Datom]:
    """What holds after transaction `t` of a history, added after `since`."""
    now: dict[tuple[int, str, Any], Datom] = {}
    for datom in datoms:
        if datom[3] <= t:
            if datom[4]:
                now[datom[:3]] = datom
            else:
                now.pop(datom[:3], None)
    return [datom for datom in now.values() if datom[3] > since]


@pytest.mark.parametrize("distributed", [16, 1])
@settings(deadline=None, max_examples=40)
@given(history=_HISTORIES, asked=st.lists(queries(), min_size=1, max_size=8))
def test_any_query_gives_what_the_naive_evaluator_gives(
    schema: str,
    history: list[list[tuple[int, str, int, bool]]],
    asked: list[tuple[tuple[Pattern, ...], list[Filter], list[str]]],
    distributed: int,
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(bucketlog.connect(MemoryStore())) as conn,
    ):
        patch.setattr("bucketlog.query.expand._MAX_DISTRIBUTED", distributed)
        conn.transact(schema)
        conn.transact([{":db/id": str(n), ":user/name": str(n)} for n in range(4)])
        users = [conn.db().entid([":user/name", str(n)]) for n in range(4)]
        datoms: list[Datom] = []
        for facts in history:
            data: dict[Any, Any] = {}
            for user, attribute, value, added in facts:
                v = value if attribute == ":user/age" else users[value]
                key = (user, attribute) if attribute != ":user/friends" else (user, attribute, value)
                data[key] = [":db/add" if added else ":db/retract", users[user], attribute, v]
            report = conn.transact(list(data.values()))
            datoms += [(d.e, d.a, d.v, d.tx, d.added) for d in report.tx_data]
        last = max((datom[3] for datom in datoms), default=0)
        db = conn.db()
        middle = datoms[len(datoms) // 2][3] if datoms else last
        views: list[tuple[Database, list[Datom]]] = [
            (db, live(datoms, last, 0)),
            (db.as_of(middle), live(datoms, middle, 0)),
            (db.since(middle), live(datoms, last, middle)),
            (db.history(), datoms),
            (db.as_of(middle).history(), [datom for datom in datoms if datom[3] <= middle]),
        ]
        for (view, known), (patterns, filters, wanted) in itertools.product(views, asked):
            text = f"[:find {' '.join(wanted)} :where {' '.join(c.text() for c in (*filters, *patterns))}]"
            expected = {tuple(b[name] for name in wanted) for b in evaluate(patterns, filters, known)}
            found = view.q(text)
            assert set(found) == expected, text
            assert len(found) == len(set(found))


@settings(deadline=None, max_examples=40)
@given(edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14))
def test_recursive_rules_follow_any_graph_to_its_end(schema: str, edges: set[tuple[int, int]]) -> None:
    with closing(bucketlog.connect(MemoryStore())) as conn:
        conn.transact(schema)
        conn.transact(
            [{":db/id": str(n), ":user/name": str(n)} for n in range(7)]
            + [[":db/add", str(one), ":user/friends", str(other)] for one, other in edges]
        )
        reach = set(edges)
        while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
            reach |= more
        rules = """[[(reach ?a ?b) [?a :user/friends ?b]]
                    [(reach ?a ?b) (reach ?a ?c) [?c :user/friends ?b]]
                    [(mutual ?a ?b) (reach ?a ?b) (reach ?b ?a)]]"""
        names = "[?x :user/name ?a] [?y :user/name ?b]"
        for rule, expected in (("reach", reach), ("mutual", {(a, b) for a, b in reach if (b, a) in reach})):
            found = conn.db().q(f"[:find ?a ?b :in $ % :where ({rule} ?x ?y) {names}]", rules)
            assert {(int(a), int(b)) for a, b in found} == expected


def test_an_instant_is_compared_as_time(conn: Connection) -> None:
    conn.transact(
        [
            {":user/name": str(year), ":user/joined": datetime(year, 1, 1, tzinfo=UTC)}
            for year in (1901, 1999, 2024)
        ]
    )
    query = "[:find [?n ...] :in $ ?t :where [?e :user/joined ?j] [(< ?j ?t)] [?e :user/name ?n]]"
    assert sorted(conn.db().q(query, datetime(2000, 1, 1, tzinfo=UTC))) == ["1901", "1999"]
    query = '[:find ?n . :where [?e :user/joined #inst "1999-01-01T00:00:00Z"] [?e :user/name ?n]]'
    assert conn.db().q(query) == "1999"
