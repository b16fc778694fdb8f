"""A site in one file and posts as Markdown files: what goes out comes back, and nothing else comes in."""

import json
import os
import re
import subprocess
import sys
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from company_site.posts.frontmatter import load
from company_site.posts.model import InvalidDraftError


def command(site_or_environment, *arguments, **variables):
    environment = getattr(site_or_environment, "environment", site_or_environment)
    return subprocess.run(
        [sys.executable, "-m", "company_site", *map(str, arguments)],
        env=os.environ | environment | variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def elsewhere(directory):
    return {
        "DATABASE_URL": f"file://{directory}/database",
        "UPLOADS_URL": f"file://{directory}/uploads",
        "SITE_MODE": "demo",
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory, picture, start_in):
    """The archive of a site in which something has happened, and what the site said then."""
    directory = tmp_path_factory.mktemp("lively")
    site = start_in(directory)
    author, owner = site.as_user("author"), site.as_user("owner")
    answer = author.upload("/uploads", picture((300, 200)), headers={"Accept": "application/json"})
    path = json.loads(answer.text)["path"]
    author.write("Taken along", f"![A pier]({path})", "luggage")
    change = {"title": "Taken along", "body": f"Now ![A pier]({path})", "tags": "luggage", "basis": "1"}
    author.post("/posts/taken-along/edit", change)
    author.post("/posts/new", {"title": "A draft", "body": "b", "action": "save"})
    author.post("/posts/new", {"title": "Gone", "body": "b"})
    author.post("/posts/gone/delete", {"basis": "1"})
    owner.post("/people", {"user": "reader", "member": "yes"})
    said = {path: site.client().get(path).body for path in ("/posts/taken-along", path)}
    assert site.stop() == 0
    file = directory / "site.zip"
    done = command(site, "export", file)
    assert (done.returncode, done.stderr) == (0, ""), done
    return file, author, said


def test_a_site_moves_with_its_users_roles_images_and_history(archive, start_site, tmp_path):
    file, old, said = archive
    done = command(elsewhere(tmp_path), "import", file)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.search(r"\d+ transactions, 1 images", done.stdout)
    site = start_site(tmp_path)
    for path, body in said.items():
        assert site.client().get(path).body.replace(site.url.encode(), b"") == body.replace(
            old.url.encode(), b""
        )
    author = site.as_user("author")
    assert "Revision 1: Taken along" in author.get("/posts/taken-along/history").text
    assert "A draft" in author.get("/drafts").text
    assert site.client().get("/posts/gone").status == 410
    assert site.as_user("reader").get("/posts/new").status == 200
    # Who was signed in there is not signed in here.
    stranger = site.client()
    stranger.cookies = dict(old.cookies)
    assert stranger.get("/drafts").status == 303


def test_what_was_imported_is_exported_the_same(archive, tmp_path):
    file, _, _ = archive
    places = [tmp_path / "one", tmp_path / "two"]
    files = [file]
    for place in places:
        place.mkdir()
        assert command(elsewhere(place), "import", files[-1]).returncode == 0
        files.append(place / "again.zip")
        assert command(elsewhere(place), "export", files[-1]).returncode == 0
    first, second, third = (
        {name: z.read(name) for name in z.namelist()} for z in map(zipfile.ZipFile, files)
    )
    # The first import ended the sessions: that is one transaction more, and no more after that.
    text = first["database.jsonl"].splitlines()[:-1]
    assert second["database.jsonl"].splitlines()[: len(text)] == text
    assert len(second["database.jsonl"].splitlines()) == len(text) + 2
    assert third == second
    assert set(first) == set(second)


def test_nothing_is_written_over(archive, tmp_path):
    file, _, _ = archive
    place = elsewhere(tmp_path)
    assert command(place, "import", file).returncode == 0
    again = command(place, "import", file)
    assert again.returncode == 1
    assert "there is a database already" in again.stderr
    over = command(place, "export", file)
    assert over.returncode == 1
    assert "is there already" in over.stderr


def hostile(files, **change):
    """The files of a good archive with some changed; None takes one away."""
    return {name: data for name, data in {**files, **change}.items() if data is not None}


def head(files, **change):
    return json.dumps({**json.loads(files["site.json"]), **change}).encode()


IMAGE = re.compile(r"uploads/.*\.webp")
HOSTILE = {
    "nothing in it": lambda _: {},
    "no head": lambda f: hostile(f, **{"site.json": None}),
    "no database": lambda f: hostile(f, **{"database.jsonl": None}),
    "a head that is no JSON": lambda f: hostile(f, **{"site.json": b"{"}),
    "a head that nests": lambda f: hostile(f, **{"site.json": b"[" * 60_000}),
    "another format": lambda f: hostile(f, **{"site.json": head(f, format="other")}),
    "a later version": lambda f: hostile(f, **{"site.json": head(f, version=2)}),
    "an image that is not counted": lambda f: hostile(f, **{"site.json": head(f, images=0)}),
    "a path that leaves": lambda f: hostile(f, **{"../evil": b"x"}),
    "an absolute path": lambda f: hostile(f, **{"/etc/cron.d/evil": b"x"}),
    "an upload that leaves": lambda f: hostile(f, **{"uploads/../../evil.webp": b"x"}),
    "an upload of HTML": lambda f: hostile(f, **{"uploads/evil.html": b"<script>"}),
    "an image with another content": lambda f: {k: b"RIFF" if IMAGE.match(k) else v for k, v in f.items()},
    "an image with a tail": lambda f: {k: v + b"<script>" if IMAGE.match(k) else v for k, v in f.items()},
    "a database of nothing": lambda f: hostile(f, **{"database.jsonl": b""}),
    "a database of something else": lambda f: hostile(f, **{"database.jsonl": b"<html>\n" * 9}),
    "a database that is cut": lambda f: hostile(f, **{"database.jsonl": f["database.jsonl"][:-400]}),
    "a database with a lie": lambda f: hostile(
        f, **{"database.jsonl": f["database.jsonl"].replace(b'"t":', b'"t":1', 3)}
    ),
    "a database that is none of a site": lambda f: hostile(
        f, **{"database.jsonl": f["database.jsonl"].replace(b":post/", b":pots/")}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def refuse(archive, tmp_path_factory):
    """Import in this process, which is quicker, and see that it is refused and leaves nothing."""
    from company_site.archive import ArchiveError, import_archive  # noqa: PLC0415
    from company_site.settings import Settings  # noqa: PLC0415

    def attempt(path) -> str:
        place = tmp_path_factory.mktemp("target")
        with pytest.raises(ArchiveError) as refused:
            import_archive(Settings.from_environment(elsewhere(place)), path)
        assert not list(place.glob("database/**/log/*"))
        assert not list(place.rglob("*.html"))
        return str(refused.value)

    return attempt


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_leaves_no_site(archive, refuse, tmp_path, spoil):
    with zipfile.ZipFile(archive[0]) as good:
        files = {name: good.read(name) for name in good.namelist()}
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in spoil(files).items():
            made.writestr(name, data)
    assert refuse(path)


def test_an_image_that_inflates_is_refused_before_it_is_read(archive, refuse, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive[0]) as good, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("database.jsonl", good.read("database.jsonl"))
        made.writestr(f"uploads/{'0' * 40}-1x1.webp", b"\0" * 40_000_000)
        made.writestr("site.json", json.dumps({**json.loads(good.read("site.json")), "images": 1}))
    assert path.stat().st_size < 1_000_000
    assert "40,000,000 bytes" in refuse(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a zip" * 99], ids=["empty", "a magic", "a text"])
def test_what_is_no_archive_is_refused(refuse, tmp_path, data):
    path = tmp_path / "file.zip"
    path.write_bytes(data)
    assert "not a good ZIP file" in refuse(path)


def test_a_post_leaves_as_a_file_and_begins_with_one(site):
    author = site.as_user("author")
    path = author.post(
        "/posts/new", {"title": "Was: a file?", "body": "A *text*.", "tags": "b, a", "page-about": "yes"}
    ).location
    file = author.get(f"{path}/markdown")
    assert file.headers["Content-Disposition"] == "attachment; filename*=UTF-8''was-a-file.md"
    assert "author: Mira Okafor" in file.text
    assert site.client().get(f"{path}/markdown").status == 303
    editor = author.upload("/posts/new/file", file.body, name="x.md", kind="text/markdown", field="file")
    assert editor.status == 200
    assert 'value="Was: a file?"' in editor.text
    assert "A *text*.</textarea>" in editor.text
    assert 'value="a, b"' in editor.text
    assert 'name="page-about" value="yes" checked' in editor.text
    assert "Not taken from it: author, created." in editor.text
    assert author.get("/drafts").text.count("Was: a file?") == 0


def test_front_matter_says_nothing_of_author_or_creation(site):
    editor = site.as_user("editor")
    text = b"---\ntitle: Forged\nauthor: owner\ncreated: 1999-01-01\nroles: [owner]\nid: 1\n---\nText"
    page = editor.upload("/posts/new/file", text, name="x.md", kind="text/markdown", field="file")
    assert "Not taken from it: author, created, id, roles." in page.text


BAD = {
    "no end": "---\ntitle: x\n",
    "no YAML": "---\ntitle: [x\n---\n",
    "aliases": "---\na: &a [x]\nb: [*a, *a]\n---\n",
    "a tag of Python": "---\ntitle: !!python/object/apply:os.system [id]\n---\n",
    "a list": "---\n- x\n---\n",
    "a title that is a list": "---\ntitle: [x]\n---\n",
    "tags that nest": "---\ntags: [[x]]\n---\n",
    "depth": "---\ntitle: " + "[" * 5000 + "\n---\n",
    "length": "---\ntitle: " + "x" * 20_000 + "\n---\n",
    "a time that is none": "---\npublished: 2026-99-99\n---\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad_front_matter_is_refused_with_a_reason(text):
    with pytest.raises(InvalidDraftError) as refused:
        load(text)[0].checked()
    assert refused.value.problems


@given(st.text(max_size=200))
def test_any_text_is_a_draft_or_is_refused(text):
    for candidate in (text, f"---\n{text}\n---\nBody"):
        try:
            draft, _ = load(candidate)
        except InvalidDraftError:
            continue
        assert isinstance(draft.title, str)


def test_posts_go_to_a_folder_and_come_back(archive, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert command(elsewhere(one), "import", archive[0]).returncode == 0
    assert command(elsewhere(two), "import", archive[0]).returncode == 0
    written = command(elsewhere(one), "export-posts", tmp_path / "posts")
    assert written.returncode == 0, written.stderr
    files = sorted((tmp_path / "posts").iterdir())
    assert len(files) == len(written.stdout.splitlines()) == 10
    done = command(elsewhere(two), "import-posts", "--as", "editor", *files)
    assert done.returncode == 1
    assert "is taken" in done.stderr
    draft = tmp_path / "new.md"
    draft.write_text("# New here\n\nText\n")
    done = command(elsewhere(two), "import-posts", "--as", "editor", draft)
    assert (done.returncode, done.stdout) == (0, f"{draft}: /posts/new-here (a draft)\n"), done.stderr
    assert command(elsewhere(two), "import-posts", "--as", "nobody", draft).returncode == 1
    collected = command(elsewhere(two), "collect")
    assert (collected.returncode, collected.stdout) == (0, "0 images marked, 0 deleted\n"), collected.stderr


@pytest.mark.parametrize("name", ["export", "export-posts", "collect"])
def test_a_command_makes_no_site_where_there_is_none(tmp_path, name):
    done = command(elsewhere(tmp_path), name, *([] if name == "collect" else [tmp_path / "out"]))
    assert done.returncode == 1
    assert "there is no database at DATABASE_URL" in done.stderr
    assert not list(tmp_path.glob("database/**/log/*"))


def test_a_command_without_settings_names_them(tmp_path):
    done = command({"DATABASE_URL": "", "UPLOADS_URL": ""}, "export", tmp_path / "x.zip")
    assert done.returncode == 2
    assert "DATABASE_URL" in done.stderr
