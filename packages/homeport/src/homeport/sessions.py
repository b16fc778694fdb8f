"""What whoever has taken a role works with: credentials that end by themselves.

Nothing of them is stored. The session token says which role, until when and for whom, under a seal of the
data directory's master secret; the secret key is derived from it, and so is what a session gets for the
registry. The role is looked up at every call, so what a session may do changes with it, at once.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from homeport.place import ACCOUNT

PREFIX: Final = "ASIA"  # of the access keys of sessions, AWS's own
SHORTEST, LONGEST = timedelta(minutes=15), timedelta(hours=1)

Derive = Callable[[str, str], str]  # a secret for a purpose and a text, of the master secret


@dataclass(frozen=True, slots=True)
class Session:
    """One taking of a role. `origin` has the claims of the token that say where the job comes from."""

    key: str  # the access key's id
    role: str
    role_id: str  # a role of the same name that is made later is another
    name: str
    subject: str
    began: int  # seconds since 1970, as is `ends`
    ends: int
    origin: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    service: str | None = None  # whose instance it is, by name

    @property
    def began_at(self) -> datetime:
        return datetime.fromtimestamp(self.began, UTC)

    @property
    def ends_at(self) -> datetime:
        return datetime.fromtimestamp(self.ends, UTC)

    @property
    def arn(self) -> str:
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role}/{self.name}"


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    session: Session
    secret: str = field(repr=False)
    token: str = field(repr=False)


class Sessions:
    """Gives credentials out, and knows its own again."""

    def __init__(self, derive: Derive) -> None:
        self._derive = derive

    def begin(
        self,
        *,
        role: str,
        role_id: str,
        name: str,
        subject: str,
        origin: Mapping[str, str],
        now: datetime,
        lifetime: timedelta,
        service: str | None = None,
    ) -> SessionCredentials:
        key = PREFIX + base64.b32encode(secrets.token_bytes(10)).decode()
        ends = int((now + lifetime).timestamp())
        began = int(now.timestamp())
        session = Session(key, role, role_id, name, subject, began, ends, dict(origin), service)
        return SessionCredentials(session, self.secret(session), self._sealed("session-token", session))

    def secret(self, session: Session) -> str:
        """The secret key that goes with the session's access key."""
        return self._derive("session-key", session.key)

    def read(self, token: str) -> Session | None:
        """The session of a session token, whether or not it has ended; None for one that is not ours."""
        return self._opened("session-token", token)

    def registry_token(self, session: Session) -> str:
        """A password for the registry, good for as long as the session."""
        return self._sealed("session-registry", session)

    def read_registry_token(self, password: str) -> Session | None:
        return self._opened("session-registry", password)

    def _sealed(self, purpose: str, session: Session) -> str:
        text = base64.urlsafe_b64encode(json.dumps(asdict(session), separators=(",", ":")).encode()).decode()
        return f"{text}.{self._derive(purpose, text)}"

    def _opened(self, purpose: str, token: str) -> Session | None:
        text, _, seal = token.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._derive(purpose, text).encode()):
            return None
        try:
            return Session(**json.loads(base64.urlsafe_b64decode(text)))
        except TypeError:  # of a version of homeport that knew other things of a session
            return None
