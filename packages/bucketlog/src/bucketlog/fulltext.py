"""Full text search: an inverted index of the texts that attributes marked `:db/fulltext` have, or ever had.

SQLite's FTS5 (sqlite.org/fts5.html) holds every text once for each attribute, whoever has it. What it finds
is joined with the datoms that have that text, so that every view of the database, of any time, shows its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw

from bucketlog.value import Stored

__all__ = ["FOUND", "TextIndex", "search_expression"]

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS text_attribute (a INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS text (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, v TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS text_index USING fts5(
    v, content = 'text', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
"""

FOUND: Final = (
    "(SELECT rowid AS id, -rank AS score FROM text_index WHERE text_index MATCH :words) AS found "
    "CROSS JOIN text ON text.id = found.id "
    "CROSS JOIN datom AS d INDEXED BY avet ON d.a = text.a AND d.v = text.v"
)
"""The tables of a search for `:words`: `text.a`, `found.score` and the datoms `d`."""

_TERM: Final = re.compile(r'(?P<no>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')
_LONGEST: Final = 10_000  # characters of what is searched for


class TextIndex:
    """The index inside of one image. Its methods are called inside of the image's transactions."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._attributes: frozenset[int] | None = None

    @property
    def attributes(self) -> frozenset[int]:
        """The attributes whose texts are here."""
        if self._attributes is None:
            known = self._rows("SELECT 1 FROM sqlite_master WHERE name = 'text_attribute'")
            rows = self._rows("SELECT a FROM text_attribute") if known else []
            self._attributes = frozenset(a for (a,) in rows)
        return self._attributes

    def forget_attributes(self) -> None:
        """What the image knew of its attributes may have been rolled back."""
        self._attributes = None

    def follow(self, wanted: frozenset[int], added: Iterable[tuple[int, Stored]]) -> None:
        """Take in the attributes and values of new datoms; `wanted` are all attributes that are marked."""
        here = self.attributes
        if wanted == here:
            if here:
                self._add((a, v) for a, v in added if a in here)
            return
        execute = self._connection.execute
        execute(_TABLES).fetchall()
        for a in here - wanted:
            self._remove(self._rows("SELECT id, v FROM text WHERE a = ?", a))
            execute("DELETE FROM text_attribute WHERE a = ?", (a,))
        for a in wanted - here:
            execute("INSERT INTO text_attribute VALUES (?)", (a,))
            self._add(self._rows("SELECT DISTINCT a, v FROM datom WHERE a = ?", a))
        self._add((a, v) for a, v in added if a in here & wanted)
        self._attributes = wanted

    def drop(self, removed: Iterable[tuple[int, Stored]]) -> None:
        """Leave nothing of texts that no datom has any more, of those that were in `removed`."""
        gone = [
            (_id(a, v), v)
            for a, v in {(a, v) for a, v in removed if a in self.attributes}
            if not self._rows("SELECT 1 FROM datom WHERE a = ? AND v = ? LIMIT 1", a, v)
        ]
        if gone:
            self._remove(gone)
            self._connection.execute("INSERT INTO text_index(text_index) VALUES ('rebuild')").fetchall()

    def _add(self, texts: Iterable[tuple[int, Stored]]) -> None:
        execute = self._connection.execute
        for a, v in texts:
            key = _id(a, v)
            execute("INSERT OR IGNORE INTO text VALUES (?, ?, ?)", (key, a, v))
            if self._connection.changes():
                execute("INSERT INTO text_index(rowid, v) VALUES (?, ?)", (key, v))

    def _rows(self, sql: str, *values: Stored) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _remove(self, texts: Sequence[tuple[int, Stored]]) -> None:
        for key, v in texts:
            self._connection.execute(
                "INSERT INTO text_index(text_index, rowid, v) VALUES ('delete', ?, ?)", (key, v)
            )
            self._connection.execute("DELETE FROM text WHERE id = ?", (key,))


def search_expression(words: str) -> str:
    """What FTS5 is to look for.

    `words` are what a text must have, all of them, in any order; `"a phrase"` must be there as it stands,
    `begin*` is any word that begins so, `-word` must not be there, and `OR` stands between alternatives. Case
    and accents are nothing. Raises `ValueError` when nothing is searched for.
    """
    if len(words) > _LONGEST:
        raise ValueError(f"a search of {len(words)} characters; {_LONGEST} are the most")
    alternatives: list[tuple[list[str], list[str]]] = [([], [])]
    for match in _TERM.finditer(words.replace("\0", " ")):
        if match[0] == "OR":
            alternatives.append(([], []))
            continue
        term = match["word"] if match["phrase"] is None else match["phrase"]
        if any(map(str.isalnum, term)):
            beginning = " *" if match["phrase"] is None and term.endswith("*") else ""
            alternatives[-1][bool(match["no"])].append(
                f'"{term.rstrip("*") if beginning else term}"{beginning}'
            )
    found = [
        f"({' AND '.join(yes)}{''.join(f' NOT {term}' for term in no)})" for yes, no in alternatives if yes
    ]
    if not found:
        raise ValueError(f"{words!r} names no word to search for")
    return " OR ".join(found)


def _id(a: int, v: Stored) -> int:
    """The key of a text: 64 bits that another one has too as good as never."""
    digest = hashlib.blake2b(f"{a} {v!s}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
