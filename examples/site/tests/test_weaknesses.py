"""The 36 weaknesses of the set-up that this site follows, one test each, by a name that says what is gone.

Most have longer tests of their own in the files beside this one; what is here is short, and its order is
that of the list.
"""

import asyncio
import io
import os
import re
import subprocess
import sys
import tomllib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from PIL import Image

import bucketlog
from company_site import Mode, Settings, SettingsError
from company_site.accounts import store as accounts
from company_site.accounts.model import EmailPattern, Gate, Role
from company_site.accounts.oidc import Attempt, Identity, Issuer, LoginRefusedError
from company_site.database import SCHEMA
from company_site.errors import GoneError
from company_site.posts.model import slugify
from company_site.settings import VARIABLES, Login
from company_site.uploads.model import ImageName
from company_site.uploads.store import ImageStore

ROOT = Path(__file__).parent.parent
NOW = datetime.now(UTC)
# Whatever the machine's own settings of git say.
ISOLATED = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
PUBLIC = (
    "/",
    "/posts",
    "/about",
    "/careers",
    "/posts/fridays-are-for-deploying",
    "/search?q=pier",
    "/archive",
)


@pytest.fixture(scope="module")
def own(tmp_path_factory, start):
    """A demo of these tests' own, in which they take roles and move the clock."""
    site = start(tmp_path_factory.mktemp("own"), METRICS_TOKEN="a-token-of-some-length")
    yield site
    assert site.stop() == 0


@pytest.fixture
def people():
    """A database with the site's people in it and nothing else."""
    with bucketlog.connect(f"memory://{uuid.uuid4()}") as connection:
        connection.transact([*SCHEMA, *accounts.SCHEMA])
        connection.transact([accounts.add_people])
        yield connection


def enter(people, identity, owners=()):
    token = str(uuid.uuid4())
    opening = accounts.sign_in(
        identity, token, NOW, attempt=str(uuid.uuid4()), new_id=str(uuid.uuid4()), owners=frozenset(owners)
    )
    return accounts.find_session(people.transact([opening]).db_after, token).user


def identify(provider, **gate):
    """Sign Mira in at an issuer, as far as the site is asked who she is; also where she was sent."""

    async def ask():
        rules = Gate(**{"allowed": (EmailPattern.parse("northpier.example"),), "owners": frozenset()} | gate)
        login = Login(provider.issuer.url, provider.client_id, provider.client_secret, rules)
        issuer, attempt = Issuer(login, "http://127.0.0.1/login/callback"), Attempt.begin("/")
        try:
            address = await issuer.authorization_url(attempt)
            back = urlsplit(provider.approve(address))
            return await issuer.identify(dict(parse_qsl(back.query)), attempt), address
        finally:
            await issuer.close()

    return asyncio.run(ask())


def refuses(provider, **gate):
    with pytest.raises(LoginRefusedError) as refused:
        identify(provider, **gate)
    return str(refused.value)


def test_01_nobody_uploads_without_a_login(site, picture):
    before = sorted(site.uploads.iterdir()) if site.uploads.exists() else []
    answer = site.client().upload("/uploads", picture())
    assert (answer.status, answer.headers["Location"]) == (403, None)
    assert (sorted(site.uploads.iterdir()) if site.uploads.exists() else []) == before


