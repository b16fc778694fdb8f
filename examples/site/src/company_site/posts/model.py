"""What a post is, and what may be submitted as one."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

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
_READING_SPEED = 220  # words a minute


@dataclass(frozen=True, slots=True)
class Summary:
    """A post as lists show it: everything but its body."""

    slug: str
    title: str
    summary: str
    author: User
    tags: tuple[str, ...]
    created: datetime
    updated: datetime
    featured: bool


@dataclass(frozen=True, slots=True)
class Post:
    """A whole post. `revision` counts its versions from 1; `id` is the entity's, and is never used again."""

    id: int
    revision: int
    slug: str
    title: str
    body: str
    author: User
    tags: tuple[str, ...]
    created: datetime
    updated: datetime
    featured: bool

    @property
    def minutes(self) -> int:
        """How long it takes to read."""
        return max(1, math.ceil(len(self.body.split()) / _READING_SPEED))


@dataclass(frozen=True, slots=True)
class Version:
    """One line of a post's history."""

    revision: int
    title: str
    editor: str
    at: datetime


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
    featured: bool = False

    @classmethod
    def of_form(cls, form: Form) -> Draft:
        return cls(form.text("title"), form.text("body"), form.text("tags"), form.text("featured") == "yes")

    @classmethod
    def of_post(cls, post: Post) -> Draft:
        return cls(post.title, post.body, ", ".join(post.tags), post.featured)

    def checked(self) -> Content:
        """Raises InvalidDraftError."""
        problems: dict[str, str] = {}
        title = " ".join(self.title.split())
        body = self.body.strip("\n")
        tags = tuple(sorted({" ".join(tag.split()).lower() for tag in self.tags.split(",") if tag.strip()}))
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
        if problems:
            raise InvalidDraftError(problems)
        return Content(title, body, tags, featured=self.featured)


@dataclass(frozen=True, slots=True)
class Content:
    """What an author may decide about a post, checked."""

    title: str
    body: str
    tags: tuple[str, ...] = field(default=())
    featured: bool = False


def slugify(title: str) -> str:
    """The title as part of an address: lower case letters and digits of any script, joined by hyphens.

    >>> slugify("Déjà vu, again?")
    'deja-vu-again'
    """
    plain = "".join(char for char in unicodedata.normalize("NFKD", title) if not unicodedata.combining(char))
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain).lower())
    slug = "-".join(words)[:_SLUG_LIMIT].strip("-")
    return slug or "post"
