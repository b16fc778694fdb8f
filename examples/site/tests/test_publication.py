"""What is public, when, and under which address: decided in the commit, read by one rule."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

import bucketlog
from company_site.accounts import store as account_store
from company_site.database import attribute
from company_site.errors import DeletedError
from company_site.posts import store
from company_site.posts.edition import Editions
from company_site.posts.model import Content, Draft, InvalidDraftError, Page
from company_site.posts.store import (
    EditConflictError,
    create_post,
    delete_post,
    edit_post,
    find_moved,
    find_post,
    find_version,
    is_public,
    restore_post,
    undelete_post,
    unpublish_post,
    versions,
)

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def connection(tmp_path):
    with bucketlog.connect(f"file://{tmp_path}/database") as opened:
        opened.transact([*account_store.SCHEMA, *store.SCHEMA])
        opened.transact([account_store.add_people])
        opened.transact([account_store.grant_demo_roles])
        yield opened


def write(connection, title="A title", author="author", *, publish=True, now=NOW, **fields):
    content = Content(title, f"The text of {title}.", **fields)
    report = connection.transact([create_post(content, author, now, publish=publish)])
    return store.read_post(report.db_after, report.tempids["post"])


def again(connection, post):
    return store.read_post(connection.db(), post.id)


def test_a_draft_is_nobodys_to_read_until_it_is_published(connection):
    draft = write(connection, publish=False)
    assert draft.published_at is None
    assert Editions().at(connection.db(), NOW).posts == []
    content = Content(draft.title, draft.body)
    connection.transact([edit_post(draft.slug, 1, content, "author", NOW + HOUR)])
    published = again(connection, draft)
    assert published.published_at == NOW + HOUR
    assert published.created == NOW
    assert [post.slug for post in Editions().at(connection.db(), NOW + HOUR).posts] == [draft.slug]


def test_a_draft_remembers_when_it_is_meant_to_be_published(connection):
    draft = write(connection, publish=False, publish_at=NOW + HOUR)
    assert (draft.published_at, draft.planned_at) == (None, NOW + HOUR)
    assert Draft.of_post(draft).publish_at == "2026-12-01T10:00:00"
    assert not is_public(draft, NOW + 2 * HOUR)
    content = Draft.of_post(draft).checked()
    connection.transact([edit_post(draft.slug, 1, content, "author", NOW)])
    scheduled = again(connection, draft)
    assert (scheduled.published_at, scheduled.planned_at) == (NOW + HOUR, None)


def test_a_scheduled_post_comes_and_goes_by_the_clock_alone(connection):
    post = write(connection, publish_at=NOW + HOUR, unpublish_at=NOW + 3 * HOUR)
    states = [is_public(post, NOW + hours * HOUR) for hours in range(5)]
    assert states == [False, True, True, False, False]


def test_a_post_that_is_taken_down_is_a_draft_again(connection):
    post = write(connection, unpublish_at=NOW + HOUR)
    connection.transact([unpublish_post(post.slug, 1, "author", NOW)])
    taken = again(connection, post)
    assert (taken.published_at, taken.unpublish_at, taken.revision) == (None, None, 2)


def test_nothing_is_taken_down_before_it_was_there(connection):
    with pytest.raises(InvalidDraftError, match="before anybody could read it"):
        write(connection, unpublish_at=NOW - HOUR)
    with pytest.raises(InvalidDraftError, match="before it is published"):
        Draft("t", "b", publish_at="2026-12-02T09:00", unpublish_at="2026-12-01T09:00").checked()


@pytest.mark.parametrize(
    "text", ["tomorrow", "2026-13-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59+01:00"]
)
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(InvalidDraftError):
        Draft("t", "b", publish_at=text).checked()


def test_a_deleted_post_comes_back_as_it_was(connection):
    post = write(connection, tags=("a", "b"), pages=(Page.ABOUT,))
    connection.transact([delete_post(post.slug, 1, "author", NOW)])
    gone = again(connection, post)
    assert not is_public(gone, NOW)
    with pytest.raises(DeletedError):
        connection.transact([edit_post(post.slug, 2, Content("x", "y"), "author", NOW)])
    connection.transact([undelete_post(post.slug, 2, "author", NOW)])
    back = again(connection, post)
    assert (back.title, back.body, back.tags, back.pages) == (post.title, post.body, post.tags, post.pages)
    assert is_public(back, NOW)


def test_an_address_that_was_changed_leads_to_the_new_one_and_to_nobody_else(connection):
    post = write(connection, "First name")
    connection.transact([edit_post("first-name", 1, Content("x", "y", slug="second"), "author", NOW)])
    connection.transact([edit_post("second", 2, Content("x", "y", slug="third"), "author", NOW)])
    database = connection.db()
    assert find_post(database, "first-name") is None
    assert [find_moved(database, slug).slug for slug in ("first-name", "second")] == ["third", "third"]
    assert find_moved(database, "fourth") is None
    assert write(connection, "First name").slug == "first-name-2"
    with pytest.raises(InvalidDraftError, match="is taken"):
        write(connection, slug="second")
    connection.transact([edit_post("third", 3, Content("x", "y", slug="first-name"), "author", NOW)])
    assert again(connection, post).slug == "first-name"


def test_a_restored_revision_has_its_tags_and_pages_again(connection):
    post = write(connection, "One", tags=("a", "b"), pages=(Page.HOME, Page.CAREERS), featured=True)
    change = Content("Two", "Other", ("c",), slug="two")
    connection.transact([edit_post("one", 1, change, "author", NOW + HOUR)])
    connection.transact([restore_post("two", 2, 1, "editor", NOW + HOUR)])
    back = again(connection, post)
    assert (back.title, back.body, back.tags) == ("One", "The text of One.", ("a", "b"))
    assert (back.pages, back.featured) == ((Page.HOME, Page.CAREERS), True)
    assert (back.slug, back.published_at, back.revision) == ("two", NOW, 3)
    lines = versions(connection.db(), back)
    assert [(line.revision, line.title, line.editor) for line in lines] == [
        (3, "One", "Tomás Lind"),
        (2, "Two", "Mira Okafor"),
        (1, "One", "Mira Okafor"),
    ]
    assert lines[1].changed == ("body", "featured", "pages", "slug", "tags", "title")
    assert find_version(connection.db(), back, 2).tags == ("c",)


def test_a_page_features_one_and_the_one_before_makes_way(connection):
    first = write(connection, "First", pages=(Page.HOME,), featured=True)
    other = write(connection, "Other page", pages=(Page.ABOUT,), featured=True)
    second = write(connection, "Second", "editor", pages=(Page.HOME, Page.CAREERS), featured=True)
    edition = Editions().at(connection.db(), NOW)
    assert edition.on(Page.HOME)[0].slug == second.slug
    assert edition.on(Page.CAREERS)[0].slug == second.slug
    assert edition.on(Page.ABOUT)[0].slug == other.slug
    assert (again(connection, first).featured, again(connection, first).revision) == (False, 2)


def test_a_member_takes_no_page_from_a_post_of_another(connection):
    held = write(connection, "Held", "editor", pages=(Page.HOME,), featured=True)
    with pytest.raises(InvalidDraftError, match="“Held”, which is not yours to change"):
        write(connection, "Mine", pages=(Page.ABOUT, Page.HOME), featured=True)
    assert again(connection, held).featured
    # A wish of a draft takes nothing; when it is published, it is asked for.
    draft = write(connection, "Mine", pages=(Page.HOME,), featured=True, publish=False)
    with pytest.raises(InvalidDraftError, match="not yours to change"):
        connection.transact(
            [edit_post(draft.slug, 1, Content("m", "b", pages=(Page.HOME,), featured=True), "author", NOW)]
        )


def test_what_is_scheduled_is_not_featured_yet(connection):
    with pytest.raises(InvalidDraftError, match="Only what is public can be featured"):
        write(connection, publish_at=NOW + HOUR, pages=(Page.HOME,), featured=True)


# The schema of version 0.1, and a post as it wrote them.
OLD_SCHEMA = [
    attribute("post/slug", "string", identity=True),
    attribute("post/revision", "long"),
    *(attribute(f"post/{name}", "string") for name in ("title", "body", "summary")),
    attribute("post/author", "ref"),
    attribute("post/editor", "ref"),
    attribute("post/tags", "string", many=True),
    attribute("post/featured", "boolean"),
    attribute("post/created", "instant"),
    attribute("post/updated", "instant"),
]


def old_post(slug, **values):
    return {
        ":post/slug": slug,
        ":post/revision": 1,
        ":post/title": "Old",
        ":post/body": "An *old* text.",
        ":post/summary": "An old text.",
        ":post/author": [":user/id", "author"],
        ":post/editor": [":user/id", "author"],
        ":post/tags": ["old"],
        ":post/featured": False,
        ":post/created": NOW - HOUR,
        ":post/updated": NOW - HOUR,
        **values,
    }


def test_what_version_0_1_wrote_is_public_and_can_be_changed(tmp_path):
    url = f"file://{tmp_path}/old"
    with bucketlog.connect(url) as connection:
        connection.transact([*account_store.SCHEMA, *OLD_SCHEMA])
        connection.transact([account_store.add_people])
        connection.transact([account_store.grant_demo_roles])
        connection.transact([old_post("old"), old_post("hero", **{":post/featured": True}), old_post("gone")])
        connection.transact([[":db/retractEntity", [":post/slug", "gone"]]])
    with bucketlog.connect(url) as connection:
        connection.transact([*account_store.SCHEMA, *store.SCHEMA])
        edition = Editions().at(connection.db(), NOW)
        assert {post.slug for post in edition.posts} == {"old", "hero"}
        assert edition.on(Page.HOME)[0].slug == "hero"
        with pytest.raises(DeletedError):
            find_moved(connection.db(), "gone")
        # A version 0.1 that still runs beside this one writes such posts, too.
        connection.transact([old_post("late")])
        assert is_public(find_post(connection.db(), "late"), NOW)
        connection.transact([edit_post("late", 1, Content("New", "b", slug="newer"), "author", NOW)])
        assert find_post(connection.db(), "newer").published_at == NOW - HOUR
        connection.transact([unpublish_post("newer", 2, "author", NOW)])
        assert find_post(connection.db(), "newer").published_at is None


def test_two_writers_who_make_a_thousand_edits_lose_none(tmp_path):
    """Each has a connection of its own, as two instances have, and counts up from what it has read."""
    url = f"file://{tmp_path}/database"
    with bucketlog.connect(url) as first, bucketlog.connect(url) as second:
        first.transact([*account_store.SCHEMA, *store.SCHEMA])
        first.transact([account_store.add_people])
        first.transact([account_store.grant_demo_roles])
        post = write(first, "Counted")

        def count_up(connection, name):
            made = 0
            while made < 500:
                seen = store.read_post(connection.sync(), post.id)
                lines = ["0:start", *seen.body.split("\n")[1:]]
                change = Content("Counted", "\n".join([*lines[-4:], f"{seen.revision}:{name}"]))
                with suppress(EditConflictError):
                    connection.transact([edit_post("counted", seen.revision, change, name, NOW)])
                    made += 1

        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(count_up, first, "author"), pool.submit(count_up, second, "editor")]
            for run in runs:
                run.result()
        database = second.sync()
        last = store.read_post(database, post.id)
        assert last.revision == 1001
        bodies = database.history().q(
            """[:find ?revision ?body :in $ ?p
                :where [?p :post/revision ?revision ?tx true] [?p :post/body ?body ?tx true]]""",
            post.id,
        )
    # Every edit is a revision, and each was made on the text of the one before.
    made = [body.split("\n")[-1] for _, body in sorted(bodies)][1:]
    assert [int(line.split(":")[0]) for line in made] == list(range(1, 1001))
    assert Counter(line.split(":")[1] for line in made) == {"author": 500, "editor": 500}