def test_02_what_is_kept_is_a_picture_of_ours_whatever_it_was_called(site, picture):
    author = site.as_user("author")
    for disguise in (
        b"<script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    ):
        assert author.upload("/uploads", disguise, name="photo.html", kind="text/html").status == 422
    exif = Image.Exif()
    exif[0x010F] = "A camera of somebody's"
    sent = picture((321, 123), exif=exif)
    assert author.upload("/uploads", sent, name="../../photo.html", kind="text/html").status == 303
    paths = re.findall(r"/uploads/[0-9a-f]{40}-321x123\.webp", author.get("/uploads").text)
    served = site.client().get(paths[0])
    assert served.headers["Content-Type"] == "image/webp"
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in served.headers["Cache-Control"]
    assert b"A camera" not in served.body
    assert Image.open(io.BytesIO(served.body)).size == (321, 123)
    stored = len(list(site.uploads.rglob("*-321x123*")))
    assert author.upload("/uploads", sent).status == 303
    assert len(list(site.uploads.rglob("*-321x123*"))) == stored, "the same picture is kept once"


def test_03_each_store_has_a_place_and_a_region_of_its_own(monkeypatch, start_issuer):
    """Two that one process opens, each at a server that says what it was asked."""
    name = ImageName("0" * 40, 1, 1)
    signed: list[tuple[str, str]] = []
    stores = []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    for region in ("eu-north-1", "ap-southeast-1"):
        server = start_issuer()

        def answer(_, headers, region=region):
            signed.append((region, headers["Authorization"]))
            return 404, {}, b""

        server.pages = {("GET", f"/site-uploads/{name}"): answer}
        monkeypatch.setenv("AWS_REGION", region)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        stores.append(ImageStore.open("s3://site-uploads"))
    for store in stores:
        with pytest.raises(GoneError):
            asyncio.run(store.get(name))
    assert [region for region, _ in signed] == ["eu-north-1", "ap-southeast-1"]
    assert all(f"/{region}/s3/" in signature for region, signature in signed)


def test_04_an_upload_is_served_from_where_it_was_put(site, picture):
    author = site.as_user("author")
    assert author.upload("/uploads", picture((210, 97))).status == 303
    path = re.findall(r"/uploads/[0-9a-f]{40}-210x97\.webp", author.get("/uploads").text)[0]
    assert site.client().get(path).status == 200


def test_05_nothing_that_is_written_runs(site):
    author = site.as_user("author")
    path = author.write(
        "<script>alert(1)</script>",
        "<script>alert(2)</script> <img src=x onerror=alert(3)>"
        " [x](javascript:alert(4)) <svg/onload=alert(5)>",
        tags="<b>bold</b>",
    )
    for page in (site.client().get(path), site.client().get("/posts"), author.get(f"{path}/history")):
        live = re.sub(r'<script type="application/ld\+json">[^<]*</script>', "", page.text)
        for harm in ("<script", "<img src=x", 'href="javascript:', "<svg/", "<b>bold"):
            assert harm not in live
        assert "script-src 'none'" in page.headers["Content-Security-Policy"]


def test_06_no_other_origin_is_told_that_it_may_read(site):
    author = site.as_user("author")
    asked = {"Origin": "https://pattern.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS", "POST"):
        answer = author.bare(method, "/posts/new", b"" if method == "POST" else None, asked)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_07_a_demo_makes_nobody_somebody_who_has_not_said_who(site):
    client = site.client()
    assert client.get("/posts/new").location == "/login?next=/posts/new"
    assert client.post("/posts/new", {"title": "t", "body": "b"}).status == 403
    assert (
        Settings.from_environment({"DATABASE_URL": "s3://data", "UPLOADS_URL": "s3://uploads"}).mode
        is Mode.PROD
    )
    answer = client.bare("POST", "/login", b"user=owner", {"Sec-Fetch-Site": "cross-site"})
    assert answer.status == 403


def test_08_a_request_that_another_site_causes_and_a_body_that_is_no_form_are_refused(site):
    author = site.as_user("author")
    for headers in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "https://pattern.example"}):
        assert author.bare("POST", "/posts/new", b"title=t&body=b", headers).status == 403
    for kind in ("application/json", "application/transit+json", "text/plain", ""):
        answer = author.request("POST", "/posts/new", b'{"title": "t"}', {"Content-Type": kind})
        assert answer.status == 415


