"""Drafts, preview links, autosave and the desk: what is written and is nobody else's to read yet."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

import bucketlog
from company_site.drafts.store import find_preview, open_preview
from company_site.errors import DeletedError

AUTOSAVE = "/drafts"


def fields(title, body="A text.", **more):
    return {"title": title, "body": body, "tags": "", **more}


def save_draft(client, title, body="A text."):
    answer = client.post("/posts/new", fields(title, body, action="save"))
    assert answer.status == 303, answer.text
    assert answer.location.endswith("/edit")
    return answer.location.removesuffix("/edit")


def link_of(page):
    return re.search(r'value="(http[^"]*/preview/[^"]+)"', page.text)[1]


def test_a_draft_is_its_writers_and_the_admins_to_see(site):
    author = site.as_user("author")
    path = save_draft(author, "Not ready")
    assert "A draft: only who may change it sees it." in author.get(path).text
    assert site.as_user("editor").get(path).status == 200
    for other in (site.client(), site.as_user("reader")):
        assert other.get(path).status == 404
        assert "Not ready" not in other.get("/posts").text
    assert site.as_user("owner").get(f"{path}/history").status == 200
    assert site.as_user("reader").get(f"{path}/history").status == 403
    assert "Not ready" in author.get("/drafts").text


def test_a_draft_of_a_public_entry_leaves_the_live_text_alone(site):
    author = site.as_user("author")
    path = author.write("Live", "What readers read")
    draft = fields("Live", "What they will read", basis="1", action="save")
    assert author.post(f"{path}/edit", draft).location == f"{path}/edit"
    assert "What readers read" in author.get(path).text
    editor = author.get(f"{path}/edit")
    assert "What they will read</textarea>" in editor.text
    assert "readers see the entry as it was" in editor.text
    assert "What readers read</textarea>" in site.as_user("editor").get(f"{path}/edit").text
    assert "Changes to" in author.get("/drafts").text
    assert author.post(f"{path}/edit", fields("Live", "What they will read", basis="1")).location == path
    assert "What they will read" in site.client().get(path).text
    assert "your own draft" not in author.get(f"{path}/edit").text


def test_a_draft_can_be_discarded(site):
    author = site.as_user("author")
    path = author.write("Kept", "The text")
    author.post(f"{path}/edit", fields("Kept", "Nonsense", basis="1", action="save"))
    assert author.post(f"{path}/discard", {}).location == f"{path}/edit"
    assert "The text</textarea>" in author.get(f"{path}/edit").text


def test_a_draft_that_was_overtaken_says_so_and_is_shown_beside_the_latest(site):
    author, editor = site.as_user("author"), site.as_user("editor")
    path = author.write("Overtaken", "One line\n\nAnother line")
    author.post(f"{path}/edit", fields("Overtaken", "One line\n\nMy line", basis="1", action="save"))
    theirs = {"title": "Overtaken", "body": "Their line\n\nAnother line", "tags": "theirs", "basis": "1"}
    assert editor.post(f"{path}/edit", theirs).status == 303
    page = author.get(f"{path}/edit")
    assert "it is at revision 2, and your text started from 1" in page.text
    mine = fields("Overtaken", "One line\n\nMy line", basis=page.field("basis"))
    conflict = author.post(f"{path}/edit", mine)
    assert conflict.status == 409
    assert "<del>One</del><ins>Their</ins> line" in conflict.text
    assert "<del>Another</del><ins>My</ins> line" in conflict.text
    # They changed the text in different places: the form has both. They alone touched the tags.
    assert "Their line\n\nMy line</textarea>" in conflict.text
    assert '<input id="tags" name="tags" value="theirs"' in conflict.text


def test_autosave_keeps_what_is_typed_in_one_working_copy(site):
    author = site.as_user("author")
    first = json.loads(author.post(AUTOSAVE, fields("Half a", "thou")).text)
    second = json.loads(author.post(AUTOSAVE, fields("Half a", "thought", draft=first["key"])).text)
    assert second["key"] == first["key"]
    assert "thought</textarea>" in author.get(f"/drafts/{first['key']}").text
    for other in ("editor", "owner"):
        assert site.as_user(other).get(f"/drafts/{first['key']}").status == 404
    published = author.post("/posts/new", fields("Half a thought", "thought", draft=first["key"]))
    assert published.location == "/posts/half-a-thought"
    assert author.get(f"/drafts/{first['key']}").status == 404


def test_autosave_of_an_entry_tells_when_it_was_overtaken(site):
    author = site.as_user("author")
    path = author.write("Watched")
    kept = fields("Watched", "b", post="watched", basis="1")
    assert json.loads(author.post(AUTOSAVE, kept).text)["overtaken"] is False
    site.as_user("editor").post(f"{path}/edit", fields("Watched", "c", basis="1"))
    assert json.loads(author.post(AUTOSAVE, kept).text)["overtaken"] is True


def test_autosave_takes_no_other_writers_copy_and_no_others_post(site):
    author, owner = site.as_user("author"), site.as_user("owner")
    key = json.loads(owner.post(AUTOSAVE, fields("The owner's")).text)["key"]
    assert json.loads(author.post(AUTOSAVE, fields("Mine", draft=key)).text)["key"] != key
    path = site.as_user("editor").write("Of the editor")
    stolen = fields("x", post=path.removeprefix("/posts/"), basis="1")
    assert author.post(AUTOSAVE, stolen).status == 403
    for client in (site.client(), site.as_user("reader")):
        assert client.post(AUTOSAVE, fields("Nobody's")).status == 403
        assert client.post("/drafts/preview", {"body": "*x*"}).status == 403


def test_a_working_copy_has_an_end(site):
    author = site.as_user("author")
    refused = author.post(AUTOSAVE, fields("Long", "b" * 300_000))
    assert refused.status == 422
    assert "characters" in json.loads(refused.text)["problem"]


def test_the_live_preview_is_what_readers_will_see(site):
    answer = site.as_user("author").post("/drafts/preview", {"body": "Some *text* <script>x</script>"})
    assert answer.text == "<p>Some <em>text</em> &lt;script&gt;x&lt;/script&gt;</p>\n"
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_preview_link_shows_a_draft_to_whoever_has_it(site):
    author = site.as_user("author")
    path = save_draft(author, "Look at this", "Not *yet*.")
    page = author.post(
        f"{path}/edit", fields("Look at this", "Not *quite* yet.", basis="1", action="share", lifetime="1")
    )
    assert page.status == 200
    link = link_of(page).removeprefix(site.url)
    shown = site.client().get(link)
    assert "<em>quite</em>" in shown.text
    assert shown.headers["X-Robots-Tag"] == "noindex"
    assert shown.headers["Cache-Control"] == "private, no-store"
    assert site.client().get(path).status == 404
    assert "End 1 preview link" in author.get(f"{path}/edit").text
    assert author.post(f"{path}/end-links", {}).status == 303
    assert site.client().get(link).status == 404
    assert site.client().get("/preview/" + "x" * 32).status == 404


def test_a_preview_of_changes_shows_them_and_not_the_live_text(site):
    author = site.as_user("author")
    path = author.write("Changing", "Before")
    page = author.post(f"{path}/edit", fields("Changing", "After", basis="1", action="share"))
    link = link_of(page).removeprefix(site.url)
    assert "After" in site.client().get(link).text
    assert "Before" in site.client().get(path).text
    author.post(f"{path}/edit", fields("Changing", "After", basis="1"))
    assert site.client().get(link).status == 410


def test_a_preview_link_runs_out(site):
    author = site.as_user("author")
    path = save_draft(author, "Fleeting")
    now = datetime.now(UTC)
    with bucketlog.connect(site.database_url) as connection:
        post = connection.db().q('[:find ?p . :where [?p :post/slug "fleeting"]]')
        connection.transact([open_preview("a-token", post, "author", now + timedelta(hours=1), now)])
        database = connection.db()
        assert find_preview(database, "a-token", now).slug == path.removeprefix("/posts/")
        with pytest.raises(DeletedError):
            find_preview(database, "a-token", now + timedelta(hours=1))
        # And the database does not hold what opens it.
        assert not database.history().q('[:find ?e :where [?e :preview/digest "a-token"]]')


def test_an_entry_is_taken_off_and_put_back(site):
    author = site.as_user("author")
    path = author.write("In and out")
    assert author.post(f"{path}/unpublish", {"basis": "1"}).status == 303
    assert site.client().get(path).status == 404
    assert author.post(f"{path}/unpublish", {"basis": "1"}).status == 409
    assert author.post(f"{path}/edit", fields("In and out", basis="2")).status == 303
    assert site.client().get(path).status == 200


def test_a_deleted_entry_comes_back_from_the_desk(site):
    author = site.as_user("author")
    path = author.write("Back again", "Still here", "tag")
    author.post(f"{path}/delete", {"basis": "1"})
    desk = author.get("/drafts")
    assert f'action="{path}/undelete"' in desk.text
    assert site.as_user("reader").post(f"{path}/undelete", {"basis": "2"}).status == 403
    assert site.client().get(path).status == 410
    assert author.post(f"{path}/undelete", {"basis": "2"}).location == path
    assert "Still here" in site.client().get(path).text
    assert f'action="{path}/undelete"' not in author.get("/drafts").text


def test_an_address_is_changed_and_the_old_one_leads_there(site):
    author = site.as_user("author")
    path = author.write("Old address")
    assert (
        author.post(f"{path}/edit", fields("x", slug="new-address", basis="1")).location
        == "/posts/new-address"
    )
    moved = site.client().get(path)
    assert (moved.status, moved.location) == (301, "/posts/new-address")
    taken = author.post("/posts/new", fields("Other", slug="old-address"))
    assert taken.status == 422
    assert "The address old-address is taken." in taken.text
    for slug in ("New", "a b", "../x", "new", "-a", "a" * 81):
        assert author.post("/posts/new", fields("Other", slug=slug)).status == 422


def test_restoring_brings_back_tags_pages_and_text(site):
    author = site.as_user("author")
    path = author.post(
        "/posts/new", fields("Restored", "First", tags="one, two") | {"page-about": "yes"}
    ).location
    author.post(f"{path}/edit", fields("Worse", "Second", basis="1"))
    page = author.get(f"{path}/history/2")
    for change in ("Title", "Text", "Tags", "Pages"):
        assert f"<dt>{change}</dt>" in page.text
    assert author.post(f"{path}/history/1", {"basis": "1"}).status == 409
    assert author.post(f"{path}/history/1", {"basis": "2"}).location == path
    editor = author.get(f"{path}/edit")
    assert 'value="one, two"' in editor.text
    assert 'name="page-about" value="yes" checked' in editor.text
    assert (
        site.as_user("owner").get(f"{path}/history/3?against=1").text.count("Nothing that can be seen.") == 1
    )
    other = site.as_user("editor").write("Of another")
    assert author.post(f"{other}/history/1", {"basis": "1"}).status == 403


def test_an_image_without_a_description_is_asked_about_once(site):
    author = site.as_user("author")
    body = f"![](/uploads/{'0' * 40}-1x1.webp)"
    asked = author.post("/posts/new", fields("Undescribed", body))
    assert asked.status == 422
    assert "An image says nothing to those who cannot see" in asked.text
    assert author.post("/posts/new", fields("Undescribed", body, undescribed="yes")).status == 303
    assert author.post("/posts/new", fields("Undescribed draft", body, action="save")).status == 303


def test_who_is_signed_out_while_writing_loses_nothing(site):
    path = site.as_user("author").write("Long session", "Before")
    text = "An hour's <work>"
    form = fields("Long session", text, basis="1", tags="kept, too", slug="elsewhere")
    for where in (f"{path}/edit", "/posts/new"):
        stranger = site.client()
        page = stranger.post(where, form)
        assert page.status == 403
        assert "You are signed out" in page.text
        assert "An hour&#39;s &lt;work&gt;</textarea>" in page.text
        assert page.field("tags") == "kept, too"
        assert f'action="{where}"' in page.text
        assert "Before" not in page.text
        # Signed in in another tab: the button leads back into the editor.
        back = stranger.sign_in("author").post(where, {**form, "action": "preview"})
        assert "An hour&#39;s &lt;work&gt;</textarea>" in back.text


def test_while_the_bucket_is_away_nothing_that_was_written_is_lost(start_site, tmp_path):
    site = start_site()
    author = site.as_user("author")
    database, away = tmp_path / "database", tmp_path / "away"
    database.rename(away)
    database.write_text("no directory")
    try:
        page = author.post("/posts/new", fields("Stormy", "Written in a storm"))
    finally:
        database.unlink()
        away.rename(database)
    assert page.status == 503
    assert "Written in a storm</textarea>" in page.text
    assert author.post("/posts/new", fields("Stormy", "Written in a storm")).status == 303


def test_tags_of_both_come_together_where_writers_meet(site):
    author, editor = site.as_user("author"), site.as_user("editor")
    path = author.write("Tagged by two", "One text", "harbour, tea")
    theirs = {"title": "Tagged by two", "body": "Theirs", "tags": "harbour, coffee", "basis": "1"}
    assert editor.post(f"{path}/edit", theirs).status == 303
    mine = fields("Tagged by two", "Mine", tags="harbour, tea, biscuits", basis="1")
    conflict = author.post(f"{path}/edit", mine)
    assert '<input id="tags" name="tags" value="harbour, biscuits, coffee"' in conflict.text
