"""What changed between two texts, word by word, and between two versions of a post; two changes in one.

Longest matching blocks, first of lines and then of words within the lines that changed (Ratcliff and
Obershelp, by difflib): a text of 60,000 characters is compared in some hundredths of a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import pairwise

from company_site.posts.model import Post

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_CONTEXT = 2  # lines that are shown around a change
# Lines or words between the first and the last difference; of more, all are taken as changed. What repeats
# itself takes the cube of their number.
_MOST = 2000


class Kind(StrEnum):
    """What has become of a stretch of text."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text. Of a skipped one, `text` is the number of its lines."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One attribute, before and after, as text."""

    name: str
    pieces: tuple[Piece, ...]


def compare(before: str, after: str, *, context: int | None = _CONTEXT) -> tuple[Piece, ...]:
    """The pieces of both texts in order; what both have is skipped but for `context` lines around changes.

    Without skipping (`context=None`), the pieces that are not ADDED make `before`, those that are not REMOVED
    make `after`.
    """
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    pieces: list[Piece] = []
    opcodes = list(_opcodes(old, new))
    for place, (operation, a, b, c, d) in enumerate(opcodes):
        if operation == "equal":
            is_first, is_last = place == 0, place == len(opcodes) - 1
            pieces += _shorten(old[a:b], context, is_first=is_first, is_last=is_last)
        else:
            pieces += _words("".join(old[a:b]), "".join(new[c:d]))
    return tuple(piece for piece in pieces if piece.text)


def _opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """As `SequenceMatcher.get_opcodes`, in bounded time."""
    shorter = min(len(old), len(new))
    head = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    most = shorter - head
    tail = next((place for place in range(most) if old[-1 - place] != new[-1 - place]), most)
    end, new_end = len(old) - tail, len(new) - tail
    if head:
        yield "equal", 0, head, 0, head
    if end - head + new_end - head > _MOST:
        yield "replace", head, end, head, new_end
    else:
        for operation, a, b, c, d in SequenceMatcher(None, old[head:end], new[head:new_end]).get_opcodes():
            yield operation, a + head, b + head, c + head, d + head
    if tail:
        yield "equal", end, len(old), new_end, len(new)


def _shorten(lines: list[str], context: int | None, *, is_first: bool, is_last: bool) -> list[Piece]:
    if context is None:
        return [Piece(Kind.SAME, "".join(lines))]
    head = 0 if is_first else context
    tail = 0 if is_last else context
    skipped = len(lines) - head - tail
    if skipped <= 1:
        return [Piece(Kind.SAME, "".join(lines))]
    return [
        Piece(Kind.SAME, "".join(lines[:head])),
        Piece(Kind.SKIPPED, str(skipped)),
        Piece(Kind.SAME, "".join(lines[len(lines) - tail :])),
    ]


def _words(before: str, after: str) -> list[Piece]:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    pieces: list[Piece] = []
    removed = added = ""
    for operation, a, b, c, d in _opcodes(old, new):
        same = "".join(old[a:b])
        if operation == "equal" and (same.strip() or not (removed or added)):
            pieces += [Piece(Kind.REMOVED, removed), Piece(Kind.ADDED, added), Piece(Kind.SAME, same)]
            removed = added = ""
        else:
            # A space between two changed words is no more than a space: they read better as one change.
            removed += same
            added += "".join(new[c:d])
    return [*pieces, Piece(Kind.REMOVED, removed), Piece(Kind.ADDED, added)]


def merge(base: str, ours: str, theirs: str) -> str | None:
    """The text with both changes, if they are in different places: three-way, by lines, as diff3 does it.

    Changes that touch, a line next to a line, are in one place, unless they are the same. None then.
    """
    lines = base.splitlines(keepends=True)
    hunks = sorted({*_hunks(lines, ours), *_hunks(lines, theirs)})
    if any(start <= end for (_, end, _), (start, _, _) in pairwise(hunks)):
        return None
    merged, place = [], 0
    for start, end, replacement in hunks:
        merged += [*lines[place:start], replacement]
        place = end
    return "".join([*merged, *lines[place:]])


def merge_sets(base: Iterable[str], ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """Ours, without what they took away and with what they added."""
    before, there = set(base), list(theirs)
    kept = [item for item in ours if item in there or item not in before]
    return [*kept, *(item for item in there if item not in before and item not in kept)]


def _hunks(lines: list[str], text: str) -> Iterator[tuple[int, int, str]]:
    """What the text changed: from which line to which, and what stands there now."""
    new = text.splitlines(keepends=True)
    for operation, a, b, c, d in _opcodes(lines, new):
        if operation != "equal":
            yield a, b, "".join(new[c:d])


def changes(before: Post, after: Post) -> list[FieldChange]:
    """Every attribute that an author decides about and that differs."""
    old, new = _texts(before), _texts(after)
    return [FieldChange(name, _pieces(old[name], new[name])) for name in old if old[name] != new[name]]


def _pieces(before: str | tuple[str, ...], after: str | tuple[str, ...]) -> tuple[Piece, ...]:
    if isinstance(before, str) and isinstance(after, str):
        return compare(before, after)
    pieces = []
    for item in sorted({*before, *after}):
        kind = Kind.ADDED if item not in before else Kind.REMOVED if item not in after else Kind.SAME
        pieces += [Piece(Kind.SAME, " "), Piece(kind, item)]
    return tuple(pieces[1:])


def _texts(post: Post) -> dict[str, str | tuple[str, ...]]:
    def time(value: object) -> str:
        return "" if value is None else f"{value:%-d %B %Y, %H:%M:%S} UTC"

    return {
        "title": post.title,
        "text": post.body,
        "tags": post.tags,
        "pages": tuple(post.pages),
        "featured": "yes" if post.featured else "no",
        "address": post.slug,
        "author": post.author.name,
        "published": time(post.published_at) or "no",
        "taken down": time(post.unpublish_at) or "no",
        "deleted": time(post.deleted_at) or "no",
    }
