"""Dataclasses and pydantic models as entities."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bucketlog
from bucketlog import URI, BucketlogError, Connection, Keyword, QueryError
from bucketlog.mapping import (
    Attribute,
    Id,
    MappingError,
    pull_as,
    q_as,
    schema_of,
    temp_id,
    to_transaction,
)


class Role(enum.Enum):
    ADMIN = Keyword(":role/admin")
    GUEST = Keyword(":role/guest")


@dataclass
class Person:
    name: Annotated[str, Attribute(":person/name", unique="identity", doc="What they are called")]
    age: Annotated[int | None, Attribute(":person/age")] = None
    score: Annotated[float | None, Attribute(":person/score")] = None
    active: Annotated[bool, Attribute(":person/active")] = True
    joined: Annotated[datetime | None, Attribute(":person/joined")] = None
    key: Annotated[UUID | None, Attribute(":person/key")] = None
    photo: Annotated[bytes | None, Attribute(":person/photo")] = None
    role: Annotated[Role, Attribute(":person/role")] = Role.GUEST
    tags: Annotated[set[Keyword], Attribute(":person/tags")] = field(default_factory=set)
    friends: Annotated[list[Person], Attribute(":person/friends")] = field(default_factory=list)
    parent: Annotated[Person | None, Attribute(":person/parent")] = None
    notes: list[str] = field(default_factory=list)
    id: Id = None


@dataclass(frozen=True, slots=True)
class Comment:
    text: Annotated[str, Attribute(":comment/text")]
    author: Annotated[Person, Attribute(":comment/author")]


@dataclass(frozen=True, slots=True)
class Article:
    slug: Annotated[str, Attribute(":article/slug", unique="value")]
    comments: Annotated[tuple[Comment, ...], Attribute(":article/comments", component=True)]
    id: Id = None


@dataclass
class Author:
    """The same entities as Person, seen from another side."""

    name: Annotated[str, Attribute(":person/name", unique="identity", doc="What they are called")]
    comments: Annotated[list[Comment], Attribute(":comment/_author")]


@dataclass
class Reply:
    text: Annotated[str, Attribute(":reply/text")]


@dataclass
class Thread:
    title: Annotated[str, Attribute(":thread/title")]
    replies: Annotated[list[Reply], Attribute(":reply/_thread")]


@dataclass
class Offer:
    price: Annotated[Decimal, Attribute(":offer/price")]
    page: Annotated[URI, Attribute(":offer/page", unique="identity")]
    size: Annotated[tuple[int, Decimal | None, str] | None, Attribute(":offer/size")] = None
    spots: Annotated[list[tuple[float, float]], Attribute(":offer/spots")] = field(default_factory=list)
    id: Id = None


class Country(pydantic.BaseModel):
    code: Annotated[str, pydantic.Field(min_length=2), Attribute(":country/code", unique="identity")]
    names: Annotated[frozenset[str], Attribute(":country/names")] = frozenset()
    neighbours: Annotated[list[Country], Attribute(":country/neighbours")] = []
    population: Annotated[int | None, Attribute(":country/population")] = pydantic.Field(None, alias="people")
    id: Id = None


@pytest.fixture
def conn(connect: Any, location: str) -> Connection:
    """A connection to a database with the schema of all classes."""
    conn: Connection = connect(location)
    conn.transact(schema_of(Person, Article, Country))
    return conn


def save(conn: Connection, *objects: Any) -> bucketlog.Database:
    return conn.transact(to_transaction(*objects)).db_after


def test_the_schema_follows_from_annotations() -> None:
    definitions = {definition[":db/ident"]: definition for definition in schema_of(Person)}
    assert definitions[":person/name"] == {
        ":db/ident": ":person/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
        ":db/doc": "What they are called",
    }
    assert {ident: definition[":db/valueType"] for ident, definition in definitions.items()} == {
        ":person/name": ":db.type/string",
        ":person/age": ":db.type/long",
        ":person/score": ":db.type/double",
        ":person/active": ":db.type/boolean",
        ":person/joined": ":db.type/instant",
        ":person/key": ":db.type/uuid",
        ":person/photo": ":db.type/bytes",
        ":person/role": ":db.type/keyword",
        ":person/tags": ":db.type/keyword",
        ":person/friends": ":db.type/ref",
        ":person/parent": ":db.type/ref",
    }
    many = {ident for ident, one in definitions.items() if one[":db/cardinality"] == ":db.cardinality/many"}
    assert many == {":person/tags", ":person/friends"}


def test_the_schema_has_the_classes_that_fields_refer_to() -> None:
    idents = {definition[":db/ident"]: definition for definition in schema_of(Article)}
    assert idents[":article/comments"][":db/isComponent"] is True
    assert {":article/slug", ":comment/text", ":comment/author", ":person/name"} <= set(idents)


def test_a_schema_transacted_again_changes_nothing(conn: Connection) -> None:
    assert conn.transact(schema_of(Person, Article, Author, Country)).tx_data == ()


def test_a_reverse_field_is_no_part_of_the_schema() -> None:
    assert ":comment/_author" not in {definition[":db/ident"] for definition in schema_of(Author)}


def test_an_object_comes_back_equal(conn: Connection) -> None:
    ann = Person(
        "Ann",
        age=30,
        score=0.5,
        active=False,
        joined=datetime(2026, 5, 1, tzinfo=UTC),
        key=uuid.uuid4(),
        photo=b"\x00",
        role=Role.ADMIN,
        tags={Keyword(":a"), Keyword(":b")},
        friends=[Person("Bob"), Person("Cid", age=1)],
        parent=Person("Dan"),
    )
    db = save(conn, ann)
    found = pull_as(db, Person, [":person/name", "Ann"])
    assert found is not None
    assert found.id == db.entid([":person/name", "Ann"])
    for person in (found, *found.friends, found.parent):
        assert person is not None
        assert type(person.id) is int
        person.id = None
    assert sorted(friend.name for friend in found.friends) == ["Bob", "Cid"]
    found.friends.sort(key=lambda friend: friend.name)
    assert found == ann


def test_decimals_uris_and_tuples_come_back_equal(conn: Connection) -> None:
    assert {a[":db/ident"]: a.get(":db/tupleTypes") for a in schema_of(Offer)} == {
        ":offer/price": None,
        ":offer/page": None,
        ":offer/size": [":db.type/long", ":db.type/bigdec", ":db.type/string"],
        ":offer/spots": [":db.type/double", ":db.type/double"],
    }
    conn.transact(schema_of(Offer))
    assert conn.transact(schema_of(Offer)).t == conn.db().basis_t
    page = URI("https://example.org/1")
    offer = Offer(Decimal("9.99"), page, (1, Decimal("0.5"), "cm"), [(1.0, 2.0), (3.5, 4.5)])
    conn.transact(to_transaction(offer, Offer(Decimal(5), URI("urn:b"), (1, None, "x"))))
    found = pull_as(conn.db(), Offer, [":offer/page", page])
    assert found is not None
    found.spots.sort()
    found.id = None
    assert found == offer
    assert type(found.page) is URI
    other = pull_as(conn.db(), Offer, [":offer/page", "urn:b"])
    assert other is not None
    assert (other.size, other.spots) == ((1, None, "x"), [])


def test_what_is_absent_is_the_default(conn: Connection) -> None:
    db = conn.transact([{":person/name": "Ann"}]).db_after
    found = pull_as(db, Person, [":person/name", "Ann"])
    assert found == Person("Ann", id=db.entid([":person/name", "Ann"]))


def test_an_entity_that_is_not_there_is_none(conn: Connection) -> None:
    assert pull_as(conn.db(), Person, [":person/name", "Nobody"]) is None
    assert pull_as(conn.db(), Person, 999_999) is None


def test_an_object_with_its_id_is_that_entity(conn: Connection) -> None:
    db = save(conn, Person("Ann", age=30))
    found = pull_as(db, Person, [":person/name", "Ann"])
    assert found is not None
    found.name, found.age = "Anna", 31
    db = save(conn, found)
    assert db.entid([":person/name", "Ann"]) is None
    assert db.q("[:find [?n ?a] :where [?e :person/name ?n] [?e :person/age ?a]]") == ("Anna", 31)


def test_an_object_with_a_unique_identity_is_the_entity_that_has_it(conn: Connection) -> None:
    save(conn, Person("Ann", age=30))
    db = save(conn, Person("Ann", age=31))
    assert db.q("[:find ?a . :where [_ :person/age ?a]]") == 31


def test_one_object_is_one_entity_also_in_a_circle(conn: Connection) -> None:
    ann, bob = Person("Ann"), Person("Bob")
    ann.friends, bob.friends = [bob, ann], [ann]
    ann.parent = bob
    report = conn.transact(to_transaction(ann, bob))
    assert report.tempids.keys() == {temp_id(ann), temp_id(bob)}
    found = pull_as(report.db_after, Person, report.tempids[temp_id(ann)])
    assert found is not None
    other = next(friend for friend in found.friends if friend.name == "Bob")
    assert found in found.friends
    assert other.friends == [found]
    assert found.parent is other


def test_a_long_chain_is_no_recursion(conn: Connection) -> None:
    person = Person("0")
    for n in range(1, 1500):
        person = Person(str(n), parent=person)
    found: Person | None = pull_as(save(conn, person), Person, [":person/name", "1499"])
    length = 0
    while found is not None:
        found, length = found.parent, length + 1
    assert length == 1500


def test_frozen_dataclasses_with_slots_nest(conn: Connection) -> None:
    article = Article("hello", (Comment("well", Person("Ann")), Comment("said", Person("Bob"))))
    db = save(conn, article)
    found = pull_as(db, Article, [":article/slug", "hello"])
    assert found is not None
    assert isinstance(found.comments, tuple)
    assert {(comment.text, comment.author.name) for comment in found.comments} == {
        ("well", "Ann"),
        ("said", "Bob"),
    }


def test_a_reverse_field_holds_what_refers_to_it(conn: Connection) -> None:
    db = save(conn, Article("hello", (Comment("well", Person("Ann")), Comment("said", Person("Ann")))))
    found = pull_as(db, Author, [":person/name", "Ann"])
    assert found is not None
    assert {comment.text for comment in found.comments} == {"well", "said"}
    assert all(comment.author.name == "Ann" for comment in found.comments)


def test_a_reverse_field_is_stated_from_the_other_side(conn: Connection) -> None:
    conn.transact(schema_of(Thread))
    conn.transact(
        """[{:db/ident :reply/thread, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/one}]"""
    )
    db = save(conn, Thread("Plans", [Reply("yes"), Reply("no")]))
    found = q_as(db, Thread, "[:find [?t ...] :where [_ :reply/thread ?t]]")
    assert [sorted(reply.text for reply in thread.replies) for thread in found] == [["no", "yes"]]


def test_a_query_gives_objects_in_its_order(conn: Connection) -> None:
    db = save(conn, Person("Ann", age=1), Person("Bob", age=2), Person("Cid", age=3))
    for find in ("[?e ...]", "?e"):
        query = f"[:find {find} :in $ ?least :where [?e :person/age ?a] [(>= ?a ?least)]]"
        people = q_as(db, Person, query, 2)
        assert sorted(person.name for person in people) == ["Bob", "Cid"]
        assert [person.id for person in people] == [
            row if type(row) is int else row[0] for row in db.q(query, 2)
        ]


@pytest.mark.parametrize("find", ["?n", "?e ?n", "[?e ?n]", "?n .", "?e ."])
def test_a_query_for_anything_else_is_refused(conn: Connection, find: str) -> None:
    db = save(conn, Person("Ann"))
    with pytest.raises(MappingError, match="a query for Person finds entities and nothing else"):
        q_as(db, Person, f"[:find {find} :where [?e :person/name ?n]]")


def test_the_past_is_objects_too(conn: Connection) -> None:
    t = save(conn, Person("Ann", age=30)).basis_t
    db = save(conn, Person("Ann", age=31))
    found = pull_as(db.as_of(t), Person, [":person/name", "Ann"])
    assert found is not None
    assert found.age == 30


def test_pydantic_models_come_back_equal(conn: Connection) -> None:
    at = Country(code="AT", names=frozenset({"Austria", "Österreich"}), people=9)
    de = Country(code="DE", neighbours=[at])
    at.neighbours = [de]
    db = save(conn, at)
    found = pull_as(db, Country, [":country/code", "AT"])
    assert found is not None
    assert (found.names, found.population) == (at.names, 9)
    assert [other.code for other in found.neighbours] == ["DE"]
    assert found.neighbours[0].neighbours[0] is found


def test_pydantic_validates_what_is_pulled(conn: Connection) -> None:
    db = conn.transact([{":db/id": "x", ":country/code": "X"}]).db_after
    with pytest.raises(
        MappingError, match=r"entity \d+ makes no Country: .*\n.*code\n.*at least 2 characters"
    ):
        pull_as(db, Country, [":country/code", "X"])


def test_an_entity_that_lacks_a_field_is_told(conn: Connection) -> None:
    report = conn.transact([{":db/id": "c", ":comment/text": "x"}])
    with pytest.raises(MappingError, match=r"^Comment.author: entity \d+ has no :comment/author: annotate"):
        pull_as(report.db_after, Comment, report.tempids["c"])


def test_a_member_that_an_enumeration_lacks_is_told(conn: Connection) -> None:
    db = conn.transact([{":person/name": "Ann", ":person/role": ":role/king"}]).db_after
    with pytest.raises(MappingError, match=r"^Person.role of entity \d+: ':role/king' is not a valid Role"):
        pull_as(db, Person, [":person/name", "Ann"])


def test_an_attribute_that_is_not_in_the_database_is_told(connect: Any) -> None:
    conn = connect(f"memory://{uuid.uuid4().hex}")
    with pytest.raises(QueryError, match=":person/name"):
        pull_as(conn.db(), Person, 1)


def test_a_circle_of_needs_is_told(conn: Connection) -> None:
    @dataclass
    class Twin:
        twin: Annotated[Twin, Attribute(":twin/of")]

    conn.transact(schema_of(Twin))
    report = conn.transact([[":db/add", "a", ":twin/of", "b"], [":db/add", "b", ":twin/of", "a"]])
    with pytest.raises(MappingError, match=r"Twin.twin: entity \d+ refers to itself through :twin/of"):
        pull_as(report.db_after, Twin, report.tempids["a"])


def test_what_is_no_object_of_the_class_is_told() -> None:
    with pytest.raises(MappingError, match=r"^Person.parent holds something that is no Person"):
        to_transaction(Person("Ann", parent="Bob"))  # type: ignore[arg-type]


def test_ids_may_stand_for_entities(conn: Connection) -> None:
    @dataclass
    class Node:
        name: Annotated[str, Attribute(":node/name", unique="identity")]
        next: Annotated[list[int], Attribute(":node/next", type=":db.type/ref")]

    conn.transact(schema_of(Node))
    report = conn.transact([{":db/id": "b", ":node/name": "b"}])
    other = report.tempids["b"]
    db = save(conn, Node("a", [other]))
    assert pull_as(db, Node, [":node/name", "a"]) == Node("a", [other])


def test_what_cannot_be_mapped_is_told_by_class_and_field() -> None:
    @dataclass
    class Unstored:
        name: Annotated[str, Attribute(":u/name")]
        cache: dict[str, str]

    @dataclass
    class Odd:
        name: Annotated[complex, Attribute(":odd/name")]

    @dataclass
    class Nameless:
        name: Annotated[str, Attribute("name")]

    @dataclass
    class Mixed:
        pair: Annotated[dict[int, str] | list[int] | None, Attribute(":mixed/pair")]

    @dataclass
    class Several:
        numbers: Annotated[list[int] | None, Attribute(":several/numbers")]

    @dataclass
    class Pair:
        pair: Annotated[tuple[int, complex], Attribute(":pair/pair")]

    @dataclass
    class Part:
        name: Annotated[str, Attribute(":part/name", component=True)]

    @dataclass
    class Empty:
        name: str = ""

    @dataclass
    class Late:
        name: Annotated[str, Attribute(":late/name")] = field(init=False)

    @dataclass
    class Lost:
        other: Annotated[Nowhere, Attribute(":lost/other")]  # type: ignore[name-defined]  # noqa: F821

    for cls, why in (
        (Unstored, "Unstored.cache is not stored, so that it needs a default"),
        (Odd, "Odd.name: .*complex.* is no type of value and no mapped class"),
        (Nameless, "Nameless.name: 'name' is not a keyword"),
        (Mixed, "Mixed.pair: .* is no type of value"),
        (Several, "Several.numbers: .* is not a collection of one type and never None"),
        (Pair, "Pair.pair: .* is no type of value"),
        (Part, "Part.name: only a reference is a component"),
        (Empty, "Empty needs at least one field with Attribute"),
        (Late, "Late.name has init=False"),
        (Lost, "Lost: name 'Nowhere' is not defined"),
        (int, "int is neither a dataclass nor a pydantic model"),
    ):
        with pytest.raises(MappingError, match=why):
            schema_of(cls)
    assert issubclass(MappingError, BucketlogError)


def test_classes_that_disagree_about_an_attribute_are_told() -> None:
    @dataclass
    class Other:
        name: Annotated[int, Attribute(":person/name")]

    with pytest.raises(
        MappingError, match=r"Other.name and Person.name define :person/name in different ways"
    ):
        schema_of(Person, Other)


names = st.sampled_from(["Ann", "Bob", "Cid", "Dan"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(names, st.lists(names, unique=True), st.none() | names),
        max_size=4,
        unique_by=lambda row: row[0],
    )
)
def test_any_graph_of_objects_comes_back(rows: list[tuple[str, list[str], str | None]]) -> None:
    people = {name: Person(name) for name in ("Ann", "Bob", "Cid", "Dan")}
    for name, friends, parent in rows:
        people[name].friends = [people[friend] for friend in friends]
        people[name].parent = people[parent] if parent else None
    with bucketlog.connect(f"memory://{uuid.uuid4().hex}") as conn:
        conn.transact(schema_of(Person))
        db = save(conn, *people.values())
        for name, person in people.items():
            found = pull_as(db, Person, [":person/name", name])
            assert found is not None
            assert shape(found) == shape(person)


def shape(person: Person) -> dict[str, tuple[list[str], str | None]]:
    """Who knows whom, from a person on; every name must be one object."""
    found: dict[str, Person] = {}
    pending = [person]
    while pending:
        one = pending.pop()
        if one.name in found:
            assert found[one.name] is one
            continue
        found[one.name] = one
        pending += [*one.friends, *([one.parent] if one.parent else [])]
    return {
        name: (sorted(friend.name for friend in one.friends), one.parent.name if one.parent else None)
        for name, one in found.items()
    }
