"""Logging in: what a challenge asks for, Basic (RFC 7617) or a bearer token (the distribution project's
"Token Authentication Specification", and its OAuth 2 form for identity tokens)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import urllib3
from urllib3.exceptions import HTTPError

from ocikit._document import Reader
from ocikit.client.address import is_loopback, origin, shown, with_query
from ocikit.client.answer import checked, read, reason
from ocikit.client.retry import PassingError
from ocikit.client.transport import Transport
from ocikit.credentials import IDENTITY_TOKEN, Credentials
from ocikit.errors import AuthenticationError, InvalidDocumentError, RegistryError

Find = Callable[[str], Credentials | None]

_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header can carry
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Login:
    """Who we are to one registry. Keeps what a challenge brought, by scope; thread-safe."""

    def __init__(
        self, host: str, credentials: Credentials | Find | None, transport: Transport, *, insecure: bool
    ) -> None:
        self._host = host
        self._given = credentials
        self._transport = transport
        self._insecure = insecure
        self._authorization: dict[tuple[str, ...], str] = {}  # scopes -> header value; (): for all
        self._lock = threading.Lock()

    def authorization(self, scopes: tuple[str, ...]) -> str | None:
        """The header for these scopes, as far as anybody has asked for one."""
        return self._authorization.get(scopes) or self._authorization.get(())

    def answer(self, challenge: str, scopes: tuple[str, ...], used: str | None) -> str | None:
        """The Authorization that a challenge asks for; None when there is nothing new to try.

        Raises AuthenticationError where credentials would go where they should not, and PassingError.
        """
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            fresh, scopes = self._basic(), ()
        elif kind.lower() == "bearer":
            fresh = self._bearer(dict(_PARAMETER.findall(rest)), scopes)
        else:
            return None
        if fresh is None or fresh == used:
            return None
        with self._lock:
            self._authorization[scopes] = fresh
        return fresh

    def tried(self) -> str:
        """Whose credentials a registry has refused, for a person to read; never the credentials."""
        known = self._credentials
        if known is None:
            return f"no credentials for {self._host} are known: log in, or put them into docker's config.json"
        return "with an identity token" if known.username == IDENTITY_TOKEN else f"as {known.username!r}"

    @property
    def _credentials(self) -> Credentials | None:
        with self._lock:
            if callable(self._given):
                self._given = self._given(self._host)
            return self._given

    def _basic(self) -> str | None:
        known = self._credentials
        return None if known is None or known.username == IDENTITY_TOKEN else known.basic()

    def _bearer(self, challenge: Mapping[str, str], scopes: tuple[str, ...]) -> str:
        realm = challenge.get("realm", "")
        self._check_realm(realm)
        # The challenge speaks of the repository in the path; a mount needs another one too.
        wanted = (challenge.get("scope", scopes[0]), *scopes[1:])
        answer = self._ask(realm, challenge.get("service"), wanted)
        data = read(checked(answer, "GET", realm), realm).data
        try:
            document = Reader.of(data, "token")
            token = document.optional("token", str) or document.get("access_token", str)
        except InvalidDocumentError:
            token = ""
        if not _TOKEN.fullmatch(token):
            raise AuthenticationError(f"{shown(realm)} answered without a token")
        return f"Bearer {token}"

    def _check_realm(self, realm: str) -> None:
        try:
            scheme, host, _ = origin(realm)
        except ValueError:
            message = f"{self._host} sends us to {realm[:200]!r} for a token, which is no place to go"
            raise AuthenticationError(message) from None
        literal = f"[{host}]" if ":" in host else host
        # Nobody elsewhere has us ask a server of this machine, which may trust whoever reaches it.
        here = is_loopback(literal) and is_loopback(self._host)
        if scheme != "https" and not (scheme == "http" and (here or self._insecure)):
            raise AuthenticationError(
                f"{self._host} sends us to {shown(realm)!r} for a token: credentials do not go there"
            )

    def _ask(self, realm: str, service: str | None, scopes: tuple[str, ...]) -> urllib3.BaseHTTPResponse:
        known = self._credentials
        asked = [("service", service)] if service else []
        method, headers, body, url = "GET", {}, None, realm
        if known is not None and known.username == IDENTITY_TOKEN:
            asked += [("scope", " ".join(scopes)), ("client_id", "ocikit")]
            asked += [("grant_type", "refresh_token"), ("refresh_token", known.password)]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            method, body = "POST", urlencode(asked)
        else:
            url = with_query(realm, urlencode(asked + [("scope", scope) for scope in scopes]))
            headers = {"Authorization": known.basic()} if known else {}
        try:
            return self._transport.pool(realm).request(
                method, url, body=body, headers=headers, redirect=False, preload_content=False
            )
        except HTTPError as error:
            raise PassingError(RegistryError(f"token from {shown(realm)}: {reason(error)}")) from error
