"""Users and sessions in the database: its schema, its questions, its transactions.

A session is a random token that only its cookie holds; the database has the token's SHA-256. So a copy of the
database lets nobody in, and retracting the entity ends the session at once on every instance.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bucketlog import Database
from company_site.accounts.model import DEMO_USERS, Role, User
from company_site.database import Transaction, attribute
from company_site.errors import GoneError, NotAllowedError

SCHEMA = [
    attribute("user/id", "string", identity=True),
    attribute("user/name", "string"),
    attribute("user/roles", "string", many=True),
    attribute("session/digest", "string", identity=True),
    attribute("session/user", "ref"),
    attribute("session/method", "string"),  # how its user proved who they are
    attribute("session/created", "instant"),
    attribute("session/seen", "instant"),
]

IDLE_LIMIT = timedelta(hours=12)
ABSOLUTE_LIMIT = timedelta(days=14)
_SEEN_STEP = timedelta(hours=1)  # how exactly `seen` is kept: a commit a request would be too many
DEMO_METHOD = "demo"


@dataclass(frozen=True, slots=True)
class Session:
    digest: str
    user: User
    method: str
    created: datetime
    seen: datetime

    def is_valid(self, now: datetime) -> bool:
        return now - self.seen < IDLE_LIMIT and now - self.created < ABSOLUTE_LIMIT

    def is_due(self, now: datetime) -> bool:
        """Whether `seen` should be brought up to date."""
        return now - self.seen > _SEEN_STEP


def find_user(database: Database, user_id: str) -> User | None:
    found = database.q(
        "[:find (pull ?u [:user/id :user/name :user/roles]) . :in $ ?id :where [?u :user/id ?id]]", user_id
    )
    return None if found is None else _user(found)


def all_users(database: Database) -> list[User]:
    """Everybody, by name."""
    found = database.q("[:find [(pull ?u [:user/id :user/name :user/roles]) ...] :where [?u :user/id]]")
    return sorted(map(_user, found), key=lambda user: user.name)


def add_people(_: Database) -> list[Any]:
    """The people of the demo, without roles."""
    return [{":user/id": user.id, ":user/name": user.name} for user in DEMO_USERS]


def grant_demo_roles(_: Database) -> list[Any]:
    return [
        [":db/add", [":user/id", user.id], ":user/roles", role] for user in DEMO_USERS for role in user.roles
    ]


def set_roles(acting: str, user_id: str, roles: frozenset[Role]) -> Transaction:
    """Give exactly these roles. Only an owner may, and nobody may take the owner's role from themselves.

    The transaction raises NotAllowedError and GoneError.
    """

    def apply(database: Database) -> list[Any]:
        owner, user = find_user(database, acting), find_user(database, user_id)
        if owner is None or not owner.is_owner:
            raise NotAllowedError("only an owner gives and takes roles")
        if user is None:
            raise GoneError(f"there is no user {user_id!r}")
        if user.id == owner.id and Role.OWNER not in roles:
            raise NotAllowedError("an owner cannot take that role from themselves")
        entity = [":user/id", user_id]
        return [
            *([":db/add", entity, ":user/roles", role] for role in sorted(roles - user.roles)),
            *([":db/retract", entity, ":user/roles", role] for role in sorted(user.roles - roles)),
        ]

    return apply


def new_token() -> str:
    return secrets.token_urlsafe(32)


def find_session(database: Database, token: str) -> Session | None:
    """The session that the token opens, whether it is still valid or not."""
    found = database.q(
        """[:find (pull ?s [:session/digest :session/method :session/created :session/seen
                            {:session/user [:user/id :user/name :user/roles]}]) .
            :in $ ?digest :where [?s :session/digest ?digest]]""",
        _digest(token),
    )
    if found is None:
        return None
    return Session(
        found[":session/digest"],
        _user(found[":session/user"]),
        found[":session/method"],
        found[":session/created"],
        found[":session/seen"],
    )


def open_session(token: str, user_id: str, method: str, now: datetime) -> Transaction:
    """Open a session, and clear away the user's sessions that have run out."""

    def apply(database: Database) -> list[Any]:
        old = database.q(
            """[:find ?s ?created ?seen :in $ ?id
                :where [?u :user/id ?id] [?s :session/user ?u]
                       [?s :session/created ?created] [?s :session/seen ?seen]]""",
            user_id,
        )
        ended = [
            [":db/retractEntity", entity]
            for entity, created, seen in old
            if now - seen >= IDLE_LIMIT or now - created >= ABSOLUTE_LIMIT
        ]
        session = {
            ":session/digest": _digest(token),
            ":session/user": [":user/id", user_id],
            ":session/method": method,
            ":session/created": now,
            ":session/seen": now,
        }
        return [*ended, session]

    return apply


def touch_session(session: Session, now: datetime) -> Transaction:
    """Note that the session is in use; one that was ended meanwhile stays ended."""

    def apply(database: Database) -> list[Any]:
        if _session_entity(database, session.digest) is None:
            return []
        return [[":db/add", [":session/digest", session.digest], ":session/seen", now]]

    return apply


def end_session(session: Session) -> Transaction:
    def apply(database: Database) -> list[Any]:
        entity = _session_entity(database, session.digest)
        return [] if entity is None else [[":db/retractEntity", entity]]

    return apply


def _session_entity(database: Database, digest: str) -> int | None:
    entity: int | None = database.q("[:find ?s . :in $ ?digest :where [?s :session/digest ?digest]]", digest)
    return entity


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _user(pulled: dict[str, Any]) -> User:
    # A role of a later version, or of an earlier one, gives nothing here.
    roles = frozenset(Role(role) for role in pulled.get(":user/roles", ()) if role in list(Role))
    return User(pulled[":user/id"], pulled[":user/name"], roles)
