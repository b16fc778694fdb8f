"""Markdown as authors write it, to HTML that is safe to put into a page.

CommonMark with tables and strikethrough, by markdown-it-py. HTML in the text stays text. What comes out
goes through nh3's allow list all the same: neither of the two has to be perfect alone. Images come from
this site's uploads only, so that no reader is sent to a third party; others are shown as their description.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

from company_site.uploads.model import SIZES, Kind, parse_path, parse_variant

_SUMMARY_LENGTH = 200  # characters

_TAGS = {
    *("h2", "h3", "h4", "h5", "h6", "p", "blockquote", "pre", "hr", "ul", "ol", "li", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("a", "picture", "source", "img", "br", "code", "em", "s", "strong"),
}
_ATTRIBUTES = {
    "a": {"href", "title"},
    "div": {"class", "tabindex"},
    "img": {"src", "srcset", "sizes", "alt", "title", "width", "height", "loading"},
    "source": {"type", "srcset", "sizes"},
    "ol": {"start"},
    "pre": {"tabindex"},
    "td": {"class"},
    "th": {"class"},
}
_SCHEMES = {"http", "https", "mailto"}


class _Renderer(RendererHTML):
    """The few places where our HTML differs from the usual; called by markdown-it by the token's type."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        description = self.renderInlineAsText(token.children or [], options, env)
        name = parse_path(str(token.attrs.get("src", "")))
        if name is None:
            return f"<em>[image: {escapeHtml(description)}]</em>"
        token.attrs |= {"width": name.width, "height": name.height, "loading": "lazy"}
        token.attrs |= {"srcset": name.srcset(Kind.WEBP), "sizes": SIZES}
        source = f'<source type="image/avif" srcset="{name.srcset(Kind.AVIF)}" sizes="{SIZES}">'
        return f"<picture>{source}{super().image(tokens, idx, options, env)}</picture>"

    def table_open(self, *_: Any) -> str:
        # What scrolls must be reachable by keyboard.
        return '<div class="table" tabindex="0"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"

    def fence(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return f'<pre tabindex="0"><code>{escapeHtml(tokens[idx].content)}</code></pre>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return self.fence(tokens, idx)


def _fit_into_page(state: StateCore) -> None:
    """The page's h1 is the post's title, so the highest heading of a text, whichever its author took, is an
    h2; and the page's policy takes no style attributes, so the alignment of a table's cell becomes a class.
    """
    headings = [token for token in state.tokens if token.type in ("heading_open", "heading_close")]
    highest = min((int(token.tag[1]) for token in headings), default=0)
    for token in headings:
        token.tag = f"h{min(int(token.tag[1]) - highest + 2, 6)}"
    for token in state.tokens:
        if token.type in ("th_open", "td_open") and "style" in token.attrs:
            token.attrs = {"class": str(token.attrs["style"]).removeprefix("text-align:")}


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "typographer": True}, renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough", "replacements", "smartquotes"])
    parser.core.ruler.push("fit_into_page", _fit_into_page)
    return parser


_PARSER = _parser()


def _filter(element: str, attribute: str, value: str) -> str | None:
    """Pictures come from the uploads, whatever the allow list of addresses would let through."""
    if attribute == "srcset":
        paths = [entry.partition(" ")[0] for entry in value.split(", ")]
        return value if all(map(_is_picture, paths)) else None
    if (element, attribute) == ("img", "src"):
        return value if _is_picture(value) else None
    return value


def _is_picture(path: str) -> bool:
    return parse_path(path) is not None or parse_variant(path.removeprefix("/uploads/")) is not None


@lru_cache(maxsize=256)
def render(text: str) -> str:
    """Safe HTML, with headings from h2 down."""
    return nh3.clean(
        _PARSER.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        attribute_filter=_filter,
        link_rel="noopener nofollow ugc",
        strip_comments=True,
    )


def undescribed_images(text: str) -> int:
    """How many of the images of this site that the text shows have no description."""
    return sum(
        parse_path(str(token.attrs.get("src", ""))) is not None and not _plain(token.children or []).strip()
        for block in _PARSER.parse(text)
        for token in block.children or []
        if token.type == "image"
    )


def summarise(text: str) -> str:
    """The first paragraphs as plain text, cut at a word."""
    tokens = _PARSER.parse(text)
    words = [
        word
        for before, token in pairwise(tokens)
        if before.type == "paragraph_open" and before.level == 0
        for word in _plain(token.children or []).split()
    ]
    kept: list[str] = []
    length = 0
    for word in words:
        length += len(word) + 1
        if length > _SUMMARY_LENGTH:
            # A text without spaces, as Chinese is, is cut within.
            return (" ".join(kept) or word[:_SUMMARY_LENGTH]).rstrip(",.;:") + "…"
        kept.append(word)
    return " ".join(kept)


def plain_text(text: str) -> str:
    """All that a reader reads, without its marks, on one line."""
    words: list[str] = []
    for token in _PARSER.parse(text):
        content = token.content if token.type in ("fence", "code_block") else _plain(token.children or [])
        words += content.split()
    return " ".join(words)


def _plain(tokens: Sequence[Token]) -> str:
    return "".join(
        " " if token.type in ("softbreak", "hardbreak") else token.content
        for token in tokens
        if token.type in ("text", "code_inline", "softbreak", "hardbreak")
    )
