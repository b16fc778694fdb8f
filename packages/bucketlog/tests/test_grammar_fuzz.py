"""Whatever is asked, there is a result or a `QueryError`: random forms, and queries with random damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Database, Keyword, QueryError, Symbol, edn, q
from bucketlog.edn import List, Vector


@pytest.fixture(scope="module")
def db(schema: str) -> Iterator[Database]:
    """Two users, in a database that stays open for all examples."""
    with closing(bucketlog.connect(MemoryStore())) as conn:
        conn.transact(schema)
        yield conn.transact(
            [
                {":db/id": "a", ":user/name": "ann", ":user/age": 40, ":user/tags": [":a", ":b"]},
                {
                    ":db/id": "b",
                    ":user/name": "bob",
                    ":user/age": 15,
                    ":user/parent": "a",
                    ":user/score": 0.5,
                },
            ]
        ).db_after


QUERIES = [
    "[:find ?n ?a :in $ % [?n ...] :where [?e :user/name ?n] [?e :user/age ?a ?tx ?op] (r ?e ?a)]",
    "[:find [?a (count ?e)] :keys a b :with ?a :where [?e :user/name] (not [?e :user/parent ?a]) [?e ?a]]",
    "[:find (pull ?e [:user/name {:user/parent [*]} (:user/tags :limit 1)]) . :where [?e :user/age 40]]",
    "[:find [?x ...] :in $ [[?y [?z]] ...] :where (or-join [?x] [?e :user/age ?x] [(ground [1]) [?x ...]])]",
    "{:find [?e ?v (max 2 ?s)] :where [[?e :user/score ?s] [(get-else $ ?e :user/age 1) ?v] [(< ?v ?s 3)]]}",
    "[:find ?c . :in $ ?f $2 :where [$2 ?x ?y] [(?f ?x) [?c _]] ($2 not [?y]) [(missing? $ ?x :user/age)]]",
    '[:find ?v :where [(get-some $ [:user/name "bob"] :user/age) [?a ?v]] [(str ?v) ?t] [(re-find "1" ?t)]]',
    "[:find (aggregate ?f 1 ?x) :in ?f [?x ...] :where [(q [:find ?z . :in ?z] ?x) ?y] [(vector ?y) [?z]]]",
]
RULES = "[[(r ?e ?a) [?e :user/age ?a] [(odd? ?a)]] [(r ?e ?a) [?e :user/parent ?p] (r ?p ?a)]]"

_WORDS = st.sampled_from(
    """?x ?e ?a ?v ?f $ $2 $x % _ . ... * not or and not-join or-join pull count max aggregate ground q str
    get-else missing? get-some < = + vector untuple inc r limit default frob foo/bar -""".split()  # noqa: SIM905
)
_KEYWORDS = st.sampled_from(
    """:find :in :where :with :keys :user/name :user/age :user/tags :user/_parent :user/parent :db/id
    :nope :as :limit :default :xform :a""".split()  # noqa: SIM905
)
_ATOMS: st.SearchStrategy[Any] = st.one_of(
    _WORDS.map(Symbol),
    _KEYWORDS.map(Keyword),
    st.sampled_from(["", "ann", "?x", ":a", "x" * 30]),
    st.integers(-3, 50) | st.sampled_from([2**63, -(2**63), 10**30]),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
)


def _collections(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(items, max_size=4)
    keys = _KEYWORDS.map(Keyword) | _WORDS.map(Symbol) | st.integers(0, 3)
    return st.one_of(lists.map(Vector), lists.map(List), st.dictionaries(keys, items, max_size=2))


FORMS = st.recursive(_ATOMS, _collections, max_leaves=8)


def places(form: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all forms inside of a form."""
    found = [path]
    if isinstance(form, tuple):
        for n, item in enumerate(form):
            found += places(item, (*path, n))
    elif isinstance(form, dict):
        for key, item in form.items():
            found += places(item, (*path, key))
    return found