def test_09_an_identity_token_is_believed_only_when_all_of_it_is_right(provider, signing_keys):
    identity, address = identify(provider)
    assert identity == Identity(provider.issuer.url, "sub-of-mira", "mira@northpier.example", "Mira Okafor")
    asked = parse_qs(urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["nonce"]
    wrong = {
        "signature": {"key": signing_keys["stranger"]},
        "algorithm": {"header": {"alg": "none"}},
        "issuer": {"claims": {"iss": "https://accounts.google.com"}},
        "audience": {"claims": {"aud": "another-client"}},
        "expiry": {"claims": {"exp": 1}},
        "nonce": {"claims": {"nonce": "another"}},
    }
    for provider.token in wrong.values():
        assert refuses(provider).startswith("token")


def test_10_an_address_counts_when_it_is_verified_and_of_the_domain(provider):
    provider.token = {"claims": {"email_verified": False}}
    assert refuses(provider) == "unverified"
    provider.token = {"claims": {"hd": "elsewhere.example"}}
    assert refuses(provider, hosted_domain="northpier.example").startswith("domain")
    provider.token = {"claims": {"hd": "northpier.example"}}
    assert identify(provider, hosted_domain="northpier.example")


def test_11_a_role_that_is_taken_and_a_session_that_is_ended_are_gone_at_once(own):
    owner, editor = own.as_user("owner"), own.as_user("editor")
    assert re.fullmatch(r"[\w-]{43}", editor.cookies["session"]), "a random token, and no role in it"
    assert owner.post("/people", {"user": "editor"}).status == 303
    assert editor.get("/posts/new").status == 403
    stolen = dict(editor.cookies)
    assert editor.post("/logout", {}).status == 303
    editor.cookies = stolen
    assert "Sign out" not in editor.get("/").text
    assert owner.post("/people", {"user": "editor", "member": "yes", "admin": "yes"}).status == 303


def test_12_owners_come_and_go_with_the_configuration(people):
    ines = Identity("https://id.example", "ines", "ines@northpier.example", "Ines")
    assert not enter(people, ines).is_owner
    user = enter(people, ines, [ines.email])
    assert user.is_owner
    people.transact([accounts.withdraw_owners(frozenset())])
    assert accounts.find_user(people.db(), user.id).roles == {Role.MEMBER}


def test_13_nobody_becomes_an_author_by_having_the_same_name(people):
    user = enter(people, Identity("https://id.example", "x", "x@northpier.example", "Mira Okafor"))
    assert user.id != "author"
    assert {person.user.id for person in accounts.people(people.db(), NOW)} >= {"author", user.id}


def test_14_there_is_no_session_secret_to_forget(own, start_site):
    assert not [name for name in VARIABLES if "SESSION" in name]
    with pytest.raises(SettingsError, match="OIDC_CLIENT_SECRET is empty"):
        Settings.from_environment({"OIDC_CLIENT_ID": "x", "OIDC_CLIENT_SECRET": ""})
    client = own.as_user("author")
    shared = {name: own.environment[name] for name in ("DATABASE_URL", "UPLOADS_URL")}
    client.url = start_site(**shared).url
    assert "Sign out" in client.get("/").text, "another process, which was told nothing"


def test_15_what_is_submitted_is_checked_and_nothing_else_is_taken_over(site):
    author = site.as_user("author")
    for wrong in ({"title": "", "body": "b"}, {"title": "t", "body": " "}, {"title": "t" * 200, "body": "b"}):
        assert author.post("/posts/new", wrong).status == 422
    forged = {
        "created": "2001-01-01",
        "author": "owner",
        "revision": "9",
        "id": "1",
        "deleted-at": "2001-01-01",
    }
    before = datetime.now(UTC)
    path = author.post("/posts/new", {"title": "Forged", "body": "b"} | forged).location
    header = author.get(path).text.partition('class="prose"')[0]
    assert any(f"{written:%B %Y}" in header for written in (before, datetime.now(UTC)))
    assert "2001" not in header
    assert "Mira Okafor" in header
    assert author.get(f"{path}/edit").field("basis") == "1"


def test_16_front_matter_makes_nobody_the_author(site):
    author = site.as_user("author")
    path = author.write("Front matter", "---\nauthor: owner\n---\n\nThe text.")
    header = author.get(path).text.partition('class="prose"')[0]
    assert "Mira Okafor" in header
    assert "Ines Halvorsen" not in re.sub(r'<script type="application/ld\+json">[^<]*</script>', "", header)


def test_17_a_member_takes_nobodys_place_on_a_page(own):
    featured = {"title": "Of the editor", "body": "b", "featured": "yes", "page-about": "yes"}
    assert own.as_user("editor").post("/posts/new", featured).status == 303
    taking = own.as_user("author").post("/posts/new", featured | {"title": "Look at me"})
    assert taking.status == 422
    assert "is not yours to change" in taking.text
    assert "Of the editor" in own.client().get("/about").text
    assert "Look at me" not in own.client().get("/posts").text, "and nothing half done"


def test_18_restoring_brings_back_tags_and_pages_too(site):
    author = site.as_user("author")
    first = {"title": "Restored", "body": "First", "tags": "one, two", "page-about": "yes"}
    path = author.post("/posts/new", first).location
    assert author.post(f"{path}/edit", {"title": "Worse", "body": "Second", "basis": "1"}).status == 303
    assert author.post(f"{path}/history/1", {"basis": "2"}).status == 303
    editor = author.get(f"{path}/edit").text
    assert 'value="one, two"' in editor
    assert 'name="page-about" value="yes" checked' in editor


def test_19_an_editor_that_is_loaded_again_has_the_text_in_it(site):
    author = site.as_user("author")
    path = author.write("Loaded again", "The text is here.")
    for _ in range(2):
        assert "The text is here.</textarea>" in author.get(f"{path}/edit").text
    assert author.post(f"{path}/edit", {"title": "", "body": "", "basis": "1"}).status == 422
    assert "The text is here." in author.get(path).text


def test_20_nobody_overwrites_unseen_and_what_was_deleted_comes_back(site):
    author, editor = site.as_user("author"), site.as_user("editor")
    path = author.write("Contended", "First")
    assert editor.post(f"{path}/edit", {"title": "Contended", "body": "Theirs", "basis": "1"}).status == 303
    conflict = author.post(f"{path}/edit", {"title": "Contended", "body": "Mine", "basis": "1"})
    assert conflict.status == 409
    assert "Theirs" in conflict.text
    assert "Mine</textarea>" in conflict.text
    assert author.post(f"{path}/delete", {"basis": "2"}).status == 303
    assert site.client().get(path).status == 410
    assert author.post(f"{path}/undelete", {"basis": "3"}).status == 303
    assert "Theirs" in site.client().get(path).text


def test_21_two_who_write_at_once_write_two_entries(own, start_site):
    shared = {name: own.environment[name] for name in ("DATABASE_URL", "UPLOADS_URL")}
    clients = [own.as_user("author"), start_site(**shared).as_user("author")]
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda turn: clients[turn % 2].write("At once", f"Text {turn}."), range(12)))
    assert len(set(paths)) == 12
    assert {re.search(r"Text \d+\.", clients[0].get(path).text)[0] for path in paths} == {
        f"Text {turn}." for turn in range(12)
    }


