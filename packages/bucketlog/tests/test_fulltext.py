"""Full text search: what is found, at which time, by whom, and what is never an error of SQLite's."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

import bucketlog
from bucketlog import Connection, Database, QueryError, TransactionError
from bucketlog.foreign import import_edn
from bucketlog.fulltext import search_expression

_BODY = {
    ":db/ident": ":post/body",
    ":db/valueType": ":db.type/string",
    ":db/cardinality": ":db.cardinality/one",
    ":db/fulltext": True,
}
_NOTES = {
    ":db/ident": ":post/notes",
    ":db/valueType": ":db.type/string",
    ":db/cardinality": ":db.cardinality/many",
    ":db/fulltext": True,
}
_SLUGS = "[:find [?s ...] :in $ ?words :where [(fulltext $ :post/body ?words) [[?e]]] [?e :post/slug ?s]]"


@pytest.fixture
def posts(conn: Connection) -> Connection:
    conn.transact([_BODY, _NOTES])
    conn.transact(
        [
            {
                ":post/slug": "sea",
                ":post/body": "The old harbour lies beside the sea.",
                ":post/notes": ["calm", "grey"],
            },
            {":post/slug": "cafe", ":post/body": "A café by the harbour; crème brûlée."},
            {":post/slug": "ship", ":post/body": "Ships: shipping, shipped, shipyard."},
            {":post/slug": "none", ":post/body": "!!! ???"},
        ]
    )
    return conn


def slugs(db: Database, words: str) -> list[str]:
    return sorted(db.q(_SLUGS, words))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("harbour", ["cafe", "sea"]),
        ("HARBOUR sea", ["sea"]),
        ("sea harbour", ["sea"]),
        ("cafe", ["cafe"]),
        ("CRÈME", ["cafe"]),
        ('"harbour lies"', ["sea"]),
        ('"lies harbour"', []),
        ("ship*", ["ship"]),
        ("ship", []),
        ("ships", ["ship"]),
        ("harbour -sea", ["cafe"]),
        ('harbour -"creme brulee"', ["sea"]),
        ("sea OR shipyard", ["sea", "ship"]),
        ("old sea OR cafe -harbour OR shipped", ["sea", "ship"]),
        ("sea OR", ["sea"]),
        ("harbour !!! ...", ["cafe", "sea"]),
        ("nowhere", []),
        ('"unfinished harbour', []),
    ],
)
def test_words_find_texts(posts: Connection, words: str, found: list[str]) -> None:
    assert slugs(posts.db(), words) == found


def test_what_is_found_has_its_text_its_transaction_and_a_score(posts: Connection) -> None:
    posts.transact([{":post/slug": "often", ":post/body": "harbour harbour harbour"}])
    rows = posts.db().q(
        """[:find ?s ?v ?tx ?score
            :where [(fulltext $ :post/body "harbour") [[?e ?v ?tx ?score]]] [?e :post/slug ?s]]"""
    )
    best = sorted(rows, key=lambda row: -row[3])
    assert best[0][0] == "often"
    assert best[0][1:3] == ("harbour harbour harbour", (1 << 40) + posts.db().basis_t)
    assert all(score > 0 for *_, score in rows)
    assert len(rows) == 3


def test_several_attributes_are_searched_at_once(posts: Connection) -> None:
    query = '[:find [?v ...] :where [(fulltext $ [:post/body :post/notes] "grey OR shipyard") [[_ ?v]]]]'
    assert sorted(posts.db().q(query)) == ["Ships: shipping, shipped, shipyard.", "grey"]
    attributes = '[:find [?v ...] :in $ [?a ...] :where [(fulltext $ ?a "calm OR cafe") [[_ ?v]]]]'
    assert sorted(posts.db().q(attributes, [":post/body", ":post/notes"])) == [
        "A café by the harbour; crème brûlée.",
        "calm",
    ]


def test_a_search_works_inside_of_rules_and_negations(posts: Connection) -> None:
    rules = """[[(about ?e ?w) [(fulltext $ :post/body ?w) [[?e]]]]
                [(about ?e ?w) [(fulltext $ :post/notes ?w) [[?e]]]]]"""
    query = "[:find [?s ...] :in $ % ?w :where (about ?e ?w) [?e :post/slug ?s]]"
    assert sorted(posts.db().q(query, rules, "calm OR cafe")) == ["cafe", "sea"]
    without = '[:find [?s ...] :where [?e :post/slug ?s] (not [(fulltext $ :post/body "harbour") [[?e]]])]'
    assert sorted(posts.db().q(without)) == ["none", "ship"]


def test_every_time_has_its_own_texts(posts: Connection) -> None:
    before = posts.db()
    posts.transact([{":post/slug": "sea", ":post/body": "Now there is a lake."}])
    after = posts.transact([[":db/retract", [":post/slug", "cafe"], ":post/body"]]).db_after
    assert slugs(before, "harbour") == slugs(after.as_of(before.basis_t), "harbour") == ["cafe", "sea"]
    assert slugs(after, "harbour") == []
    assert slugs(after, "lake") == ["sea"]
    assert slugs(after.since(before.basis_t), "lake OR ships") == []  # the slug is older
    lately = '[:find [?v ...] :where [(fulltext $ :post/body "lake OR ships") [[_ ?v]]]]'
    assert after.since(before.basis_t).q(lately) == ["Now there is a lake."]
    assert slugs(after.history(), "harbour") == ["cafe", "sea"]
    posts.transact([{":post/slug": "lake", ":post/body": "The old harbour lies beside the sea."}])
    assert slugs(posts.db(), "harbour") == ["lake"]


def test_an_attribute_can_be_marked_and_unmarked_later(
    posts: Connection, connect: Callable[..., Connection], location: str
) -> None:
    title = '[:find [?t ...] :where [(fulltext $ :post/title "word") [[_ ?t]]]]'
    posts.transact(
        [
            {":post/slug": "sea", ":post/title": "A word or two"},
            {":post/slug": "old", ":post/title": "old word"},
        ]
    )
    posts.transact([[":db/retract", [":post/slug", "old"], ":post/title", "old word"]])
    other = connect(location)
    with pytest.raises(QueryError, match=":post/title has no :db/fulltext true"):
        posts.db().q(title)
    posts.transact([{":db/ident": ":post/title", ":db/fulltext": True}])
    posts.transact([{":post/slug": "cafe", ":post/title": "Another word"}])
    for conn in (posts, other, connect(location)):
        assert sorted(conn.sync().q(title)) == ["A word or two", "Another word"]
        assert len(conn.db().history().q(title)) == 3
    posts.transact([{":db/ident": ":post/title", ":db/fulltext": False}])
    with pytest.raises(QueryError, match="has no :db/fulltext true"):
        other.sync().q(title)
    assert slugs(posts.db(), "harbour") == ["cafe", "sea"]


def test_trials_and_refusals_leave_no_text_behind(posts: Connection) -> None:
    tried = posts.db().with_([{":post/slug": "new", ":post/body": "a lighthouse"}]).db_after
    assert slugs(tried, "lighthouse") == ["new"]
    assert slugs(posts.db(), "lighthouse") == []
    marked = posts.db().with_([{":db/ident": ":post/title", ":db/fulltext": True}]).db_after
    assert marked.q('[:find ?e :where [(fulltext $ :post/title "x") [[?e]]]]') == []
    with pytest.raises(QueryError):
        posts.db().q('[:find ?e :where [(fulltext $ :post/title "x") [[?e]]]]')

    def look(db: Any) -> list[Any]:
        seen.append(
            slugs(db.with_([{":post/slug": "x", ":post/body": "lantern"}]).db_after, "lantern OR beacon")
        )
        return []

    seen: list[list[str]] = []
    first = posts.transact_async([{":post/slug": "beacon", ":post/body": "beacon"}])
    posts.transact_async([look]).result()
    assert first.result()
    assert seen[-1] == ["beacon", "x"]


def test_a_loser_of_a_race_keeps_its_index(
    posts: Connection, connect: Callable[..., Connection], location: str
) -> None:
    """What was staged and rolled back is not found, also when it marked an attribute."""
    other = connect(location)
    other.transact([{":post/slug": "first", ":post/body": "winner takes it"}])
    posts.transact([{":db/ident": ":post/title", ":db/fulltext": True}, {":db/id": "d", ":db/doc": "x"}])
    posts.transact([{":post/slug": "second", ":post/body": "loser comes later", ":post/title": "loser"}])
    other.transact([{":post/slug": "third", ":post/title": "winner"}])
    for conn in (posts, other):
        db = conn.sync()
        assert slugs(db, "winner OR loser") == ["first", "second"]
        assert sorted(
            db.q('[:find [?t ...] :where [(fulltext $ :post/title "winner OR loser") [[_ ?t]]]]')
        ) == ["loser", "winner"]


def test_a_snapshot_has_the_index(connect: Callable[..., Connection], location: str, schema: str) -> None:
    writer = connect(location)
    writer.transact(schema)
    writer.transact([_BODY])
    writer.transact(
        [
            {":post/slug": f"p{n}", ":post/body": f"number {n} of many " + "filler " * 60}
            for n in range(12_000)
        ]
    )
    writer.snapshot()
    reader = connect(location)
    assert slugs(reader.db(), '"number 4711"') == ["p4711"]
    reader.transact([{":post/slug": "late", ":post/body": "number 4711 again"}])
    assert slugs(reader.db(), '"number 4711"') == ["late", "p4711"]
    assert slugs(writer.sync(), "again") == ["late"]


def test_what_is_excised_is_nowhere_in_the_index(
    tmp_path: Path, connect: Callable[..., Connection], schema: str
) -> None:
    conn = connect(f"file://{tmp_path}/db")
    conn.transact(schema)
    conn.transact([_BODY])
    conn.transact(
        [
            {":post/slug": "a", ":post/body": "xylophone secretword"},
            {":post/slug": "b", ":post/body": "xylophone plain"},
        ]
    )
    conn.snapshot()
    conn.excise([[":post/slug", "a"]])
    conn.snapshot()
    assert conn.db().history().q('[:find ?e :where [(fulltext $ :post/body "secretword") [[?e]]]]') == []
    assert slugs(conn.db(), "xylophone") == ["b"]
    pages = conn._replica.image.pages
    content = b"".join(pages.read(page) for page in range(pages.count))
    assert b"secretword" not in content
    assert b"secretw" not in content
    assert b"xylophon" in content


def test_a_text_that_others_still_have_outlives_an_excision(posts: Connection) -> None:
    same = "the very same words"
    posts.transact([{":post/slug": "a", ":post/body": same}, {":post/slug": "b", ":post/body": same}])
    posts.excise([[":post/slug", "a"]])
    assert slugs(posts.db(), "very same") == ["b"]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ('[:find ?e :where [(fulltext $ :no/such "x") [[?e]]]]', "':no/such' is not an attribute"),
        ('[:find ?e :where [(fulltext $ :post/title "x") [[?e]]]]', ":post/title has no :db/fulltext true"),
        ('[:find ?e :where [(fulltext $ :post/body "") [[?e]]]]', "names no word"),
        ('[:find ?e :where [(fulltext $ :post/body "-a") [[?e]]]]', "names no word"),
        ("[:find ?e :where [(fulltext $ :post/body 5) [[?e]]]]", "5 is no text"),
        ("[:find ?e :where [(fulltext $ :post/body) [[?e]]]]", "expected"),
    ],
)
def test_a_search_that_makes_no_sense_is_told(posts: Connection, query: str, complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        posts.db().q(query)


def test_only_texts_are_searched(conn: Connection) -> None:
    with pytest.raises(TransactionError, match=r"only of a :db\.type/string"):
        conn.transact([{":db/ident": ":user/age", ":db/fulltext": True}])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="ab\"*-():^+{}[]ORNTDE '\\", max_size=25))
def test_no_words_are_an_error_of_sqlite(words: str) -> None:
    db = _SHARED.db()
    try:
        search_expression(words)
    except ValueError:
        with pytest.raises(QueryError, match="fulltext"):
            db.search([db.schema.attribute(":post/body")], words)  # type: ignore[list-item]
    else:
        db.search([db.schema.attribute(":post/body")], words)  # type: ignore[list-item]


def test_a_search_without_end_is_refused(posts: Connection) -> None:
    with pytest.raises(QueryError, match="10000 are the most"):
        slugs(posts.db(), "a " * 6000)


_WORDS = st.lists(st.sampled_from(["sea", "Café", "ship", "ÉTÉ", "9", "old-new"]), max_size=5).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(_WORDS, max_size=6),
    st.lists(st.sampled_from(["sea", "cafe", "ship", "ete", "9", "old", "new"]), min_size=1, max_size=2),
)
def test_words_find_just_the_texts_that_have_them(texts: list[str], wanted: list[str]) -> None:
    def plain(text: str) -> set[str]:
        letters = unicodedata.normalize("NFD", text.lower())
        return set(
            "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c)).split()
        )

    with bucketlog.connect(MemoryStore()) as conn:
        conn.transact([_NOTES])
        conn.transact([{":db/id": f"e{n}", ":post/notes": [text]} for n, text in enumerate(texts)])
        db = conn.db()
        found = db.search([db.schema.attribute(":post/notes")], " ".join(wanted))  # type: ignore[list-item]
        assert sorted(v for _, v, _, _ in found) == sorted(
            text for text in texts if plain(text) >= set(wanted)
        )


def _shared() -> Connection:
    conn = bucketlog.connect(MemoryStore())
    conn.transact([_BODY])
    conn.transact([{":db/id": "a", ":post/body": "a ab b OR NOT"}])
    return conn


_SHARED = _shared()


@pytest.fixture(scope="module", autouse=True)
def _close_shared() -> Iterator[None]:
    yield
    _SHARED.close()


def test_an_import_keeps_the_mark(connect: Callable[..., Connection]) -> None:
    store = MemoryStore()
    text = b"""#datascript/DB {:schema {:body {:db/fulltext true, :db/valueType :db.type/string}},
                              :datoms [[1 :body "a harbour" 536870913]]}"""
    import_edn(text, store)
    assert connect(store).db().q('[:find ?v . :where [(fulltext $ :body "harbour") [[_ ?v]]]]') == "a harbour"