def replaced(form: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The form with another one at a path; a `None` removes it from a vector or list."""
    if not path:
        return new
    step, *rest = path
    if isinstance(form, dict):
        return form | {step: replaced(form[step], tuple(rest), new)}
    inner = [replaced(form[step], tuple(rest), new)] if rest or new is not None else []
    return type(form)((*form[:step], *inner, *form[step + 1 :]))


@st.composite
def damaged(draw: st.DrawFn, sources: list[str]) -> Any:
    form = edn.loads(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 3))):
        form = replaced(form, draw(st.sampled_from(places(form))), draw(FORMS))
    return form


def plain(form: Any) -> Any:
    """A form as Python data."""
    if isinstance(form, dict):
        return {key: plain(value) for key, value in form.items()}
    if isinstance(form, tuple):
        return [plain(item) for item in form]
    return str(form) if isinstance(form, Keyword | Symbol) else form


INPUTS = st.lists(
    st.one_of(
        st.sampled_from(
            [RULES, [(1, 2), (3, 4)], ["ann", "bob"], len, [[1, [2]]], {"a": [1]}, 5, None, "ann", ()]
        ),
        FORMS.map(plain),
    ),
    max_size=4,
)
_settings = settings(deadline=None, max_examples=200)


def result_or_error(ask: Callable[[], Any]) -> None:
    with suppress(QueryError):
        ask()


@_settings
@given(form=damaged(QUERIES), inputs=INPUTS, as_text=st.booleans())
def test_a_damaged_query_gives_a_result_or_an_error(
    db: Database, form: Any, inputs: list[Any], as_text: bool
) -> None:
    query = edn.dumps(form) if as_text else plain(form)
    result_or_error(lambda: q(query, db, *inputs))
    result_or_error(lambda: q(query, *inputs))


@_settings
@given(form=FORMS, inputs=INPUTS)
@example(form=Vector((Keyword(":find"), Symbol("?e"), Keyword(":where"), Vector((Vector(),)))), inputs=[])
def test_any_form_gives_a_result_or_an_error(db: Database, form: Any, inputs: list[Any]) -> None:
    for query in (edn.dumps(form), form, plain(form)):
        result_or_error(lambda query=query: q(query, db, *inputs))  # type: ignore[misc]


CLAUSES = [
    "[?e :user/name ?n ?t ?o]",
    "(not [?e :user/parent ?p] (or [?p :user/age 40] [?p :user/score]))",
    "(or-join [?e ?x] [?e :user/age ?x] (and [?e :user/score ?s] [(inc ?s) ?x]))",
    "[(get-else $ ?e :user/age 5) ?x]",
    "($2 and [?x ?y] ($ r ?e ?x))",
    "[(untuple ?t) [?x [?y ...]]]",
]


@_settings
@given(clauses=st.lists(damaged(CLAUSES) | st.sampled_from(CLAUSES).map(edn.loads), max_size=4))
def test_any_clauses_give_a_result_or_an_error(db: Database, clauses: list[Any]) -> None:
    query = [":find", "?e", ":in", "$", "$2", "%", ":where", *clauses]
    result_or_error(lambda: q(query, db, [(1, 2)], RULES))


@_settings
@given(rules=damaged([RULES]))
def test_damaged_rules_give_a_result_or_an_error(db: Database, rules: Any) -> None:
    query = "[:find ?a :in $ % :where [?e :user/name] (r ?e ?a)]"
    result_or_error(lambda: db.q(query, rules))
    result_or_error(lambda: db.q(query, edn.dumps(rules)))


PATTERNS = [
    "[:user/name (:user/tags :limit 1 :as :x) {:user/parent [* (:user/age :default 0)]} :db/id]",
    "[{:user/_parent 2} (default :user/score 1) {(limit :user/friends 2) ...} (:user/name :xform count)]",
]


@_settings
@given(pattern=damaged(PATTERNS) | FORMS)
def test_any_pull_pattern_gives_a_result_or_an_error(db: Database, pattern: Any) -> None:
    for form in (edn.dumps(pattern), pattern, plain(pattern)):
        result_or_error(lambda form=form: db.pull(form, [":user/name", "bob"]))  # type: ignore[misc]


@_settings
@given(
    text=st.sampled_from(QUERIES), cut=st.integers(0, 120), what=st.text(max_size=3), length=st.integers(0, 5)
)
def test_damaged_text_gives_a_result_or_an_error(
    db: Database, text: str, cut: int, what: str, length: int
) -> None:
    result_or_error(lambda: db.q(text[:cut] + what + text[cut + length :]))
    result_or_error(lambda: db.pull(PATTERNS[0][:cut] + what + PATTERNS[0][cut + length :], 1024))


def test_the_queries_are_right_before_they_are_damaged(schema: str) -> None:
    with closing(bucketlog.connect(MemoryStore())) as conn:
        conn.transact(schema)
        db = conn.transact([{":user/name": "ann", ":user/age": 40}]).db_after
        assert db.q(QUERIES[0], RULES, ["ann"]) == []
        for query in (QUERIES[1], QUERIES[2], QUERIES[4], QUERIES[6]):
            db.q(query)
        assert sorted(db.q(QUERIES[3], [[1, [2]]])) == [1, 40]
        assert db.q(QUERIES[5], lambda x: [x, x], [(1, 2)]) == 1
        assert q(QUERIES[7], lambda n, xs: n + len(xs), [1, 2]) == [(3,)]
