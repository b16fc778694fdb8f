"""What is public when, by the database and by the clock."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bucketlog
from company_site.accounts.model import User
from company_site.app import SCHEMA
from company_site.posts.edition import Catalogue, Edition, Editions, months
from company_site.posts.model import Content, Heading, Page
from company_site.posts.store import create_post, delete_post, edit_post, is_public

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def connection(request) -> Iterator[bucketlog.Connection]:
    with bucketlog.connect(f"memory://{request.node.name}") as made:
        made.transact(SCHEMA)
        people = [User("ann", "Ann Lee"), User("bob", "Ann Lee"), User("eve", "Ève")]
        made.transact(
            [{":user/id": user.id, ":user/name": user.name, ":user/roles": ["member"]} for user in people]
        )
        yield made


def publish(connection: bucketlog.Connection, title: str, by: str = "ann", **content) -> str:
    made = Content(title, "b", **content)
    report = connection.transact([create_post(made, by, NOW)])
    slug: str = report.db_after.pull("[:post/slug]", report.tempids["post"])[":post/slug"]
    return slug


def titles(edition: Edition) -> list[str]:
    return [post.title for post in edition.posts]


def test_a_schedule_is_kept_by_the_clock_alone(connection):
    publish(connection, "Always")
    publish(connection, "Later", publish_at=NOW + HOUR, unpublish_at=NOW + 3 * HOUR)
    editions, database = Editions(), connection.db()
    first = editions.at(database, NOW)
    assert titles(first) == ["Always"]
    assert first.until == NOW + HOUR
    assert editions.at(database, NOW + HOUR / 2) is first
    second = editions.at(database, NOW + HOUR)
    assert titles(second) == ["Later", "Always"]
    assert second.until == NOW + 3 * HOUR
    third = editions.at(database, NOW + 3 * HOUR)
    assert titles(third) == ["Always"]
    assert third.until.year == 9999
    assert len({edition.name for edition in (first, second, third)}) == 3


def test_what_follows_is_what_would_be_read_anew(connection):
    kept = Catalogue.of(connection.db())
    slug = publish(connection, "One", tags=("a",))
    changes = [
        [create_post(Content("Two", "b", ("a", "b")), "bob", NOW)],
        [edit_post(slug, 1, Content("One, again", "b", ("c",)), "ann", NOW + HOUR)],
        [{":user/id": "bob", ":user/name": "Bob"}],
        [{":session/digest": "d", ":session/user": [":user/id", "ann"], ":session/method": "demo"}],
        [delete_post(slug, 2, "ann", NOW)],
        [[":db/retractEntity", [":post/slug", "two"]]],
    ]
    for change in changes:
        connection.transact(change)
        kept = kept.follow(connection.db())
        assert kept == Catalogue.of(connection.db())


def test_an_edition_has_the_same_name_on_every_instance_and_a_login_leaves_it(connection):
    publish(connection, "One")
    one, other = Editions(), Editions()
    first = one.at(connection.db(), NOW)
    session = {":session/digest": "d", ":session/user": [":user/id", "ann"], ":session/method": "demo"}
    connection.transact([session])
    assert one.at(connection.db(), NOW) is first
    assert other.at(connection.db(), NOW).name == first.name
    publish(connection, "Two")
    assert one.at(connection.db(), NOW).name != first.name
    assert other.at(connection.db(), NOW).name == one.at(connection.db(), NOW).name


def test_an_older_value_of_the_database_is_read_as_it_was(connection):
    publish(connection, "One")
    old = connection.db()
    publish(connection, "Two")
    editions = Editions()
    assert len(editions.at(connection.db(), NOW).posts) == 2
    assert titles(editions.at(old, NOW)) == ["One"]
    assert len(editions.at(connection.db(), NOW).posts) == 2


def test_authors_of_one_name_have_addresses_of_their_own(connection):
    publish(connection, "By the first", "ann")
    publish(connection, "By the second", "bob", publish_at=NOW - HOUR / 2 + HOUR / 4)
    publish(connection, "By Eve", "eve")
    edition = Editions().at(connection.db(), NOW)
    assert set(edition.authors) == {"ann-lee", "ann-lee-2", "eve"}
    assert {edition.slugs[user] for user in ("ann", "bob")} == {"ann-lee", "ann-lee-2"}
    for author in edition.authors.values():
        assert len(author.posts) == 1


def test_posts_are_found_by_tag_page_year_and_month(connection):
    publish(connection, "Old", tags=("b", "a"), publish_at=datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC))
    publish(connection, "Mid", tags=("a",), publish_at=datetime(2025, 1, 1, tzinfo=UTC), pages=(Page.HOME,))
    publish(
        connection,
        "New",
        publish_at=datetime(2025, 6, 1, tzinfo=UTC),
        pages=(Page.HOME, Page.ABOUT),
    )
    publish(
        connection, "Chosen", publish_at=datetime(2023, 1, 1, tzinfo=UTC), pages=(Page.HOME,), featured=True
    )
    edition = Editions().at(connection.db(), NOW)
    assert {tag: [post.title for post in posts] for tag, posts in edition.tags.items()} == {
        "a": ["Mid", "Old"],
        "b": ["Old"],
    }
    assert [post.title for post in edition.on(Page.HOME)] == ["Chosen", "New", "Mid"]
    assert [post.title for post in edition.on(Page.CAREERS)] == []
    assert list(edition.years) == [2025, 2024, 2023]
    assert [(month.month, len(posts)) for month, posts in months(edition.years[2025])] == [(6, 1), (1, 1)]


HOURS = st.none() | st.integers(-5, 5)


@given(
    st.lists(st.tuples(HOURS, HOURS, st.booleans()), max_size=6), st.integers(-60, 60), st.integers(0, 600)
)
def test_between_two_turns_an_edition_is_one_and_the_same(times, start, minutes):
    def at(hours: int | None) -> datetime | None:
        return None if hours is None else NOW + hours * HOUR

    entries = {
        number: Heading(
            slug=f"{number}",
            title=f"{number}",
            author=User("ann", "Ann"),
            tags=(),
            featured=False,
            created=NOW,
            updated=NOW,
            published_at=at(published),
            unpublish_at=at(unpublished),
            deleted_at=NOW if deleted else None,
        )
        for number, (published, unpublished, deleted) in enumerate(times)
    }
    catalogue = Catalogue(1, 1, entries)
    now = NOW + timedelta(minutes=start)
    later = now + timedelta(minutes=minutes)
    first, second = Edition.of(catalogue, now), Edition.of(catalogue, later)
    for edition, moment in ((first, now), (second, later)):
        assert edition.until > moment
        assert {post.slug for post in edition.posts} == {
            post.slug for post in entries.values() if is_public(post, moment)
        }
    if later < first.until:
        assert second == first
    else:
        assert second.name != first.name
