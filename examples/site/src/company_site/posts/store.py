"""Posts in the database: its schema, its questions, its transactions.

Every transaction here is a function of the database value that it is committed on. So who may do it,
whether the slug is free and whether the post is still as its editor saw it are decided in the commit
itself, whoever else writes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import chain, count
from typing import Any

from bucketlog import Database
from company_site.accounts.model import User
from company_site.accounts.store import find_user
from company_site.database import Transaction, attribute
from company_site.errors import GoneError, NotAllowedError, SiteError
from company_site.posts.markdown import summarise
from company_site.posts.model import RESERVED_SLUGS, Content, Post, Summary, Version, may_change, slugify

SCHEMA = [
    attribute("post/slug", "string", identity=True),
    attribute("post/revision", "long"),
    attribute("post/title", "string"),
    attribute("post/body", "string"),
    attribute("post/summary", "string"),
    attribute("post/author", "ref"),
    attribute("post/editor", "ref"),  # who made this revision
    attribute("post/tags", "string", many=True),
    attribute("post/featured", "boolean"),
    attribute("post/created", "instant"),
    attribute("post/updated", "instant"),
]

_LISTED = """[:post/slug :post/title :post/summary :post/tags :post/featured :post/created :post/updated
              {:post/author [:user/id :user/name]}]"""


class EditConflictError(SiteError):
    """Somebody else changed the post since its editor opened it; `current` is how it stands."""

    def __init__(self, current: Post) -> None:
        super().__init__(f"{current.slug} is at revision {current.revision}")
        self.current = current


def listing(database: Database) -> tuple[Summary, ...]:
    """All posts without their bodies, newest first."""
    found = database.q(f"[:find [(pull ?p {_LISTED}) ...] :where [?p :post/slug]]")
    posts = (
        Summary(
            slug=pulled[":post/slug"],
            title=pulled[":post/title"],
            summary=pulled[":post/summary"],
            author=_author(pulled),
            tags=_tags(pulled),
            created=pulled[":post/created"],
            updated=pulled[":post/updated"],
            featured=pulled[":post/featured"],
        )
        for pulled in found
    )
    return tuple(sorted(posts, key=lambda post: (post.created, post.slug), reverse=True))


def find_post(database: Database, slug: str) -> Post | None:
    entity = database.q("[:find ?p . :in $ ?slug :where [?p :post/slug ?slug]]", slug)
    return None if entity is None else _read(database, entity)


def _read(database: Database, entity: int) -> Post:
    pulled = database.pull("[* {:post/author [:user/id :user/name]}]", entity)
    return Post(
        id=entity,
        revision=pulled[":post/revision"],
        slug=pulled[":post/slug"],
        title=pulled[":post/title"],
        body=pulled[":post/body"],
        author=_author(pulled),
        tags=_tags(pulled),
        created=pulled[":post/created"],
        updated=pulled[":post/updated"],
        featured=pulled[":post/featured"],
    )


def versions(database: Database, post: Post) -> list[Version]:
    """Every version that the post has had, newest first, as the database's history has them."""
    found = database.history().q(
        """[:find ?revision ?tx ?at :in $ ?p
            :where [?p :post/revision ?revision ?tx true]
                   [?tx :db/txInstant ?at]]""",
        post.id,
    )
    lines = []
    for revision, transaction, at in found:
        then = database.as_of(transaction).pull("[:post/title {:post/editor [:user/name]}]", post.id)
        lines.append(Version(revision, then[":post/title"], then[":post/editor"][":user/name"], at))
    return sorted(lines, key=lambda version: version.revision, reverse=True)


def find_version(database: Database, post: Post, revision: int) -> Post | None:
    """The post as it was at one of its revisions."""
    transaction = database.history().q(
        "[:find ?tx . :in $ ?p ?revision :where [?p :post/revision ?revision ?tx true]]", post.id, revision
    )
    return None if transaction is None else _read(database.as_of(transaction), post.id)


def create_post(content: Content, author_id: str, now: datetime) -> Transaction:
    """A new post under the first free slug of its title; temporary id "post". Raises NotAllowedError."""

    def apply(database: Database) -> list[Any]:
        author = _acting(database, author_id)
        allowed = replace(content, featured=content.featured and author.is_admin)
        return [{":db/id": "post", **new_post(database, allowed, author, now)}]

    return apply


def new_post(database: Database, content: Content, author: User, now: datetime) -> dict[str, Any]:
    """The entity map of a new post."""
    slug = slugify(content.title)
    candidates = chain([slug], (f"{slug}-{number}" for number in count(2)))
    return {
        ":post/slug": next(slug for slug in candidates if _is_free(database, slug)),
        ":post/revision": 1,
        ":post/title": content.title,
        ":post/body": content.body,
        ":post/summary": summarise(content.body),
        ":post/author": [":user/id", author.id],
        ":post/editor": [":user/id", author.id],
        ":post/tags": list(content.tags),
        ":post/featured": content.featured,
        ":post/created": now,
        ":post/updated": now,
    }


def edit_post(slug: str, basis: int, content: Content, editor_id: str, now: datetime) -> Transaction:
    """Make the next revision of a post whose revision is still `basis`.

    The transaction raises NotAllowedError, GoneError, EditConflictError.
    """

    def apply(database: Database) -> list[Any]:
        editor = _acting(database, editor_id)
        post = _changeable(database, slug, basis, editor)
        return [
            {
                ":db/id": post.id,
                ":post/revision": post.revision + 1,
                ":post/title": content.title,
                ":post/body": content.body,
                ":post/summary": summarise(content.body),
                ":post/editor": [":user/id", editor.id],
                ":post/tags": list(content.tags),
                ":post/featured": content.featured if editor.is_admin else post.featured,
                ":post/updated": now,
            },
            *(
                [":db/retract", post.id, ":post/tags", tag]
                for tag in sorted(set(post.tags) - set(content.tags))
            ),
        ]

    return apply


def delete_post(slug: str, basis: int, editor_id: str) -> Transaction:
    """Retract a post whose revision is still `basis`; its history stays in the database.

    The transaction raises NotAllowedError, GoneError, EditConflictError.
    """

    def apply(database: Database) -> list[Any]:
        post = _changeable(database, slug, basis, _acting(database, editor_id))
        return [[":db/retractEntity", post.id]]

    return apply


def _acting(database: Database, user_id: str) -> User:
    user = find_user(database, user_id)
    if user is None or not user.is_member:
        raise NotAllowedError("only members write")
    return user


def _changeable(database: Database, slug: str, basis: int, editor: User) -> Post:
    post = find_post(database, slug)
    if post is None:
        raise GoneError(f"there is no post {slug!r}")
    if not may_change(editor, post.author):
        raise NotAllowedError("only its author and admins change a post")
    if post.revision != basis:
        raise EditConflictError(post)
    return post


def _is_free(database: Database, slug: str) -> bool:
    return slug not in RESERVED_SLUGS and find_post(database, slug) is None


def _author(pulled: dict[str, Any]) -> User:
    author = pulled[":post/author"]
    return User(author[":user/id"], author[":user/name"])


def _tags(pulled: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(pulled.get(":post/tags", ())))
