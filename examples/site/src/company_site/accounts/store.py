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
from company_site.accounts.oidc import Identity, LoginRefusedError, Refusal
from company_site.database import Transaction, attribute
from company_site.errors import GoneError, NotAllowedError

SCHEMA = [
    attribute("user/id", "string", identity=True),
    attribute("user/name", "string"),
    attribute("user/roles", "string", many=True),
    attribute("user/email", "string"),
    attribute("user/account", "string", identity=True),  # issuer and subject, as `_account` joins them
    attribute("user/configured", "boolean"),  # whether the owner's role comes from the configuration
    attribute("session/digest", "string", identity=True),
    attribute("session/user", "ref"),
    attribute("session/method", "string"),  # how its user proved who they are
    attribute("session/created", "instant"),
    attribute("session/seen", "instant"),
    attribute("session/attempt", "string"),  # names the attempt that it came of, which ends in one session
]

IDLE_LIMIT = timedelta(hours=12)
ABSOLUTE_LIMIT = timedelta(days=14)
SESSIONS_LIMIT = 20  # of one user; the next one ends the one that was not in use for the longest time
DEMO_METHOD = "demo"
_SEEN_STEP = timedelta(hours=1)  # how exactly `seen` is kept: a commit a request would be too many
_OWNERS_OWN = (Role.OWNER, Role.ADMIN)
_USER = "[:user/id :user/name :user/roles :user/email]"
_SESSION = f"[:session/digest :session/method :session/created :session/seen {{:session/user {_USER}}}]"


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's login in one browser."""

    digest: str  # of the token in the browser's cookie, which is kept nowhere
    user: User
    method: str  # the issuer, or DEMO_METHOD
    created: datetime
    seen: datetime

    def is_valid(self, now: datetime) -> bool:
        return _is_valid(self.created, self.seen, now)

    def is_due(self, now: datetime) -> bool:
        """Whether `seen` should be brought up to date."""
        return now - self.seen > _SEEN_STEP


def _is_valid(created: datetime, seen: datetime, now: datetime) -> bool:
    return now - seen < IDLE_LIMIT and now - created < ABSOLUTE_LIMIT


def find_user(database: Database, user_id: str) -> User | None:
    found = database.q(f"[:find (pull ?u {_USER}) . :in $ ?id :where [?u :user/id ?id]]", user_id)
    return None if found is None else _user(found)


def add_people(_: Database) -> list[Any]:
    """The people of the demo, without roles."""
    return [{":user/id": user.id, ":user/name": user.name} for user in DEMO_USERS]


def grant_demo_roles(_: Database) -> list[Any]:
    return [
        [":db/add", [":user/id", user.id], ":user/roles", role] for user in DEMO_USERS for role in user.roles
    ]


@dataclass(frozen=True, slots=True)
class Person:
    """A user as owners see them. `since` says when each role was given, the lowest first.

    Somebody without an account at an issuer is an author whom the site has from elsewhere. Only in a demo can
    they sign in.
    """

    user: User
    since: dict[Role, datetime]
    sessions: int
    seen: datetime | None
    is_configured: bool
    has_account: bool


def people(database: Database, now: datetime) -> list[Person]:
    """Everybody, by name."""
    users = [_user(pulled) for pulled in database.q(f"[:find [(pull ?u {_USER}) ...] :where [?u :user/id]]")]
    since: dict[str, dict[Role, datetime]] = {}
    for user_id, role, at in database.q(
        "[:find ?id ?role ?at :where [?u :user/roles ?role ?tx] [?tx :db/txInstant ?at] [?u :user/id ?id]]"
    ):
        if role in list(Role):
            since.setdefault(user_id, {})[Role(role)] = at
    seen: dict[str, list[datetime]] = {}
    for _, user_id, created, last in database.q(
        """[:find ?s ?id ?created ?seen
            :where [?s :session/user ?u] [?s :session/created ?created] [?s :session/seen ?seen]
                   [?u :user/id ?id]]"""
    ):
        if _is_valid(created, last, now):
            seen.setdefault(user_id, []).append(last)
    configured = set(database.q("[:find [?id ...] :where [?u :user/configured true] [?u :user/id ?id]]"))
    accounts = set(database.q("[:find [?id ...] :where [?u :user/account] [?u :user/id ?id]]"))
    found = (
        Person(
            user,
            {role: since[user.id][role] for role in Role if role in since.get(user.id, {})},
            len(seen.get(user.id, ())),
            max(seen.get(user.id, ()), default=None),
            user.id in configured,
            user.id in accounts,
        )
        for user in users
    )
    return sorted(found, key=lambda person: (person.user.name, person.user.id))


def find_person(database: Database, user_id: str, now: datetime) -> Person | None:
    return next((person for person in people(database, now) if person.user.id == user_id), None)


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


def withdraw_owners(owners: frozenset[str]) -> Transaction:
    """Take the roles of owner and admin from those who have them by configuration and are in it no longer."""

    def apply(database: Database) -> list[Any]:
        found = database.q(
            """[:find ?id ?email
                :where [?u :user/configured true] [?u :user/id ?id] [?u :user/email ?email]]"""
        )
        return [
            change
            for user_id, email in found
            if email not in owners
            for change in (
                *([":db/retract", [":user/id", user_id], ":user/roles", role] for role in _OWNERS_OWN),
                [":db/retract", [":user/id", user_id], ":user/configured", True],
            )
        ]

    return apply


def new_token() -> str:
    return secrets.token_urlsafe(32)


