"""Posts in the database: its schema, its questions, its transactions.

Every transaction here is a function of the database value that it is committed on. So who may do it,
whether the slug is free, which post is featured and whether the post is still as its editor saw it are
decided in the commit itself, whoever else writes. Each makes one revision: whatever a post was, with every
attribute, is read from the database's past.

Version 0.1 knew no drafts: its posts have neither `published-at` nor `draft`, and were public from the moment
they were created. What it features stands on the home page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import chain, count
from typing import Any

from bucketlog import Database
from company_site.accounts.model import User
from company_site.accounts.store import find_user
from company_site.database import Transaction, attribute
from company_site.errors import DeletedError, GoneError, NotAllowedError, SiteError
from company_site.posts.markdown import summarise
from company_site.posts.model import (
    RESERVED_SLUGS,
    Content,
    Heading,
    InvalidDraftError,
    Page,
    Post,
    Summary,
    Version,
    may_change,
    slugify,
)

SCHEMA = [
    attribute("post/slug", "string", identity=True),
    attribute("post/revision", "long"),
    attribute("post/title", "string", searched=True),
    attribute("post/body", "string", searched=True),
    attribute("post/summary", "string"),
    attribute("post/author", "ref"),
    attribute("post/editor", "ref"),  # who made this revision
    attribute("post/tags", "string", many=True, searched=True),
    attribute("post/pages", "string", many=True),
    attribute("post/featured", "boolean"),
    attribute("post/created", "instant"),
    attribute("post/updated", "instant"),
    attribute("post/draft", "boolean"),  # true of what is not published, and absent otherwise
    attribute("post/planned-at", "instant"),  # of a draft: when its writer means to publish it
    attribute("post/published-at", "instant"),
    attribute("post/unpublish-at", "instant"),
    attribute("post/deleted-at", "instant"),
]

# A heading's attributes of one value, those first that every post has.
_ATTRIBUTES = tuple(
    f":post/{name}"
    for name in (
        *("slug", "title", "author", "featured", "created", "updated"),
        *("draft", "published-at", "unpublish-at", "deleted-at"),
    )
)
_ALWAYS = frozenset(_ATTRIBUTES[:6])
_HEADING = f"[{' '.join(_ATTRIBUTES)} :post/tags :post/pages {{:post/author [:user/id :user/name]}}]"
_CHANGED = "[:find [?e ...] :in $ [?a ...] :where [?e ?a]]"
# What every revision changes, or what follows from another attribute.
_SILENT = frozenset({":post/revision", ":post/updated", ":post/editor", ":post/summary", ":post/draft"})


_REVISION, _NAME = ":post/revision", ":user/name"  # one of these is in every change that readers may see


class EditConflictError(SiteError):
    """Somebody else changed the post since its editor opened it; `current` is how it stands."""

    def __init__(self, current: Post) -> None:
        super().__init__(f"{current.slug} is at revision {current.revision}")
        self.current = current


def is_public(post: Heading, now: datetime) -> bool:
    """Whether everybody may read it now."""
    return (
        post.deleted_at is None
        and post.published_at is not None
        and post.published_at <= now
        and (post.unpublish_at is None or now < post.unpublish_at)
    )


def entries(database: Database) -> tuple[Heading, ...]:
    """All posts in whatever state, newest first. Not for readers: see `edition`."""
    found = (read_headings(database) or {}).values()
    return tuple(sorted(found, key=lambda post: (post.date, post.slug), reverse=True))


def read_headings(database: Database, since: int = 0) -> dict[int, Heading] | None:
    """By entity, all posts in whatever state; or those that changed after the transaction number `since`.

    None when more changed than posts: a name, or a post that version 0.1 deleted. A post that lacks what
    every post has is left out, so that it breaks no page but its own.
    """
    if since:
        changed = database.history().since(since).q(_CHANGED, [_REVISION, _NAME])
        posts = {entity: database.pull(_HEADING, entity) for entity in changed}
        if not all(pulled.keys() >= _ALWAYS for pulled in posts.values()):
            return None
    else:
        posts = _all_headings(database)
    return {entity: Heading(**_heading(pulled)) for entity, pulled in posts.items()}


def _all_headings(database: Database) -> dict[int, dict[str, Any]]:
    """As pull would have them, by a query for each attribute.

    The texts lie between the headings when they are read by post, and apart from them by attribute. So a
    start on a bucket reads a tenth of the bytes.
    """
    posts: dict[int, dict[str, Any]] = {}
    for name in _ATTRIBUTES:
        for entity, value in database.q(f"[:find ?p ?v :where [?p {name} ?v]]"):
            posts.setdefault(entity, {})[name] = value
    for name in (":post/tags", ":post/pages"):
        for entity, value in database.q(f"[:find ?p ?v :where [?p {name} ?v]]"):
            posts.setdefault(entity, {}).setdefault(name, []).append(value)
    people = {
        user: {":user/id": name, ":user/name": shown}
        for user, name, shown in database.q(
            "[:find ?u ?id ?name :where [?u :user/id ?id] [?u :user/name ?name]]"
        )
    }
    whole = {entity: pulled for entity, pulled in posts.items() if pulled.keys() >= _ALWAYS}
    for pulled in whole.values():
        pulled[":post/author"] = people[pulled[":post/author"]]
    return whole


def summarised(database: Database, posts: Sequence[Heading]) -> list[Summary]:
    """The posts with their summaries, in the same order; for the few that a page shows."""
    found: dict[str, str] = dict(
        database.q(
            "[:find ?slug ?text :in $ [?slug ...] :where [?p :post/slug ?slug] [?p :post/summary ?text]]",
            [post.slug for post in posts],
        )
    )
    names = [field.name for field in fields(Heading)]
    return [
        Summary(**{name: getattr(post, name) for name in names}, summary=found.get(post.slug, ""))
        for post in posts
    ]


def last_change(database: Database, since: int = 0) -> int:
    """The last transaction that changed a post or a name, of those after the transaction number `since`; 0
    when there is none.
    """
    changed: int | None = (
        database.history()
        .since(since)
        .q("[:find (max ?tx) . :in $ [?a ...] :where [_ ?a _ ?tx]]", [_REVISION, _NAME])
    )
    return changed or 0


def find_post(database: Database, slug: str) -> Post | None:
    """The post that has this slug now, in whatever state."""
    entity = database.q("[:find ?p . :in $ ?slug :where [?p :post/slug ?slug]]", slug)
    return None if entity is None else _read(database, entity)


def count_written(database: Database, user_id: str) -> tuple[int, int]:
    """How many posts somebody has written that are not deleted, and how many revisions of anybody's."""
    posts = database.q(
        """[:find (count ?p) . :in $ ?id
            :where [?u :user/id ?id] [?p :post/author ?u] [(missing? $ ?p :post/deleted-at)]]""",
        user_id,
    )
    history = database.history()
    # An editor who makes the next revision, too, is not written again.
    turns: dict[int, list[tuple[int, str]]] = {}
    for post, tx, editor in history.q(
        "[:find ?p ?tx ?id :where [?p :post/editor ?u ?tx true] [?u :user/id ?id]]"
    ):
        turns.setdefault(post, []).append((tx, editor))
    revisions = sum(
        max((turn for turn in turns.get(post, ()) if turn[0] <= tx), default=(0, ""))[1] == user_id
        for post, tx in history.q("[:find ?p ?tx :where [?p :post/revision _ ?tx true]]")
    )
    return posts or 0, revisions


