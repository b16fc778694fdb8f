"""Atom, RSS and JSON feeds, read by a stranger and held against their specifications."""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element
from xml.etree.ElementTree import fromstring as read_xml

import feedparser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from company_site.feeds import atom, json_feed, rss
from company_site.feeds.model import Entry, Feed, absolute

FEEDS = ("", "/tags/practice", "/authors/ines-halvorsen")
ATOM = "{http://www.w3.org/2005/Atom}"
TYPES = {
    "atom": "application/atom+xml; charset=utf-8",
    "rss": "application/rss+xml; charset=utf-8",
    "json": "application/feed+json; charset=utf-8",
}


@pytest.mark.parametrize("form", ["atom", "rss"])
@pytest.mark.parametrize("path", FEEDS)
def test_a_stranger_reads_what_a_visitor_reads(site, path, form):
    client = site.client()
    answer = client.get(f"{path}/feed.{form}")
    assert answer.headers["Content-Type"] == TYPES[form]
    feed = feedparser.parse(answer.body, response_headers={"content-type": TYPES[form]})
    assert feed.bozo == 0
    assert feed.version == {"atom": "atom10", "rss": "rss20"}[form]
    assert feed.feed.title.startswith("Northpier")
    assert feed.feed.link == f"{site.url}{path or '/posts'}"
    listed = re.findall(r'card-title"><a href="([^"]+)"', client.get(path or "/posts").text)
    assert [entry.link.removeprefix(site.url) for entry in feed.entries] == listed[:20]
    for entry in feed.entries:
        assert entry.author
        assert entry.published_parsed
        assert entry.summary
        assert entry.content[0].value.startswith("<")
        assert not re.search(r'(?:href|src)="/', entry.content[0].value)
    assert len({entry.id for entry in feed.entries}) == len(feed.entries)


@pytest.mark.parametrize("path", FEEDS)
def test_every_page_names_its_feeds(site, path):
    links = re.findall(
        r'<link rel="alternate" type="([^"]+)" href="([^"]+)"', site.client().get(path or "/posts").text
    )
    assert links == [(kind.partition(";")[0], f"{path}/feed.{form}") for form, kind in TYPES.items()]


def test_atom_has_what_rfc_4287_requires(site):
    answer = site.client().get("/feed.atom")
    feed = read_xml(answer.body)
    _atom_element(feed, site.url)
    assert feed.find(f"{ATOM}link[@rel='self']").get("href") == f"{site.url}/feed.atom"
    entries = feed.findall(f"{ATOM}entry")
    assert entries
    for entry in entries:
        _atom_element(entry, site.url)
        assert entry.findtext(f"{ATOM}author/{ATOM}name")
        assert entry.find(f"{ATOM}content").get("type") == "html"
        _instant(entry.findtext(f"{ATOM}published"))
        assert re.fullmatch(r"tag:127\.0\.0\.1,\d{4}-\d\d-\d\d:posts/\d+", entry.findtext(f"{ATOM}id"))
    newest = max(_instant(entry.findtext(f"{ATOM}updated")) for entry in entries)
    assert _instant(feed.findtext(f"{ATOM}updated")) == newest


def _atom_element(element: Element, origin: str) -> None:
    """Sections 4.1.1 and 4.1.2: exactly one id, title and updated; an alternate link."""
    for name in ("id", "title", "updated"):
        assert len(element.findall(f"{ATOM}{name}")) == 1, name
    assert urlsplit(element.findtext(f"{ATOM}id")).scheme
    _instant(element.findtext(f"{ATOM}updated"))
    (alternate,) = element.findall(f"{ATOM}link[@rel='alternate']")
    assert alternate.get("href").startswith(origin)


def _instant(text: str | None) -> datetime:
    instant = datetime.fromisoformat(text or "")
    assert instant.tzinfo is not None
    return instant


