"""Certificates of an authority of the test's own, and servers that show them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.serving import in_thread, over_tls
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificates:
    """An authority of its own, and what it signs, good and bad."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.authority = self.make("authority", "The test's authority", days=(-90, 90), authority=True)

    def make(self, file: str, name: str, *, days: tuple[int, int], authority: bool = False) -> Path:
        """A certificate for `name`, good between these days from now; its key in the same file."""
        key = self.key if authority else ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The test's authority")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = self.folder / f"{file}.pem"
        path.write_bytes(certificate.public_bytes(form[0]) + key.private_bytes(*form))
        return path


@contextmanager
def edge(
    certificate: Path,
    handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[int]:
    """A server of HTTPS on a port of an address of loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    server = ThreadingHTTPServer((address, port), handler)
    server.handle_error = lambda *_: None  # a visitor who does not trust it hangs up
    over_tls(server, context)
    with in_thread(server):
        yield server.server_port
