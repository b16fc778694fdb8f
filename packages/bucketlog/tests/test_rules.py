"""Recursive rules give what a naive evaluation gives, whatever their form and the graph are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketlog import Connection, Database
from bucketlog.query.recursion import walk

Edges = frozenset[tuple[int, int]]
Rule = tuple[Any, ...]
"""A head and its clauses, as lists of strings."""

_NODES = 7
_FRIENDS, _PARENT = ":user/friends", ":user/parent"
_CLOSURE = "[[(r ?x ?y) [?x :user/friends ?y]] [(r ?x ?y) [?x :user/friends ?z] (r ?z ?y)]]"


# A naive evaluator: all bindings of all clauses, until nothing is new


def _match(
    clause: Sequence[Any], facts: Mapping[str, Iterable[Sequence[int]]], known: Mapping[str, int]
) -> Any:
    """The bindings that make a clause true, `known` ones included."""
    if clause[0] == "not":
        if not any(True for _ in _match(clause[1], facts, known)):
            yield known
        return
    name, terms = (clause[0], clause[1:]) if not clause[0].startswith("?") else (clause[1], clause[::2])
    for row in facts[name]:
        found = dict(known)
        if all(found.setdefault(term, value) == value for term, value in zip(terms, row, strict=True)):
            yield found


def _bindings(clauses: Sequence[Any], facts: Mapping[str, Iterable[Sequence[int]]]) -> list[dict[str, int]]:
    found: list[dict[str, int]] = [{}]
    for clause in sorted(clauses, key=lambda clause: clause[0] == "not"):
        found = [more for one in found for more in _match(clause, facts, one)]
    return found


def _naive(rules: Sequence[Rule], edges: Mapping[str, Edges]) -> dict[str, set[tuple[int, ...]]]:
    """The rows of every rule; those that negate another come after it."""
    facts: dict[str, Any] = {**edges, **{head[0]: set() for head, *_ in rules}}
    strata = [
        [rule for rule in rules if any(clause[0] == "not" for clause in rule[1:]) is negates]
        for negates in (False, True)
    ]
    for stratum in strata:
        grown = True
        while grown:
            grown = False
            for (name, *parameters), *clauses in stratum:
                rows = {tuple(one[p] for p in parameters) for one in _bindings(clauses, facts)}
                grown |= not rows <= facts[name]
                facts[name] |= rows
    return {name: facts[name] for name in facts if name not in edges}


class _Graphs:
    """One database, whose edges are changed from graph to graph."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        users = [{":db/id": f"n{n}", ":user/name": f"n{n}", ":user/age": n} for n in range(_NODES)]
        tempids = conn.transact(users).tempids
        self.ids = [tempids[f"n{n}"] for n in range(_NODES)]
        self._numbers = {e: n for n, e in enumerate(self.ids)}
        self._edges: dict[str, Edges] = {_FRIENDS: frozenset(), _PARENT: frozenset()}

    def show(self, edges: Mapping[str, Edges]) -> Database:
        data = []
        for attribute, pairs in edges.items():
            for operation, changed in (
                (":db/retract", self._edges[attribute] - pairs),
                (":db/add", pairs - self._edges[attribute]),
            ):
                data += [[operation, self.ids[a], attribute, self.ids[b]] for a, b in changed]
        self._edges |= edges
        return self._conn.transact(data).db_after if data else self._conn.db()

    def numbers(self, rows: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
        return sorted(tuple(self._numbers[e] for e in row) for row in rows)


@pytest.fixture
def graphs(conn: Connection) -> _Graphs:
    return _Graphs(conn)


def _pairs(most: int = 14) -> st.SearchStrategy[Edges]:
    node = st.integers(0, _NODES - 1)
    return st.frozensets(st.tuples(node, node), max_size=most)


_edges = st.fixed_dictionaries(
    {
        _FRIENDS: _pairs(),
        _PARENT: st.dictionaries(st.integers(0, _NODES - 1), st.integers(0, _NODES - 1)).map(
            lambda one: frozenset(one.items())
        ),
    }
)
_examples = settings(max_examples=60, deadline=None)

_FORMS: dict[str, list[Rule]] = {
    "from the left": [
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["r", "?x", "?z"], ["?z", _FRIENDS, "?y"]),
    ],
    "from the right": [
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["r", "?z", "?y"], ["?x", _FRIENDS, "?z"]),
    ],
    "twice": [
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["r", "?z", "?y"], ["r", "?x", "?z"]),
    ],
    "over two attributes": [
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["?x", _PARENT, "?y"]),
        (["r", "?x", "?y"], ["?x", _PARENT, "?z"], ["r", "?z", "?y"]),
        (["r", "?x", "?y"], ["r", "?x", "?z"], ["r", "?z", "?y"]),
    ],
    "to what something else leads to": [
        (["r", "?x", "?y"], ["?x", _PARENT, "?y"]),
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?z"], ["r", "?z", "?y"]),
    ],
    "against the direction": [
        (["r", "?x", "?y"], ["?y", _FRIENDS, "?x"]),
        (["r", "?x", "?y"], ["?z", _FRIENDS, "?x"], ["r", "?z", "?y"]),
    ],
    "mutual": [
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?z"], ["s", "?z", "?y"]),
        (["s", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["s", "?x", "?y"], ["?x", _FRIENDS, "?z"], ["r", "?z", "?y"]),
    ],
    "both ways": [
        (["r", "?x", "?y"], ["?x", _PARENT, "?y"]),
        (["r", "?x", "?y"], ["r", "?x", "?z"], ["?z", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?z"], ["r", "?z", "?y"]),
    ],
    "same generation": [
        (["r", "?x", "?y"], ["?z", _FRIENDS, "?x"], ["?z", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["?a", _FRIENDS, "?x"], ["r", "?a", "?b"], ["?b", _FRIENDS, "?y"]),
    ],
    "three times": [
        (["r", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["r", "?x", "?a"], ["r", "?a", "?b"], ["r", "?b", "?y"]),
    ],
    "with itself turned round": [
        (["r", "?x", "?y"], ["?x", _PARENT, "?y"]),
        (["r", "?x", "?y"], ["r", "?y", "?x"]),
        (["r", "?x", "?y"], ["r", "?x", "?z"], ["?z", _FRIENDS, "?y"]),
    ],
    "over what recurses itself": [
        (["s", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["s", "?x", "?y"], ["s", "?x", "?z"], ["s", "?z", "?y"]),
        (["r", "?x", "?y"], ["s", "?x", "?y"], ["?x", _PARENT, "?y"]),
        (["r", "?x", "?y"], ["s", "?x", "?z"], ["?z", _PARENT, "?w"], ["r", "?w", "?y"]),
    ],
    "but not what recurses": [
        (["s", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["s", "?x", "?y"], ["?x", _FRIENDS, "?z"], ["s", "?z", "?y"]),
        (["r", "?x", "?y"], ["?x", _PARENT, "?y"], ["not", ["s", "?x", "?y"]]),
        (["r", "?x", "?y"], ["r", "?x", "?z"], ["?z", _PARENT, "?y"], ["not", ["s", "?x", "?y"]]),
    ],
}


def _asked(graphs: _Graphs, db: Database, rules: Sequence[Rule]) -> dict[str, Any]:
    """Queries for all of `r`, and for parts of it in several ways, with what each is to be compared with."""
    data = [list(rule) for rule in rules]

    def q(where: Sequence[Any], *inputs: Any, names: Sequence[str] = ("?x", "?y")) -> list[tuple[int, ...]]:
        query = [":find", *names, ":in", "$", "%", *(["?given"] if inputs else []), ":where", *where]
        return graphs.numbers(db.q(query, data, *inputs))

    one = graphs.ids[3]
    return {
        "all": q([["r", "?x", "?y"]]),
        "turned": q([["r", "?x", "?y"]], names=["?y", "?x"]),
        "starts": q([["r", "?x", "_"]], names=["?x"]),
        "circles": q([["r", "?x", "?x"]], names=["?x"]),
        "from a constant": q([["r", one, "?y"]], names=["?y"]),
        "from an input": q([["r", "?given", "?y"]], one, names=["?given", "?y"]),
        "to an input": q([["r", "?x", "?given"]], one, names=["?x"]),
        "from some": q([["?x", ":user/age", "?n"], [["<", "?n", 2]], ["r", "?x", "?y"]]),
        "from one": q([["?x", ":user/name", "n3"], ["r", "?x", "?y"]], names=["?y"]),
        "to one": q([["r", "?x", "?y"], ["?y", ":user/name", "n3"]], names=["?x"]),
        "between": q([["r", "?x", "?given"], ["r", "?given", "?y"]], one),
        "not": q([["?x", _PARENT, "?y"], ["not", ["r", "?x", "?y"]]]),
    }


def _expected(rows: set[tuple[int, ...]], parents: Edges) -> dict[str, list[tuple[int, ...]]]:
    return {
        "all": sorted(rows),
        "turned": sorted((y, x) for x, y in rows),
        "starts": sorted({(x,) for x, _ in rows}),
        "circles": sorted((x,) for x, y in rows if x == y),
        "from a constant": sorted((y,) for x, y in rows if x == 3),
        "from an input": sorted((x, y) for x, y in rows if x == 3),
        "to an input": sorted((x,) for x, y in rows if y == 3),
        "from some": sorted((x, y) for x, y in rows if x < 2),
        "from one": sorted((y,) for x, y in rows if x == 3),
        "to one": sorted((x,) for x, y in rows if y == 3),
        "between": sorted((x, y) for x, a in rows for b, y in rows if a == b == 3),
        "not": sorted(parents - rows),
    }


@pytest.fixture(params=["all edges at once", "edges level by level"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How edges are read when it is known where to begin; for few of them only the first pays."""
    if request.param != "all edges at once":
        monkeypatch.setattr(walk, "_FEW", -1_000_000)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("form", _FORMS)
@_examples
@given(edges=_edges)
def test_recursion_gives_what_follows_from_the_rules(
    graphs: _Graphs, form: str, edges: Mapping[str, Edges]
) -> None:
    rules = _FORMS[form]
    rows = _naive(rules, edges)["r"]
    assert _asked(graphs, graphs.show(edges), rules) == _expected(rows, edges[_PARENT])


_variables = st.sampled_from(["?x", "?y", "?z", "?w"])
_clauses = st.one_of(
    st.tuples(_variables, st.sampled_from([_FRIENDS, _PARENT]), _variables).map(list),
    st.tuples(st.sampled_from(["p", "r", "s"]), _variables, _variables).map(list),
    st.tuples(st.just("u"), _variables).map(list),
)


def _rule(head: list[str]) -> st.SearchStrategy[Rule]:
    def bound(rule: Rule) -> bool:
        return set(head[1:]) <= {term for clause in rule[1:] for term in clause if term[0] == "?"}

    bodies = st.lists(_clauses, min_size=1, max_size=3)
    return bodies.map(lambda clauses: (head, *clauses)).filter(bound)


def _programs() -> st.SearchStrategy[list[Rule]]:
    """A definition of each rule by edges alone, and some by anything."""
    base: list[Rule] = [
        (["p", "?x", "?y"], ["?x", _FRIENDS, "?y"]),
        (["r", "?x", "?y"], ["?x", _PARENT, "?y"]),
        (["s", "?x", "?y"], ["?y", _FRIENDS, "?x"], ["?x", _PARENT, "?w"]),
        (["u", "?x"], ["?x", _PARENT, "?x"]),
    ]
    heads = st.sampled_from([["p", "?x", "?y"], ["r", "?x", "?y"], ["s", "?x", "?y"], ["u", "?x"]])
    return st.lists(heads.flatmap(_rule), max_size=4).map(lambda more: base + more)


@_examples
@given(edges=_edges, rules=_programs())
def test_any_rules_give_what_follows_from_them(
    graphs: _Graphs, edges: Mapping[str, Edges], rules: list[Rule]
) -> None:
    rows = _naive(rules, edges)
    db = graphs.show(edges)
    assert _asked(graphs, db, rules) == _expected(rows["r"], edges[_PARENT])
    data = [list(rule) for rule in rules]
    for name in ("p", "s"):
        query = [":find", "?x", "?y", ":in", "$", "%", ":where", [name, "?x", "?y"]]
        assert graphs.numbers(db.q(query, data)) == sorted(rows[name])