def test_22_a_page_of_the_list_holds_a_page_and_no_bodies(own):
    author = own.as_user("author")
    for number in range(22):
        author.write(f"Long {number}", "beginning " + "and so on " * 2000 + "the-end-of-it")
    page = own.client().get("/posts")
    assert page.text.count('class="card"') <= 20
    assert "the-end-of-it" not in page.text
    assert own.client().get("/posts?page=2").status == 200


def test_23_a_link_into_the_history_says_which_version_and_shows_what_changed(site):
    author = site.as_user("author")
    path = author.post("/posts/new", {"title": "Linked", "body": "Old words", "tags": "old"}).location
    assert (
        author.post(
            f"{path}/edit", {"title": "Linked", "body": "New words", "tags": "new", "basis": "1"}
        ).status
        == 303
    )
    assert "Old words" in author.get(f"{path}/history/1").text
    version = author.get(f"{path}/history/2").text
    for shown in ("<del>Old</del>", "<ins>New</ins>", "Tags"):
        assert shown in version


def test_24_an_exception_is_told_to_nobody_and_texts_are_not_logged(start_site):
    site = start_site()
    author = site.as_user("author")
    path = author.write("A secret title", "A secret text of somebody@northpier.example")
    with bucketlog.connect(site.database_url) as connection:
        connection.transact([[":db/retract", [":post/slug", "a-secret-title"], ":post/created"]])
    page = author.get(path)
    assert page.status == 500
    for told in ("Traceback", "KeyError", ":post/"):
        assert told not in page.text
    assert site.line_of(page)["error"] == "builtins.KeyError"
    for secret in ("A secret", "somebody@", "Mira", author.cookies["session"]):
        assert secret not in site.log.read_text()


