"""What is kept, for how long, and how a visitor's browser is told."""

import gzip
import re
import time
from datetime import UTC, datetime, timedelta

import bucketlog


def etag(client, path: str = "/posts") -> str:
    return client.get(path).headers["ETag"]


def await_other_edition(client, old: str) -> str:
    deadline = time.monotonic() + 60
    while (new := etag(client)) == old:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return new


def test_a_page_that_has_not_changed_is_304_without_a_body(site):
    client = site.client()
    for path in (
        "/",
        "/posts",
        "/about",
        "/careers",
        "/archive",
        "/tags/design",
        "/feed.atom",
        "/sitemap.xml",
    ):
        page = client.get(path)
        again = client.get(path, If_None_Match=page.headers["ETag"])
        assert (again.status, again.body) == (304, b""), path
        for name in ("ETag", "Cache-Control", "Vary"):  # RFC 9110 section 15.4.5
            assert again.headers[name] == page.headers[name]
        assert client.get(path, If_None_Match='W/"another"').status == 200
        listed = f'"another", {page.headers["ETag"]}'
        assert client.get(path, If_None_Match=listed).status == 304


def test_the_page_that_is_kept_is_the_page_that_was_made(site):
    client = site.client()
    first = client.get("/posts?page=1").text
    for _ in range(2):
        assert client.get("/posts?page=1").text == first
        packed = client.get("/posts?page=1", Accept_Encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body).decode() == first
        head = client.request("HEAD", "/posts?page=1")
        assert (head.status, head.body, int(head.headers["Content-Length"])) == (
            200,
            b"",
            len(first.encode()),
        )


def test_a_write_makes_another_edition_and_a_login_does_not(site):
    client = site.client()
    old = etag(client)
    author = site.as_user("author")
    assert etag(client) == old
    author.write("A new edition")
    assert etag(client) != old
    assert "A new edition" in client.get("/posts").text


def test_every_instance_gives_the_same_validator(start_site):
    url = {"SITE_URL": "https://northpier.example"}
    one, other = start_site(**url), start_site(**url)
    assert etag(one.client()) == etag(other.client())
    old = etag(one.client())
    one.as_user("author").write("For both")
    new = etag(one.client())
    assert new != old
    assert await_other_edition(other.client(), old) == new


def test_the_clock_alone_brings_a_post_and_takes_it_away(site):
    client, author = site.client(), site.as_user("author")
    form = {"title": "By the clock", "body": "Tick.", "publish-at": in_seconds(2)}
    path = author.post("/posts/new", form).location
    await_status(client, path, 200)
    assert "By the clock" in client.get("/posts").text
    during = etag(client)
    form |= {"basis": "1"}
    deadline = time.monotonic() + 60
    # Should the time be over when the form arrives, it is refused.
    while (edited := author.post(f"{path}/edit", form | {"unpublish-at": in_seconds(3)})).status != 303:
        assert edited.status == 422
        assert time.monotonic() < deadline
    await_status(client, path, 404)
    assert "By the clock" not in client.get("/posts").text
    assert etag(client) != during


def in_seconds(seconds: int) -> str:
    """As the editor's form has a time."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"


def await_status(client, path: str, status: int) -> None:
    deadline = time.monotonic() + 60
    while client.get(path).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_visitors_with_a_session_and_without_are_kept_apart(site):
    visitor, user = site.client(), site.as_user("reader")
    public = visitor.get("/posts")
    assert public.headers["Cache-Control"] == "public, max-age=0, s-maxage=10"
    assert set(public.headers["Vary"].split(", ")) == {"Accept-Encoding", "Cookie"}
    private = user.get("/posts", If_None_Match=public.headers["ETag"])
    assert private.status == 200
    assert private.headers["Cache-Control"] == "private, no-store"
    assert private.headers["ETag"] is None
    assert "Sign out" in private.text
    assert "Sign out" not in visitor.get("/posts").text


def test_what_was_asked_under_another_name_is_not_what_is_kept(site):
    client = site.client()
    other = client.get("/about", Host="other.example").text
    assert 'href="http://other.example/about"' in other
    assert "other.example" not in client.get("/about").text
    assert "evil" not in client.get("/about", Host='evil"><b>').text


def test_what_is_not_there_is_not_kept(site):
    client = site.client()
    for path in ("/nothing", "/posts/nothing"):
        for _ in range(2):
            answer = client.get(path)
            assert answer.status == 404
            assert "s-maxage" not in answer.headers["Cache-Control"]
            assert answer.headers["ETag"] is None


def test_assets_are_named_by_content_and_kept_for_good(site):
    client = site.client()
    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', client.get("/").text)
    assert re.fullmatch(r"/static/site-[0-9a-f]{10}\.css", style)
    for encoding in ("identity", "gzip"):
        answer = client.get(style, Accept_Encoding=encoding)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    (card,) = re.findall(r'og:image" content="([^"]+)"', client.get("/").text)
    picture = client.get(card.removeprefix(site.url))
    assert picture.body.startswith(b"\x89PNG")
    assert picture.headers["Cross-Origin-Resource-Policy"] == "cross-origin"  # as a card on another site
    assert picture.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_a_change_by_another_program_is_seen(start_site):
    site = start_site()
    client = site.client()
    old = etag(client)
    with bucketlog.connect(site.database_url) as connection:
        connection.transact(
            [
                {
                    ":post/slug": "fridays-are-for-deploying",
                    ":post/revision": 2,
                    ":post/title": "By another program",
                }
            ]
        )
    await_other_edition(client, old)
    assert "By another program" in client.get("/posts").text
