"""What everybody may read at one moment.

That depends on the database and on the clock: a scheduled post becomes public without anybody writing. So an
edition is known by two things, the last transaction that changed a post or a name, and the last instant at
which a post came or went by itself. Both are the same on every instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby

from bucketlog import Database
from company_site.posts.model import Heading, Page, slugify
from company_site.posts.store import is_public, last_change, read_headings

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Catalogue:
    """All posts, in whatever state, by their entities, as of a database's basis."""

    basis: int
    changed: int
    entries: Mapping[int, Heading]

    @classmethod
    def of(cls, database: Database) -> Catalogue:
        return cls(database.basis_t, last_change(database), read_headings(database) or {})

    def follow(self, database: Database) -> Catalogue:
        """The catalogue of a later value of the database; reads only what has changed."""
        changed = last_change(database, since=self.basis)
        if changed <= self.changed:
            return Catalogue(database.basis_t, self.changed, self.entries)
        fresh = read_headings(database, since=self.basis)
        if fresh is None:
            return Catalogue.of(database)
        return Catalogue(database.basis_t, changed, {**self.entries, **fresh})


@dataclass(frozen=True)
class Author:
    """Somebody who has written something public. `slug` is their name as part of an address."""

    name: str
    slug: str
    posts: Sequence[Heading]


@dataclass(frozen=True)
class Edition:
    """The public posts, newest first, and the same by what they are looked up by.

    It is good until the instant `until`, as long as nobody writes.
    """

    name: str
    until: datetime
    posts: Sequence[Heading]
    entities: Mapping[int, Heading]

    @classmethod
    def of(cls, catalogue: Catalogue, now: datetime) -> Edition:
        entries = catalogue.entries.values()
        turns = [
            instant
            for entry in entries
            if entry.deleted_at is None and entry.published_at is not None
            for instant in (entry.published_at, entry.unpublish_at)
            if instant is not None
        ]
        since = max((turn for turn in turns if turn <= now), default=datetime.min.replace(tzinfo=UTC))
        public = {entity: entry for entity, entry in catalogue.entries.items() if is_public(entry, now)}
        return cls(
            name=f"{catalogue.changed:x}-{since:%y%m%d%H%M%S%f}",
            until=min((turn for turn in turns if turn > now), default=_NEVER),
            posts=sorted(public.values(), key=lambda post: (post.date, post.slug), reverse=True),
            entities=public,
        )

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where in `posts` a slug is."""
        return {post.slug: place for place, post in enumerate(self.posts)}

    @cached_property
    def tags(self) -> Mapping[str, Sequence[Heading]]:
        """The posts of each tag; the tags in alphabetical order."""
        found: dict[str, list[Heading]] = {}
        for post in self.posts:
            for tag in post.tags:
                found.setdefault(tag, []).append(post)
        return dict(sorted(found.items()))

    @cached_property
    def authors(self) -> Mapping[str, Author]:
        """By slug. Of two with the same name the one who wrote first has it without a number."""
        found: dict[str, list[Heading]] = {}
        for post in reversed(self.posts):
            found.setdefault(post.author.id, []).append(post)
        authors: dict[str, Author] = {}
        for posts in found.values():
            name = posts[0].author.name
            slug = plain = slugify(name)
            number = 1
            while slug in authors:
                number += 1
                slug = f"{plain}-{number}"
            authors[slug] = Author(name, slug, posts[::-1])
        return authors

    @cached_property
    def slugs(self) -> Mapping[str, str]:
        """The slug of each author's id."""
        return {author.posts[0].author.id: author.slug for author in self.authors.values()}

    @cached_property
    def years(self) -> Mapping[int, Sequence[Heading]]:
        """The posts of each year (UTC), the newest first."""
        return {year: list(posts) for year, posts in groupby(self.posts, key=lambda post: post.date.year)}

    def on(self, page: Page) -> Sequence[Heading]:
        """The posts that stand on a page, the one that it features before all others."""
        found = [post for post in self.posts if page in post.pages]
        return sorted(found, key=lambda post: not post.featured)


class Editions:
    """The current edition, read anew when the database or the clock has moved on. Threads may share it."""

    def __init__(self) -> None:
        self._kept: tuple[Catalogue, Edition] | None = None

    def at(self, database: Database, now: datetime | None = None) -> Edition:
        """What is public now, or at an instant that never goes back, by this value of the database."""
        now = now or datetime.now(UTC)
        kept = self._kept
        if kept is None:
            catalogue = Catalogue.of(database)
        elif database.basis_t == kept[0].basis:
            if now < kept[1].until:
                return kept[1]
            catalogue = kept[0]
        elif database.basis_t < kept[0].basis:
            return Edition.of(Catalogue.of(database), now)
        else:
            catalogue = kept[0].follow(database)
            if catalogue.changed == kept[0].changed and now < kept[1].until:
                self._kept = (catalogue, kept[1])
                return kept[1]
        edition = Edition.of(catalogue, now)
        self._kept = (catalogue, edition)
        return edition


def months(posts: Sequence[Heading]) -> Iterator[tuple[datetime, list[Heading]]]:
    """The posts of one year by month: the month's first moment, and its posts."""
    for _, group in groupby(posts, key=lambda post: post.date.month):
        found = list(group)
        yield found[0].date.replace(day=1, hour=0, minute=0, second=0, microsecond=0), found
