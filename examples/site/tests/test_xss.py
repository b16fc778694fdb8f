"""A corpus of cross-site scripting, through every text field, in a real browser that ignores our CSP."""

import re
from html.parser import HTMLParser

import pytest
from playwright.sync_api import Browser, Page

RUN = "window.__ran=1"

PAYLOADS = [
    "<script>RUN</script>",
    "<ScRiPt >RUN</ScRiPt>",
    "<script/x>RUN</script>",
    "<script src=//evil.example/x.js></script>",
    "<scr<script>ipt>RUN</scr</script>ipt>",
    "</title><script>RUN</script>",
    "</textarea><script>RUN</script>",
    "</article></main></body><script>RUN</script>",
    "--><script>RUN</script><!--",
    "]]><script>RUN</script>",
    "'\"><script>RUN</script>",
    "\" onfocus=RUN autofocus x=\"",
    "' onmouseover='RUN' x='",
    "<img src=x onerror=RUN>",
    "<img src=x onerror=\"RUN\"//",
    "<img/src=x/onerror=RUN>",
    "<img src=x:x onerror\n=RUN>",
    "<image href=x onerror=RUN>",
    "<svg onload=RUN>",
    "<svg><script>RUN</script></svg>",
    "<svg><animate onbegin=RUN attributeName=x dur=1s>",
    "<svg><a xlink:href=javascript:RUN><text x=9 y=9>x</text></a></svg>",
    "<svg><style><img src=x onerror=RUN></style></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=RUN>",
    "<math href=javascript:RUN>x</math>",
    "<body onload=RUN>",
    "<iframe src=javascript:RUN></iframe>",
    "<iframe srcdoc='<script>parent.RUN</script>'></iframe>",
    "<object data=javascript:RUN></object>",
    "<embed src=javascript:RUN>",
    "<form action=javascript:RUN><button>go</button></form>",
    "<button formaction=javascript:RUN>go</button>",
    "<input autofocus onfocus=RUN>",
    "<details open ontoggle=RUN>x</details>",
    "<video><source onerror=RUN></video>",
    "<audio src=x onerror=RUN></audio>",
    "<marquee onstart=RUN>x</marquee>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=javascript:RUN'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';</style>",
    "<div style=\"background:url(javascript:RUN)\">x</div>",
    "<template><script>RUN</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=RUN>\">",
    "<a href=javascript:RUN>click</a>",
    "[click](javascript:RUN)",
    "[click](JaVaScRiPt:RUN)",
    "[click](javascript&colon;RUN)",
    "[click](java\tscript:RUN)",
    "[click](&#x6A;avascript:RUN)",
    "[click](\x01javascript:RUN)",
    "[click](<javascript:RUN>)",
    "[click](vbscript:RUN)",
    "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[click](file:///etc/passwd)",
    "<javascript:RUN>",
    "[ref]\n\n[ref]: javascript:RUN \"title\"",
    "[click](https://ok.example \"x\\\" onmouseover=RUN y=\\\"\")",
    "![x](javascript:RUN)",
    "![x](x \"\\\" onerror=RUN x=\\\"\")",
    "![x\" onerror=RUN x=\"](/uploads/" + "0" * 40 + "-1x1.webp)",
    "![x](data:image/svg+xml,<svg onload=RUN>)",
    "```\"><script>RUN</script>\nx\n```",
    "``` js onmouseover=RUN\n</code></pre><script>RUN</script>\n```",
    "| <img src=x onerror=RUN> |\n| --- |\n| <script>RUN</script> |",
    "{{ 7*7 }}{% include '/etc/passwd' %}${RUN}",
    "\u2028<script>RUN</script>\u2029",
    "\uff1cscript\uff1eRUN\uff1c/script\uff1e",
]  # fmt: skip

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
            if "evil.example" in (value or "") and name in ("src", "href") and tag != "a":
                self.found.append(f"{tag} {name}={value}")


def dangers(text: str) -> list[str]:
    parser = Dangers()
    parser.feed(text)
    return parser.found


@pytest.fixture(scope="module")
def poisoned(site) -> list[str]:
    """Every payload published as title, text and tag of a post; the addresses."""
    author = site.as_user("author")
    return [
        author.write(f"{number} {text}"[:120], text, f"{number}, {text.replace(',', ' ')[:30]}")
        for number, text in enumerate(payload.replace("RUN", RUN) for payload in PAYLOADS)
    ]


def test_the_corpus_is_no_smaller_than_promised():
    assert len(set(PAYLOADS)) >= 60


def test_the_detector_detects():
    for text in ("<script>", "<p onclick=x>", '<a href=" javascript:x">', "<link href='//evil.example/'>"):
        assert dangers(text)


def test_nothing_dangerous_stands_in_any_page(site, poisoned):
    author = site.as_user("author")
    for path in poisoned:
        for suffix in ("", "/edit", "/history", "/history/1", "/delete"):
            page = author.get(path + suffix)
            assert page.status == 200
            assert dangers(page.text) == [], path + suffix
    pages = -(-(len(poisoned) + 8) // 6)
    for number in range(1, pages + 1):
        assert dangers(author.get(f"/posts?page={number}").text) == []


def test_nothing_dangerous_stands_in_a_form_that_comes_back(site):
    author = site.as_user("author")
    for payload in PAYLOADS:
        text = payload.replace("RUN", RUN)
        for action in ("preview", "publish"):
            form = {
                "title": text,
                "body": "" if action == "publish" else text,
                "tags": text,
                "action": action,
            }
            page = author.post("/posts/new", form)
            assert page.status == (200 if action == "preview" else 422)
            assert dangers(page.text) == [], payload


def test_nothing_dangerous_comes_back_from_an_address(site):
    client = site.as_user("author")
    for payload in ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)"):
        for path in ("/posts?tag=", "/posts?page=", "/login?next=", "/posts/", "/uploads/", "/static/"):
            quoted = payload.replace("<", "%3C").replace(">", "%3E").replace('"', "%22").replace(" ", "%20")
            assert dangers(client.get(path + quoted).text) == []


def test_no_script_runs_in_a_browser_even_without_the_policy(site, poisoned, browser: Browser):
    context = browser.new_context(bypass_csp=True)
    context.route(
        "**/*", lambda route: route.continue_() if route.request.url.startswith(site.url) else route.abort()
    )
    page = context.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    ran = [path for path in poisoned if _runs(page, site.url + path)]
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