def test_25_each_page_is_a_page_with_all_that_readers_and_robots_need(site):
    client = site.client()
    pages = [client.get(path).text for path in ("/", "/posts", "/about", "/posts/fridays-are-for-deploying")]
    for pattern in (
        r"<title>([^<]+)",
        r'<meta name="description" content="([^"]+)',
        r'rel="canonical" href="([^"]+)',
    ):
        assert len({re.search(pattern, page)[1] for page in pages}) == len(pages), pattern
    assert all('property="og:title"' in page for page in pages)
    assert "application/ld+json" in pages[-1]
    assert client.get("/nothing").status == 404
    missing = client.get("/static/missing.js")
    assert missing.status == 404
    for path, kind in (
        ("/feed.atom", "application/atom+xml"),
        ("/feed.rss", "application/rss+xml"),
        ("/feed.json", "application/feed+json"),
        ("/sitemap.xml", "application/xml"),
        ("/robots.txt", "text/plain"),
    ):
        answer = client.get(path)
        assert answer.status == 200, path
        assert answer.headers["Content-Type"].startswith(kind), path
    assert "Fridays" in client.get("/search?q=fridays").text


def test_26_links_lead_somewhere_buttons_are_buttons_and_focus_can_be_seen(site):
    author = site.as_user("author")
    for path in (*PUBLIC, "/posts/new", "/uploads", "/account"):
        page = author.get(path).text
        assert 'href="#"' not in page
        assert not re.search(
            r"<(div|span|tr|td|li)\b[^>]*\b(onclick|role=\"button\"|tabindex=\"0\")", page
        ), path
        assert '<a class="skip" href="#content">' in page
        for image in re.findall(r"<img\b[^>]*>", page):
            assert " alt=" in image
        labelled = set(re.findall(r'<label[^>]* for="([^"]+)"', page))
        for field in re.findall(r"<(?:input|textarea|select)\b[^>]*>", page):
            named = re.search(r'\bid="([^"]+)"', field)
            assert (
                'type="hidden"' in field
                or 'type="checkbox"' in field
                or 'type="radio"' in field
                or "aria-label=" in field
                or (named and named[1] in labelled)
            ), field
    sheet = re.search(r"/static/site-[0-9a-f]+\.css", author.get("/").text)[0]
    style = author.get(sheet).text
    for rule in (":focus-visible", "prefers-color-scheme", "prefers-reduced-motion"):
        assert rule in style


def test_27_nothing_is_asked_of_anybody_else_and_readers_load_no_script(site):
    for path in PUBLIC:
        page = site.client().get(path).text
        loaded = re.findall(r'<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc="([^"]+)"', page)
        loaded += re.findall(r'<link\b[^>]*rel="(?:stylesheet|icon|preload)"[^>]*href="([^"]+)"', page)
        assert loaded
        assert all(address.startswith("/") and not address.startswith("//") for address in loaded), loaded
        assert not re.search(r"<script(?! type=\"application/ld\+json\")", page)
        sheets = [address for address in loaded if address.endswith(".css")]
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", site.client().get(sheets[0]).text)


def test_28_every_answer_has_a_strict_policy(site):
    for path in ("/", "/nothing", "/healthz", "/static/nothing"):
        headers = site.client().get(path, X_Forwarded_Proto="https").headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"


