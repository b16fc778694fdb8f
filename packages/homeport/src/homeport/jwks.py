"""The public keys of an OpenID Connect issuer: found by discovery, kept for an hour, asked for again when a
token names one that is not among them, and never more often than that.

OpenID Connect Discovery 1.0 section 4; RFC 7517 (JWK); RFC 7518 section 6 (parameters of the keys).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from homeport.errors import HomeportError

Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Fetch = Callable[[str], bytes]  # blocks; raises OSError

_FRESH: Final = 3600.0  # seconds for which keys are believed without asking again
_PAUSE: Final = 30.0  # seconds between two questions to an issuer that does not know a key
_TIMEOUT: Final = 10.0  # seconds
_LARGEST: Final = 1 << 18  # bytes of a document
_MOST: Final = 100  # keys of one issuer
_BITS: Final = (2048, 8192)  # of an RSA key: the smallest that is safe, the largest that is cheap
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class IssuerError(HomeportError):
    """The issuer cannot be asked for its keys, or says nothing that makes sense."""


class UnknownKeyError(HomeportError):
    """The issuer has no such key."""


def is_issuer(url: str) -> bool:
    """Whether this can be an issuer here: HTTPS without a query, or HTTP on this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    return secure and plain and bool(host) and url.isascii() and len(url) <= 255 and not url.endswith("/")


class _Stay(HTTPRedirectHandler):
    """An issuer's documents are where it says, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch(url: str) -> bytes:
    """The document at `url`. Raises OSError."""
    try:
        with build_opener(_Stay).open(url, timeout=_TIMEOUT) as answer:
            data: bytes = answer.read(_LARGEST + 1)
    except HTTPError as error:
        error.close()
        raise OSError(f"it answers {error.code}") from None
    except HTTPException as error:
        raise OSError(f"its answer is not HTTP: {type(error).__name__}") from None
    if len(data) > _LARGEST:
        raise OSError(f"it has more than {_LARGEST} bytes")
    return data


@dataclass(slots=True)
class _Known:
    """What is known of one issuer; times of the monotonic clock."""

    keys: dict[str, Key] = field(default_factory=dict)
    asked: float = float("-inf")
    answered: float = float("-inf")
    failure: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Keys:
    """The keys of all issuers that are trusted; whoever calls has looked that an issuer is."""

    def __init__(self, fetch: Fetch = fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def find(self, issuer: str, kid: str) -> Key:
        """The issuer's key of that name. Raises UnknownKeyError and IssuerError."""
        known = self._known.setdefault(issuer, _Known())
        async with known.lock:
            now = self._clock()
            needed = kid not in known.keys or now - known.answered > _FRESH
            if needed and now - known.asked > _PAUSE:
                await self._ask(issuer, known)
        if known.failure:
            raise IssuerError(f"{issuer} cannot be asked for its keys: {known.failure}")
        if kid not in known.keys:
            raise UnknownKeyError(f"{issuer} has no key {kid[:100]!r}")
        return known.keys[kid]

    def forget(self, issuer: str) -> None:
        self._known.pop(issuer, None)

    async def _ask(self, issuer: str, known: _Known) -> None:
        """What was answered is believed for its hour, and not for longer because nobody answers now: neither
        who has a token nor who is on the way can make old keys last.
        """
        known.asked = self._clock()
        try:
            known.keys = await asyncio.to_thread(self._read, issuer)
            known.failure, known.answered = "", known.asked
        except (OSError, ValueError, TypeError, RecursionError) as error:
            if known.asked - known.answered > _FRESH:
                known.keys = {}
            known.failure = "" if known.keys else str(error)[:200]

    def _read(self, issuer: str) -> dict[str, Key]:
        """Raises OSError, ValueError and TypeError."""
        discovered = _object(self._fetch(f"{issuer}/.well-known/openid-configuration"))
        if discovered.get("issuer") != issuer:
            raise ValueError("its configuration is of another issuer")
        address = discovered.get("jwks_uri")
        if not isinstance(address, str) or not is_issuer(address):
            raise ValueError("its jwks_uri is not HTTPS")
        listed = _object(self._fetch(address)).get("keys")
        if not isinstance(listed, list) or len(listed) > _MOST:
            raise ValueError(f"its key set has no list of up to {_MOST} keys")
        keys: dict[str, Key] = {}
        for one in listed:
            key = read_key(one) if isinstance(one, dict) else None
            if key is not None:
                if one["kid"] in keys:
                    raise ValueError("two of its keys have one name")
                keys[one["kid"]] = key
        return keys


def read_key(jwk: Mapping[str, Any]) -> Key | None:
    """The public key of a JWK; None for one that is not for signatures with RS256 or ES256."""
    if not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig":
        return None
    try:
        if jwk.get("kty") == "RSA" and jwk.get("alg", "RS256") == "RS256":
            key = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
            return key if _BITS[0] <= key.key_size <= _BITS[1] else None
        if (jwk.get("kty"), jwk.get("crv")) == ("EC", "P-256") and jwk.get("alg", "ES256") == "ES256":
            numbers = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP256R1())
            return numbers.public_key()
    except (KeyError, ValueError, TypeError):
        return None
    return None


def decode(text: str) -> bytes:
    """Base64url without padding (RFC 7515 section 2), in its only form. Raises ValueError."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("not base64url in its only form")
    return data


def _number(text: Any) -> int:
    if not isinstance(text, str) or len(text) > 2 * _BITS[1] // 8:
        raise ValueError("no number")
    return int.from_bytes(decode(text), "big")


def _object(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    return document
