"""Markdown to HTML that is safe whatever was written."""

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from company_site.posts.markdown import render, summarise

ALLOWED = {
    *("h2", "h3", "h4", "h5", "h6", "p", "blockquote", "pre", "hr", "ul", "ol", "li", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("a", "picture", "source", "img", "br", "code", "em", "s", "strong"),
}
IMAGE = f"/uploads/{'ab12' * 10}-640x480.webp"


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(render(text))
    return parser.found


def test_what_authors_need_is_there():
    html = render("# One\n\nSome *words* and **more**, ~~not~~ `code`.\n\n- a\n- b\n\n> quoted\n\n---\n")
    for piece in (
        "<h2>One</h2>", "<em>words</em>", "<strong>more</strong>", "<s>not</s>", "<code>code</code>",
        "<li>a</li>", "<blockquote>", "<hr>",
    ):  # fmt: skip
        assert piece in html


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("# a\n\n## b\n\n###### c", ["h2", "h3", "h6"]),
        ("## a\n\n### b\n\n## c", ["h2", "h3", "h2"]),
        ("### a\n\n# b", ["h4", "h2"]),
    ],
)
def test_headings_begin_right_below_the_title_of_the_page(text, tags):
    assert [tag for tag, _ in elements(text)] == tags


def test_tables_scroll_by_themselves_and_align_without_styles():
    html = render("| a | b |\n| - | -: |\n| 1 | 2 |")
    assert '<div class="table" tabindex="0"><table>' in html
    assert '<td class="right">2</td>' in html
    assert "style" not in html


def test_an_uploaded_image_reserves_its_room():
    _, picture, source, image = elements(f"![A pier]({IMAGE})")
    stem = IMAGE.removesuffix(".webp")
    assert picture == ("picture", {})
    assert source[1]["type"] == "image/avif"
    assert source[1]["srcset"] == f"{stem}-480.avif 480w, {stem}-640.avif 640w"
    sizes = source[1]["sizes"]
    assert image == (
        "img",
        {
            "src": IMAGE,
            "alt": "A pier",
            "width": "640",
            "height": "480",
            "loading": "lazy",
            "srcset": f"{stem}-480.webp 480w, {IMAGE} 640w",
            "sizes": sizes,
        },
    )


@pytest.mark.parametrize(
    "source",
    [
        "https://elsewhere.example/a.png",
        "//elsewhere.example/a.png",
        "/uploads/../static/favicon.svg",
        "/uploads/evil.svg",
        "data:image/png;base64,AAAA",
        f"https://elsewhere.example{IMAGE}",
        f"{IMAGE}?x",
    ],
)
def test_other_images_are_shown_as_their_description(source):
    html = render(f"![A <b>pier</b>]({source})")
    assert "<img" not in html
    assert "A &lt;b&gt;pier&lt;/b&gt;" in html


def test_html_in_a_text_is_shown_as_it_was_typed():
    assert render("<b>bold</b>") == "<p>&lt;b&gt;bold&lt;/b&gt;</p>\n"


def test_links_of_authors_give_nothing_away():
    ((_, attributes),) = [found for found in elements("[out](https://elsewhere.example/)") if found[0] == "a"]
    assert attributes == {"href": "https://elsewhere.example/", "rel": "noopener nofollow ugc"}


PIECES = st.sampled_from(
    [
        *("<script>", "</script>", "<img onerror=", '<a href="', "<svg onload=", "style=", "<!--", "-->"),
        *(
            "javascript:",
            "data:",
            "](",
            "[",
            ")",
            "!",
            "`",
            "```",
            "|",
            "-",
            "#",
            ">",
            "*",
            "_",
            "~~",
            ":",
            "/",
        ),
        *("&lt;", "&#x6a;", "<![CDATA[", "\x00", "\n", "\n\n    ", "'", '"', " "),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=30).map("".join))
def test_nothing_but_the_allowed_comes_out_whatever_goes_in(text):
    for tag, attributes in elements(text):
        assert tag in ALLOWED
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("href", "src"):
            target = (attributes.get(name) or "").strip().lower()
            assert not target.startswith(("javascript", "data", "vbscript", "file"))


def test_a_summary_is_the_first_words_as_plain_text():
    text = "# Heading\n\nFirst *words* of `it`,\non [two](/lines) lines.\n\n- not this\n\nSecond paragraph."
    assert summarise(text) == "First words of it, on two lines. Second paragraph."


def test_a_long_summary_ends_at_a_word():
    summary = summarise("word, " * 100)
    assert len(summary) <= 201
    assert summary.endswith("word…")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=600))
def test_a_summary_is_short_and_on_one_line(text):
    summary = summarise(text)
    assert len(summary) <= 201
    assert "\n" not in summary
