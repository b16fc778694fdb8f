"""Identity tokens of OpenID Connect: whether one is genuine, for us, of now, and here for the first time.

A token is a JWT (RFC 7519) signed with RS256 or ES256 (RFC 7515), by a key that the issuer publishes. The key
says which algorithm it is for, never the token; what a token's header offers as a key is not looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from homeport.errors import HomeportError
from homeport.jwks import Key, Keys, UnknownKeyError, decode

_LARGEST: Final = 20_000  # characters, AWS's own limit
_LEEWAY: Final = 60  # seconds by which two clocks may differ
_LONGEST: Final = 24 * 3600  # seconds for which a token may be good
# An event by which somebody from outside has their own code run under the repository's name.
_FOREIGN: Final = {
    "event_name": ("pull_request", "pull_request_target", "pull_request_review", "pull_request_comment"),
    "pipeline_source": ("merge_request_event", "external_pull_request_event"),
}


class TokenError(HomeportError):
    """The token is not what it should be."""


class ExpiredTokenError(TokenError):
    """The token was good once."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a genuine token says of whoever holds it. `claims` has the values of text only."""

    issuer: str
    subject: str
    audience: str
    id: str  # the same for the same token, and for no other
    ends_at: datetime
    claims: Mapping[str, str] = field(repr=False)


async def verify(
    token: str, audiences: Callable[[str], Collection[str]], keys: Keys, now: datetime
) -> Identity:
    """The identity that a token proves.

    `audiences` are those that we are for an issuer, none for one that is not trusted: nothing is ever asked
    of such. Raises TokenError, ExpiredTokenError, and IssuerError where the keys cannot be had. Whether the
    token has been used is for the caller to look.
    """
    header, claims, signed, signature = _parts(token)
    issuer = _text(claims, "iss")
    ours = audiences(issuer)
    if not ours:
        raise TokenError(f"the issuer {issuer[:200]!r} is not trusted here")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise TokenError("the token does not say which key has signed it")
    try:
        key = await keys.find(issuer, kid)
    except UnknownKeyError as error:
        raise TokenError(str(error)) from None
    _check_signature(key, header, signed, signature)
    audience = _audience(claims)
    if audience not in ours:
        raise TokenError(f"the token is for {audience[:200]!r}, not for here")
    ends_at = _check_times(claims, now)
    subject = _text(claims, "sub")
    _require_own_code(subject, claims)
    jti = _text(claims, "jti")
    return Identity(
        issuer=issuer,
        subject=subject,
        audience=audience,
        id=hashlib.sha256(json.dumps([issuer, jti]).encode()).hexdigest(),
        ends_at=ends_at,
        claims={name: value for name, value in claims.items() if isinstance(value, str)} | {"aud": audience},
    )


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, what is signed, and the signature; none of it believed yet."""
    if len(token) > _LARGEST:
        raise TokenError(f"the token has more than {_LARGEST} characters")
    try:
        first, second, third = token.split(".")
        header, claims = _document(decode(first)), _document(decode(second))
        return header, claims, f"{first}.{second}".encode(), decode(third)
    except (ValueError, TypeError, RecursionError):
        raise TokenError("the token is no signed JWT") from None


def _document(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name comes twice: of two, another reader might take the other."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name comes twice")
        return found

    document = json.loads(data.decode(), object_pairs_hook=once)
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    return document


def _check_signature(key: Key, header: Mapping[str, Any], signed: bytes, signature: bytes) -> None:
    needed = "RS256" if isinstance(key, rsa.RSAPublicKey) else "ES256"
    if header.get("alg") != needed:
        raise TokenError(f"the token is signed by {str(header.get('alg'))[:20]!r}; its key is for {needed}")
    if header.get("typ", "JWT") != "JWT" or "crit" in header or "b64" in header:
        raise TokenError("the token's header asks for what is not understood here")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(_asn1(signature), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise TokenError("the token's signature is wrong") from None


def _asn1(signature: bytes) -> bytes:
    """A signature of ES256 (RFC 7518 section 3.4) in the other usual form. Raises InvalidSignature."""
    if len(signature) != 64:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return utils.encode_dss_signature(r, s)


def _audience(claims: Mapping[str, Any]) -> str:
    """The one that the token is for; one that is for several may be used against each by the others."""
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or not audience:
        raise TokenError("the token is not for one audience")
    if claims.get("azp", audience) != audience:
        raise TokenError("the token was given to another party than its audience")
    return audience


def _check_times(claims: Mapping[str, Any], now: datetime) -> datetime:
    """When the token ends, leeway included."""
    at = now.timestamp()
    issued, ends = _time(claims, "iat"), _time(claims, "exp")
    begins = _time(claims, "nbf") if "nbf" in claims else issued
    if ends <= at - _LEEWAY:
        raise ExpiredTokenError("the token has expired")
    if max(issued, begins) > at + _LEEWAY:
        raise TokenError("the token is not good yet")
    if ends - issued > _LONGEST:
        raise TokenError(f"the token is good for more than {_LONGEST // 3600} hours")
    return datetime.fromtimestamp(ends + _LEEWAY, UTC)


def _require_own_code(subject: str, claims: Mapping[str, Any]) -> None:
    """A job for a pull request runs what anybody has sent; no role is for that."""
    for claim, events in _FOREIGN.items():
        if claims.get(claim) in events:
            raise TokenError(f"the token is of a job with {claim} {claims[claim]}: it is never trusted")
    if subject.endswith(":pull_request") or ":pull_request:" in subject:
        raise TokenError("the token is of a pull request: it is never trusted")
    if str(claims.get("ref", "")).startswith(("refs/pull/", "refs/merge-requests/")):
        raise TokenError("the token is of a pull request's ref: it is never trusted")


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or len(value) > 1024:
        raise TokenError(f"the token has no claim {name}")
    return value


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise TokenError(f"the token has no time {name}")
    return float(value)
