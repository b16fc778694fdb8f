"""Entities: read when looked at, the same as pull has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, Entity, Keyword, QueryError


@pytest.fixture
def people(conn: Connection) -> Connection:
    conn.transact(
        [
            {":db/id": "bob", ":user/name": "Bob", ":user/role": ":role/guest"},
            {
                ":user/name": "Ann",
                ":user/age": 40,
                ":user/tags": [":a", ":b"],
                ":user/friends": ["bob"],
                ":user/role": ":role/admin",
            },
            {
                ":post/slug": "hello",
                ":post/author": "bob",
                ":post/comments": [{":comment/text": "one"}, {":comment/text": "two"}],
            },
        ]
    )
    return conn


def entity(conn: Connection, name: Any) -> Entity:
    found = conn.db().entity(name)
    assert found is not None
    return found


def test_attributes_are_read_by_name(people: Connection) -> None:
    ann = entity(people, [":user/name", "Ann"])
    assert ann[":user/age"] == 40
    assert sorted(ann[":user/tags"]) == [":a", ":b"]
    assert ann.get(":user/email") is None
    assert ":user/age" in ann
    assert ":user/email" not in ann
    assert set(ann) == {":user/name", ":user/age", ":user/tags", ":user/friends", ":user/role"}
    assert len(ann) == 5
    assert ann[":db/id"] == ann.id == people.db().entid([":user/name", "Ann"])
    with pytest.raises(KeyError):
        ann[":user/email"]


def test_references_are_entities_and_idents_are_keywords(people: Connection) -> None:
    ann = entity(people, [":user/name", "Ann"])
    (bob,) = ann[":user/friends"]
    assert isinstance(bob, Entity)
    assert bob[":user/name"] == "Bob"
    assert ann[":user/role"] == Keyword(":role/admin")


def test_references_are_followed_backwards(people: Connection) -> None:
    bob = entity(people, [":user/name", "Bob"])
    assert [other[":user/name"] for other in bob[":user/_friends"]] == ["Ann"]
    assert [post[":post/slug"] for post in bob[":post/_author"]] == ["hello"]
    comment = bob[":post/_author"][0][":post/comments"][0]
    assert comment[":post/_comments"][":post/slug"] == "hello"  # a component has one owner
    assert bob.get(":user/_parent") is None
    assert ":user/_friends" in bob
    with pytest.raises(QueryError, match=":user/name is not a reference"):
        bob[":user/_name"]


def test_touch_gives_what_pull_gives(people: Connection) -> None:
    post = entity(people, [":post/slug", "hello"])
    assert post.touch() == people.db().pull("[*]", [":post/slug", "hello"])
    assert {comment[":comment/text"] for comment in post.touch()[":post/comments"]} == {"one", "two"}


def test_a_name_of_nobody_is_no_entity(people: Connection) -> None:
    db = people.db()
    assert db.entity([":user/name", "Nobody"]) is None
    assert db.entity(":no/such") is None
    assert dict(db.entity(999_999) or {}) == {}
    assert dict(db.entity(":role/admin") or {}) == {":db/ident": ":role/admin"}
    with pytest.raises(QueryError, match="names no entity"):
        db.entity("Ann")


def test_entities_of_one_database_are_equal(people: Connection) -> None:
    name = [":user/name", "Ann"]
    assert entity(people, name) == entity(people, name)
    assert len({entity(people, name), entity(people, name), entity(people, [":user/name", "Bob"])}) == 2
    before = entity(people, name)
    people.transact([{":user/name": "Ann", ":user/age": 41}])
    assert entity(people, name) != before
    assert before[":user/age"] == 40
    assert entity(people, name) != entity(people, name).id


def test_an_entity_is_of_its_time(people: Connection) -> None:
    t = people.db().basis_t
    people.transact([{":user/name": "Ann", ":user/age": 41}])
    past = people.db().as_of(t).entity([":user/name", "Ann"])
    assert past is not None
    assert past[":user/age"] == 40
    with pytest.raises(QueryError, match="as_of"):
        people.db().history().entity([":user/name", "Ann"])


def test_an_entity_is_read_by_one_statement(people: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = entity(people, [":user/name", "Ann"])
    statements = []
    rows = type(ann.db.image).rows
    monkeypatch.setattr(
        type(ann.db.image), "rows", lambda image, *args: statements.append(args[0]) or rows(image, *args)
    )
    assert ann[":user/age"] == 40
    assert ann[":user/friends"]
    assert ":user/email" not in ann
    assert len(statements) == 1


_SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one",
     ":db/unique": ":db.unique/identity"},
    {":db/ident": ":to", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":one", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"},
]  # fmt: skip
_EDGES = st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=10)


@settings(deadline=None, max_examples=40)
@given(_EDGES, st.dictionaries(st.integers(0, 4), st.integers(0, 4)))
def test_entities_of_any_graph_are_what_pull_has(edges: set[tuple[int, int]], ones: dict[int, int]) -> None:
    with bucketlog.connect(MemoryStore()) as conn:
        conn.transact(_SCHEMA)
        nodes: list[dict[str, Any]] = [{":db/id": f"n{n}", ":n": n} for n in range(5)]
        links = [[":db/add", f"n{a}", ":to", f"n{b}"] for a, b in edges]
        conn.transact([*nodes, *links, *([":db/add", f"n{a}", ":one", f"n{b}"] for a, b in ones.items())])
        db = conn.db()
        for n in range(5):
            node = entity(conn, [":n", n])
            tree = db.pull("[:n {:to [:n]} {:one [:n]} {:_to [:n]} {:_one [:n]}]", [":n", n])
            for key in (":to", ":_to", ":_one"):
                assert sorted(other[":n"] for other in node.get(key, [])) == sorted(
                    other[":n"] for other in tree.get(key, [])
                )
            assert (node[":one"][":n"] if ":one" in node else None) == tree.get(":one", {}).get(":n")
