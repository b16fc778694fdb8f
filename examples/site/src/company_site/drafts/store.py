"""Working copies and preview links in the database: its schema, its questions, its transactions.

A preview link holds a random token and the database the token's SHA-256, as with sessions.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

from bucketlog import Database
from company_site.accounts.store import find_user
from company_site.database import Transaction, attribute
from company_site.drafts.model import COPIES_LIMIT, LINKS_LIMIT, WorkingCopy, dump_draft, load_draft
from company_site.errors import DeletedError, GoneError, NotAllowedError
from company_site.posts.model import Draft, InvalidDraftError, Post
from company_site.posts.store import read_post

SCHEMA = [
    attribute("draft/key", "string", identity=True),
    attribute("draft/by", "ref"),
    attribute("draft/post", "ref"),
    attribute("draft/basis", "long"),
    attribute("draft/fields", "string"),
    attribute("draft/saved", "instant"),
    attribute("preview/digest", "string", identity=True),
    attribute("preview/of", "ref"),  # a post, or a working copy
    attribute("preview/by", "ref"),
    attribute("preview/until", "instant"),
]

_PULLED = """[:db/id :draft/key :draft/basis :draft/fields :draft/saved :draft/post]"""


def new_key() -> str:
    """A name for a new working copy."""
    return secrets.token_hex(8)


def new_token() -> str:
    return secrets.token_urlsafe(24)


def find_copy(database: Database, key: str, user_id: str) -> WorkingCopy | None:
    """A working copy of this writer's, by its key."""
    return _copy(
        database.q(
            f"""[:find (pull ?d {_PULLED}) . :in $ ?key ?id
                 :where [?d :draft/key ?key] [?d :draft/by ?u] [?u :user/id ?id]]""",
            key,
            user_id,
        )
    )


def copy_of(database: Database, post: Post, user_id: str) -> WorkingCopy | None:
    """This writer's working copy of a post."""
    return _copy(
        database.q(
            f"""[:find (pull ?d {_PULLED}) . :in $ ?p ?id
                 :where [?d :draft/post ?p] [?d :draft/by ?u] [?u :user/id ?id]]""",
            post.id,
            user_id,
        )
    )


def copies(database: Database, user_id: str) -> list[WorkingCopy]:
    """All of this writer's, the latest first."""
    found = database.q(
        f"""[:find [(pull ?d {_PULLED}) ...] :in $ ?id :where [?u :user/id ?id] [?d :draft/by ?u]]""", user_id
    )
    made = (_made(pulled) for pulled in found)
    return sorted(made, key=lambda copy: copy.saved, reverse=True)


def keep_copy(
    key: str, draft: Draft, user_id: str, now: datetime, *, post: Post | None = None, basis: int = 0
) -> Transaction:
    """Keep the form as it stands: in the writer's working copy of the post or of this key, or in a new one.

    The transaction raises NotAllowedError, and InvalidDraftError when there are too many or it is too long.
    """

    def apply(database: Database) -> list[Any]:
        _member(database, user_id)
        old = copy_of(database, post, user_id) if post else find_copy(database, key, user_id)
        kept: dict[str, Any] = {
            ":draft/fields": dump_draft(draft),
            ":draft/basis": basis,
            ":draft/saved": now,
        }
        if old is not None:
            return [{":db/id": old.id, **kept}]
        if database.q("[:find ?d . :in $ ?key :where [?d :draft/key ?key]]", key) is not None:
            raise NotAllowedError("this working copy is another writer's")
        if len(copies(database, user_id)) >= COPIES_LIMIT:
            raise InvalidDraftError({"body": f"You have {COPIES_LIMIT} unfinished texts: discard one first."})
        if post is not None:
            kept[":draft/post"] = post.id
        return [{":draft/key": key, ":draft/by": [":user/id", user_id], **kept}]

    return apply


def drop_copy(user_id: str, *, key: str = "", post: Post | None = None) -> Transaction:
    """Throw away the writer's working copy of the post, or of this key, if there is one."""

    def apply(database: Database) -> list[Any]:
        copy = copy_of(database, post, user_id) if post else find_copy(database, key, user_id)
        return [] if copy is None else [[":db/retractEntity", copy.id]]

    return apply


def open_preview(token: str, of: int, user_id: str, until: datetime, now: datetime) -> Transaction:
    """Let the token show a post or a working copy until then; the writer's links that ran out are cleared."""

    def apply(database: Database) -> list[Any]:
        _member(database, user_id)
        links = database.q(
            """[:find ?l ?until :in $ ?id
                :where [?u :user/id ?id] [?l :preview/by ?u] [?l :preview/until ?until]]""",
            user_id,
        )
        ended = [link for link, ends in links if ends <= now]
        if len(links) - len(ended) >= LINKS_LIMIT:
            raise InvalidDraftError(
                {"body": f"You have {LINKS_LIMIT} preview links: end some of them first."}
            )
        link = {
            ":preview/digest": _digest(token),
            ":preview/of": of,
            ":preview/by": [":user/id", user_id],
            ":preview/until": until,
        }
        return [*([":db/retractEntity", link] for link in ended), link]

    return apply


def end_previews(of: int) -> Transaction:
    """End all links to a post or a working copy."""

    def apply(database: Database) -> list[Any]:
        return [[":db/retractEntity", link] for link in _links(database, of)]

    return apply


def count_previews(database: Database, of: int, now: datetime) -> int:
    """How many links to it still work."""
    return sum(until > now for until in _links(database, of).values())


def find_preview(database: Database, token: str, now: datetime) -> Post | WorkingCopy:
    """What the token shows. Raises GoneError, or DeletedError once it has run out or the thing is no more."""
    found = database.q(
        """[:find (pull ?l [:preview/until :preview/of]) . :in $ ?digest
            :where [?l :preview/digest ?digest]]""",
        _digest(token),
    )
    if found is None:
        raise GoneError("there is no such preview")
    of = found.get(":preview/of")
    if of is None or found[":preview/until"] <= now:
        raise DeletedError("the preview has ended")
    post = read_post(database, of[":db/id"])
    copy = _copy(database.pull(_PULLED, of[":db/id"]))
    if copy is None and (post is None or post.deleted_at is not None):
        raise DeletedError("what it showed is no more")
    shown: Post | WorkingCopy | None = copy or post
    assert shown is not None  # noqa: S101 - one of the two is there
    return shown


def _links(database: Database, of: int) -> dict[int, datetime]:
    return dict(
        database.q("[:find ?l ?until :in $ ?of :where [?l :preview/of ?of] [?l :preview/until ?until]]", of)
    )


def _member(database: Database, user_id: str) -> None:
    user = find_user(database, user_id)
    if user is None or not user.is_member:
        raise NotAllowedError("only members write")


def _copy(pulled: dict[str, Any] | None) -> WorkingCopy | None:
    return _made(pulled) if pulled and ":draft/key" in pulled else None


def _made(pulled: dict[str, Any]) -> WorkingCopy:
    post = pulled.get(":draft/post")
    return WorkingCopy(
        pulled[":db/id"],
        pulled[":draft/key"],
        None if post is None else post[":db/id"],
        pulled[":draft/basis"],
        load_draft(pulled[":draft/fields"]),
        pulled[":draft/saved"],
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