def find_moved(database: Database, slug: str) -> Post | None:
    """The post that had this slug once, and has another one now.

    Raises DeletedError when there was one that is no more, as version 0.1 deleted.
    """
    holders = _holders(database, slug)
    for entity in holders:
        if database.pull("[:post/slug]", entity):
            return _read(database, entity)
    if holders:
        raise DeletedError(f"{slug!r} was deleted")
    return None


def earlier_names(database: Database) -> list[tuple[str, str]]:
    """User id and name, of every name that somebody had once, the latest first."""
    found = database.history().q(
        "[:find ?id ?name ?tx :where [?u :user/name ?name ?tx false] [?u :user/id ?id _ true]]"
    )
    return [(user, name) for user, name, _ in sorted(found, key=lambda row: row[2], reverse=True)]


def read_post(database: Database, entity: int) -> Post | None:
    """A post by its id, in whatever state."""
    return _read(database, entity) if database.pull("[:post/slug]", entity) else None


def _read(database: Database, entity: int) -> Post:
    pulled = database.pull("[* {:post/author [:user/id :user/name]}]", entity)
    return Post(
        **_heading(pulled),
        summary=pulled[":post/summary"],
        id=entity,
        revision=pulled[":post/revision"],
        body=pulled[":post/body"],
        planned_at=pulled.get(":post/planned-at"),
    )


