"""What anybody may read, and what they get when it is not there."""

import gzip
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import bucketlog
from company_site import __version__
from company_site.accounts.store import find_user
from company_site.posts.model import Content
from company_site.posts.store import new_post


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/posts",
        "/about",
        "/careers",
        "/search",
        "/search?q=tea",
        "/archive",
        "/tags/design",
        "/markdown",
        "/login",
    ],
)
def test_every_page_has_one_heading_a_title_and_a_way_past_the_menu(site, path):
    page = site.client().get(path)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.text.count("<h1") == 1
    assert re.search(r"<title>[^<]*Northpier[^<]*</title>", page.text)
    assert '<a class="skip" href="#content">' in page.text
    assert '<html lang="en">' in page.text


@pytest.mark.parametrize("path", ["/", "/posts", "/nothing", "/healthz", "/login"])
def test_every_answer_carries_the_policy(site, path):
    headers = site.client().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert headers["X-Site-Version"] == __version__
    assert headers["Server"] is None


def test_strict_transport_is_asked_for_over_https_only(site):
    client = site.client()
    assert client.get("/").headers["Strict-Transport-Security"] is None
    assert (
        client.get("/", X_Forwarded_Proto="https").headers["Strict-Transport-Security"] == "max-age=31536000"
    )


def test_pages_need_nothing_but_this_site(site):
    client = site.client()
    for path in ("/", "/posts/we-moved-our-database-into-a-bucket"):
        page = client.get(path)
        scripts = re.findall(r"<script[^>]*>", page.text)
        assert set(scripts) == {'<script type="application/ld+json">'}  # data, which no browser runs
        assert " style=" not in page.text
        loaded = re.findall(r'<link rel="(?:stylesheet|icon)"[^>]*href="([^"]+)"', page.text)
        loaded += re.findall(r'<img[^>]*src="([^"]+)"', page.text)
        assert loaded
        for address in loaded:
            found = client.get(address)
            assert found.status == 200
            assert found.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path", ["/", "/posts", "/posts/what-three-hundred-small-releases-taught-us", "/about", "/archive"]
)
def test_a_page_and_its_style_weigh_less_than_a_photograph(site, path):
    client = site.client()
    page = client.get(path, Accept_Encoding="gzip")
    assert page.headers["Content-Encoding"] == "gzip"
    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', gzip.decompress(page.body).decode())
    weight = len(page.body) + len(client.get(style, Accept_Encoding="gzip").body)
    assert weight < (10_000 if path == "/" else 40_000)


def test_a_list_is_newest_first_and_cut_into_pages_of_twenty(start_site):
    site = start_site()
    with bucketlog.connect(site.database_url) as connection:
        for day in range(1, 18):
            connection.transact([published(day)])
    client = site.client()
    deadline = time.monotonic() + 60
    while (second := client.get("/posts?page=2")).text.count("<article") != 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first = client.get("/posts")
    assert first.text.count("<article") == 20
    instants = re.findall(r'<time datetime="([^"]+)"', first.text + second.text)
    assert instants == sorted(instants, reverse=True)
    assert 'rel="next" href="/posts?page=2"' in first.text
    assert 'rel="prev" href="/posts"' in second.text
    assert "Page 2 of 2" in second.text
    assert client.get("/posts?page=3").status == 404


def published(day: int) -> Callable[[bucketlog.Database], list[Any]]:
    """A transaction function that publishes a post."""

    def apply(database: bucketlog.Database) -> list[Any]:
        author = find_user(database, "author")
        assert author is not None
        return [new_post(database, Content(f"Day {day}", "b"), author, datetime(2025, 1, day, tzinfo=UTC))]

    return apply


def test_a_tag_has_a_page_and_its_old_address_leads_there(site):
    client = site.client()
    page = client.get("/tags/hiring")
    assert page.text.count("<article") == 1
    assert "We are hiring two engineers" in page.text
    moved = client.get("/posts?tag=hiring")
    assert (moved.status, moved.location) == (301, "/tags/hiring")


def test_a_post_is_rendered_with_its_neighbours(site):
    page = site.client().get("/posts/what-three-hundred-small-releases-taught-us")
    assert "<h2>Speed is a safety feature</h2>" in page.text
    assert '<td class="right">2.1</td>' in page.text
    assert 'rel="prev" href="/posts/fridays-are-for-deploying"' in page.text
    assert 'rel="next" href="/posts/a-page-should-weigh-less-than-a-photograph"' in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/posts/nothing",
        "/posts?page=0",
        "/posts?page=999",
        "/posts?page=99",
        "/tags/nothing",
        "/tags/nothing/feed.atom",
        "/authors/nothing",
        "/archive/1999",
        "/feed.xml",
        "/static/nothing.css",
        "/static/..%2Fversion.py",
        "/uploads/nothing",
        "/uploads/..%2F..%2Fdatabase",
        "/uploads/" + "0" * 40 + "-1x1.webp",
        "/posts/x/history/1/2",
    ],
)
def test_what_is_not_there_is_a_404_page(site, path):
    page = site.client().get(path)
    assert page.status == 404
    assert "Nothing moors here" in page.text


@pytest.mark.parametrize("path", ["/posts?page=x", "/posts?page=-1", "/posts?page=%C2%B2", "/posts?page="])
def test_what_makes_no_sense_is_a_400_page(site, path):
    page = site.client().get(path)
    assert page.status == 400
    assert "That did not make sense to us" in page.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", {"GET", "HEAD"}),
        ("DELETE", "/posts/new", {"GET", "HEAD", "POST"}),
        ("GET", "/logout", {"POST"}),
        ("PUT", "/uploads", {"GET", "HEAD", "POST"}),
    ],
)
def test_another_method_is_a_405_page_that_names_the_right_ones(site, method, path, allowed):
    page = site.client().request(method, path)
    assert page.status == 405
    assert set(page.headers["Allow"].split(", ")) == allowed
    assert "Not in this way" in page.text


def test_head_answers_as_get_without_the_page(site):
    head = site.client().request("HEAD", "/posts")
    assert (head.status, head.body) == (200, b"")


def test_health_says_which_version_is_up(site):
    answer = site.client().get("/healthz")
    assert answer.status == 200
    assert answer.text == f'{{"status":"ok","version":"{__version__}"}}'
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_version_stands_on_every_page(site):
    assert f"Version {__version__}" in site.client().get("/about").text


def test_pages_of_users_are_kept_by_nobody(site):
    assert site.client().get("/").headers["Cache-Control"] == "public, max-age=0, s-maxage=10"
    assert site.client().get("/login").headers["Cache-Control"] == "no-cache"
    page = site.as_user("reader").get("/")
    assert page.headers["Cache-Control"] == "private, no-store"
    assert "Cookie" in page.headers["Vary"]


def test_the_name_of_the_company_is_configured(start_site):
    assert "Café &lt;Øst&gt;" in start_site(SITE_NAME="Café <Øst>").client().get("/").text
