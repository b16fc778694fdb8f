"""An OpenID Connect issuer as its client sees it: OpenID Connect Core 1.0, the authorization code flow with
PKCE (RFC 7636), the issuer found by OpenID Connect Discovery 1.0.

An attempt to sign in is kept by the browser that began it, in a cookie with one random secret of which state,
nonce and code verifier are made. So no instance has to remember anything, and whichever is asked can take the
issuer's answer, but only from that browser.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode, urlsplit

from company_site.accounts.model import parse_email
from company_site.errors import SiteError
from company_site.settings import Login, is_private

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import Key, KeySet

# RFC 8725: asymmetric ones alone, and stated here, not by the token.
ALGORITHMS = ("RS256", "PS256", "ES256", "RS384", "PS384", "ES384", "RS512", "PS512", "ES512")
SCOPE = "openid email profile"
LEEWAY = 60  # seconds that the issuer's clock may be off
TOKEN_AGE = 600  # seconds between a token's issue and its use, at the most
TIMEOUT = 10  # seconds that the issuer has for an answer
METADATA_AGE = 24 * 3600  # seconds until the issuer's description is asked for again
KEYS_AGE = 3600  # seconds until its keys are
KEYS_PAUSE = 10  # seconds between two questions for keys, though a token names one that is not known
FAILURE_PAUSE = 5  # seconds until an issuer that could not be used is asked again
_ANSWER_LIMIT = 256 * 1024  # bytes
_RSA_BITS = 2048
_NAME_LIMIT = 80  # characters
_COOKIE = re.compile(r"([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{0,1200})", re.ASCII)


class Refusal(StrEnum):
    """Why somebody was not let in. Logs and metrics say no more than this."""

    CANCELLED = "cancelled"  # the issuer answered with an error: mostly, the user went back
    ATTEMPT = "attempt"  # this browser has no attempt that this would be the answer to
    ANSWER = "answer"  # the answer is not the issuer's, or not complete
    CODE = "code"  # the issuer did not take the code
    TOKEN = "token"  # noqa: S105 - the identity token did not pass a check
    REPLAYED = "replayed"  # the attempt has already ended in a session
    UNVERIFIED = "unverified"  # the issuer does not vouch for the e-mail address
    DOMAIN = "domain"  # the account is of another domain than the one configured
    NOT_ALLOWED = "not allowed"  # the address is not on the list


class LoginRefusedError(SiteError):
    """Nobody is signed in. `detail` names the check; `email` is for the eyes of its owner alone."""

    def __init__(self, refusal: Refusal, detail: str = "", email: str = "") -> None:
        super().__init__(f"{refusal}: {detail}" if detail else str(refusal))
        self.refusal = refusal
        self.detail = detail
        self.email = email


class IssuerUnavailableError(SiteError):
    """The issuer does not answer, or what it says of itself cannot be used. The text holds nobody's data."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is by the issuer's word. Issuer and subject together name an account, for good."""

    issuer: str
    subject: str
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to sign in: a secret, and the path of this site to go to afterwards."""

    secret: str
    following: str

    @classmethod
    def begin(cls, following: str) -> Attempt:
        return cls(secrets.token_urlsafe(32), following)

    @classmethod
    def parse(cls, cookie: str) -> Attempt | None:
        match = _COOKIE.fullmatch(cookie)
        if match is None:
            return None
        padded = match[2] + "=" * (-len(match[2]) % 4)
        try:
            return cls(match[1], base64.urlsafe_b64decode(padded).decode())
        except ValueError:
            return None

    def cookie(self) -> str:
        return f"{self.secret}.{_base64url(self.following.encode())}"

    @property
    def state(self) -> str:
        return self._derive("state")

    @property
    def nonce(self) -> str:
        return self._derive("nonce")

    @property
    def verifier(self) -> str:
        """The PKCE code verifier: 43 characters, as many as SHA-256 needs (RFC 7636 section 4.1)."""
        return self._derive("verifier")

    @property
    def challenge(self) -> str:
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def digest(self) -> str:
        """Names the attempt without giving any of it away."""
        return self._derive("digest")

    def _derive(self, purpose: str) -> str:
        return _base64url(hmac.digest(self.secret.encode(), purpose.encode(), "sha256"))


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the issuer says of itself, checked."""

    authorization_endpoint: str
    token_endpoint: str
    keys_url: str
    algorithms: tuple[str, ...]
    secret_in_header: bool  # how it takes the client's secret: by HTTP Basic, else in the form
    names_itself: bool  # whether its answers carry `iss` (RFC 9207)


class Issuer:
    """The configured issuer: asked for its description and keys at the first login, not at the start."""

    def __init__(self, login: Login, redirect_uri: str) -> None:
        self._login = login
        self.redirect_uri = redirect_uri
        self._client: httpx.AsyncClient | None = None
        self._lock = asyncio.Lock()
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[KeySet, float] | None = None
        self._failure: tuple[IssuerUnavailableError, float] | None = None

    @property
    def owners(self) -> frozenset[str]:
        """The addresses that own the site by configuration."""
        return self._login.gate.owners

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def authorization_url(self, attempt: Attempt) -> str:
        """Where the browser goes to prove who its user is. Raises IssuerUnavailableError."""
        metadata = await self._described()
        query = {
            "response_type": "code",
            "client_id": self._login.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
            "prompt": "select_account",  # whoever chose a wrong account gets another choice
        }
        if self._login.gate.hosted_domain:
            query["hd"] = self._login.gate.hosted_domain
        joint = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{joint}{urlencode(query)}"

    async def identify(self, answer: Mapping[str, str], attempt: Attempt) -> Identity:
        """Who the issuer's answer, the query of the callback, says has come back to this browser.

        Raises LoginRefusedError, IssuerUnavailableError.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise LoginRefusedError(Refusal.ATTEMPT, "state")
        metadata = await self._described()
        issuer = answer.get("iss")
        if issuer != self._login.issuer and (issuer is not None or metadata.names_itself):
            raise LoginRefusedError(Refusal.ANSWER, "iss")  # mix-up: RFC 9207 section 2.4
        if "error" in answer:
            raise LoginRefusedError(Refusal.CANCELLED)
        code = answer.get("code", "")
        if not code:
            raise LoginRefusedError(Refusal.ANSWER, "code")
        token = await self._redeem(metadata, code, attempt)
        return self._identity(await self._claims(metadata, token, attempt))

    async def _redeem(self, metadata: Metadata, code: str, attempt: Attempt) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        login, headers = self._login, {}
        if metadata.secret_in_header:  # RFC 6749 section 2.3.1: both are form-encoded first
            pair = f"{quote_plus(login.client_id)}:{quote_plus(login.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": login.client_id, "client_secret": login.client_secret}
        status, answer = await self._ask("POST", metadata.token_endpoint, form, headers)
        if status in (400, 401, 403):
            error = answer.get("error")
            if error in ("invalid_client", "unauthorized_client"):
                raise IssuerUnavailableError("the issuer does not take OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
            raise LoginRefusedError(Refusal.CODE)
        if status != 200:
            raise IssuerUnavailableError(f"the token endpoint answered {status}")
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise LoginRefusedError(Refusal.TOKEN, "missing")
        return token

    async def _claims(self, metadata: Metadata, token: str, attempt: Attempt) -> dict[str, Any]:
        """The claims of an identity token that has passed every check of OpenID Connect Core 3.1.3.7."""
        from joserfc import errors, jws, jwt  # noqa: PLC0415 - see `_open`

        registry = jws.JWSRegistry(algorithms=metadata.algorithms, strict_check_header=False)
        login = self._login
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": login.issuer},
            aud={"essential": True},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": attempt.nonce},
        )
        try:
            try:
                decoded = jwt.decode(token, await self._known_keys(metadata), registry=registry)
            except errors.InvalidKeyIdError:  # the issuer may have changed its keys since
                decoded = jwt.decode(token, await self._known_keys(metadata, anew=True), registry=registry)
            rules.validate(decoded.claims)
        except errors.ClaimError as error:
            raise LoginRefusedError(Refusal.TOKEN, error.error) from None
        except (errors.JoseError, ValueError, TypeError) as error:
            raise LoginRefusedError(Refusal.TOKEN, type(error).__name__) from None
        claims = decoded.claims
        # A token for us and others could have been got by one of the others.
        if claims["aud"] not in (login.client_id, [login.client_id]):
            raise LoginRefusedError(Refusal.TOKEN, "aud")
        if claims.get("azp", login.client_id) != login.client_id:
            raise LoginRefusedError(Refusal.TOKEN, "azp")
        if claims["iat"] < time.time() - TOKEN_AGE - LEEWAY:
            raise LoginRefusedError(Refusal.TOKEN, "iat")
        if not (0 < len(claims["sub"]) <= 255 and claims["sub"].isascii() and claims["sub"].isprintable()):
            raise LoginRefusedError(Refusal.TOKEN, "sub")
        return claims

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        gate = self._login.gate
        given = claims.get("email")
        email = parse_email(given) if isinstance(given, str) else None
        # Some issuers write the text "true"; everything else is not their word.
        if email is None or claims.get("email_verified") not in (True, "true"):
            raise LoginRefusedError(Refusal.UNVERIFIED)
        if gate.hosted_domain and claims.get("hd") != gate.hosted_domain:
            raise LoginRefusedError(Refusal.DOMAIN, email=email)
        if not gate.lets_in(email):
            raise LoginRefusedError(Refusal.NOT_ALLOWED, email=email)
        return Identity(self._login.issuer, claims["sub"], email, _name(claims.get("name"), email))

    async def _described(self) -> Metadata:
        # One asks and the others wait; those who came while it could not be used are not made to, in turn.
        async with self._lock:
            if self._metadata is None or time.monotonic() - self._metadata[1] > METADATA_AGE:
                if self._failure is not None and time.monotonic() - self._failure[1] < FAILURE_PAUSE:
                    raise self._failure[0]
                try:
                    self._metadata = await self._description(), time.monotonic()
                except IssuerUnavailableError as error:
                    self._failure = error, time.monotonic()
                    raise
            return self._metadata[0]

    async def _description(self) -> Metadata:
        url = f"{self._login.issuer.removesuffix('/')}/.well-known/openid-configuration"
        status, document = await self._ask("GET", url)
        if status != 200:
            raise IssuerUnavailableError(f"the issuer's description answered {status}")
        return self._checked(document)

    def _checked(self, document: Mapping[str, Any]) -> Metadata:
        if document.get("issuer") != self._login.issuer:
            raise IssuerUnavailableError("the issuer's description is of another issuer than OIDC_ISSUER")
        urls = [document.get(n) for n in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        plain = self._login.issuer.startswith("http:")
        for url in urls:
            if not isinstance(url, str) or not is_private(url) or (url.startswith("http:") and not plain):
                raise IssuerUnavailableError("the issuer's description lacks an address, or has a wrong one")
        stated = document.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = tuple(name for name in ALGORITHMS if isinstance(stated, list) and name in stated)
        if not algorithms:
            raise IssuerUnavailableError("the issuer signs with no algorithm that is taken here")
        if "S256" not in document.get("code_challenge_methods_supported", ["S256"]):
            raise IssuerUnavailableError("the issuer does not take PKCE with S256")
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Metadata(
            authorization_endpoint=str(urls[0]),
            token_endpoint=str(urls[1]),
            keys_url=str(urls[2]),
            algorithms=algorithms,
            secret_in_header="client_secret_basic" in methods,
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _known_keys(self, metadata: Metadata, *, anew: bool = False) -> KeySet:
        from joserfc.errors import JoseError  # noqa: PLC0415 - see `_open`
        from joserfc.jwk import ECKey, KeySet, RSAKey  # noqa: PLC0415

        async with self._lock:
            age = KEYS_PAUSE if anew else KEYS_AGE
            if self._keys is None or time.monotonic() - self._keys[1] > age:
                status, document = await self._ask("GET", metadata.keys_url)
                try:
                    found = KeySet.import_key_set({"keys": document["keys"]})
                except (JoseError, LookupError, TypeError, ValueError, AttributeError):
                    raise IssuerUnavailableError(f"the issuer's keys cannot be read ({status})") from None
                strong: list[Key] = [
                    key
                    for key in found
                    if isinstance(key, ECKey)
                    or (isinstance(key, RSAKey) and key.public_key.key_size >= _RSA_BITS)
                ]
                self._keys = KeySet(strong), time.monotonic()
            return self._keys[0]

    async def _ask(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of an answer; no redirect is followed, for none belongs there."""
        import httpx  # noqa: PLC0415 - see `_open`

        if self._client is None:
            self._client = await asyncio.to_thread(_open)
        client, data = self._client, bytearray()
        sent = {"Accept": "application/json", **(headers or {})}
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                client.stream(method, url, data=form, headers=sent) as response,
            ):
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > _ANSWER_LIMIT:
                        raise IssuerUnavailableError("the issuer answers too much")
        except (httpx.HTTPError, TimeoutError) as error:
            raise IssuerUnavailableError(f"the issuer does not answer: {type(error).__name__}") from None
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            if response.status_code == 200:
                raise IssuerUnavailableError("the issuer answers with something else than a JSON object")
            answer = {}
        return response.status_code, answer


def _open() -> httpx.AsyncClient:
    """A client for the issuer.

    Here, and in a thread, its libraries are imported: they take a third of a second, which no start should,
    and most instances never see a login.
    """
    import httpx  # noqa: PLC0415
    import joserfc.jwt  # noqa: F401, PLC0415

    return httpx.AsyncClient(timeout=TIMEOUT)


def _name(given: object, email: str) -> str:
    name = " ".join(given.split()) if isinstance(given, str) else ""
    shown = "".join(char for char in name if char.isprintable())[:_NAME_LIMIT].strip()
    return shown or email.partition("@")[0]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
