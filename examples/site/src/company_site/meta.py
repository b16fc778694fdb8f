"""What a public page says of itself to machines: its canonical address, cards, feeds and structured data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Structured = dict[str, Any]
"""An item of schema.org, as JSON-LD."""


@dataclass(frozen=True, slots=True)
class Article:
    """What a card says of a post besides (ogp.me, "article")."""

    author: str
    published: datetime
    updated: datetime
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class Meta:
    """`url` is the canonical address; `image` the picture of its card (Open Graph, and Twitter's by the same
    names); all addresses are absolute. `feeds` is the path below which the page's feeds are.
    """

    url: str
    title: str
    description: str
    image: str
    feeds: str = ""
    article: Article | None = None
    structured: Sequence[Structured] = field(default=())
    prev: str | None = None
    next: str | None = None


def website(name: str, origin: str, description: str, logo: str) -> list[Structured]:
    """The company and its site, with the address of its search (schema.org/WebSite)."""
    organization = {
        "@type": "Organization",
        "@id": f"{origin}/#organization",
        "name": name,
        "url": f"{origin}/",
    }
    return [
        _item({**organization, "logo": logo}),
        _item(
            {
                "@type": "WebSite",
                "@id": f"{origin}/#website",
                "name": name,
                "url": f"{origin}/",
                "description": description,
                "publisher": {"@id": f"{origin}/#organization"},
                "potentialAction": {
                    "@type": "SearchAction",
                    "target": {
                        "@type": "EntryPoint",
                        "urlTemplate": f"{origin}/search?q={{search_term_string}}",
                    },
                    "query-input": "required name=search_term_string",
                },
            }
        ),
    ]


def blog_posting(meta: Meta, name: str, origin: str, author_url: str, words: int) -> list[Structured]:
    """A post, and the way to it from the top (schema.org/BlogPosting, schema.org/BreadcrumbList)."""
    article = meta.article
    if article is None:
        return []
    posting = {
        "@type": "BlogPosting",
        "headline": meta.title,
        "description": meta.description,
        "image": meta.image,
        "url": meta.url,
        "mainEntityOfPage": meta.url,
        "datePublished": article.published.isoformat(timespec="seconds"),
        "dateModified": article.updated.isoformat(timespec="seconds"),
        "author": {"@type": "Person", "name": article.author, "url": author_url},
        "publisher": {"@type": "Organization", "name": name, "url": f"{origin}/"},
        "keywords": list(article.tags),
        "wordCount": words,
        "inLanguage": "en",
    }
    return [_item(posting), breadcrumbs(("The log", f"{origin}/posts"), (meta.title, meta.url))]


def breadcrumbs(*steps: tuple[str, str]) -> Structured:
    elements = [
        {"@type": "ListItem", "position": position, "name": name, "item": url}
        for position, (name, url) in enumerate(steps, 1)
    ]
    return _item({"@type": "BreadcrumbList", "itemListElement": elements})


def _item(content: Structured) -> Structured:
    return {"@context": "https://schema.org", **content}
