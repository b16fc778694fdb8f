"""Search in the public posts: by title, text and tags, best first, with the place where it was found.

The words are looked up in the database's full text index, each by itself in all of what a post has, so that
one may stand in the title and the other in the text. All have to be there. A word finds those that begin with
it, too; `"a phrase"` stands as it is, `-word` must not be there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bucketlog import Database
from company_site.posts.edition import Edition
from company_site.posts.markdown import plain_text
from company_site.posts.model import Heading
from company_site.posts.store import find_post

QUERY_LIMIT = 100  # characters
_TERMS_LIMIT = 8
_BEGINNING = 4  # characters of a word that also finds longer ones
_WEIGHTS = {":post/title": 6.0, ":post/tags": 4.0, ":post/body": 1.0}
_BEFORE, _AFTER = 60, 180  # characters of the excerpt around the first place
_TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Term:
    """What is looked for: words that follow one another. Of the last one the beginning may be enough."""

    words: tuple[str, ...]
    is_phrase: bool
    is_excluded: bool

    @property
    def expression(self) -> str:
        """As the database's `fulltext` takes it: as it stands, or as a beginning, which counts less."""
        text = " ".join(self.words)
        if self.is_phrase or len(self.words) > 1 or len(text) < _BEGINNING:
            return f'"{text}"'
        return f"{text} OR {text}*"


@dataclass(frozen=True, slots=True)
class Hit:
    """A post that was found; title and excerpt have the places marked."""

    post: Heading
    title: Markup
    excerpt: Markup


def parse(query: str) -> list[Term]:
    """The terms of a query; none when there is nothing to look for."""
    terms = []
    for minus, phrase, word in _TERM.findall(query[:QUERY_LIMIT]):
        words = tuple(_WORD.findall(_fold(phrase or word)))
        if words:
            terms.append(Term(words, bool(phrase), bool(minus)))
    return terms[:_TERMS_LIMIT]


def search(database: Database, edition: Edition, terms: Sequence[Term]) -> list[Heading]:
    """The public posts that have what is wanted and nothing that is excluded, best first; of equals the newer
    first.
    """
    wanted = [term for term in terms if not term.is_excluded]
    if not wanted:
        return []
    scores = _scores(database, wanted[0])
    for term in wanted[1:]:
        more = _scores(database, term)
        scores = {entity: score + more[entity] for entity, score in scores.items() if entity in more}
    for term in terms:
        if term.is_excluded:
            without = _scores(database, term)
            scores = {entity: score for entity, score in scores.items() if entity not in without}
    found = [
        (score, edition.entities[entity]) for entity, score in scores.items() if entity in edition.entities
    ]
    found.sort(key=lambda one: (one[0], one[1].date), reverse=True)
    return [post for _, post in found]


def excerpts(database: Database, posts: Sequence[Heading], terms: Sequence[Term]) -> list[Hit]:
    """The places where the terms are in these posts, of each the first one."""
    pattern = _pattern(terms)
    return [_hit(database, post, pattern) for post in posts]


def _scores(database: Database, term: Term) -> dict[int, float]:
    scores: dict[int, float] = {}
    for name, weight in _WEIGHTS.items():
        rows = database.q(
            "[:find ?p ?score :in $ ?name ?words :where [(fulltext $ ?name ?words) [[?p _ _ ?score]]]]",
            name,
            term.expression,
        )
        for entity, score in rows:
            # A score tells how rare the words are; that they are there counts for itself.
            scores[entity] = scores.get(entity, 0.0) + weight * (1 + score)
    return scores


def _hit(database: Database, post: Heading, pattern: re.Pattern[str]) -> Hit:
    whole = find_post(database, post.slug)
    text = plain_text(whole.body) if whole else ""
    place = next(iter(_places(text, pattern)), None)
    start = 0 if place is None else max(0, place[0] - _BEFORE)
    if start:
        start = text.find(" ", start) + 1 or start
    end = start + _BEFORE + _AFTER
    if end < len(text):
        end = max(text.rfind(" ", start, end), place[1] if place else start + 1)
    excerpt = _mark(text[start:end], pattern)
    if start:
        excerpt = Markup("…") + excerpt
    if end < len(text):
        excerpt += "…"
    return Hit(post, _mark(post.title, pattern), excerpt)


def highlight(text: str, terms: Sequence[Term]) -> Markup:
    """The text, escaped, with what the terms find in `mark` elements."""
    return _mark(text, _pattern(terms))


def _mark(text: str, pattern: re.Pattern[str]) -> Markup:
    """The text, escaped, with what the pattern finds in `mark` elements."""
    marked = Markup()
    end = 0
    for start, stop in _places(text, pattern):
        marked += text[end:start]
        marked += Markup("<mark>{}</mark>").format(text[start:stop])
        end = stop
    return marked + text[end:]


def _places(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    folded, origins = _fold_with_origins(text)
    for match in pattern.finditer(folded):
        yield origins[match.start()], origins[match.end() - 1] + 1


def _pattern(terms: Sequence[Term]) -> re.Pattern[str]:
    """Finds, in folded text, what the terms want."""
    alternatives = []
    wanted = [term for term in terms if not term.is_excluded]
    for term in sorted(wanted, key=lambda term: -len(" ".join(term.words))):
        joined = r"[\W_]+".join(map(re.escape, term.words))
        is_whole = term.is_phrase or len(term.words) > 1 or len(term.words[0]) < _BEGINNING
        alternatives.append(joined + (r"(?![^\W_])" if is_whole else r"[^\W_]*"))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(alternatives)})" if alternatives else r"(?!)")


def _fold(text: str) -> str:
    return _fold_with_origins(text)[0]


def _fold_with_origins(text: str) -> tuple[str, list[int]]:
    """Without case and accents, as the index has it; and which character of the text each one comes from."""
    folded: list[str] = []
    origins: list[int] = []
    for place, char in enumerate(text):
        for part in unicodedata.normalize("NFKD", char).lower():
            if not unicodedata.combining(part):
                folded.append(part)
                origins.append(place)
    return "".join(folded), origins
