"""Signatures without a key to keep: by the identity of whoever runs this, as sigstore's services see it.

A certificate authority (Fulcio) takes an identity token and certifies, for some minutes, a key that is made
for one signature and thrown away; a transparency log (Rekor) keeps when it was used. Certificate, signature
and the log's proof are one document, a Sigstore bundle (v0.3), that can be checked without asking anybody.
Protocol and cryptography are those of the library `sigstore`, which comes with the extra `keyless`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509.oid import ObjectIdentifier

from ocikit import InvalidDocumentError
from tagboat.errors import TagboatError
from tagboat.supply.statement import STATEMENT_TYPE

try:
    from requests.adapters import HTTPAdapter
    from sigstore import dsse
    from sigstore.errors import CertValidationError, VerificationError
    from sigstore.models import Bundle, ClientTrustConfig, InvalidBundle
    from sigstore.oidc import IdentityToken, detect_credential
    from sigstore.sign import SigningContext
    from sigstore.verify import Verifier
except ModuleNotFoundError as missing:
    raise TagboatError(
        f"signatures without a key need a package that is not here: {missing.name}",
        hint="pip install 'tagboat[keyless]'",
    ) from missing

_AUDIENCE = "sigstore"  # of identity tokens, as Fulcio's clients have it
_TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105  the name of a variable
_FULCIO = "1.3.6.1.4.1.57264.1"  # its extensions (github.com/sigstore/fulcio, docs/oid-info.md)
_ISSUER = ObjectIdentifier(f"{_FULCIO}.8")
_ISSUER_BEFORE = ObjectIdentifier(f"{_FULCIO}.1")  # the same, not in DER
_PATIENCE = 60.0  # seconds without a byte from a service
_MAX_REASON = 300  # characters that are told of a reason


class KeylessError(TagboatError):
    """Nobody says who signs, a service does not take it, or what is to be trusted cannot be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs: a name (the address of a workflow, a mail address), and the issuer that vouches for it.

    In a name that is asked for, `*` stands for whatever there is.
    """

    name: str
    issuer: str

    def __str__(self) -> str:
        return f"{self.name} ({self.issuer})"

    def covers(self, found: Identity) -> bool:
        pattern = ".*".join(re.escape(part) for part in self.name.split("*"))
        return self.issuer == found.issuer and re.fullmatch(pattern, found.name, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement that has been checked, who has signed it, and when their certificate was made."""

    statement: bytes
    identity: Identity
    certified: datetime

    def __str__(self) -> str:
        return f"{self.identity}, certified {self.certified:%Y-%m-%dT%H:%M:%SZ}"


class KeylessSigner:
    """What signs as whoever runs this; each statement under a key and a certificate of its own.

    `trust_config` is a file of sigstore's `ClientTrustConfig`, which says whose services are asked and which
    keys they have; without one they are the public ones, whose log anybody can read for ever.
    """

    def __init__(self, trust_config: Path | None) -> None:
        """Raises KeylessError, also when nothing says who this is."""
        self._trust = _trust(trust_config)
        self._token = _token()

    def seal(self, statement: bytes) -> tuple[bytes, Signed]:
        """A bundle with the statement, and what it says once it is checked. Raises KeylessError.

        What the services answer is checked as every reader will: nothing is attached that would not hold.
        """
        if not self._token.in_validity_period():  # a build may have been in between
            self._token = _token()
        with _telling("sigstore has not signed it"):
            context = _patient(SigningContext.from_trust_config(self._trust))
            with context.signer(self._token) as signer:
                bundle = signer.sign_dsse(dsse.Statement(statement))
        with _telling("sigstore's answer does not hold"):
            data = bundle.to_json().encode()
            return data, KeylessVerifier(self._trust, None).unseal(data)


class KeylessVerifier:
    """What tells whether a statement was signed by an identity, without one by any; offline."""

    def __init__(self, trust: ClientTrustConfig, wanted: Identity | None) -> None:
        self.wanted = wanted
        with _telling("the trust configuration cannot be used"):
            self._verifier = Verifier(trusted_root=trust.trusted_root)

    @classmethod
    def of(cls, trust_config: Path | None, wanted: Identity) -> KeylessVerifier:
        """See KeylessSigner for `trust_config`. Raises KeylessError."""
        return cls(_trust(trust_config), wanted)

    def unseal(self, data: bytes) -> Signed:
        """What a bundle holds. Raises InvalidDocumentError that says why it does not hold.

        That is: its certificate is of a trusted authority, in its log of certificates, and was good when the
        signature was logged or stamped; it names the identity; a trusted log has the signature (its proof of
        inclusion, signed checkpoint, and its promise where it has given one); and it signs the statement.
        """
        policy, bundle = _Policy(self.wanted), None
        try:
            bundle = Bundle.from_json(data)
            kind, payload = self._verifier.verify_dsse(bundle, policy)
        except Exception as error:  # whatever somebody has attached, it must not hide what is good
            raise InvalidDocumentError(_problem(error, bundle)) from error
        if kind != STATEMENT_TYPE:
            raise InvalidDocumentError(f"it signs a {kind[:100]!r}, not a {STATEMENT_TYPE}")
        return Signed(payload, policy.found, bundle.signing_certificate.not_valid_before_utc)


