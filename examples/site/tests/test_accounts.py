"""Who may sign in, for how long, and what each role may do."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

import bucketlog
from company_site.accounts.views import local_path

MEMBERS_PAGES = ("/posts/new", "/uploads", "/people")


@pytest.mark.parametrize("user", ["author", "editor", "owner", "reader"])
def test_the_demo_lets_its_people_in(site, user):
    page = site.as_user(user).get("/")
    assert "Sign out" in page.text


def test_the_demo_lets_nobody_else_in(site):
    for user in ("", "root", "author ", "AUTHOR"):
        client = site.client()
        assert client.post("/login", {"user": user}).status == 400
        assert not client.cookies


def test_outside_of_the_demo_no_request_can_sign_in(start_site):
    site = start_site(SITE_MODE="prod")
    client = site.client()
    assert "<form" not in client.get("/login").text
    assert client.get("/login/start").status == 404
    assert client.get("/login/callback?code=c&state=s").status == 404
    for path in ("/login", "/login/", "/login?mode=demo", "//login", "/LOGIN"):
        answer = client.post(
            path, {"user": "author", "SITE_MODE": "demo", "mode": "demo"}, X_Site_Mode="demo"
        )
        assert answer.status in (404, 405, 307), path
    client.cookies = {"session": "author", "__Host-session": "author", "SITE_MODE": "demo", "mode": "demo"}
    assert client.post("/login", {"user": "author"}).status == 405
    for path in MEMBERS_PAGES:
        assert client.get(path).location == f"/login?next={path}"
    assert client.post("/posts/new", {"title": "t", "body": "b"}).status == 403


def test_a_site_that_has_no_login_says_what_to_set(start_site):
    site = start_site(SITE_MODE="prod")
    page = site.client().get("/login")
    assert page.status == 200
    for name in ("SITE_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OWNER_EMAILS", "ALLOWED_EMAILS"):
        assert name in page.text
    assert f"{site.url}/login/callback" in page.text
    assert "/login" in site.client().get("/").text
    assert "OIDC_CLIENT_ID is not set" in site.log.read_text()


def test_a_session_of_the_demo_is_worth_nothing_outside_of_it(start_site):
    demo, prod = start_site(), start_site(SITE_MODE="prod")
    cookies = demo.as_user("author").cookies
    client = prod.client()
    client.cookies = cookies
    assert "Sign out" not in client.get("/").text
    assert client.post("/posts/new", {"title": "t", "body": "b"}).status == 403


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site):
    plain = site.client().post("/login", {"user": "author"}).headers["Set-Cookie"]
    assert plain.startswith("session=")
    for attribute in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=1209600"):
        assert attribute in plain
    assert "Secure" not in plain
    assert "Domain" not in plain
    secure = site.client().post("/login", {"user": "author"}, X_Forwarded_Proto="https").headers["Set-Cookie"]
    assert secure.startswith("__Host-session=")
    assert "Secure" in secure
    assert "Path=/" in secure
    assert "Domain" not in secure


def test_over_https_only_the_host_cookie_counts(site):
    client = site.as_user("author")
    assert "Sign out" not in client.get("/", X_Forwarded_Proto="https").text


def test_the_database_holds_no_token(site):
    token = site.as_user("author").cookies["session"]
    with bucketlog.connect(site.database_url) as connection:
        found = connection.db().q("[:find [?d ...] :where [_ :session/digest ?d]]")
    assert token not in found
    assert hashlib.sha256(token.encode()).hexdigest() in found


def test_signing_out_ends_the_session_and_not_only_the_cookie(site):
    client = site.as_user("author")
    kept = dict(client.cookies)
    assert client.post("/logout", {}).location == "/"
    assert not client.cookies
    client.cookies = kept
    assert "Sign out" not in client.get("/").text
    assert client.post("/posts/new", {"title": "t", "body": "b"}).status == 403


def test_signing_in_again_is_a_new_session_and_ends_the_old(site):
    client = site.as_user("author")
    old = dict(client.cookies)
    client.sign_in("reader")
    assert client.cookies != old
    client.cookies = old
    assert "Sign out" not in client.get("/").text


@pytest.mark.parametrize("attribute", [":session/seen", ":session/created"])
def test_a_session_ends_by_itself(site, attribute):
    client = site.as_user("author")
    digest = hashlib.sha256(client.cookies["session"].encode()).hexdigest()
    age = {":session/seen": timedelta(hours=12), ":session/created": timedelta(days=14)}[attribute]
    with bucketlog.connect(site.database_url) as connection:
        connection.transact([[":db/add", [":session/digest", digest], attribute, datetime.now(UTC) - age]])
    assert "Sign out" not in client.get("/").text


def test_a_session_in_use_is_kept_alive_without_a_commit_a_request(site):
    client = site.as_user("author")
    entity = [":session/digest", hashlib.sha256(client.cookies["session"].encode()).hexdigest()]
    with bucketlog.connect(site.database_url) as connection:
        two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
        connection.transact([[":db/add", entity, ":session/seen", two_hours_ago]])
        assert "Sign out" in client.get("/").text
        after_one = connection.sync()
        assert after_one.pull("[:session/seen]", entity)[":session/seen"] > two_hours_ago
        client.get("/")
        assert connection.sync().basis_t == after_one.basis_t


def test_a_visitor_is_sent_to_sign_in_and_back(site):
    client = site.client()
    answer = client.get("/posts/new")
    assert answer.location == "/login?next=/posts/new"
    form = client.follow(answer)
    assert client.post("/login", {"user": "author", "next": form.field("next")}).location == "/posts/new"


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/a\n/b",
        "/\t/e",
    ],
)
def test_signing_in_leads_to_no_other_site(site, target):
    assert local_path(target) == "/"
    assert site.client().post("/login", {"user": "reader", "next": target}).location == "/"


@pytest.mark.parametrize(
    ("user", "statuses"),
    [
        ("reader", (403, 403, 403)),
        ("author", (200, 200, 403)),
        ("editor", (200, 200, 403)),
        ("owner", (200, 200, 200)),
    ],
)
def test_each_role_reaches_its_own_pages(site, user, statuses):
    client = site.as_user(user)
    assert tuple(client.get(path).status for path in MEMBERS_PAGES) == statuses


def test_a_reader_cannot_write(site):
    reader = site.as_user("reader")
    before = reader.get("/posts").text
    assert reader.post("/posts/new", {"title": "No", "body": "No"}).status == 403
    assert reader.get("/posts").text == before


def test_members_change_their_own_posts_and_admins_everybodys(site):
    author, editor, owner = site.as_user("author"), site.as_user("editor"), site.as_user("owner")
    path = owner.write("Of the owner")
    assert author.get(f"{path}/edit").status == 403
    assert author.post(f"{path}/edit", {"title": "t", "body": "b", "basis": "1"}).status == 403
    assert author.post(f"{path}/delete", {"basis": "1"}).status == 403
    assert f"{path}/edit" not in author.get(path).text
    assert editor.post(f"{path}/edit", {"title": "t", "body": "b", "basis": "1"}).location == path
    assert f"{path}/edit" in editor.get(path).text


def test_guests_do_not_see_history(site):
    path = site.as_user("author").write("Private past")
    assert site.client().get(f"{path}/history").location.startswith("/login")
    assert site.as_user("reader").get(f"{path}/history/1").status == 403


def test_a_page_features_one_and_no_member_takes_it_from_another(start_site):
    site = start_site()
    author, editor = site.as_user("author"), site.as_user("editor")

    def featured() -> str:
        return author.get("/").text.split("Newest entries")[0]

    form = {"title": "Look at me", "body": "b", "featured": "yes", "page-home": "yes"}
    own = author.post("/posts/new", form).location  # the first posts' one is this author's, too
    assert "Look at me" in featured()
    assert editor.post("/posts/new", {**form, "title": "Taken"}).status == 303
    assert "Taken" in featured()
    refused = author.post(f"{own}/edit", {**form, "basis": "2"})
    assert refused.status == 422
    assert "The home page features “Taken”, which is not yours to change." in refused.text
    assert (
        author.post(f"{own}/edit", {**form, "page-home": "", "page-about": "yes", "basis": "2"}).status == 303
    )
    assert "Taken" in featured()


def test_a_role_that_is_taken_is_gone_with_the_next_request(start_site):
    site = start_site()
    author, owner = site.as_user("author"), site.as_user("owner")
    path = author.write("While I could")
    assert owner.post("/people", {"user": "author"}).location == "/people"
    assert author.get("/posts/new").status == 403
    assert author.post("/posts/new", {"title": "t", "body": "b"}).status == 403
    assert author.post(f"{path}/edit", {"title": "t", "body": "b", "basis": "1"}).status == 403
    assert "Write</a>" not in author.get("/").text
    assert owner.post("/people", {"user": "author", "member": "yes"}).status == 303
    assert author.get("/posts/new").status == 200


def test_only_owners_give_roles_and_none_locks_everybody_out(start_site):
    site = start_site()
    editor, owner = site.as_user("editor"), site.as_user("owner")
    assert editor.post("/people", {"user": "editor", "owner": "yes"}).status == 403
    assert owner.post("/people", {"user": "owner", "member": "yes"}).status == 403
    assert owner.post("/people", {"user": "nobody", "member": "yes"}).status == 404
    assert owner.get("/people").status == 200


def test_roles_that_were_taken_stay_taken_when_the_demo_starts_again(start_site):
    site = start_site()
    site.as_user("owner").post("/people", {"user": "editor"})
    site.stop()
    again = start_site()
    assert again.as_user("editor").get("/posts/new").status == 403
