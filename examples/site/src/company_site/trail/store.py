"""What has happened, as the database's history has it.

Nothing is written for the trail: a transaction knows its instant, what it changed, and by `:tx/by` in whose
name (see `database.acting`). So nothing can be missing from it, and nobody can change it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bucketlog import Database
from company_site.accounts.model import Role
from company_site.addresses import post_path
from company_site.uploads.model import parse_name

PAGE_SIZE = 50


class Kind(StrEnum):
    """What the trail can be narrowed to."""

    ROLES = "roles"
    POSTS = "entries"
    IMAGES = "images"
    SESSIONS = "sessions"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that somebody did. `by` is None for what the site did by itself, such as by configuration.

    `path` leads to what it was done to, if it is still there.
    """

    t: int
    at: datetime
    by: str | None
    text: str
    subject: str
    path: str | None = None
    detail: str = ""


@dataclass(frozen=True, order=True, slots=True)
class _Event:
    """A datom that something is told of: of which kind, by its transaction."""

    tx: int
    entity: int
    kind: Kind
    attribute: str
    value: Any
    added: bool


# An attribute that is in every change of its kind, or alone says what happened.
_TOLD = {
    Kind.ROLES: (":user/roles", ":user/account"),
    Kind.POSTS: (":post/revision", ":post/slug"),
    Kind.IMAGES: (":upload/name",),
    Kind.SESSIONS: (":session/user",),
}
_CHANGES = {
    ":post/title": "title",
    ":post/body": "text",
    ":post/tags": "tags",
    ":post/pages": "pages",
    ":post/featured": "featured",
    ":post/slug": "address",
    ":post/published-at": "publication",
    ":post/unpublish-at": "end of publication",
    ":post/author": "author",
}


def entries(database: Database, kind: Kind | None, before: int | None) -> list[Entry]:
    """The newest entries, newest first: at most `PAGE_SIZE`, or a few more, so that no transaction is cut.

    `before` is the transaction `t` that only older ones are asked of. Takes a scan of the attributes that
    are told of, so callers run it in a thread.
    """
    history = database.history()
    found = list(_events(history, kind, before))
    newest = heapq.nlargest(PAGE_SIZE, {event.tx for event in found})
    page = [event for event in found if newest and event.tx >= newest[-1]]
    return [
        entry
        for tx in newest
        for entry in _told(database, tx, sorted(event for event in page if event.tx == tx))
    ]


def _events(history: Database, kind: Kind | None, before: int | None) -> Iterator[_Event]:
    for each in Kind if kind is None else (kind,):
        for attribute in _TOLD[each]:
            rows = history.q(f"[:find ?e ?v ?tx ?added :where [?e {attribute} ?v ?tx ?added]]")
            for entity, value, tx, added in rows:
                if before is None or tx < before:
                    yield _Event(tx, entity, each, attribute, value, added)


def _told(database: Database, tx: int, events: list[_Event]) -> Iterator[Entry]:
    then = database.as_of(tx)
    pulled = database.pull("[:db/txInstant {:tx/by [:user/name]}]", tx)
    at, by = pulled[":db/txInstant"], pulled.get(":tx/by", {}).get(":user/name")
    posts = {event.entity for event in events if event.attribute == ":post/revision"}
    yield from _roles(then, at, by, [event for event in events if event.attribute == ":user/roles"])
    for event in events:
        match event.kind:
            case Kind.ROLES:
                if event.attribute == ":user/account" and event.added:
                    whom = _name(then, event.entity)
                    yield Entry(tx, at, whom, "signed in for the first time", "")
            case Kind.POSTS:
                if event.attribute == ":post/revision" and event.added:
                    yield _post(database, then, at, by, event)
                elif event.attribute == ":post/slug" and not event.added and event.entity not in posts:
                    # Version 0.1 deleted by retracting all there was.
                    before = database.as_of(tx - 1).pull("[:post/title]", event.entity)
                    yield Entry(tx, at, by, "deleted the entry", before.get(":post/title", event.value))
            case Kind.IMAGES:
                name = parse_name(event.value)
                path = name.path if event.added and name else None
                yield Entry(tx, at, by, "uploaded" if event.added else "removed", "an image", path)
            case Kind.SESSIONS:
                yield _session(then, at, by, event)


def _roles(then: Database, at: datetime, by: str | None, events: list[_Event]) -> Iterator[Entry]:
    """An entry for all that was given to somebody at once, and one for all that was taken."""
    for whom, added in sorted({(event.entity, event.added) for event in events}):
        given = {event.value for event in events if (event.entity, event.added) == (whom, added)}
        roles = [role for role in Role if role in given]
        verb, joint = ("gave", "to") if added else ("took", "from")
        noun = "role" if len(roles) == 1 else "roles"
        listed = " and ".join(filter(None, [", ".join(roles[:-1]), *roles[-1:]]))
        yield Entry(events[0].tx, at, by, f"{verb} the {noun} {listed} {joint}", _name(then, whom))


def _post(database: Database, then: Database, at: datetime, by: str | None, event: _Event) -> Entry:
    # A version of the site that knew fewer attributes wrote fewer.
    post = then.pull("[:post/title :post/slug :post/deleted-at {:post/editor [:user/name]}]", event.entity)
    changed = set(
        database.history().q(
            "[:find [?ident ...] :in $ ?e ?tx :where [?e ?a _ ?tx] [?a :db/ident ?ident]]",
            event.entity,
            event.tx,
        )
    )
    if event.value == 1:
        text = "wrote the entry"
    elif ":post/deleted-at" in changed:
        text = "deleted the entry" if ":post/deleted-at" in post else "brought back the entry"
    else:
        text = "changed the entry"
    detail = ", ".join(name for ident, name in _CHANGES.items() if ident in changed)
    now = database.pull("[:post/slug :post/deleted-at]", event.entity)
    path = f"{post_path(now[':post/slug'])}/history" if now and ":post/deleted-at" not in now else None
    editor = post.get(":post/editor", {}).get(":user/name")
    is_change = text == "changed the entry"
    return Entry(
        event.tx, at, by or editor, text, post.get(":post/title", ""), path, detail if is_change else ""
    )


def _session(then: Database, at: datetime, by: str | None, event: _Event) -> Entry:
    whom = _name(then, event.value)
    if event.added:
        return Entry(event.tx, at, whom, "signed in", "")
    if by is None or by == whom:
        # Those that ran out are cleared away at the next login.
        return Entry(event.tx, at, whom, "signed out, or the session ran out", "")
    return Entry(event.tx, at, by, "ended a session of", whom)


def _name(then: Database, entity: int) -> str:
    name: str = then.pull("[:user/name]", entity).get(":user/name", "somebody")
    return name
