"""Writing, changing and deleting posts; their history; and writers who meet."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bucketlog
from company_site.posts.model import Draft, InvalidDraftError, slugify
from company_site.posts.store import entries


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Written before the second release", "written-before-the-second-release"),
        ("  Déjà vu,   again? ", "deja-vu-again"),
        ("C++ & Rust_2", "c-rust-2"),
        ("你好、世界", "你好-世界"),
        ("Ünïcødé straße", "unicøde-straße"),
        ("!!!", "post"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 200, "a" * 80),
    ],
)
def test_a_slug_says_the_title_in_any_script(title, slug):
    assert slugify(title) == slug


@given(st.text(max_size=120))
def test_a_slug_is_never_empty_and_never_leaves_its_place_in_the_address(title):
    slug = slugify(title)
    assert slug
    assert not set(slug) & set("/\\?#%. \n")
    assert slugify(slug) == slug


def test_a_draft_is_cleaned_when_it_is_checked():
    content = Draft("  A\n title ", "\n\nText\n", "Data, , data,  Two  Words ").checked()
    assert (content.title, content.body, content.tags) == ("A title", "Text", ("data", "two words"))


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (Draft(" ", "text"), "title"),
        (Draft("t" * 121, "text"), "title"),
        (Draft("title", " \n "), "body"),
        (Draft("title", "b" * 60_001), "body"),
        (Draft("title", "text", "a,b,c,d,e,f,g"), "tags"),
        (Draft("title", "text", "t" * 31), "tags"),
    ],
)
def test_a_draft_that_cannot_be_a_post_says_which_field_is_wrong(draft, field):
    with pytest.raises(InvalidDraftError) as refused:
        draft.checked()
    assert list(refused.value.problems) == [field]


def test_an_author_writes_and_everybody_reads(site):
    author = site.as_user("author")
    answer = author.post("/posts/new", {"title": "Low tide", "body": "It is *still* here.", "tags": "b, a"})
    assert answer.location == "/posts/low-tide"
    page = author.follow(answer)
    assert "<h1>Low tide</h1>" in page.text
    assert "<em>still</em>" in page.text
    assert "Mira Okafor" in page.text
    assert page.text.index("/tags/a") < page.text.index("/tags/b")
    assert "Low tide" in author.get("/posts").text


def test_posts_of_one_title_get_addresses_of_their_own(site):
    author = site.as_user("author")
    assert [author.write("Twice told") for _ in range(3)] == [
        "/posts/twice-told",
        "/posts/twice-told-2",
        "/posts/twice-told-3",
    ]


def test_no_title_can_take_an_address_of_the_site(site):
    assert site.as_user("author").write("New") == "/posts/new-2"


def test_a_title_in_another_script_is_an_address_too(site):
    author = site.as_user("author")
    path = author.write("你好、世界")
    assert path == f"/posts/{quote('你好-世界')}"
    assert "<h1>你好、世界</h1>" in author.get(path).text
    assert author.get(f"{path}/edit").status == 200


def test_a_wrong_form_comes_back_with_what_was_typed(site):
    page = site.as_user("author").post("/posts/new", {"title": "", "body": "Kept <text>", "tags": "kept"})
    assert page.status == 422
    assert "A post needs a title." in page.text
    assert "Kept &lt;text&gt;</textarea>" in page.text
    assert 'value="kept"' in page.text
    assert 'aria-invalid="true" aria-describedby="title-problem' in page.text


def test_a_preview_publishes_nothing(site):
    author = site.as_user("author")
    page = author.post("/posts/new", {"title": "Unseen", "body": "So *far*.", "action": "preview"})
    assert page.status == 200
    assert "<em>far</em>" in page.text
    assert author.get("/posts/unseen").status == 404


def test_an_edit_opens_with_the_text_and_keeps_the_address(site):
    author = site.as_user("author")
    path = author.write("First name", "\n  First text", "old, both")
    form = author.get(f"{path}/edit")
    assert 'value="First name"' in form.text
    assert "First text</textarea>" in form.text
    changed = {
        "title": "Second name",
        "body": "Second text",
        "tags": "both, new",
        "basis": form.field("basis"),
    }
    assert author.post(f"{path}/edit", changed).location == path
    page = author.get(path)
    assert "<h1>Second name</h1>" in page.text
    assert "Second text" in page.text
    assert "/tags/new" in page.text
    assert "/tags/old" not in page.text


def test_an_edit_that_was_overtaken_shows_both_and_loses_neither(site):
    author, editor = site.as_user("author"), site.as_user("editor")
    path = author.write("Two pens", "One text")
    basis = author.get(f"{path}/edit").field("basis")
    theirs = {"title": "Two pens", "body": "Their text", "tags": "", "basis": basis}
    assert editor.post(f"{path}/edit", theirs).status == 303
    mine = {"title": "My title", "body": "My text", "tags": "", "basis": basis}
    conflict = author.post(f"{path}/edit", mine)
    assert conflict.status == 409
    assert "<del>One</del><ins>Their</ins> text" in conflict.text
    assert "<del>One</del><ins>My</ins> text" in conflict.text
    assert "My text</textarea>" in conflict.text
    assert "Their text" in author.get(path).text
    mine["basis"] = conflict.field("basis")
    assert author.post(f"{path}/edit", mine).status == 303
    assert "My text" in author.get(path).text


def test_of_many_who_save_at_once_one_saves_and_the_others_are_told(site):
    author = site.as_user("author")
    path = author.write("Crowded", "0")
    basis = author.get(f"{path}/edit").field("basis")

    def save(number: int) -> int:
        form = {"title": "Crowded", "body": f"text {number}", "tags": "", "basis": basis}
        return author.post(f"{path}/edit", form).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(save, range(8))) == [303] + [409] * 7


def test_many_new_posts_at_once_are_all_there(site):
    author = site.as_user("author")
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: author.write("Together"), range(12)))
    assert len(set(paths)) == 12
    assert all(author.get(path).status == 200 for path in paths)


def test_a_broken_basis_is_refused(site):
    author = site.as_user("author")
    path = author.write("Based")
    for basis in ("", "x", "-1", "1" * 30):
        form = {"title": "Based", "body": "b", "basis": basis}
        assert author.post(f"{path}/edit", form).status == 400


def test_a_deleted_post_is_gone_and_its_history_is_not(site):
    author = site.as_user("author")
    path = author.write("Short lived", "Remember me")
    confirmation = author.get(f"{path}/delete")
    assert author.post(f"{path}/delete", {"basis": confirmation.field("basis")}).location == "/drafts#deleted"
    assert author.get(path).status == 410
    assert site.client().get(path).status == 410
    assert author.post(f"{path}/edit", {"title": "t", "body": "b", "basis": "2"}).status == 410
    with bucketlog.connect(site.database_url) as connection:
        kept = connection.db().history().q("[:find [?body ...] :where [_ :post/body ?body]]")
    assert "Remember me" in kept


def test_a_post_that_was_changed_is_not_deleted_unseen(site):
    author = site.as_user("author")
    path = author.write("Not so fast")
    basis = author.get(f"{path}/delete").field("basis")
    assert author.post(f"{path}/edit", {"title": "Changed", "body": "b", "basis": basis}).status == 303
    refused = author.post(f"{path}/delete", {"basis": basis})
    assert refused.status == 409
    assert "It was changed since you opened this page" in refused.text
    assert author.get(path).status == 200


def test_history_shows_every_version_and_who_made_it(site):
    author, editor = site.as_user("author"), site.as_user("editor")
    path = author.write("Version one", "Text *one*", "one")
    form = {"title": "Version two", "body": "Text two", "tags": "two", "basis": "1"}
    assert editor.post(f"{path}/edit", form).status == 303
    history = author.get(f"{path}/history")
    assert history.text.index("Revision 2: Version two") < history.text.index("Revision 1: Version one")
    assert "Tomás Lind" in history.text
    first = author.get(f"{path}/history/1")
    assert "<h1>Version one</h1>" in first.text
    assert "<em>one</em>" in first.text
    assert author.get(f"{path}/history/3").status == 404


def test_lists_never_read_the_bodies(site):
    pulled = []

    class Watched:
        def __init__(self, database):
            self._database = database

        def q(self, query, *inputs):
            pulled.append(query)
            return self._database.q(query, *inputs)

    with bucketlog.connect(site.database_url) as connection:
        assert len(entries(Watched(connection.db()))) >= 8
    assert pulled
    assert not any(":post/body" in query or "[*" in query for query in pulled)
