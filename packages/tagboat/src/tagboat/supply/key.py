"""Keys that sign: ECDSA on the curve P-256 over SHA-256, in PEM files as `openssl` and cosign read them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ocikit import Digest
from tagboat.errors import TagboatError

PASSWORD = "TAGBOAT_KEY_PASSWORD"  # noqa: S105  the name of a variable
_MAX_FILE = 64 << 10  # bytes of a key's file
_MAX_PASSWORD = 1023  # bytes: OpenSSL's limit


class KeyFileError(TagboatError):
    """A file is no key that can be used here, is locked by another password, or is in the way."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What tells whether a signature is by its private half."""

    key: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, file: Path) -> PublicKey:
        """Raises KeyFileError."""
        data = _read(file)
        if b"PRIVATE KEY-----" in data:
            raise KeyFileError(f"{file} is a private key", hint="signatures are checked with its public half")
        try:
            key = load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{file} is no public key in PEM form, or is cut off") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyFileError(f"{file}: not a key on the curve P-256", hint="`tagboat key NAME` makes one")
        return cls(key)

    @property
    def identity(self) -> str:
        """The digest of the key as SubjectPublicKeyInfo (RFC 5280): the same for the same key in any file."""
        return str(Digest.of(self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))

    def accepts(self, signature: bytes, data: bytes) -> bool:
        """Whether the signature (DER) is by this key and of `data`."""
        try:
            self.key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> PrivateKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def read(cls, file: Path, password: str | None) -> PrivateKey:
        """A key from PKCS#8 or SEC 1, whose password is not asked for when it is not encrypted.

        Raises KeyFileError.
        """
        data = _read(file)
        if b"BEGIN ENCRYPTED COSIGN" in data or b"BEGIN ENCRYPTED SIGSTORE" in data:
            raise KeyFileError(
                f"{file} is encrypted in cosign's own way",
                hint="make a key with `tagboat key`; `cosign import-key-pair` takes that one",
            )
        encrypted = b"ENCRYPTED" in data
        if encrypted and not password:
            raise KeyFileError(f"{file} is encrypted", hint=f"set {PASSWORD} to its password")
        try:
            key = load_pem_private_key(data, os.fsencode(password) if password and encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            what = (
                "another password has locked it, or it is cut off"
                if encrypted
                else "no private key in PEM form"
            )
            raise KeyFileError(f"{file} cannot be used: {what}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyFileError(f"{file}: not a key on the curve P-256", hint="`tagboat key NAME` makes one")
        return cls(key)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, data: bytes) -> bytes:
        """The signature (DER); the same data always has the same one (RFC 6979)."""
        return self.key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def write(self, name: Path, password: str | None) -> tuple[Path, Path]:
        """Write NAME.key, for the owner alone and encrypted if there is a password, and NAME.pub.

        Raises KeyFileError when one of them is there: no key is ever overwritten.
        """
        if not name.name:
            raise KeyFileError(f"{name} is a folder, not the name of a key", hint="tagboat key release")
        private, public = (name.with_name(f"{name.name}.{end}") for end in ("key", "pub"))
        if password and len(os.fsencode(password)) > _MAX_PASSWORD:
            raise KeyFileError(f"a password of more than {_MAX_PASSWORD} bytes cannot be used")
        encryption: KeySerializationEncryption = (
            BestAvailableEncryption(os.fsencode(password)) if password else NoEncryption()
        )
        if public.exists():
            raise KeyFileError(f"{public} is there already, and stays as it is")
        _write(private, self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
        text = self.public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write(public, text, 0o644)
        return private, public


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_FILE)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read: {error.strerror}") from error


def _write(file: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
            opened.write(data)
    except FileExistsError:
        raise KeyFileError(f"{file} is there already, and stays as it is") from None
    except OSError as error:
        raise KeyFileError(f"{file} cannot be written: {error.strerror}") from error
