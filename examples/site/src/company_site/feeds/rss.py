"""RSS 2.0 (rssboard.org/rss-specification), with the whole text by the content module."""

from __future__ import annotations

from email.utils import format_datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from company_site.feeds.model import Entry, Feed, xml_text

MEDIA_TYPE = "application/rss+xml; charset=utf-8"
_NAMESPACES = {
    "xmlns:atom": "http://www.w3.org/2005/Atom",
    "xmlns:content": "http://purl.org/rss/1.0/modules/content/",
    "xmlns:dc": "http://purl.org/dc/elements/1.1/",
}


def write(feed: Feed) -> bytes:
    """The document, in UTF-8."""
    root = Element("rss", {"version": "2.0", **_NAMESPACES})
    channel = SubElement(root, "channel")
    _text(channel, "title", feed.title)
    _text(channel, "link", feed.home)
    _text(channel, "description", feed.description)
    _text(channel, "language", "en")
    _text(channel, "lastBuildDate", format_datetime(feed.updated, usegmt=True))
    SubElement(channel, "atom:link", rel="self", type="application/rss+xml", href=feed.url)
    for entry in feed.entries:
        _item(channel, entry)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _item(channel: Element, entry: Entry) -> None:
    item = SubElement(channel, "item")
    _text(item, "title", entry.title)
    _text(item, "link", entry.url)
    SubElement(item, "guid", isPermaLink="false").text = entry.id
    _text(item, "pubDate", format_datetime(entry.published, usegmt=True))
    # RSS's own `author` is an e-mail address, which nobody should have to publish.
    _text(item, "dc:creator", entry.author)
    for tag in entry.tags:
        _text(item, "category", tag)
    _text(item, "description", entry.summary)
    _text(item, "content:encoded", entry.html)


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = xml_text(text)