def test_29_a_session_that_ran_out_leads_to_the_login_and_back(own):
    client = own.as_user("author")
    with bucketlog.connect(own.database_url) as connection:
        seen = NOW - accounts.IDLE_LIMIT - timedelta(minutes=1)
        digest = accounts.hashlib.sha256(client.cookies["session"].encode()).hexdigest()
        connection.transact([[":db/add", [":session/digest", digest], ":session/seen", seen]])
    assert client.get("/posts/new").location == "/login?next=/posts/new"
    assert client.get("/posts").status == 200
    answer = client.post("/login", {"user": "author", "next": "/posts/new"})
    assert answer.location == "/posts/new"


def test_30_a_stop_is_orderly_and_there_is_something_to_ask(start_site):
    site = start_site(METRICS_TOKEN="a-token-of-some-length")
    client = site.client()
    assert client.get("/healthz").status == 200
    assert client.get("/readyz").status == 200
    assert "site_requests_total" in client.get("/metrics", Authorization="Bearer a-token-of-some-length").text
    answer = client.get("/")
    assert site.line_of(answer)["id"] == answer.headers["X-Request-ID"]
    assert site.stop() == 0
    assert '"event": "Finished server process' in site.log.read_text()


def test_31_an_archive_has_all_of_the_site_and_gives_it_back(own, start_site, picture, tmp_path):
    owner, author = own.as_user("owner"), own.as_user("editor")
    assert owner.post("/people", {"user": "reader", "member": "yes", "admin": "yes"}).status == 303
    assert author.upload("/uploads", picture((222, 111))).status == 303
    image = re.findall(r"/uploads/[0-9a-f]{40}-222x111\.webp", author.get("/uploads").text)[0]
    first = {"title": "Moved", "body": "First", "tags": "moving", "featured": "yes", "page-careers": "yes"}
    path = author.post("/posts/new", first).location
    assert author.post(f"{path}/edit", first | {"body": f"![A ramp]({image})", "basis": "1"}).status == 303
    archive = tmp_path / "site.zip"
    stores = {
        "DATABASE_URL": f"file://{tmp_path}/new/database",
        "UPLOADS_URL": f"file://{tmp_path}/new/uploads",
    }
    for command, given in (("export", own.environment), ("import", stores)):
        done = subprocess.run(
            [sys.executable, "-m", "company_site", command, str(archive)],
            env=os.environ | own.environment | given,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    again = start_site(**stores)
    assert again.client().get(image).body == own.client().get(image).body
    assert image in again.client().get(path).text
    assert "Moved" in again.client().get("/careers").text, "still featured"
    reader = again.as_user("reader")
    assert "First" in reader.get(f"{path}/history/1").text
    assert reader.get(f"{path}/edit").status == 200, "still an admin"
    assert (
        "Ines Halvorsen gave the roles member and admin to Sam Whitlock"
        in again.as_user("owner").get("/trail").text
    )


def test_32_the_table_in_the_readme_is_what_the_settings_read():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {name: text.replace("`", "") for name, text in rows.items()} == dict(VARIABLES)

    asked: set[str] = set()

    class Environment(dict):
        def get(self, name, default=None):
            asked.add(name)
            return super().get(name, default)

    given = {
        "DATABASE_URL": "s3://data",
        "UPLOADS_URL": "s3://uploads",
        "SITE_URL": "https://northpier.example",
        "OIDC_CLIENT_ID": "x",
        "OIDC_CLIENT_SECRET": "x",
        "OIDC_HOSTED_DOMAIN": "northpier.example",
        "OWNER_EMAILS": "ines@northpier.example",
        "ALLOWED_EMAILS": "northpier.example",
        "METRICS_TOKEN": "a-token-of-some-length",
    }
    Settings.from_environment(Environment(given))
    assert asked == set(VARIABLES)


def test_33_a_name_of_any_script_is_an_address():
    names = ("สมชาย ใจดี", "محمد علي", "김민수", "Ольга Ильина", "王小明", "Ærøskøbing", "🛳️", "")
    slugs = [slugify(name) for name in names]
    assert all(slugs)
    assert len(set(slugs[:-2])) == len(names) - 2
    assert not [slug for slug in slugs if slug.startswith("-") or "/" in slug]


def test_34_the_image_has_a_user_who_is_not_root_and_what_is_in_it_is_locked():
    lock = (ROOT / "requirements.lock").read_text()
    for requirement in re.split(r"\n(?=\S)", lock.strip()):
        assert re.match(r"[a-z0-9-]+==[^ ;]+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    ignored = (ROOT.parent.parent / ".gitignore").read_text()
    assert "requirements" not in ignored
    from tagboat.config import Config  # noqa: PLC0415 - what ships the site is no part of it

    image = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["tagboat"]
    user = image.get("user", Config.user)
    assert int(user.partition(":")[0]) > 0
    assert image["base"] == "debian:bookworm", (
        "composed from packages whose signatures and hashes are checked"
    )


@pytest.fixture
def shop(tmp_path):
    """A component in a repository with a remote, ready to be released."""
    root = tmp_path / "shop"
    (root / "src" / "shop").mkdir(parents=True)
    (root / "src" / "shop" / "__init__.py").touch()
    (root / "requirements.lock").touch()
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## [1.0.0] - 2026-11-23\n\n- It sells.\n")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1.0.0"\n'
        '[build-system]\nrequires = ["uv_build>=0.13,<0.14"]\nbuild-backend = "uv_build"\n'
        '[tool.tagboat]\nentrypoint = ["python", "-m", "shop"]\n[tool.tagboat.ci]\ntest = "make test"\n'
    )
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "config", "user.name", "Tester")
    git(root, "config", "user.email", "tester@localhost")
    git(root, "remote", "add", "origin", "../origin.git")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "First")
    git(root, "push", "--quiet", "origin", "main")
    return root


