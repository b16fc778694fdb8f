"""Roles that jobs from elsewhere may take, and the issuers whose word counts for that; kept in bucketlog."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import bucketlog
from homeport.command import off_loop
from homeport.errors import HomeportError
from homeport.place import ACCOUNT
from homeport.policy import PROVIDER, Permission, PolicyError, Trust, read_permissions, read_trust
from homeport.schema import attribute

_MOST_ROLES: Final = 1000  # as many as IAM has
_MOST_TOKENS: Final = 100_000  # that are remembered as used; with more, none is taken until some have ended


_SCHEMA: Final = [
    attribute("provider/url", "string", identity=True),
    attribute("provider/audiences", "string"),  # JSON
    attribute("provider/created", "instant"),
    attribute("role/name", "string", identity=True),
    attribute("role/id", "string"),
    attribute("role/trust", "string"),
    attribute("role/policies", "string"),  # JSON
    attribute("role/description", "string"),
    attribute("role/created", "instant"),
    attribute("token/id", "string", identity=True),
    attribute("token/ends", "instant"),
]


class RolesError(HomeportError):
    """The call is about something that is not there, or is there already, or is in use."""


class NoSuchEntityError(RolesError):
    """There is no such provider, role or policy."""


class EntityExistsError(RolesError):
    """There is one of this name already."""


class EntityInUseError(RolesError):
    """Something else still needs it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An issuer whose tokens count, and the audiences that we are for it."""

    url: str
    audiences: tuple[str, ...]
    created_at: datetime

    @property
    def issuer(self) -> str:
        """Without the scheme: what stands before a claim in a policy."""
        return self.url.partition("://")[2]

    @property
    def arn(self) -> str:
        return PROVIDER + self.issuer


@dataclass(frozen=True, slots=True)
class Role:
    """`trust` and `policies` are documents as written; `id` tells it from another of the same name."""

    name: str
    id: str
    trust: str
    created_at: datetime
    description: str = ""
    policies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{self.name}"

    @property
    def permissions(self) -> tuple[Permission, ...]:
        return tuple(one for text in self.policies.values() for one in read_permissions(text))


class Roles:
    """All of them, in memory; this process alone writes them."""

    def __init__(self, database: bucketlog.Connection) -> None:
        self._database = database
        self._lock = threading.Lock()
        database.transact(_SCHEMA)
        found = database.db()
        self._providers = {one.url: one for one in map(_provider, _all(found, "provider/url"))}
        self._roles = {one.name: one for one in map(_role, _all(found, "role/name"))}
        self._used = {one[":token/id"]: one[":token/ends"] for one in _all(found, "token/id")}

    def audiences(self, url: str) -> tuple[str, ...]:
        """Those that count in tokens of an issuer; none of one that is not trusted."""
        provider = self._providers.get(url)
        return () if provider is None else provider.audiences

    def providers(self) -> list[Provider]:
        return [self._providers[url] for url in sorted(self._providers)]

    def provider(self, arn: str) -> Provider:
        """Raises NoSuchEntityError."""
        for one in self._providers.values():
            if one.arn == arn:
                return one
        raise NoSuchEntityError(f"there is no OpenID Connect provider {arn}")

    def roles(self) -> list[Role]:
        return [self._roles[name] for name in sorted(self._roles)]

    def find(self, name: str) -> Role | None:
        return self._roles.get(name)

    def role(self, name: str) -> Role:
        """Raises NoSuchEntityError."""
        try:
            return self._roles[name]
        except KeyError:
            raise NoSuchEntityError(f"there is no role {name}") from None

    def trusts(self, role: Role) -> tuple[Trust, ...]:
        """The ways to a role that are open: those by providers that are still there."""
        known = {one.issuer for one in self._providers.values()}
        return tuple(way for way in read_trust(role.trust) if way.issuer in known)

    async def add_provider(self, url: str, audiences: tuple[str, ...]) -> Provider:
        """Raises EntityExistsError."""
        return await off_loop(self._add_provider, Provider(url, audiences, datetime.now(UTC)))

    async def change_provider(self, arn: str, audiences: tuple[str, ...]) -> None:
        """Raises NoSuchEntityError."""
        await off_loop(self._change_provider, arn, audiences)

    async def remove_provider(self, arn: str) -> None:
        """Raises NoSuchEntityError. Roles that trust it stay, and can be taken by nobody's tokens of it."""
        await off_loop(self._remove_provider, arn)

    async def add_role(self, name: str, trust: str, description: str) -> Role:
        """Raises EntityExistsError and PolicyError."""
        self.check_trust(trust)
        identity = "AROA" + base64.b32encode(secrets.token_bytes(10)).decode()
        role = Role(name, identity, trust, datetime.now(UTC), description)
        return await off_loop(self._add_role, role)

    async def change_trust(self, name: str, text: str) -> None:
        """Raises NoSuchEntityError and PolicyError. Sessions that were given stay."""
        self.check_trust(text)
        await off_loop(self._change_role, name, lambda role: replace(role, trust=text))

    async def put_policy(self, name: str, policy: str, text: str) -> None:
        """Raises NoSuchEntityError and PolicyError. It holds for sessions that were given, too."""
        read_permissions(text)
        await off_loop(
            self._change_role, name, lambda role: replace(role, policies={**role.policies, policy: text})
        )

    async def remove_policy(self, name: str, policy: str) -> None:
        """Raises NoSuchEntityError."""

        def without(role: Role) -> Role:
            if policy not in role.policies:
                raise NoSuchEntityError(f"the role {name} has no policy {policy}")
            left = {other: text for other, text in role.policies.items() if other != policy}
            return replace(role, policies=left)

        await off_loop(self._change_role, name, without)

    async def remove_role(self, name: str) -> None:
        """At once; its sessions end with it. Raises NoSuchEntityError, and EntityInUseError while it has
        policies.
        """
        await off_loop(self._remove_role, name)

    def check_trust(self, text: str) -> None:
        """Raises PolicyError, also where a provider is not there yet."""
        known = {one.issuer for one in self._providers.values()}
        for way in read_trust(text):
            if way.issuer not in known:
                raise PolicyError(f"there is no provider {PROVIDER}{way.issuer}; make it first")

    async def use(self, token: str, ends_at: datetime) -> bool:
        """Whether the token with this id is used for the first time. From now on it never is again."""
        return await off_loop(self._use, token, ends_at)

    def _use(self, token: str, ends_at: datetime) -> bool:
        now = datetime.now(UTC)
        with self._lock:
            if token in self._used or len(self._used) >= _MOST_TOKENS:
                return False
            over = [one for one, ends in self._used.items() if ends < now]
            facts: list[Any] = [[":db/retractEntity", [":token/id", one]] for one in over]
            self._database.transact([*facts, {":token/id": token, ":token/ends": ends_at}])
            for one in over:
                del self._used[one]
            self._used[token] = ends_at
            return True

    def _add_provider(self, provider: Provider) -> Provider:
        with self._lock:
            if any(one.issuer == provider.issuer for one in self._providers.values()):
                raise EntityExistsError(f"there is a provider {provider.arn} already")
            return self._keep_provider(provider)

    def _change_provider(self, arn: str, audiences: tuple[str, ...]) -> None:
        with self._lock:
            self._keep_provider(replace(self.provider(arn), audiences=audiences))

    def _remove_provider(self, arn: str) -> None:
        with self._lock:
            provider = self.provider(arn)
            self._database.transact([[":db/retractEntity", [":provider/url", provider.url]]])
            del self._providers[provider.url]

    def _add_role(self, role: Role) -> Role:
        with self._lock:
            if role.name in self._roles:
                raise EntityExistsError(f"there is a role {role.name} already")
            if len(self._roles) >= _MOST_ROLES:
                raise EntityInUseError(f"there are {_MOST_ROLES} roles already")
            return self._keep_role(role)

    def _change_role(self, name: str, change: Callable[[Role], Role]) -> None:
        with self._lock:
            self._keep_role(change(self.role(name)))

    def _remove_role(self, name: str) -> None:
        with self._lock:
            if self.role(name).policies:
                raise EntityInUseError(f"the role {name} has policies: delete them first")
            self._database.transact([[":db/retractEntity", [":role/name", name]]])
            del self._roles[name]

    def _keep_provider(self, provider: Provider) -> Provider:
        facts = {
            ":provider/url": provider.url,
            ":provider/audiences": json.dumps(provider.audiences),
            ":provider/created": provider.created_at,
        }
        self._database.transact([facts])
        self._providers[provider.url] = provider
        return provider

    def _keep_role(self, role: Role) -> Role:
        facts = {
            ":role/name": role.name,
            ":role/id": role.id,
            ":role/trust": role.trust,
            ":role/policies": json.dumps(dict(role.policies)),
            ":role/description": role.description,
            ":role/created": role.created_at,
        }
        self._database.transact([facts])
        self._roles[role.name] = role
        return role


def _all(database: bucketlog.Database, attribute: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = database.q(f"[:find [(pull ?e [*]) ...] :where [?e :{attribute}]]")
    return found


def _provider(facts: Mapping[str, Any]) -> Provider:
    audiences = tuple(json.loads(facts[":provider/audiences"]))
    return Provider(facts[":provider/url"], audiences, facts[":provider/created"])


def _role(facts: Mapping[str, Any]) -> Role:
    return Role(
        name=facts[":role/name"],
        id=facts[":role/id"],
        trust=facts[":role/trust"],
        created_at=facts[":role/created"],
        description=facts[":role/description"],
        policies=json.loads(facts[":role/policies"]),
    )
