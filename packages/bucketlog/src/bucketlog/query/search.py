"""`(fulltext $ attribute words)` of queries."""

from __future__ import annotations

from typing import Any

from bucketlog.errors import QueryError

__all__ = ["search"]


def search(db: Any, names: Any, words: Any) -> list[tuple[int, str, int, float]]:
    """Entity, text, transaction and score of every text of these attributes that the words find."""
    if not isinstance(words, str):
        raise QueryError(f"fulltext: {words!r} is no text to search for")
    attributes = []
    for name in names if isinstance(names, list | tuple) else [names]:
        attribute = db.attribute(name) if isinstance(name, str | int) else None
        if attribute is None:
            raise QueryError(f"fulltext: {name!r} is not an attribute of the database")
        attributes.append(attribute)
    found: list[tuple[int, str, int, float]] = db.search(attributes, words)
    return found