class _Policy:
    """Sigstore's protocol for who may have signed; it is asked once the certificate has been checked."""

    def __init__(self, wanted: Identity | None) -> None:
        self._wanted = wanted
        self.found: Identity

    def verify(self, cert: x509.Certificate) -> None:
        found = [Identity(name, _issuer(cert)) for name in _names(cert)]
        good = [one for one in found if self._wanted is None or self._wanted.covers(one)]
        if not good:
            raise VerificationError(f"signed by {', '.join(map(str, found))}, not by {self._wanted}")
        self.found = good[0]


def _names(cert: x509.Certificate) -> list[str]:
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *names.get_values_for_type(x509.RFC822Name),
    ]


def _issuer(cert: x509.Certificate) -> str:
    extensions = {one.oid: one.value for one in cert.extensions}
    current, before = extensions.get(_ISSUER), extensions.get(_ISSUER_BEFORE)
    if isinstance(current, x509.UnrecognizedExtension):
        return asn1.decode_der(str, current.value)
    if isinstance(before, x509.UnrecognizedExtension):
        return before.value.decode()
    raise VerificationError("the certificate does not say who vouches for the identity")


def _times(bundle: Bundle) -> list[datetime]:
    """When it was signed, as its log and the stamps in it say."""
    logged, stamps = (
        bundle.log_entry._inner.integrated_time,
        bundle.verification_material.timestamp_verification_data,
    )
    return [
        *([datetime.fromtimestamp(logged, UTC)] if logged else []),
        *(stamp.tst_info.gen_time for stamp in (stamps.rfc3161_timestamps if stamps else ())),
    ]


def _problem(error: Exception, bundle: Bundle | None) -> str:
    """What is wrong with a bundle, in words."""
    if isinstance(error, InvalidBundle):
        return f"it is no bundle of certificate, signature and log entry: {_reason(error)}"
    if isinstance(error, CertValidationError) and bundle is not None:
        certificate, times = bundle.signing_certificate, _times(bundle)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if outside := [time for time in times if not begin <= time <= end]:
            return f"its certificate was good from {begin} until {end}, and it was signed at {outside[0]}"
        return "its certificate is of no authority that is trusted here"
    return _reason(error)


class _Patient(HTTPAdapter):
    """How requests are sent, which by themselves would wait for ever."""

    def send(self, *arguments: Any, **options: Any) -> Any:
        return super().send(*arguments, **options | {"timeout": options.get("timeout") or _PATIENCE})


def _patient(context: SigningContext) -> SigningContext:
    rekor: Any = context._rekor
    for session in (context._fulcio.session, rekor._session):
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Patient())
    return context


def _trust(file: Path | None) -> ClientTrustConfig:
    if file is None:
        with _telling("the keys of sigstore's public services cannot be had"):
            return ClientTrustConfig.production()
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise KeylessError(f"{file} cannot be read: {error.strerror}") from error
    with _telling(f"{file} is no trust configuration of sigstore"):
        return ClientTrustConfig.from_json(text)


def _token() -> IdentityToken:
    """Who this is: what SIGSTORE_ID_TOKEN says, or the CI system that runs this. Raises KeylessError."""
    hint = f"GitHub: `id-token: write`; elsewhere: {_TOKEN}, an identity token for the audience {_AUDIENCE!r}"
    with _telling("nobody says who signs", hint):
        raw = os.environ.get(_TOKEN) or detect_credential(_AUDIENCE)
        if raw is not None:
            return IdentityToken(raw, _AUDIENCE)
    raise KeylessError("nobody says who signs: this is no job of a CI system that is known", hint=hint)


@contextmanager
def _telling(what: str, hint: str | None = None) -> Iterator[None]:
    """Say what failed, whichever it is of the library's errors: most of them have no base class in common."""
    try:
        yield
    except TagboatError:
        raise
    except Exception as error:
        raise KeylessError(f"{what}: {_reason(error)}", hint=hint) from error


def _reason(error: Exception) -> str:
    """What an error says, in one line: the answer of the service where there is one."""
    cause = error.__cause__ or error.__context__
    responses = [getattr(one, "response", None) for one in (error, cause)]
    response = next((one for one in responses if one is not None), None)
    if response is not None:
        said = f"{response.url} answers {response.status_code}: {response.text}"
    else:
        said = ": ".join(str(one) or type(one).__name__ for one in (error, error.__cause__) if one)
    return " ".join(said.split())[:_MAX_REASON]