def _heading(pulled: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Heading."""
    author = pulled[":post/author"]
    featured = pulled[":post/featured"]
    kept = pulled.get(":post/pages", ())
    pages = tuple(page for page in Page if page in kept)
    is_draft = pulled.get(":post/draft", False)
    return {
        "slug": pulled[":post/slug"],
        "title": pulled[":post/title"],
        "author": User(author[":user/id"], author[":user/name"]),
        "tags": tuple(sorted(pulled.get(":post/tags", ()))),
        "pages": pages or ((Page.HOME,) if featured else ()),
        "featured": featured,
        "created": pulled[":post/created"],
        "updated": pulled[":post/updated"],
        "published_at": None if is_draft else pulled.get(":post/published-at", pulled[":post/created"]),
        "unpublish_at": pulled.get(":post/unpublish-at"),
        "deleted_at": pulled.get(":post/deleted-at"),
    }


def versions(database: Database, post: Post) -> list[Version]:
    """Every version that the post has had, newest first, as the database's history has them."""
    history = database.history()
    changed: dict[int, set[str]] = {}
    for transaction, ident in history.q(
        "[:find ?tx ?ident :in $ ?p :where [?p ?a _ ?tx _] [?a :db/ident ?ident]]", post.id
    ):
        changed.setdefault(transaction, set()).add(ident)

    def values(ident: str) -> dict[int, Any]:
        query = "[:find ?tx ?value :in $ ?p ?a :where [?p ?a ?value ?tx true]]"
        return dict(history.q(query, post.id, ident))

    titles, editors = values(":post/title"), values(":post/editor")
    names = dict(database.q("[:find ?u ?name :where [?u :user/name ?name]]"))
    rows = history.q(
        """[:find ?tx ?revision ?at :in $ ?p
            :where [?p :post/revision ?revision ?tx true] [?tx :db/txInstant ?at]]""",
        post.id,
    )
    lines: list[Version] = []
    title = editor = None
    for transaction, revision, at in sorted(rows):
        title, editor = titles.get(transaction, title), editors.get(transaction, editor)
        what = (ident.removeprefix(":post/") for ident in sorted(changed[transaction] - _SILENT))
        lines.append(Version(revision, str(title), names.get(editor, "?"), at, tuple(what) if lines else ()))
    return lines[::-1]


def find_version(database: Database, post: Post, revision: int) -> Post | None:
    """The post as it was at one of its revisions."""
    transaction = database.history().q(
        "[:find ?tx . :in $ ?p ?revision :where [?p :post/revision ?revision ?tx true]]", post.id, revision
    )
    return None if transaction is None else _read(database.as_of(transaction), post.id)


def create_post(content: Content, author_id: str, now: datetime, *, publish: bool = True) -> Transaction:
    """A new post, under its slug or the first free one of its title; temporary id "post".

    The transaction raises NotAllowedError, and InvalidDraftError when the slug is taken or another post that
    the author may not change is featured.
    """

    def apply(database: Database) -> list[Any]:
        author = _acting(database, author_id)
        made = new_post(database, content, author, now, publish=publish)
        published_at = made.get(":post/published-at")
        return [
            {":db/id": "post", **made},
            *_feature(database, content, author, now, post=None, published_at=published_at),
        ]

    return apply


def new_post(
    database: Database, content: Content, author: User, now: datetime, *, publish: bool = True
) -> dict[str, Any]:
    """The entity map of a new post. Raises InvalidDraftError when the slug is taken."""
    made: dict[str, Any] = {
        ":post/slug": _slug(database, content, None),
        ":post/revision": 1,
        ":post/title": content.title,
        ":post/body": content.body,
        ":post/summary": summarise(content.body) or content.title,
        ":post/author": [":user/id", author.id],
        ":post/editor": [":user/id", author.id],
        ":post/tags": list(content.tags),
        ":post/pages": list(content.pages),
        ":post/featured": content.featured,
        ":post/created": now,
        ":post/updated": now,
    }
    if publish:
        made[":post/published-at"] = content.publish_at or now
    else:
        made[":post/draft"] = True
        if content.publish_at is not None:
            made[":post/planned-at"] = content.publish_at
    if content.unpublish_at is not None:
        made[":post/unpublish-at"] = _later(content.unpublish_at, now)
    return made


def edit_post(
    slug: str, basis: int, content: Content, editor_id: str, now: datetime, *, publish: bool = True
) -> Transaction:
    """Make the next revision of a post whose revision is still `basis`; publish it, or leave a draft one.

    A published post stays so. The transaction raises NotAllowedError, GoneError, EditConflictError, and
    InvalidDraftError as `create_post` does.
    """

    def apply(database: Database) -> list[Any]:
        editor = _acting(database, editor_id)
        post = _changeable(database, slug, basis, editor)
        published_at = post.published_at
        if published_at is not None or publish:
            published_at = content.publish_at or published_at or now
        unpublish_at = content.unpublish_at
        if unpublish_at is not None and unpublish_at != post.unpublish_at:
            unpublish_at = _later(unpublish_at, published_at or now)
        return [
            *_revise(
                post,
                editor,
                now,
                {
                    "slug": _slug(database, content, post),
                    "title": content.title,
                    "body": content.body,
                    "summary": summarise(content.body) or content.title,
                    "featured": content.featured,
                    "draft": None if published_at else True,
                    "planned-at": None if published_at else content.publish_at,
                    "published-at": published_at,
                    "unpublish-at": unpublish_at,
                },
            ),
            *_replace(post, "tags", post.tags, content.tags),
            *_replace(post, "pages", post.pages, content.pages),
            *_feature(database, content, editor, now, post=post, published_at=published_at),
        ]

    return apply


def unpublish_post(slug: str, basis: int, editor_id: str, now: datetime) -> Transaction:
    """Make a draft of a published post whose revision is still `basis`. Raises as `edit_post` does."""

    def apply(database: Database) -> list[Any]:
        editor = _acting(database, editor_id)
        post = _changeable(database, slug, basis, editor)
        return _revise(post, editor, now, {"draft": True, "published-at": None, "unpublish-at": None})

    return apply


def restore_post(slug: str, basis: int, revision: int, editor_id: str, now: datetime) -> Transaction:
    """Make the content of an earlier revision (title, text, tags, pages, whether it is featured) that of a
    new one.

    Its address and when it is public stay as they are. The transaction raises as `edit_post` does.
    """

    def apply(database: Database) -> list[Any]:
        post = _changeable(database, slug, basis, _acting(database, editor_id))
        then = find_version(database, post, revision)
        if then is None:
            raise GoneError(f"{slug!r} has no revision {revision}")
        content = Content(
            then.title,
            then.body,
            then.tags,
            pages=then.pages,
            featured=then.featured,
            publish_at=post.planned_at,
            unpublish_at=post.unpublish_at,
        )
        return edit_post(slug, basis, content, editor_id, now, publish=False)(database)

    return apply


def delete_post(slug: str, basis: int, editor_id: str, now: datetime) -> Transaction:
    """Mark a post whose revision is still `basis` as deleted. Raises as `edit_post` does."""

    def apply(database: Database) -> list[Any]:
        editor = _acting(database, editor_id)
        return _revise(_changeable(database, slug, basis, editor), editor, now, {"deleted-at": now})

    return apply


def undelete_post(slug: str, basis: int, editor_id: str, now: datetime) -> Transaction:
    """Take the mark away: the post is what it was. Raises as `edit_post` does."""

    def apply(database: Database) -> list[Any]:
        editor = _acting(database, editor_id)
        post = _own(database, slug, basis, editor)
        if post.deleted_at is None:
            return []
        content = Content(post.title, post.body, pages=post.pages, featured=post.featured)
        return [
            *_revise(post, editor, now, {"deleted-at": None}),
            *_feature(database, content, editor, now, post=post, published_at=post.published_at),
        ]

    return apply


def _revise(post: Post, editor: User, now: datetime, values: dict[str, Any]) -> list[Any]:
    """The next revision with these values; None takes an attribute away."""
    revised: dict[str, Any] = {
        ":db/id": post.id,
        ":post/revision": post.revision + 1,
        ":post/editor": [":user/id", editor.id],
        ":post/updated": now,
    }
    revised |= {f":post/{name}": value for name, value in values.items() if value is not None}
    return [
        revised,
        *([":db/retract", post.id, f":post/{name}"] for name, value in values.items() if value is None),
    ]


def _replace(post: Post, name: str, old: Iterable[str], new: Iterable[str]) -> list[Any]:
    before, after = set(old), set(new)
    return [
        *([":db/retract", post.id, f":post/{name}", value] for value in sorted(before - after)),
        *([":db/add", post.id, f":post/{name}", value] for value in sorted(after)),
    ]


def _feature(
    database: Database,
    content: Content,
    editor: User,
    now: datetime,
    *,
    post: Post | None,
    published_at: datetime | None,
) -> list[Any]:
    """At most one featured post a page: the others give way, if the editor may change them.

    A draft's wish counts once it is published. What is only scheduled cannot be featured: its page would
    show nothing until then. Raises InvalidDraftError.
    """
    if not content.featured or published_at is None:
        return []
    if published_at > now:
        problem = "Only what is public can be featured: come back when it is."
        raise InvalidDraftError({"featured": problem})
    changes: list[Any] = []
    query = "[:find [?p ...] :where [?p :post/featured true]]"
    for entity in sorted(database.q(query)):
        if post is not None and entity == post.id:
            continue
        other = _read(database, entity)
        shared = [page for page in other.pages if page in content.pages]
        if not shared or not is_public(other, now):
            continue
        if not may_change(editor, other.author):
            problem = f"The {shared[0]} page features “{other.title}”, which is not yours to change."
            raise InvalidDraftError({"featured": problem})
        changes += _revise(other, editor, now, {"featured": False})
    return changes


def _slug(database: Database, content: Content, post: Post | None) -> str:
    """The address that the content asks for. Raises InvalidDraftError when it is another post's."""
    if content.slug:
        if (post is None or content.slug != post.slug) and not _is_free(database, content.slug, post):
            raise InvalidDraftError({"slug": f"The address {content.slug} is taken."})
        return content.slug
    if post is not None:
        return post.slug
    slug = slugify(content.title)
    candidates = chain([slug], (f"{slug}-{number}" for number in count(2)))
    return next(slug for slug in candidates if _is_free(database, slug, None))


def _is_free(database: Database, slug: str, post: Post | None) -> bool:
    """Whether no other post has it, nor had it and is still found by it."""
    return slug not in RESERVED_SLUGS and not any(
        database.pull("[:post/slug]", entity)
        for entity in _holders(database, slug)
        if post is None or entity != post.id
    )


def _holders(database: Database, slug: str) -> list[int]:
    """The entities that have or had a slug, the latest first."""
    found = database.history().q(
        "[:find ?p (max ?tx) :in $ ?slug :where [?p :post/slug ?slug ?tx true]]", slug
    )
    return [entity for entity, _ in sorted(found, key=lambda row: row[1], reverse=True)]


def _later(unpublish_at: datetime, than: datetime) -> datetime:
    if unpublish_at <= than:
        raise InvalidDraftError({"unpublish-at": "It would be taken down before anybody could read it."})
    return unpublish_at


def _acting(database: Database, user_id: str) -> User:
    user = find_user(database, user_id)
    if user is None or not user.is_member:
        raise NotAllowedError("only members write")
    return user


def _own(database: Database, slug: str, basis: int, editor: User) -> Post:
    post = find_post(database, slug)
    if post is None:
        raise GoneError(f"there is no post {slug!r}")
    if not may_change(editor, post.author):
        raise NotAllowedError("only its author and admins change a post")
    if post.revision != basis:
        raise EditConflictError(post)
    return post


def _changeable(database: Database, slug: str, basis: int, editor: User) -> Post:
    post = _own(database, slug, basis, editor)
    if post.deleted_at is not None:
        raise DeletedError(f"{slug!r} was deleted")
    return post