def sign_in(
    identity: Identity, token: str, now: datetime, *, attempt: str, new_id: str, owners: frozenset[str]
) -> Transaction:
    """Open a session for the account that the issuer speaks of; the first time, as a new member.

    An account is known by issuer and subject. Name and address are what the issuer says now, and no account
    is found by either. `owners` are the addresses that own the site by configuration. The transaction raises
    LoginRefusedError for an attempt that has already ended in a session.
    """

    def apply(database: Database) -> list[Any]:
        history = database.history()
        used = history.q("[:find ?s . :in $ ?attempt :where [?s :session/attempt ?attempt _ true]]", attempt)
        if used is not None:
            raise LoginRefusedError(Refusal.REPLAYED)
        found = database.q(
            "[:find ?id . :in $ ?account :where [?u :user/account ?account] [?u :user/id ?id]]",
            _account(identity),
        )
        user: dict[str, Any] = {
            ":db/id": "user",
            ":user/id": found or new_id,
            ":user/name": identity.name,
            ":user/email": identity.email,
            ":user/account": _account(identity),
        }
        if identity.email in owners:
            user |= {":user/roles": list(Role), ":user/configured": True}
        elif found is None:
            user[":user/roles"] = [Role.MEMBER]
        session = _opened(token, "user", identity.issuer, now) | {":session/attempt": attempt}
        return [user, session, *_cleared(database, found or new_id, now)]

    return apply


def _account(identity: Identity) -> str:
    """Unambiguous, for an issuer's address has no space in it."""
    return f"{identity.issuer} {identity.subject}"


def find_session(database: Database, token: str) -> Session | None:
    """The session that the token opens, whether it is still valid or not."""
    found = database.q(
        f"[:find (pull ?s {_SESSION}) . :in $ ?digest :where [?s :session/digest ?digest]]", _digest(token)
    )
    return None if found is None else _session(found)


def sessions_of(database: Database, user_id: str, now: datetime) -> list[Session]:
    """The user's valid sessions, the one last used first."""
    found = (session for _, session in _sessions(database, user_id) if session.is_valid(now))
    return sorted(found, key=lambda session: session.seen, reverse=True)


def open_session(token: str, user_id: str, method: str, now: datetime) -> Transaction:
    """Open a session, and clear away what the user's sessions leave behind."""

    def apply(database: Database) -> list[Any]:
        user = [":user/id", user_id]
        return [_opened(token, user, method, now), *_cleared(database, user_id, now)]

    return apply


def _opened(token: str, user: str | list[str], method: str, now: datetime) -> dict[str, Any]:
    return {
        ":session/digest": _digest(token),
        ":session/user": user,
        ":session/method": method,
        ":session/created": now,
        ":session/seen": now,
    }


def _cleared(database: Database, user_id: str, now: datetime) -> list[Any]:
    """Ends the user's sessions that have run out, and so many others that there is room for one more."""
    valid: list[tuple[datetime, int]] = []
    ended: list[tuple[datetime, int]] = []
    for entity, session in _sessions(database, user_id):
        (valid if session.is_valid(now) else ended).append((session.seen, entity))
    surplus = sorted(valid)[: max(0, len(valid) + 1 - SESSIONS_LIMIT)]
    return [[":db/retractEntity", entity] for _, entity in [*ended, *surplus]]


def touch_session(session: Session, now: datetime) -> Transaction:
    """Note that the session is in use; one that was ended meanwhile stays ended."""

    def apply(database: Database) -> list[Any]:
        if _session_entity(database, session.digest) is None:
            return []
        return [[":db/add", [":session/digest", session.digest], ":session/seen", now]]

    return apply


def end_session(session: Session) -> Transaction:
    """Also where somebody else has ended it meanwhile."""

    def apply(database: Database) -> list[Any]:
        entity = _session_entity(database, session.digest)
        return [] if entity is None else [[":db/retractEntity", entity]]

    return apply


def end_sessions(acting: str, user_id: str, *, but: str | None = None) -> Transaction:
    """End all sessions of a user, except for the one with the digest `but`.

    Everybody may for themselves, owners for all. The transaction raises NotAllowedError and GoneError.
    """

    def apply(database: Database) -> list[Any]:
        actor = find_user(database, acting)
        if actor is None or not (actor.id == user_id or actor.is_owner):
            raise NotAllowedError("only an owner ends the sessions of others")
        if find_user(database, user_id) is None:
            raise GoneError(f"there is no user {user_id!r}")
        return [
            [":db/retractEntity", entity]
            for entity, session in _sessions(database, user_id)
            if session.digest != but
        ]

    return apply


def _sessions(database: Database, user_id: str) -> list[tuple[int, Session]]:
    found = database.q(
        f"""[:find ?s (pull ?s {_SESSION}) :in $ ?id :where [?u :user/id ?id] [?s :session/user ?u]]""",
        user_id,
    )
    return [(entity, _session(pulled)) for entity, pulled in found]


def _session(pulled: dict[str, Any]) -> Session:
    return Session(
        pulled[":session/digest"],
        _user(pulled[":session/user"]),
        pulled[":session/method"],
        pulled[":session/created"],
        pulled[":session/seen"],
    )


def _session_entity(database: Database, digest: str) -> int | None:
    entity: int | None = database.q("[:find ?s . :in $ ?digest :where [?s :session/digest ?digest]]", digest)
    return entity


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _user(pulled: dict[str, Any]) -> User:
    # A role of a later version, or of an earlier one, gives nothing here.
    roles = frozenset(Role(role) for role in pulled.get(":user/roles", ()) if role in list(Role))
    return User(pulled[":user/id"], pulled[":user/name"], roles, pulled.get(":user/email"))
