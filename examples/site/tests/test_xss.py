"""A corpus of cross-site scripting, through every text field, in a real browser that ignores our CSP."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

RUN = "window.__ran=1"

# One payload a line, as a JSON string; RUN stands for what would be run.
PAYLOADS: list[str] = [
    json.loads(line) for line in Path(__file__).with_name("xss.jsonl").read_text().splitlines()
]

DANGEROUS = {
    *("script", "iframe", "object", "embed", "svg", "math", "base", "template", "style", "video", "audio"),
    *("marquee", "noscript", "image"),
}

OWN_SCRIPT = re.compile(r"/static/editor-[0-9a-f]{10}\.js")


class Dangers(HTMLParser):
    """Collects what could run, were it in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "script" and attrs == [("type", "application/ld+json")]:
            return  # data, which no browser runs
        if tag == "script" and OWN_SCRIPT.fullmatch(dict(attrs).get("src") or ""):
            return
        if tag in DANGEROUS:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name in ("style", "srcdoc", "formaction"):
                self.found.append(f"{tag} {name}={value}")
            target = "".join((value or "").split()).lower()
            if target.startswith(("javascript:", "vbscript:", "data:", "file:")) and name not in (
                "value",
                "alt",
                "content",
            ):
                self.found.append(f"{tag} {name}={value}")
            foreign = re.match(r"([a-z]+:)?[/\\]{2}[^/]*evil\.example", (value or "").strip().lower())
            if foreign and name in ("src", "href") and tag != "a":
                self.found.append(f"{tag} {name}={value}")


def dangers(text: str) -> list[str]:
    parser = Dangers()
    parser.feed(text)
    return parser.found


def live(payload: str) -> str:
    return payload.replace("RUN", RUN)


def tag(payload: str) -> str:
    return live(payload).replace(",", " ")[:30]


@pytest.fixture(scope="module")
def poisoned(site) -> list[str]:
    """Every payload published as title, text and tag of a post; the addresses."""
    author = site.as_user("author")
    return [
        author.write(f"{number} {live(payload)}"[:120], live(payload), f"{number}, {tag(payload)}")
        for number, payload in enumerate(PAYLOADS)
    ]


@pytest.fixture(scope="module")
def crowded(site) -> list[str]:
    """Posts of eight payloads each, which were changed, are being changed by their author, and have a working
    copy: so that a browser sees all of them in little time. Their addresses.
    """
    author, editor = site.as_user("author"), site.as_user("editor")
    paths = []
    for start in range(0, len(PAYLOADS), 8):
        group = PAYLOADS[start : start + 8]
        texts = [live(payload) for payload in group]
        path = author.write(f"{start} crowded", "\n\n".join(texts[::-1]), "crowded")
        form = {
            "title": texts[0][:120],
            "body": "\n\n".join(texts),
            "tags": ",".join(map(tag, group[:6])),
            "basis": "1",
        }
        assert editor.post(f"{path}/edit", form).status == 303
        kept = {**form, "title": texts[1][:120], "body": texts[1] + form["body"], "action": "save"}
        assert author.post(f"{path}/edit", kept).status == 303
        paths.append(path)
    return paths


def test_the_corpus_is_no_smaller_than_promised():
    assert len(set(PAYLOADS)) >= 200


def test_the_detector_detects():
    for text in ("<script>", "<p onclick=x>", '<a href=" javascript:x">', "<link href='//evil.example/'>"):
        assert dangers(text)


def test_nothing_dangerous_stands_in_any_page(site, poisoned):
    author = site.as_user("author")
    for path in poisoned:
        for suffix in ("", "/edit", "/history/1"):
            page = author.get(path + suffix)
            assert page.status == 200
            assert dangers(page.text) == [], path + suffix
    for path in (
        "/posts",
        "/posts?page=2",
        "/drafts",
        "/archive",
        "/",
        *(f"{poisoned[3]}{end}" for end in ("/history", "/delete")),
    ):
        assert dangers(author.get(path).text) == [], path


def test_nothing_dangerous_stands_in_a_form_that_comes_back(site):
    author = site.as_user("author")
    for payload in PAYLOADS:
        text = live(payload)
        form = dict.fromkeys(("title", "tags", "slug", "publish-at", "unpublish-at", "draft"), text)
        for change in ({"body": text, "action": "preview"}, {"body": "", "action": "publish"}):
            page = author.post("/posts/new", form | change)
            assert page.status == (200 if change["body"] else 422)
            assert dangers(page.text) == [], payload


def test_nothing_dangerous_stands_in_what_is_made_of_tags_and_words(site, crowded):
    client = site.client()
    listed = client.get("/posts").text
    tags = sorted(set(re.findall(r'href="(/tags/[^"]+)"', listed)))
    assert tags
    for path in (*tags[:20], *("/search?q=" + quote(live(payload)[:60]) for payload in PAYLOADS[::5])):
        page = client.get(html.unescape(path))
        assert page.status == 200, path
        assert dangers(page.text) == [], path


def test_nothing_dangerous_stands_where_versions_meet(site, crowded):
    author = site.as_user("author")
    for path in crowded:
        kept = author.get(f"{path}/edit")
        form = {"title": kept.field("title"), "body": live(PAYLOADS[0]), "tags": "", "basis": "1"}
        conflict = author.post(f"{path}/edit", form)
        assert conflict.status == 409
        for page in (kept, conflict, author.get(f"{path}/history/2")):
            assert dangers(page.text) == [], path


def test_nothing_dangerous_is_rendered_for_the_live_preview(site):
    author = site.as_user("author")
    for payload in PAYLOADS:
        answer = author.post("/drafts/preview", {"body": live(payload)})
        assert answer.status == 200
        assert dangers(answer.text) == [], payload


def test_nothing_dangerous_comes_back_from_an_address(site):
    client = site.as_user("author")
    for payload in ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)"):
        for path in ("/posts?tag=", "/posts?page=", "/login?next=", "/posts/", "/uploads/", "/static/"):
            quoted = payload.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace(" ", "%20")
            assert dangers(client.get(path + quoted).text) == []


def test_no_script_runs_in_a_browser_even_without_the_policy(site, poisoned, crowded, browser: Browser):
    context = browser.new_context(bypass_csp=True)
    context.route(
        "**/*", lambda route: route.continue_() if route.request.url.startswith(site.url) else route.abort()
    )
    page = context.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    lists = [f"/posts?page={number}" for number in range(1, -(-(len(poisoned) + len(crowded)) // 20) + 1)]
    ran = [path for path in (*crowded, *lists) if _runs(page, site.url + path)]
    page.goto(f"{site.url}/login")
    with page.expect_navigation():
        page.get_by_role("button", name="Mira Okafor").click()
    inside = [f"{path}{end}" for path in crowded for end in ("/edit", "/history/2")]
    ran += [path for path in (*inside, "/drafts") if _runs(page, site.url + path)]
    context.close()
    assert not ran
    assert not dialogs


def _runs(page: Page, address: str) -> bool:
    page.goto(address, wait_until="load")
    return bool(
        page.evaluate(
            """() => {
                const stay = event => {
                    if (!/^javascript/i.test(event.currentTarget.href)) event.preventDefault()
                }
                for (const link of document.querySelectorAll("main .prose a[href]")) {
                    link.addEventListener("click", stay)
                    link.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }))
                    link.click()
                }
                return window.__ran
            }"""
        )
    )
