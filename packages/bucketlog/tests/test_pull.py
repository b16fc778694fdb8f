"""Pull: every form of pattern, and what comes back for it."""

from __future__ import annotations

from typing import Any

import pytest

from bucketlog import Connection, Database, QueryError

ANN = [":user/name", "ann"]


@pytest.fixture
def db(conn: Connection) -> Database:
    """Friends in a circle, ann, bob and cat; a post of ann's with two comments, one of them answered."""
    conn.transact(
        [
            {":db/id": "a", ":user/name": "ann", ":user/friends": "b", ":user/tags": [":x", ":y", ":z"]},
            {":db/id": "b", ":user/name": "bob", ":user/friends": "c", ":user/parent": "a"},
            {":db/id": "c", ":user/name": "cat", ":user/friends": "a", ":user/parent": "b"},
            {
                ":post/slug": "hello",
                ":post/author": "a",
                ":post/comments": [
                    {":comment/text": "one", ":post/comments": [{":comment/text": "answer"}]},
                    {":comment/text": "two"},
                ],
            },
        ]
    )
    return conn.db()


def _without_ids(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_ids(value) for key, value in tree.items() if key != ":db/id"}
    return [_without_ids(item) for item in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize(
    ("pattern", "tree"),
    [
        ("[:user/name :user/age]", {":user/name": "ann"}),
        ("[:user/tags]", {":user/tags": [":x", ":y", ":z"]}),
        ("[(:user/tags :limit 2)]", {":user/tags": [":x", ":y"]}),
        ("[[:user/tags :limit 1 :as :tag]]", {":tag": [":x"]}),
        ('[(:user/name :as "name")]', {"name": "ann"}),
        ("[(limit :user/tags 2)]", {":user/tags": [":x", ":y"]}),
        ("[(default :user/age 7) (:user/name :default 1)]", {":user/age": 7, ":user/name": "ann"}),
        ("[{:user/friends [:user/name]}]", {":user/friends": [{":user/name": "bob"}]}),
        ("[{(:user/friends :as :f) [:user/name]}]", {":f": [{":user/name": "bob"}]}),
        ("[{:user/friends [:user/age]}]", {}),
        ("[{:user/_parent [{:user/_parent [:user/name]}]}]",
         {":user/_parent": [{":user/_parent": [{":user/name": "cat"}]}]}),
        ("[:user/name {:user/friends 1}]", {":user/name": "ann", ":user/friends": [{":user/name": "bob"}]}),
        ("[:user/name {:user/friends 2}]",
         {":user/name": "ann", ":user/friends": [
             {":user/name": "bob", ":user/friends": [{":user/name": "cat"}]}]}),
        ("[:user/name {:user/_parent ...}]",
         {":user/name": "ann", ":user/_parent": [
             {":user/name": "bob", ":user/_parent": [{":user/name": "cat"}]}]}),
        ("[{:post/_author [{:post/comments [:comment/text]}]}]",
         {":post/_author": [{":post/comments": [{":comment/text": "one"}, {":comment/text": "two"}]}]}),
    ],
)  # fmt: skip
def test_patterns(db: Database, pattern: str, tree: dict[str, Any]) -> None:
    assert db.pull(pattern, ANN) == tree


def test_a_recursion_stops_where_it_comes_round(db: Database) -> None:
    tree = db.pull("[:user/name {:user/friends ...}]", ANN)
    bob = tree[":user/friends"][0]
    cat = bob[":user/friends"][0]
    assert (bob[":user/name"], cat[":user/name"]) == ("bob", "cat")
    assert cat[":user/friends"] == [{":db/id": db.entid(ANN)}]


def test_a_wildcard_gives_everything_and_components_in_full(db: Database) -> None:
    ann = db.entid(ANN)
    assert db.pull("[*]", [":post/slug", "hello"])[":post/author"] == {":db/id": ann}
    assert _without_ids(db.pull("[* {:post/author [:user/name]}]", [":post/slug", "hello"])) == {
        ":post/slug": "hello",
        ":post/author": {":user/name": "ann"},
        ":post/comments": [
            {":comment/text": "one", ":post/comments": [{":comment/text": "answer"}]},
            {":comment/text": "two"},
        ],
    }


def test_a_component_knows_its_one_owner(db: Database) -> None:
    comment = db.q('[:find ?c . :where [?c :comment/text "answer"]]')
    assert db.pull("[{:post/_comments [:comment/text {:post/_comments [:post/slug]}]}]", comment) == {
        ":post/_comments": {":comment/text": "one", ":post/_comments": {":post/slug": "hello"}}
    }


def test_components_that_contain_each_other_end_in_an_id(conn: Connection) -> None:
    one = conn.transact(
        [
            {":db/id": "1", ":comment/text": "one", ":post/comments": "2"},
            {":db/id": "2", ":comment/text": "two", ":post/comments": "1"},
        ]
    ).tempids["1"]
    (two,) = conn.db().pull("[*]", one)[":post/comments"]
    assert two[":post/comments"] == [{":db/id": one}]


def test_what_is_not_there_gives_an_empty_tree(db: Database) -> None:
    assert db.pull("[:user/name]", [":user/name", "nobody"]) == {}
    assert db.pull("[*]", ":no/ident") == {}
    assert db.pull("[:user/name]", 10**6) == {}
    assert db.pull("[:db/id]", 10**6) == {":db/id": 10**6}


def test_many_entities_keep_their_order(db: Database) -> None:
    refs = [[":user/name", name] for name in ("cat", "nobody", "ann", "cat")]
    assert [tree.get(":user/name") for tree in db.pull_many("[:user/name]", refs)] == [
        "cat",
        None,
        "ann",
        "cat",
    ]


def test_patterns_as_python_data(db: Database) -> None:
    assert db.pull([":user/name", {":user/friends": [":user/name"]}], ANN) == {
        ":user/name": "ann",
        ":user/friends": [{":user/name": "bob"}],
    }
    assert db.pull(["*"], ANN)[":user/name"] == "ann"


def test_a_pull_sees_its_own_time(conn: Connection, db: Database) -> None:
    conn.transact([{":user/name": "ann", ":user/age": 1}])
    assert db.pull("[:user/age]", ANN) == {}
    assert conn.db().since(db.basis_t).pull("[*]", db.entid(ANN)) == {":db/id": db.entid(ANN), ":user/age": 1}
    with pytest.raises(QueryError, match="history"):
        conn.db().history().pull("[*]", 5)


def test_a_recursion_that_is_too_deep_says_so(conn: Connection) -> None:
    chain = [{":db/id": f"n{n}", ":user/name": f"n{n}", ":user/parent": f"n{n + 1}"} for n in range(1000)]
    conn.transact([*chain, {":db/id": "n1000", ":user/name": "n1000"}])
    with pytest.raises(QueryError, match="nested too deep"):
        conn.db().pull("[{:user/parent ...}]", [":user/name", "n0"])
    assert conn.db().pull("[{:user/parent 20}]", [":user/name", "n0"]) is not None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[", "the pull pattern cannot be read"),
        ("[]", "at least one attribute"),
        ("[5]", "is no attribute"),
        ("[:nope]", ":nope is not an attribute"),
        ("[:user/nmae]", r"is not an attribute of the database; did you mean :user/name\?"),
        ("[{:user/name [:db/id]}]", "so nothing lies behind it"),
        ("[:user/_name]", "so nothing lies behind it"),
        ("[{:user/parent 0}]", "at least 1"),
        ("[{:user/parent 5.5}]", "a pull pattern is a vector"),
        ("[(:user/tags :limit 0)]", "a limit is a number from 1"),
        ("[(:user/tags :frob 1)]", "the options of an attribute are"),
        ("[" * 100 + "]" * 100, "is no attribute|at most 50 deep"),
    ],
)
def test_a_wrong_pattern_says_what_and_where(db: Database, pattern: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        db.pull(pattern, ANN)


def test_a_reference_that_names_nothing_is_refused(db: Database) -> None:
    for entity in ("ann", 4.5, [":user/age", 3], [":user/name", 5], None):
        with pytest.raises(QueryError):
            db.pull("[*]", entity)
