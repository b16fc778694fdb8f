"""What the environment says, parsed once into a typed value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from company_site.accounts.model import EmailPattern, Gate, parse_email
from company_site.errors import SiteError

GOOGLE = "https://accounts.google.com"

VARIABLES: Mapping[str, str] = {
    "DATABASE_URL": "where the data are: s3://BUCKET/PREFIX or file:///DIRECTORY (required)",
    "UPLOADS_URL": "where uploaded images are: s3://BUCKET or file:///DIRECTORY (required)",
    "SITE_MODE": "prod, or demo for a sign-in without passwords (default prod)",
    "SITE_NAME": "the company's name (default Northpier)",
    "SITE_URL": "the address that visitors use, https://HOST without a path (default: the one they asked)",
    "OIDC_CLIENT_ID": "the client that the issuer knows this site as; without one nobody can sign in",
    "OIDC_CLIENT_SECRET": "the secret of that client",
    "OIDC_ISSUER": f"who says who somebody is, by OpenID Connect (default {GOOGLE})",
    "OIDC_HOSTED_DOMAIN": "let only accounts of this Google Workspace domain in (optional)",
    "OWNER_EMAILS": "who owns the site, checked at each login: addresses, separated by commas",
    "ALLOWED_EMAILS": "who else may sign in: domains, addresses, or patterns with * such as *@*.example.com",
    "METRICS_TOKEN": "the bearer token that /metrics asks for; without one there is no such page",
    "PROXIES": "how many proxies that set X-Forwarded-For stand before the site (default 1)",
    "HOST": "address to listen on (default 0.0.0.0, which a container needs)",
    "PORT": "port to listen on (default 8080)",
}

_ORIGIN = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", re.ASCII)
_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?|file:///[^\s?#]+", re.ASCII)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
_LOGIN = ("SITE_URL", "OIDC_CLIENT_SECRET", "OWNER_EMAILS")  # what OIDC_CLIENT_ID needs beside it
_LOGIN_ONLY = ("OIDC_CLIENT_SECRET", "OIDC_HOSTED_DOMAIN", "OIDC_ISSUER", "ALLOWED_EMAILS", "OWNER_EMAILS")
_TOKEN_LENGTH = 16  # characters, at the least


class SettingsError(SiteError):
    """One or more variables are missing or wrong; the text names each."""


class Mode(StrEnum):
    PROD = "prod"
    DEMO = "demo"


@dataclass(frozen=True)
class Login:
    """The client of an OpenID Connect issuer that this site is, and whom it lets in."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    gate: Gate


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured. URLs are as in `VARIABLES`; `site_url` never ends with a slash."""

    database_url: str
    uploads_url: str
    mode: Mode = Mode.PROD
    site_name: str = "Northpier"
    site_url: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - inside a container, the edge comes in from outside
    port: int = 8080
    login: Login | None = None
    metrics_token: str | None = field(default=None, repr=False)
    proxies: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the variables; SettingsError lists every one that is wrong, not only the first."""
        given = _Environment(environment)
        settings = cls(
            database_url=given.store("DATABASE_URL"),
            uploads_url=given.store("UPLOADS_URL"),
            mode=given.mode(),
            site_name=given.site_name(cls.site_name),
            site_url=given.address("SITE_URL"),
            host=given.text("HOST", cls.host),
            port=given.number("PORT", cls.port, 1, 65535),
            login=given.login(),
            metrics_token=given.token("METRICS_TOKEN"),
            proxies=given.number("PROXIES", cls.proxies, 1, 9),
        )
        if given.problems:
            raise SettingsError("; ".join(given.problems))
        return settings


