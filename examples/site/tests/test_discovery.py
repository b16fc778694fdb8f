"""What search engines, social networks and old links find."""

import html
import json
import re
import time
from urllib.robotparser import RobotFileParser
from xml.etree.ElementTree import fromstring as read_xml

import pytest

import bucketlog

SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
POST = "/posts/what-three-hundred-small-releases-taught-us"


def tag(page: str, name: str) -> str:
    (content,) = re.findall(rf'<meta (?:name|property)="{name}" content="([^"]*)">', page)
    return content


def canonical(page: str) -> str:
    (url,) = re.findall(r'<link rel="canonical" href="([^"]+)">', page)
    return url


def structured(page: str) -> dict[str, dict]:
    found = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page)
    return {item["@type"]: item for item in map(json.loads, found)}


def test_the_sitemap_lists_what_can_be_read_and_nothing_else(site):
    client = site.client()
    urls = read_xml(client.get("/sitemap.xml").body).findall(f"{SITEMAP}url")
    paths = [url.findtext(f"{SITEMAP}loc").removeprefix(site.url) for url in urls]
    assert len(set(paths)) == len(paths)
    assert {"/", "/about", "/careers", "/posts", "/archive", POST} <= set(paths)
    assert {"/tags/practice", "/authors/mira-okafor", "/archive/2026"} <= set(paths)
    for path in paths:
        page = client.get(path)
        assert page.status == 200, path
        assert "noindex" not in page.text
    dates = [url.findtext(f"{SITEMAP}lastmod") for url in urls if url.find(f"{SITEMAP}lastmod") is not None]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", date) for date in dates)


def test_robots_may_read_posts_and_leave_the_login_alone(site):
    parser = RobotFileParser()
    parser.parse(site.client().get("/robots.txt").text.splitlines())
    assert parser.can_fetch("*", POST)
    assert not parser.can_fetch("*", "/login")
    assert not parser.can_fetch("*", "/search?q=x")
    assert parser.site_maps() == [f"{site.url}/sitemap.xml"]


@pytest.mark.parametrize("path", ["/", "/posts", "/about", "/careers", "/tags/practice", POST])
def test_every_public_page_has_one_address_and_a_card(site, path):
    client = site.client()
    page = client.get(f"{path}?utm_source=elsewhere").text
    assert canonical(page) == tag(page, "og:url") == site.url + path
    assert tag(page, "og:title")
    assert tag(page, "description") == tag(page, "og:description") != ""
    assert tag(page, "twitter:card") == "summary_large_image"
    picture = client.get(tag(page, "og:image").removeprefix(site.url))
    assert picture.headers["Content-Type"] == "image/png"


def test_the_configured_address_stands_in_all_that_is_absolute(start_site):
    client = start_site(SITE_URL="https://northpier.example").client()
    for path in ("/", POST, "/feed.atom", "/feed.rss", "/feed.json", "/sitemap.xml", "/robots.txt"):
        text = client.get(path, Host="elsewhere.example").text
        assert "https://northpier.example" in text
        assert "elsewhere.example" not in text
        assert "127.0.0.1" not in text


def test_a_post_says_in_json_ld_what_it_is(site):
    page = site.client().get(POST).text
    assert tag(page, "og:type") == "article"
    items = structured(page)
    posting = items["BlogPosting"]
    assert posting["headline"] == "What three hundred small releases taught us"
    assert posting["author"]["name"] == "Ines Halvorsen"
    assert posting["author"]["url"] == f"{site.url}/authors/ines-halvorsen"
    assert posting["datePublished"] == "2026-04-21T08:00:00+00:00"
    assert [step["position"] for step in items["BreadcrumbList"]["itemListElement"]] == [1, 2]
    assert structured(site.client().get("/").text).keys() == {"Organization", "WebSite"}


def test_no_title_ends_the_script_that_it_is_in(site):
    title = "</script><script>alert(1)</script> & <!--"
    page = site.client().get(site.as_user("author").write(title)).text
    assert structured(page)["BlogPosting"]["headline"] == title
    assert page.count("</script>") == page.count('<script type="application/ld+json">')


def test_a_post_with_a_picture_is_shown_by_it(site, picture):
    author = site.as_user("author")
    assert author.upload("/uploads", picture((80, 60))).status == 303
    (image, *_) = re.findall(r'src="(/uploads/[^"]+)"', author.get("/uploads").text)
    page = site.client().get(author.write("With a picture", f"![A pier]({image})")).text
    assert tag(page, "og:image").startswith(f"{site.url}/uploads/")


def test_an_old_address_leads_to_the_new_one(site):
    author = site.as_user("author")
    path = author.write("Moved twice")
    for revision, slug in enumerate(("moved-once", "moved-for-good"), 1):
        form = {"title": "Renamed", "body": "b", "slug": slug, "basis": str(revision)}
        assert author.post(f"{path}/edit", form).status == 303
        path = f"/posts/{slug}"
    client = site.client()
    for old in ("/posts/moved-twice", "/posts/moved-once"):
        moved = client.get(old)
        assert (moved.status, moved.location) == (301, "/posts/moved-for-good")
    assert client.get("/posts/moved-for-good").status == 200


def test_a_deleted_post_is_gone_for_good(site):
    author = site.as_user("author")
    path = author.write("Soon gone")
    client = site.client()
    assert client.get(path).status == 200
    assert author.post(f"{path}/delete", {"basis": "1"}).status == 303
    gone = client.get(path)
    assert gone.status == 410
    assert "noindex" in gone.text
    assert path not in client.get("/sitemap.xml").text


def test_an_author_is_found_under_an_earlier_name(start_site):
    site = start_site()
    with bucketlog.connect(site.database_url) as connection:
        connection.transact([{":user/id": "author", ":user/name": "Mira Adeyemi"}])
    client = site.client()
    deadline = time.monotonic() + 60
    while (answer := client.get("/authors/mira-okafor")).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (answer.status, answer.location) == (301, "/authors/mira-adeyemi")
    assert "Entries by Mira Adeyemi" in client.get("/authors/mira-adeyemi").text
    assert "Mira Okafor" not in client.get("/posts").text
    assert client.get("/authors/nobody").status == 404


def test_tags_of_any_letters_have_an_address(site):
    client = site.client()
    path = site.as_user("author").write("Tagged oddly", tags="a/b c, c++, 50% é, ?q=1&x, 港")
    links = re.findall(r'<a href="(/tags/[^"]+)"', client.get(path).text)
    assert len(links) == 5
    for link in links:
        page = client.get(html.unescape(link))
        assert page.status == 200
        assert canonical(page.text) == f"{site.url}{html.unescape(link)}"
        assert "Tagged oddly" in client.get(f"{html.unescape(link)}/feed.json").text
