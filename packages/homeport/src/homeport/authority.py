"""The local certificate authority: DIR/ca.pem, and one short-lived certificate a host name at the edge.

The authority may sign for `localhost` and names below it only (a critical name constraint, RFC 5280 section
4.2.1.10), so that trusting it in a browser gives nobody power over another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from homeport.disk import write
from homeport.errors import HomeportError

_AUTHORITY_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=30)
_RENEW_BEFORE = timedelta(days=10)
_SKEW = timedelta(hours=1)  # certificates begin a little in the past: clocks differ

_LEAF_USE = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip
_AUTHORITY_USE = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip


class Authority:
    """The authority in `directory`, making it on first use: `ca.pem`, and `ca-key.pem` for root alone."""

    def __init__(self, directory: Path) -> None:
        self.certificate_path = directory / "ca.pem"
        key_path = directory / "ca-key.pem"
        # The certificate is written last: without it, a half-made authority is made again.
        if not self.certificate_path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write(key_path, key_pem(key), mode=0o600)
            certificate = _authority(key).public_bytes(serialization.Encoding.PEM)
            write(self.certificate_path, certificate, mode=0o644)
        try:
            loaded = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(directory) from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise _damaged(directory)
        self._key = loaded

    def ensure_leaf(self, path: Path, names: Sequence[str]) -> bool:
        """Have a certificate for `names` with its key in `path`, as HAProxy reads it; True when it is a new
        one.

        It lasts 30 days and is replaced when fewer than 10 are left.
        """
        if path.exists() and _good(path, names, self._certificate):
            return False
        write(path, self.issue(names), mode=0o600)
        return True

    def issue(self, names: Sequence[str]) -> bytes:
        """A new certificate with its key, PEM; it lasts 30 days."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._leaf(key, names).public_bytes(serialization.Encoding.PEM) + key_pem(key)

    def _leaf(self, key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _LEAF_LIFE)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_USE, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    serial = x509.random_serial_number()
    # A name of its own for each authority: browsers refuse two of the same name with different keys.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"homeport local CA {serial % 16**8:08x}")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_AUTHORITY_USE, critical=True)
        .add_extension(
            x509.NameConstraints(permitted_subtrees=[x509.DNSName("localhost")], excluded_subtrees=None),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _good(path: Path, names: Sequence[str], authority: x509.Certificate) -> bool:
    try:
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        has = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    now = datetime.now(UTC)
    return (
        leaf.issuer == authority.subject
        and has.get_values_for_type(x509.DNSName) == list(names)
        and leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - _RENEW_BEFORE
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as files hold it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _damaged(directory: Path) -> HomeportError:
    return HomeportError(
        f"{directory}/ca.pem or ca-key.pem is damaged: restore them, or remove both, and there will be a new "
        "authority that browsers have to be told of"
    )
