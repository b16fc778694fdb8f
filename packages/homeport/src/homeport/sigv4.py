"""Signature Version 4, the server's side (AWS documentation, "Create a signed AWS API request").

A request says who signed it and what of it is signed; `verify` checks that with the secret that belongs to
the access key. Whether the body is what the signature says of it is for the caller to check; `Chain` helps
where the body's chunks are signed one by one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

MAX_SKEW = timedelta(minutes=15)
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY = hashlib.sha256().hexdigest()
_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_TIME = "%Y%m%dT%H%M%SZ"


class Flaw(StrEnum):
    """Why a signature is refused; each protocol has its own code for it."""

    MISSING = "the request is not signed"
    MALFORMED = "the Authorization header is not one of AWS4-HMAC-SHA256"
    UNKNOWN_KEY = "the access key is not known here"
    EXPIRED = "the credentials have ended"
    SKEWED = "the request is older or newer than 15 minutes"
    MISMATCH = "the signature does not match the request and the secret key"


class SignatureError(Exception):
    """The request is not signed as it should be."""

    def __init__(self, flaw: Flaw, detail: str = "") -> None:
        super().__init__(f"{flaw}{f': {detail}' if detail else ''}")
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived. `path` and `query` are as sent, percent-encoded; header names in any case."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """All values of a header, joined as HTTP allows (RFC 9110 section 5.3)."""
        values = [" ".join(value.split()) for key, value in self.headers if key.lower() == name]
        return ",".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Claim:
    """What the Authorization header says, not yet believed."""

    access_key: str
    date: str  # YYYYMMDD
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class Chain:
    """The signatures of a body's chunks: each is over its chunk and the signature before, the first over the
    request's ("Signature calculations: transferring payload in multiple chunks").
    """

    def __init__(self, call: Call, claim: Claim, secret: str) -> None:
        self._key = _signing_key(secret, claim)
        self._context = f"{call.header('x-amz-date')}\n{claim.scope}"
        self._previous = claim.signature

    def chunk(self, sha256: str, signature: str) -> None:
        """The next chunk, by the hexadecimal hash of its content. Raises SignatureError (MISMATCH)."""
        self._link("PAYLOAD", f"{_EMPTY}\n{sha256}", signature)

    def trailer(self, sha256: str, signature: str) -> None:
        """The fields after the last chunk, as `name:value` lines. Raises SignatureError (MISMATCH)."""
        self._link("TRAILER", sha256, signature)

    def _link(self, kind: str, signed: str, signature: str) -> None:
        to_sign = f"{_ALGORITHM}-{kind}\n{self._context}\n{self._previous}\n{signed}"
        expected = hmac.new(self._key, to_sign.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise SignatureError(Flaw.MISMATCH, "in the body")
        self._previous = expected


def read_claim(call: Call) -> Claim:
    """The claim of the Authorization header. Raises SignatureError (MISSING, MALFORMED)."""
    authorization = call.header("authorization")
    if authorization is None:
        raise SignatureError(Flaw.MISSING)
    algorithm, _, rest = authorization.partition(" ")
    fields = dict(_FIELD.findall(rest))
    credential = fields.get("Credential", "").split("/")
    if algorithm != _ALGORITHM or len(fields) != 3 or len(credential) != 5 or credential[4] != "aws4_request":
        raise SignatureError(Flaw.MALFORMED)
    signed = tuple(fields["SignedHeaders"].split(";"))
    access_key, date, region, service, _ = credential
    return Claim(access_key, date, region, service, signed, fields["Signature"])


def verify(call: Call, payload_hash: str, secret_of: Callable[[str], str | None], *, now: datetime) -> Claim:
    """The claim, once it is proved: signed with the secret of its access key, now, over this very request.

    `payload_hash` is what the signature must say of the body: its SHA-256 in hexadecimal, or what
    `x-amz-content-sha256` holds. Raises SignatureError.
    """
    claim = read_claim(call)
    secret = secret_of(claim.access_key)
    if secret is None:
        raise SignatureError(Flaw.UNKNOWN_KEY)
    stamp = call.header("x-amz-date")
    try:
        signed_at = datetime.strptime(stamp or "", _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise SignatureError(Flaw.MALFORMED, "no X-Amz-Date of the form YYYYMMDDTHHMMSSZ") from None
    if abs(now - signed_at) > MAX_SKEW or not (stamp or "").startswith(claim.date):
        raise SignatureError(Flaw.SKEWED, f"it says {stamp}, here it is {now.strftime(_TIME)}")
    _require_signed(call, claim)
    canonical = _canonical_request(call, claim, payload_hash)
    to_sign = "\n".join(
        (_ALGORITHM, stamp or "", claim.scope, hashlib.sha256(canonical.encode()).hexdigest())
    )
    expected = hmac.new(_signing_key(secret, claim), to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise SignatureError(Flaw.MISMATCH)
    return claim


def _require_signed(call: Call, claim: Claim) -> None:
    """What steers a request must be signed, or somebody on the way could change it."""
    steering = {name.lower() for name, _ in call.headers if name.lower().startswith("x-amz-")} | {"host"}
    unsigned = steering - set(claim.signed_headers)
    if unsigned:
        raise SignatureError(Flaw.MISMATCH, f"not signed: {', '.join(sorted(unsigned))}")


def _canonical_request(call: Call, claim: Claim, payload_hash: str) -> str:
    headers = "".join(f"{name}:{call.header(name) or ''}\n" for name in claim.signed_headers)
    return "\n".join(
        (
            call.method,
            _canonical_path(call.path, claim.service),
            _canonical_query(call.query),
            headers,
            ";".join(claim.signed_headers),
            payload_hash,
        )
    )


def _canonical_path(path: str, service: str) -> str:
    """Encoded once for S3; every other service encodes what is encoded already once more."""
    once = quote(unquote_to_bytes(path or "/"), safe="/-_.~")
    return once if service == "s3" else quote(once, safe="/-_.~")


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    encoded = ((_encode(name), _encode(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def _encode(text: str) -> str:
    # A plus is a space to whoever reads the query after us, so it is one here too: else %2B could become it.
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~")


def _signing_key(secret: str, claim: Claim) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