def git(folder, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=ISOLATED, check=True, capture_output=True, text=True
    )


def tagboat(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "tagboat", *arguments],
        cwd=folder,
        env=ISOLATED,
        check=False,
        capture_output=True,
        text=True,
    )


def test_35_a_release_is_tested_pinned_smoke_tested_and_rolled_back(shop):
    assert tagboat(shop, "ci", "github", ".").returncode == 0
    (file,) = (shop / ".github" / "workflows").iterdir()
    text = file.read_text()
    assert re.search(r"build:\n.*?needs: test\n", text, re.DOTALL)
    assert re.search(r"deploy:\n.*?needs: build\n", text, re.DOTALL)
    assert all(
        re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", use) for use in re.findall(r"uses: (.+)", text)
    )
    for part in (
        'tags: ["shop-v*"]',
        "permissions: {}",
        "concurrency:",
        "tagboat smoke",
        "tagboat rollback",
        "--sbom",
        "--provenance",
    ):
        assert part in text, part
    assert "|| true" not in text
    assert "latest" not in text


def test_36_a_tag_is_refused_unless_everything_is_as_it_should_be(shop):
    (shop / "src" / "shop" / "__init__.py").write_text("dirty = True\n")
    dirty = tagboat(shop, "tag")
    assert dirty.returncode != 0
    assert "src/shop/__init__.py" in dirty.stderr
    git(shop, "commit", "--quiet", "--all", "--message", "Not pushed")
    assert tagboat(shop, "tag").returncode != 0
    git(shop, "push", "--quiet", "origin", "main")
    git(shop, "switch", "--quiet", "--create", "side")
    assert tagboat(shop, "tag").returncode != 0
    git(shop, "switch", "--quiet", "main")
    assert not git(shop, "tag", "--list").stdout
    tagged = tagboat(shop, "tag")
    assert tagged.returncode == 0, tagged.stderr
    assert git(shop, "ls-remote", "--tags", "origin").stdout.count("shop-v1.0.0") == 2
    assert tagboat(shop, "tag").returncode != 0, "it is there already"


def test_every_weakness_is_here():
    numbers = [int(name[5:7]) for name in globals() if re.match(r"test_\d\d_", name)]
    assert numbers == list(range(1, 37))