def test_rss_has_what_its_specification_requires(site):
    (channel,) = read_xml(site.client().get("/feed.rss").body)
    assert all(channel.findtext(name) for name in ("title", "link", "description"))
    own = channel.find("{http://www.w3.org/2005/Atom}link")
    assert (own.get("rel"), own.get("href")) == ("self", f"{site.url}/feed.rss")
    items = channel.findall("item")
    assert items
    for item in items:
        assert item.findtext("title")
        assert item.findtext("description")
        assert item.find("guid").get("isPermaLink") == "false"
        assert parsedate_to_datetime(item.findtext("pubDate")).tzinfo is not None
        assert item.find("author") is None  # would have to be an e-mail address


def test_json_feed_has_what_its_specification_requires(site):
    answer = site.client().get("/feed.json")
    assert answer.headers["Content-Type"] == TYPES["json"]
    feed = json.loads(answer.body)
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["title"]
    assert (feed["home_page_url"], feed["feed_url"]) == (f"{site.url}/posts", f"{site.url}/feed.json")
    assert feed["items"]
    for item in feed["items"]:
        assert isinstance(item["id"], str)
        assert item["content_html"]
        assert item["url"].startswith(f"{site.url}/posts/")
        assert _instant(item["date_modified"]) >= _instant(item["date_published"])
        assert [set(author) for author in item["authors"]] == [{"name", "url"}]
        assert all(isinstance(tag, str) for tag in item["tags"])


def test_an_entry_keeps_its_id_when_its_address_changes(site):
    author = site.as_user("author")
    path = author.write("Named too early", "A text.", "renaming")

    def entry() -> dict:
        (found,) = json.loads(site.client().get("/tags/renaming/feed.json").body)["items"]
        return found

    before = entry()
    form = {
        "title": "Named later",
        "body": "A text.",
        "tags": "renaming",
        "slug": "named-later",
        "basis": "1",
    }
    assert author.post(f"{path}/edit", form).status == 303
    after = entry()
    assert after["url"] == f"{site.url}/posts/named-later" != before["url"]
    assert after["id"] == before["id"]


def test_what_is_not_public_is_in_no_feed(site):
    author = site.as_user("author")
    author.post(
        "/posts/new", {"title": "Not yet", "body": "b", "tags": "hidden", "publish-at": "2190-01-01T00:00"}
    )
    client = site.client()
    assert client.get("/tags/hidden/feed.json").status == 404
    for form in TYPES:
        text = client.get(f"/feed.{form}").text
        assert "Not yet" not in text


def feed_of(text: str) -> Feed:
    instant = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    entry = Entry(
        "tag:a,2026-01-02:1", "https://a/1", text, text, "https://a/2", [text], instant, instant, text, text
    )
    return Feed("https://a/feed", "https://a/", text, text, "https://a/i.svg", [entry])


@given(st.text())
def test_any_text_gives_feeds_that_can_be_read(text):
    feed = feed_of(text)
    read_xml(rss.write(feed))
    parsed = read_xml(atom.write(feed))
    assert json.loads(json_feed.write(feed))["title"] == text
    if text.isprintable() and all(ord(char) < 0xFFFE for char in text):
        assert (parsed.findtext(f"{ATOM}entry/{ATOM}title") or "") == text


def test_addresses_of_this_site_become_absolute_and_others_stay():
    html = (
        '<a href="/posts/x">x</a><a href="https://b.example/">b</a><a href="//c.example/">c</a>'
        '<img src="/uploads/1.webp" srcset="/uploads/1.webp 1x, /uploads/2.webp 2x"><code>href="/y"</code>'
    )
    assert absolute(html, "https://a") == (
        '<a href="https://a/posts/x">x</a><a href="https://b.example/">b</a><a href="//c.example/">c</a>'
        '<img src="https://a/uploads/1.webp" '
        'srcset="https://a/uploads/1.webp 1x, https://a/uploads/2.webp 2x">'
        '<code>href="/y"</code>'
    )
