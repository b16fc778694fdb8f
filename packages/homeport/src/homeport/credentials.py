"""Who may call: the root key of a data directory, a key for each service, and tokens for the registry.

Only the root key and one master secret are stored (`credentials.json`, for root's eyes alone). A service's
key is derived from the master secret and the service, a registry token is signed with it: nothing more can
leak, and nothing has to be kept in step.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from homeport.errors import HomeportError
from homeport.sessions import Session, Sessions

TOKEN_LIFETIME = timedelta(hours=12)
TOKEN_USER = "AWS"  # noqa: S105  the user name that ECR's tokens go with

_SERVICE_PREFIX = "HPSVC"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SP 800-186)


class CredentialsError(HomeportError):
    """credentials.json cannot be used."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the owner of the machine, one service (by name and id), or whoever has taken a role."""

    service: str | None = None
    service_id: str | None = None
    session: Session | None = None

    @property
    def is_root(self) -> bool:
        return self.service is None and self.session is None

    @property
    def name(self) -> str:
        """For the audit trail."""
        if self.session is not None:
            return f"role/{self.session.role}/{self.session.name}"
        return "root" if self.service is None else f"service/{self.service}"

    def may_use_bucket(self, bucket: str) -> bool:
        """A service has the bucket of its name and those that begin with it and a dash; so have its instances
        by their role's session. A role by itself has none.
        """
        service = self.session.service if self.session is not None else self.service
        if service is None:
            return self.is_root
        name = service.lower()
        return bucket == name or bucket.startswith(f"{name}-")


# Who asks, in the task that answers a request; set once that is proved.
CALLER: ContextVar[Principal] = ContextVar("homeport.caller")


class Keyring:
    """Knows every key of one data directory."""

    def __init__(self, root: AccessKey, master: bytes) -> None:
        self.root = root
        self._master = master
        self.sessions = Sessions(self._derive)

    @classmethod
    def open(cls, data: Path) -> Keyring:
        """The keyring of a data directory; made, readable for its owner alone, when absent."""
        path = data / "credentials.json"
        if not path.exists():
            _create(path)
        return cls.load(data)

    @classmethod
    def create(cls, data: Path, root: AccessKey) -> Keyring:
        """The keyring of a new data directory, whose root key is given. Raises CredentialsError where it has
        another one already.
        """
        path = data / "credentials.json"
        if not path.exists():
            _create(path, root)
        made = cls.load(data)
        if not made.is_root(root.id, root.secret):
            raise CredentialsError(f"{path} is there, with another root key")
        return made

    @classmethod
    def load(cls, data: Path) -> Keyring:
        """The keyring of a data directory that was served before. Raises CredentialsError."""
        path = data / "credentials.json"
        try:
            document = json.loads(path.read_text())
            key_id, secret = document["access_key_id"], document["secret_access_key"]
            master = bytes.fromhex(document["master_secret"])
        except OSError as error:
            raise CredentialsError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _damaged(path) from None
        if not (isinstance(key_id, str) and isinstance(secret, str) and key_id and secret and master):
            raise _damaged(path)
        return cls(AccessKey(key_id, secret), master)

    def service_key(self, name: str, service_id: str) -> AccessKey:
        """The key that a service's instances get: its id says whose it is, its secret proves it."""
        text = base64.b32encode(f"{name}/{service_id}".encode()).decode().rstrip("=")
        return AccessKey(_SERVICE_PREFIX + text, self._derive("service", f"{name}/{service_id}"))

    def instance_secret(self, instance: str) -> str:
        """Known to homeport and to the instance alone."""
        return self._derive("instance", instance)

    def find(self, access_key_id: str) -> tuple[Principal, str] | None:
        """Whose key this is, and its secret; None for a key that was never given out by this form."""
        if hmac.compare_digest(access_key_id.encode(), self.root.id.encode()):
            return Principal(), self.root.secret
        if not access_key_id.startswith(_SERVICE_PREFIX):
            return None
        text = access_key_id.removeprefix(_SERVICE_PREFIX)
        try:
            whose = base64.b32decode(text + "=" * (-len(text) % 8)).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        name, slash, service_id = whose.partition("/")
        if not slash or not name or not service_id:
            return None
        return Principal(name, service_id), self._derive("service", whose)

    def registry_token(self, caller: Principal, now: datetime) -> tuple[str, datetime]:
        """A password by which the caller, the owner or a session, has the registry; and when it ends."""
        if caller.session is not None:
            return self.sessions.registry_token(caller.session), caller.session.ends_at
        expires = (now + TOKEN_LIFETIME).replace(microsecond=0)
        seconds = str(int(expires.timestamp()))
        return f"{seconds}.{self._derive('registry', seconds)}", expires

    def opens_registry(self, user: str, password: str, now: datetime) -> bool:
        """Whether user and password are a token that has not ended, or the root key itself."""
        if self.is_root(user, password):
            return True
        seconds, _, signature = password.partition(".")
        if user != TOKEN_USER or not seconds.isascii() or not seconds.isdecimal() or len(seconds) > 12:
            return False
        expected = self._derive("registry", seconds)
        return hmac.compare_digest(signature.encode(), expected.encode()) and now < datetime.fromtimestamp(
            int(seconds), UTC
        )

    def is_root(self, access_key_id: str, secret: str) -> bool:
        """Whether this is the root key."""
        right = hmac.compare_digest(access_key_id.encode(), self.root.id.encode())
        return hmac.compare_digest(secret.encode(), self.root.secret.encode()) and right

    @property
    def metrics_token(self) -> str:
        """Opens the metrics, and nothing else."""
        return self._derive("metrics", "token")

    @cached_property
    def attestation_key(self) -> ec.EllipticCurvePrivateKey:
        """What signs where images come from; its scalar is near enough to uniform (FIPS 186-5, A.2.1)."""
        number = int(self._derive("attestation", "1") + self._derive("attestation", "2"), 16)
        return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())

    def _derive(self, purpose: str, whose: str) -> str:
        return hmac.new(self._master, f"{purpose}:{whose}".encode(), hashlib.sha256).hexdigest()


def _create(path: Path, root: AccessKey | None = None) -> None:
    """Write new keys, of which the root key may be given. Of several processes that do so at once one wins: a
    link never replaces a file.
    """
    if root is None:
        root_id = "HPROOT" + base64.b32encode(secrets.token_bytes(10)).decode()
        root = AccessKey(root_id, secrets.token_urlsafe(30))
    document = {
        "access_key_id": root.id,
        "secret_access_key": root.secret,
        "master_secret": secrets.token_hex(32),
    }
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.") as file:
            json.dump(document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(file.name)
    except OSError as error:
        raise CredentialsError(f"{path} cannot be made: {error.strerror}") from None


def _damaged(path: Path) -> CredentialsError:
    return CredentialsError(f"{path} is damaged; restore it, or remove it to make new keys")
