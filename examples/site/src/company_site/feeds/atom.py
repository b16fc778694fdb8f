"""Atom (RFC 4287)."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

from company_site.feeds.model import Entry, Feed, xml_text

MEDIA_TYPE = "application/atom+xml; charset=utf-8"


def write(feed: Feed) -> bytes:
    """The document, in UTF-8."""
    root = Element("feed", {"xmlns": "http://www.w3.org/2005/Atom", "xml:lang": "en"})
    _texts(root, id=feed.url, title=feed.title, subtitle=feed.description)
    _texts(root, updated=feed.updated.isoformat(timespec="seconds"), icon=feed.icon)
    SubElement(root, "link", rel="self", type="application/atom+xml", href=feed.url)
    SubElement(root, "link", rel="alternate", type="text/html", href=feed.home)
    for entry in feed.entries:
        _entry(root, entry)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _entry(root: Element, entry: Entry) -> None:
    element = SubElement(root, "entry")
    _texts(
        element,
        id=entry.id,
        title=entry.title,
        published=entry.published.isoformat(timespec="seconds"),
        updated=entry.updated.isoformat(timespec="seconds"),
        summary=entry.summary,
    )
    SubElement(element, "link", rel="alternate", type="text/html", href=entry.url)
    _texts(SubElement(element, "author"), name=entry.author, uri=entry.author_url)
    for tag in entry.tags:
        SubElement(element, "category", term=xml_text(tag))
    SubElement(element, "content", type="html").text = xml_text(entry.html)


def _texts(parent: Element, **texts: str) -> None:
    for name, text in texts.items():
        SubElement(parent, name).text = xml_text(text)
