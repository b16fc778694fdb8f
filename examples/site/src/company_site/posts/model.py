"""What a post is, and what may be submitted as one."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from company_site.accounts.model import User
from company_site.errors import SiteError
from company_site.forms import Form

TITLE_LIMIT = 120  # characters
BODY_LIMIT = 60_000  # characters
TAG_LIMIT = 30  # characters
TAGS_LIMIT = 6
FORM_LIMIT = 512 * 1024  # bytes: the largest body, each character percent-encoded
RESERVED_SLUGS = frozenset({"new"})
_SLUG_LIMIT = 80
_YEARS = (1970, 2199)
_READING_SPEED = 220  # words a minute


class Page(StrEnum):
    """A page of the site that an entry may stand on besides its own."""

    HOME = "home"
    ABOUT = "about"
    CAREERS = "careers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A post without its texts.

    Without `published_at` it is a draft; with one in the future it is scheduled. From `unpublish_at` on it
    is off the site again. `store.is_public` is the rule.
    """

    slug: str
    title: str
    author: User
    tags: tuple[str, ...]
    pages: tuple[Page, ...] = ()
    featured: bool
    created: datetime
    updated: datetime
    published_at: datetime | None = None
    unpublish_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def date(self) -> datetime:
        """When it was, or will be, published; of a draft, when it was begun."""
        return self.published_at or self.created


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Heading):
    """A post as lists show it: everything but its body."""

    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Post(Summary):
    """A whole post. `revision` counts its versions from 1; `id` is the entity's, and is never used again.

    `planned_at` is when the writer of a draft means to publish it; by itself nothing happens then.
    """

    id: int
    revision: int
    body: str
    planned_at: datetime | None = None

    @property
    def minutes(self) -> int:
        """How long it takes to read."""
        return max(1, math.ceil(len(self.body.split()) / _READING_SPEED))


@dataclass(frozen=True, slots=True)
class Version:
    """One line of a post's history; `changed` names what differs from the version before."""

    revision: int
    title: str
    editor: str
    at: datetime
    changed: tuple[str, ...] = ()


def may_change(user: User | None, author: User) -> bool:
    """Members change what they wrote, admins everything."""
    return user is not None and (user.is_admin or (user.is_member and user.id == author.id))


class InvalidDraftError(SiteError):
    """What was submitted cannot be a post. `problems` says why, by the name of the form's field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Draft:
    """The fields of the form as they were typed; `checked` makes of them what may be stored."""

    title: str = ""
    body: str = ""
    tags: str = ""
    pages: tuple[str, ...] = ()
    featured: bool = False
    slug: str = ""
    publish_at: str = ""
    unpublish_at: str = ""

    @classmethod
    def of_form(cls, form: Form) -> Draft:
        return cls(
            title=form.text("title"),
            body=form.text("body"),
            tags=form.text("tags"),
            pages=tuple(page for page in Page if form.text(f"page-{page}") == "yes"),
            featured=form.text("featured") == "yes",
            slug=form.text("slug"),
            publish_at=form.text("publish-at"),
            unpublish_at=form.text("unpublish-at"),
        )

    @classmethod
    def of_post(cls, post: Post) -> Draft:
        return cls(
            title=post.title,
            body=post.body,
            tags=", ".join(post.tags),
            pages=post.pages,
            featured=post.featured,
            slug=post.slug,
            publish_at=_typed(post.published_at or post.planned_at),
            unpublish_at=_typed(post.unpublish_at),
        )

    def checked(self) -> Content:
        """Raises InvalidDraftError."""
        problems: dict[str, str] = {}
        title = " ".join(self.title.split())
        body = self.body.strip("\n")
        tags = tuple(sorted({" ".join(tag.split()).lower() for tag in self.tags.split(",") if tag.strip()}))
        slug = self.slug.strip()
        if not title:
            problems["title"] = "A post needs a title."
        elif len(title) > TITLE_LIMIT:
            problems["title"] = f"The title has {len(title)} characters, {TITLE_LIMIT} are allowed."
        if not body.strip():
            problems["body"] = "A post needs a text."
        elif len(body) > BODY_LIMIT:
            problems["body"] = f"The text has {len(body):,} characters, {BODY_LIMIT:,} are allowed."
        if len(tags) > TAGS_LIMIT:
            problems["tags"] = f"These are {len(tags)} tags, {TAGS_LIMIT} are allowed."
        elif any(len(tag) > TAG_LIMIT for tag in tags):
            problems["tags"] = f"A tag has at most {TAG_LIMIT} characters."
        if slug and (slug in RESERVED_SLUGS or slug != slugify(slug)):
            problems["slug"] = "An address has lower case letters and digits, with hyphens between."
        times: dict[str, datetime | None] = {}
        for name, text in (("publish-at", self.publish_at), ("unpublish-at", self.unpublish_at)):
            try:
                times[name] = _instant(text)
            except ValueError:
                problems[name] = "Write the time as 2026-11-30T09:00, in UTC."
        publish_at, unpublish_at = times.get("publish-at"), times.get("unpublish-at")
        if publish_at and unpublish_at and unpublish_at <= publish_at:
            problems["unpublish-at"] = "It would be taken down before it is published."
        if problems:
            raise InvalidDraftError(problems)
        pages = tuple(page for page in Page if page in self.pages)
        if self.featured and not pages:
            pages = (Page.HOME,)
        return Content(
            title,
            body,
            tags,
            pages=pages,
            featured=self.featured,
            slug=slug,
            publish_at=publish_at,
            unpublish_at=unpublish_at,
        )


@dataclass(frozen=True, slots=True)
class Content:
    """What an author may decide about a post, checked.

    Without a `slug` it stays as it is, or is made from the title; without `publish_at` the same holds for
    that, or it is now.
    """

    title: str
    body: str
    tags: tuple[str, ...] = field(default=())
    pages: tuple[Page, ...] = ()
    featured: bool = False
    slug: str = ""
    publish_at: datetime | None = None
    unpublish_at: datetime | None = None


def _typed(instant: datetime | None) -> str:
    """As a `datetime-local` input holds it, to the second, in UTC."""
    return "" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def _instant(text: str) -> datetime | None:
    """What such an input holds. Raises ValueError."""
    if not text.strip():
        return None
    instant = datetime.fromisoformat(text.strip())
    if not _YEARS[0] <= instant.year <= _YEARS[1]:
        raise ValueError(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def slugify(title: str) -> str:
    """The title as part of an address: lower case letters and digits of any script, joined by hyphens.

    >>> slugify("Déjà vu, again?")
    'deja-vu-again'
    """
    plain = "".join(char for char in unicodedata.normalize("NFKD", title) if not unicodedata.combining(char))
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain).lower())
    slug = "-".join(words)[:_SLUG_LIMIT].strip("-")
    return slug or "post"