class _Environment:
    """Reads variables one by one and collects what is wrong with them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.problems: list[str] = []

    def text(self, name: str, default: str | None) -> str:
        value = self._variables.get(name, default)
        if value is None:
            self.problems.append(f"{name} is not set: {VARIABLES[name]}")
        elif not value.strip():
            self.problems.append(f"{name} is empty: {VARIABLES[name]}")
        else:
            return value.strip()
        return ""

    def optional(self, name: str) -> str | None:
        return self.text(name, None) or None if name in self._variables else None

    def store(self, name: str) -> str:
        value = self.text(name, None)
        if value and not _STORE.fullmatch(value):
            self.problems.append(f"{name} is {value!r}: {VARIABLES[name]}")
        return value

    def mode(self) -> Mode:
        value = self.text("SITE_MODE", Mode.PROD)
        if value in list(Mode):
            return Mode(value)
        if value:
            self.problems.append(f"SITE_MODE is {value!r}: {VARIABLES['SITE_MODE']}")
        return Mode.PROD

    def site_name(self, default: str) -> str:
        value = self.text("SITE_NAME", default)
        if len(value) > 60 or not value.isprintable():
            self.problems.append("SITE_NAME has more than 60 characters, or some that cannot be printed")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self.text(name, str(default))
        if re.fullmatch(r"[0-9]{1,5}", value) and least <= int(value) <= most:
            return int(value)
        if value:
            self.problems.append(f"{name} is {value!r}: a number from {least} to {most}")
        return default

    def address(self, name: str) -> str | None:
        value = (self.optional(name) or "").removesuffix("/")
        if value and not _ORIGIN.fullmatch(value):
            self.problems.append(f"{name} is {value!r}: {VARIABLES[name]}")
        return value or None

    def token(self, name: str) -> str | None:
        value = self.optional(name)
        if value is not None and len(value) < _TOKEN_LENGTH:
            self.problems.append(f"{name} is shorter than {_TOKEN_LENGTH} characters, so it could be guessed")
        return value

    def login(self) -> Login | None:
        client_id = self.optional("OIDC_CLIENT_ID")
        if client_id is None:
            if "OIDC_CLIENT_ID" not in self._variables:
                self.problems += [
                    f"{name} is set but OIDC_CLIENT_ID is not, so nobody could sign in"
                    for name in _LOGIN_ONLY
                    if name in self._variables
                ]
            return None
        if self._variables.get("SITE_MODE", "").strip() == Mode.DEMO:
            self.problems.append("OIDC_CLIENT_ID is set but SITE_MODE is demo, where anybody may be anybody")
        self.problems += [
            f"{name} is not set, and OIDC_CLIENT_ID needs it: {VARIABLES[name]}"
            for name in _LOGIN
            if name not in self._variables
        ]
        address = self._variables.get("SITE_URL", "").strip()
        if address and not is_private(address):
            self.problems.append(f"SITE_URL is {address!r}: to sign in it has to begin with https://")
        issuer = self.text("OIDC_ISSUER", GOOGLE)
        if issuer and not is_private(issuer):
            self.problems.append(f"OIDC_ISSUER is {issuer!r}: an https URL, exactly as the issuer states it")
        domain = (self.optional("OIDC_HOSTED_DOMAIN") or "").lower()
        if domain and not _DOMAIN.fullmatch(domain):
            self.problems.append(f"OIDC_HOSTED_DOMAIN is {domain!r}: a domain such as example.com")
        gate = Gate(self._patterns(), self._owners(), domain or None)
        return Login(issuer, client_id, self.optional("OIDC_CLIENT_SECRET") or "", gate)

    def _owners(self) -> frozenset[str]:
        owners = set()
        for text in _listed(self.optional("OWNER_EMAILS")):
            email = parse_email(text)
            if email is None:
                self.problems.append(f"OWNER_EMAILS has {text!r}, which is no e-mail address")
            else:
                owners.add(email)
        return frozenset(owners)

    def _patterns(self) -> tuple[EmailPattern, ...]:
        patterns = []
        for text in _listed(self.optional("ALLOWED_EMAILS")):
            try:
                patterns.append(EmailPattern.parse(text))
            except ValueError as error:
                self.problems.append(f"ALLOWED_EMAILS has {text!r}, which {error}")
        return tuple(patterns)


def _listed(value: str | None) -> list[str]:
    return [part.strip() for part in (value or "").split(",") if part.strip()]


def is_private(value: str) -> bool:
    """Whether nobody on the way can read along: https, or http on this very machine."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    return bool(secure and host and re.fullmatch(r"[\x21-\x7e]+", value) and not set(value) & set("@?#\\"))
